//! Small readers that both dialects share.

use goclaw_ports::{JsonObject, sessions::ToolCall};
use serde::Deserialize;
use serde_json::Value;
use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    sync::{Mutex, PoisonError},
};

/// A string that is borrowed from the input when it holds no escapes. (An `Option<Cow>` would always copy.)
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Text<'a>(#[serde(borrow)] pub(crate) Cow<'a, str>);

/// A tool call from its parts. Arguments that are no JSON object leave `{}` and say why.
pub(crate) fn tool_call(id: String, name: &str, arguments: &str, metadata: BTreeMap<String, String>) -> ToolCall {
    let parsed = if arguments.trim().is_empty() { Ok(JsonObject::new()) } else { serde_json::from_str::<JsonObject>(arguments) };
    let (arguments, parse_error) = match parsed {
        Ok(arguments) => (arguments, String::new()),
        Err(error) => (JsonObject::new(), format!("the arguments are no valid JSON object ({} characters): {error}", arguments.chars().count())),
    };
    ToolCall { id, name: name.trim().to_owned(), arguments, metadata, parse_error }
}

/// The `type`, `code` and `message` of an error object, however much of it is there.
pub(crate) fn describe(error: &Value) -> (Option<u16>, String) {
    let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default();
    let code = error.get("code").and_then(|code| code.as_u64().or_else(|| code.as_str()?.parse().ok())).and_then(|code| u16::try_from(code).ok());
    let kind = if text("type").is_empty() { text("code") } else { text("type") };
    let message = match error {
        Value::String(message) => message.clone(),
        _ if text("message").is_empty() => error.to_string(),
        _ => text("message").to_owned(),
    };
    (code, if kind.is_empty() { message } else { format!("{kind}: {message}") })
}

/// What an upstream turned out not to take. Keeps a bounded number of findings.
#[derive(Debug, Default)]
pub(crate) struct Findings(Mutex<HashSet<(String, String)>>);

impl Findings {
    const LIMIT: usize = 256;

    pub(crate) fn add(&self, model: &str, what: &str) {
        let mut findings = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if findings.len() < Self::LIMIT {
            findings.insert((model.to_owned(), what.to_owned()));
        }
    }

    pub(crate) fn has(&self, model: &str, what: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&(model.to_owned(), what.to_owned()))
    }
}
