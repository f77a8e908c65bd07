//! Reads the arguments that a model wrote, as leniently as they can be understood.

use goclaw_ports::{JsonObject, tools::ToolResult};
use serde_json::Value;

/// Why a call is refused or failed; the text tells the model what to do about it.
#[derive(Debug)]
pub struct Refusal(String);

impl Refusal {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl From<Refusal> for ToolResult {
    fn from(refusal: Refusal) -> Self {
        Self::error(refusal.0)
    }
}

/// The arguments of one call. `null` counts as absent.
pub struct Arguments(pub JsonObject);

impl Arguments {
    fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// The string `name`, or `None` if it is absent. Numbers and booleans count as their text.
    pub fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Ok(Some(value.to_string())),
            Some(_) => Err(Refusal::new(format!("{name} must be a string"))),
        }
    }

    /// The string `name`, which must be there; it may be empty.
    pub fn required_text(&self, name: &str) -> Result<String, Refusal> {
        self.text(name)?.ok_or_else(|| Refusal::new(format!("{name} is required")))
    }

    /// The string `name`, which must be there and hold more than blanks.
    pub fn filled_text(&self, name: &str) -> Result<String, Refusal> {
        let text = self.required_text(name)?;
        if text.trim().is_empty() { Err(Refusal::new(format!("{name} is required"))) } else { Ok(text) }
    }

    /// The whole part of the number `name`, or `None` if it is absent. A number in a string counts.
    pub fn integer(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let number = match self.get(name) {
            None => return Ok(None),
            Some(Value::Number(number)) => number.as_i64().map_or_else(|| number.as_f64(), |whole| Some(whole as f64)),
            Some(Value::String(text)) => text.trim().parse::<f64>().ok(),
            Some(_) => None,
        };
        match number {
            Some(number) if number.is_finite() => Ok(Some(number as i64)),
            _ => Err(Refusal::new(format!("{name} must be a number"))),
        }
    }

    /// The boolean `name`, or `default` if it is absent. `"true"` and `"false"` count.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Refusal> {
        match self.get(name) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(_) => Err(Refusal::new(format!("{name} must be true or false"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn arguments(value: Value) -> Arguments {
        Arguments(value.as_object().cloned().unwrap())
    }

    #[test]
    fn null_counts_as_absent() {
        let arguments = arguments(json!({"a": null}));
        assert_eq!(arguments.text("a").unwrap(), None);
        assert_eq!(arguments.integer("a").unwrap(), None);
        assert!(arguments.flag("a", true).unwrap());
        assert_eq!(arguments.required_text("a").unwrap_err().0, "a is required");
    }

    #[test]
    fn an_integer_takes_any_number_and_truncates() {
        let arguments = arguments(json!({"a": 3.9, "b": "12", "c": -2, "d": "x", "e": 1e300}));
        assert_eq!(arguments.integer("a").unwrap(), Some(3));
        assert_eq!(arguments.integer("b").unwrap(), Some(12));
        assert_eq!(arguments.integer("c").unwrap(), Some(-2));
        assert!(arguments.integer("d").unwrap_err().0.contains("must be a number"));
        assert_eq!(arguments.integer("e").unwrap(), Some(i64::MAX));
    }

    #[test]
    fn a_flag_takes_its_word_and_refuses_others() {
        let arguments = arguments(json!({"a": "False", "b": 1}));
        assert!(!arguments.flag("a", true).unwrap());
        assert!(arguments.flag("b", true).is_err());
    }
}
