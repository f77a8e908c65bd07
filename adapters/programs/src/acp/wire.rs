//! The protocol's two dialects: the published one, and an earlier one with names of its own. What we send is in both; what we
//! hear is taken in either.

use goclaw_ports::media::ImagePart;
use serde_json::{Value, json};

/// A failed request, as JSON-RPC has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: i64,
    pub message: String,
}

impl Failure {
    /// A request that could not be done.
    pub fn failed(message: impl Into<String>) -> Self {
        Self { code: -32_000, message: message.into() }
    }

    /// A request that nobody knows.
    pub fn unknown(method: &str) -> Self {
        Self { code: -32_601, message: format!("method not found: {method}") }
    }
}

/// A message of the agent.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    /// It answers a request of ours.
    Answer(u64, Result<Value, Failure>),
    /// It asks for something.
    Request { id: Value, method: String, params: Value },
    /// It tells something.
    Notice { method: String, params: Value },
}

/// Reads a line. `None` if it is no message.
pub fn read(line: &[u8]) -> Option<Incoming> {
    let Value::Object(mut message) = serde_json::from_slice(line).ok()? else { return None };
    let id = message.remove("id").filter(|id| !id.is_null());
    let params = message.remove("params").unwrap_or_default();
    match (message.remove("method"), id) {
        (Some(Value::String(method)), Some(id)) => Some(Incoming::Request { id, method, params }),
        (Some(Value::String(method)), None) => Some(Incoming::Notice { method, params }),
        (None, Some(id)) => {
            let answer = match message.remove("error") {
                Some(error) if !error.is_null() => Err(Failure {
                    code: error["code"].as_i64().unwrap_or_default(),
                    message: error["message"].as_str().unwrap_or("the agent failed").to_owned(),
                }),
                _ => Ok(message.remove("result").unwrap_or_default()),
            };
            Some(Incoming::Answer(id.as_u64()?, answer))
        }
        _ => None,
    }
}

/// A request of ours, as a line.
pub fn request(id: u64, method: &str, params: &Value) -> String {
    format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))
}

/// A notice of ours, as a line.
pub fn notice(method: &str, params: &Value) -> String {
    format!("{}\n", json!({"jsonrpc": "2.0", "method": method, "params": params}))
}

/// An answer of ours, as a line.
pub fn answer(id: &Value, answer: Result<Value, Failure>) -> String {
    let message = match answer {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(failure) => json!({"jsonrpc": "2.0", "id": id, "error": {"code": failure.code, "message": failure.message}}),
    };
    format!("{message}\n")
}

/// The parameters of `initialize`.
pub fn initialize() -> Value {
    let files = json!({"readTextFile": true, "writeTextFile": true});
    json!({
        "protocolVersion": 1,
        "clientInfo": {"name": "goclaw", "version": "1.0"},
        "clientCapabilities": {"fs": files, "terminal": true},
        "capabilities": {"fs": files, "terminal": {"enabled": true}},
    })
}

/// The parameters of `session/prompt`.
pub fn prompt(session: &str, text: &str, images: &[ImagePart]) -> Value {
    let mut content = vec![json!({"type": "text", "text": text})];
    content.extend(images.iter().map(|image| json!({"type": "image", "mimeType": image.mime_type, "data": &*image.data})));
    json!({"sessionId": session, "prompt": content, "content": content})
}

/// Whether an agent that welcomes us so speaks the published dialect: it says which version.
pub fn is_published(welcome: &Value) -> bool {
    welcome["protocolVersion"].is_number()
}

/// Whether an agent that welcomes us so takes pictures. In the published dialect it says so; in the earlier one every agent does.
pub fn takes_images(welcome: &Value) -> bool {
    !is_published(welcome) || welcome["agentCapabilities"]["promptCapabilities"]["image"] == true
}

/// The text that a `session/update` carries, if it carries some for the user.
pub fn said(params: &Value) -> Option<String> {
    let text = |block: &Value| (block["type"] == "text").then(|| block["text"].as_str().unwrap_or_default().to_owned());
    let update = &params["update"];
    if update["sessionUpdate"] == "agent_message_chunk" {
        return text(&update["content"]).filter(|text| !text.is_empty());
    }
    if params["kind"] != "message" || params["message"]["role"] == "user" {
        return None;
    }
    let blocks = params["message"]["content"].as_array()?;
    Some(blocks.iter().filter_map(text).collect::<String>()).filter(|text| !text.is_empty())
}

/// Why an agent stopped.
pub fn stop_reason(result: &Value) -> String {
    result["stopReason"].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_told_apart() {
        let read = |value: Value| read(value.to_string().as_bytes());
        assert_eq!(read(json!({"jsonrpc": "2.0", "id": 3, "result": {"a": 1}})), Some(Incoming::Answer(3, Ok(json!({"a": 1})))));
        let failure = Failure { code: -1, message: "no".into() };
        assert_eq!(read(json!({"id": 3, "error": {"code": -1, "message": "no"}})), Some(Incoming::Answer(3, Err(failure))));
        let request = Incoming::Request { id: json!("x"), method: "fs/readTextFile".into(), params: json!({"path": "a"}) };
        assert_eq!(read(json!({"id": "x", "method": "fs/readTextFile", "params": {"path": "a"}})), Some(request));
        assert_eq!(read(json!({"method": "session/update"})), Some(Incoming::Notice { method: "session/update".into(), params: Value::Null }));
        for none in [json!([]), json!({}), json!({"id": "x", "result": 1}), json!("text")] {
            assert_eq!(read(none), None);
        }
        assert_eq!(super::read(b"Welcome!"), None);
    }

    #[test]
    fn both_dialects_are_understood() {
        let published = |kind: &str| json!({"sessionId": "s", "update": {"sessionUpdate": kind, "content": {"type": "text", "text": "hi"}}});
        assert_eq!(said(&published("agent_message_chunk")).as_deref(), Some("hi"));
        assert_eq!(said(&published("agent_thought_chunk")), None);
        let blocks = json!([{"type": "text", "text": "a"}, {"type": "image", "data": "x"}, {"type": "text", "text": "b"}]);
        assert_eq!(said(&json!({"kind": "message", "message": {"role": "assistant", "content": blocks}})).as_deref(), Some("ab"));
        assert_eq!(said(&json!({"kind": "toolCall", "toolCall": {"id": "1"}})), None);
    }
}
