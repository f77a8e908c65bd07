//! Texts and JSON on their way into PostgreSQL, which cannot store the character NUL in either, and back.

use goclaw_ports::{Error, JsonObject, Result};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

const NUL: char = '\0';
const REPLACEMENT: &str = "\u{FFFD}";

/// The text with every NUL replaced.
pub(crate) fn text(text: &str) -> String {
    text.replace(NUL, REPLACEMENT)
}

/// The value with every NUL in its strings and names replaced.
pub(crate) fn clean(value: Value) -> Value {
    match value {
        Value::String(string) if string.contains(NUL) => Value::String(text(&string)),
        Value::Array(items) => Value::Array(items.into_iter().map(clean).collect()),
        Value::Object(entries) => {
            Value::Object(entries.into_iter().map(|(name, value)| (if name.contains(NUL) { text(&name) } else { name }, clean(value))).collect())
        }
        other => other,
    }
}

/// An object as it is stored.
pub(crate) fn object(object: &JsonObject) -> Value {
    clean(Value::Object(object.clone()))
}

/// Anything as it is stored.
pub(crate) fn encode(value: &impl Serialize) -> Result<Value> {
    Ok(clean(serde_json::to_value(value).map_err(Error::internal)?))
}

/// What was stored, as what it was.
pub(crate) fn decode<T: DeserializeOwned>(value: Value) -> Result<T> {
    serde_json::from_value(value).map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nul_is_replaced_at_every_depth() {
        let dirty = json!({"a\0": ["x\0y", {"b": "\0"}], "c": 1});
        assert_eq!(clean(dirty), json!({"a\u{FFFD}": ["x\u{FFFD}y", {"b": "\u{FFFD}"}], "c": 1}));
        assert_eq!(text("a\0b"), "a\u{FFFD}b");
    }
}
