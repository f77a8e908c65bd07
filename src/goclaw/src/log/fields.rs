//! What an event says, with secrets struck out.

use goclaw_core::redact::redact;
use serde_json::Value;
use std::{
    borrow::Cow,
    error::Error,
    fmt::{self, Debug, Write},
};
use tracing::field::{Field as Name, Visit};
use tracing_subscriber::field::RecordFields;

/// Values whose name holds one of these words are not told.
const SECRET_WORDS: [&str; 8] = ["key", "token", "secret", "password", "dsn", "credential", "authorization", "cookie"];
/// What stands in their place.
const HIDDEN: &str = "***";
/// How much of a value is looked at, in bytes.
const LOOK: usize = 64 << 10;

/// What an event says.
#[derive(Debug, Default)]
pub struct Fields {
    /// In words.
    pub message: String,
    /// Where it comes from, if it came by way of the `log` crate.
    pub target: Option<String>,
    /// More about it, in its own order.
    pub values: Vec<Field>,
}

/// One thing that an event says.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its value: text, a number or a truth value.
    pub value: Value,
    /// Whether text is quoted for people.
    pub quoted: bool,
}

impl Fields {
    /// Reads an event.
    pub fn of(recorded: impl RecordFields) -> Self {
        let mut fields = Self::default();
        recorded.record(&mut fields);
        fields
    }

    fn put(&mut self, name: &Name, value: Value, quoted: bool) {
        let name = name.name();
        let name = name.strip_prefix("r#").unwrap_or(name);
        match (name, value) {
            ("message", Value::String(text)) => self.message = text,
            ("log.target", Value::String(target)) => self.target = Some(target),
            // The rest of what that crate tells is where in the source it was.
            (name, _) if name.starts_with("log.") => {}
            (name, _) if is_secret(name) => self.values.push(Field { name, value: HIDDEN.into(), quoted: false }),
            (name, value) => self.values.push(Field { name, value, quoted }),
        }
    }

    fn put_text(&mut self, name: &Name, text: &str, quoted: bool) {
        self.put(name, redact(start_of(text, LOOK)).into_owned().into(), quoted);
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, name: &Name, value: &dyn Debug) {
        let mut text = Bounded(String::new());
        // It ends with an error where the text is cut.
        let _ = write!(text, "{value:?}");
        self.put_text(name, &text.0, false);
    }

    fn record_str(&mut self, name: &Name, value: &str) {
        self.put_text(name, value, true);
    }

    fn record_error(&mut self, name: &Name, value: &(dyn Error + 'static)) {
        self.record_debug(name, &format_args!("{value}"));
    }

    fn record_i64(&mut self, name: &Name, value: i64) {
        self.put(name, value.into(), false);
    }

    fn record_u64(&mut self, name: &Name, value: u64) {
        self.put(name, value.into(), false);
    }

    fn record_f64(&mut self, name: &Name, value: f64) {
        self.put(name, value.into(), false);
    }

    fn record_bool(&mut self, name: &Name, value: bool) {
        self.put(name, value.into(), false);
    }
}

/// Whether the name of a value says that it is a secret.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// The beginning of a text, at most this many bytes.
pub fn start_of(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}

/// The text without characters that would break a line or steer a terminal.
pub fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let escaped = text.chars().fold(String::with_capacity(text.len() + 8), |mut line, character| {
        if character.is_control() {
            line.extend(character.escape_default())
        } else {
            line.push(character)
        }
        line
    });
    Cow::Owned(escaped)
}

/// Takes text until there is enough of it.
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.push_str(start_of(text, LOOK.saturating_sub(self.0.len())));
        if self.0.len() < LOOK { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_secrets() {
        for name in ["api_key", "Authorization", "set-cookie", "GATEWAY_TOKEN", "dsn", "userPassword", "credentials", "secret"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["path", "status", "error", "method"] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn text_is_cut_between_characters() {
        assert_eq!((start_of("aüb", 2), start_of("aüb", 3), start_of("aüb", 9)), ("a", "aü", "aüb"));
        let mut bounded = Bounded(String::new());
        assert!(write!(bounded, "{}", "ü".repeat(LOOK)).is_err());
        assert!(bounded.0.len() <= LOOK);
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line("a b"), "a b");
        assert_eq!(one_line("a\nINFO \x1b[31mforged\r"), "a\\nINFO \\u{1b}[31mforged\\r");
    }
}
