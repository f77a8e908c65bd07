//! The frames of the protocol.

use crate::error::{wire, words};
use goclaw_core::caller::Locale;
use goclaw_ports::{Error, JsonObject, message};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// A request of a client.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    /// Chosen by the client, echoed in the answer.
    pub id: String,
    /// What to do.
    pub method: String,
    /// With what.
    pub params: Params,
}

/// The parameters of a request.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Params(Value);

/// What is wrong with a frame that is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadFrame(pub &'static str);

/// Reads a request. Its id is echoed only if the whole frame is one.
pub(crate) fn parse(bytes: &[u8]) -> Result<Request, BadFrame> {
    let frame: Value = serde_json::from_slice(bytes).map_err(|_| BadFrame("not JSON"))?;
    let Value::Object(mut frame) = frame else { return Err(BadFrame("not an object")) };
    if frame.get("type").and_then(Value::as_str) != Some("req") {
        return Err(BadFrame("type must be req"));
    }
    let mut text = |key, problem| match frame.remove(key) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(BadFrame(problem)),
    };
    let id = text("id", "id must be a string")?;
    let method = text("method", "method must be a string")?;
    Ok(Request { id, method, params: Params(frame.remove("params").unwrap_or_default()) })
}

/// Other names of parameters: where the first is absent, the others stand in, in their order.
const ALIASES: &[(&str, &[&str])] = &[
    ("agentId", &["agent_key", "agent_id"]),
    ("sessionKey", &["session_key", "key"]),
    ("key", &["session_key", "sessionKey"]),
    ("runId", &["run_id"]),
    ("message", &["text"]),
    ("name", &["file_name"]),
];

impl Params {
    /// The parameters as `T`; an absent or `null` one counts as its default.
    ///
    /// # Errors
    /// `Invalid` if one has the wrong type.
    pub(crate) fn strict<T: DeserializeOwned + Default>(self) -> Result<T, Error> {
        let params = match self.0 {
            Value::Null => return Ok(T::default()),
            Value::Object(params) => canonical(params),
            _ => return Err(Error::invalid(message::invalid_json())),
        };
        serde_json::from_value(Value::Object(params)).map_err(|cause| Error::invalid(message::invalid_json()).because(cause))
    }

    /// The same, but parameters that cannot be read count as absent.
    pub(crate) fn lenient<T: DeserializeOwned + Default>(self) -> T {
        self.strict().unwrap_or_default()
    }
}

fn canonical(mut params: JsonObject) -> JsonObject {
    params.retain(|_, value| !value.is_null());
    for (name, others) in ALIASES {
        if !params.contains_key(*name)
            && let Some(value) = others.iter().find_map(|other| params.get(*other)).cloned()
        {
            params.insert((*name).to_owned(), value);
        }
    }
    // What stood in must not count twice where a type knows the alias itself.
    for alias in ["agent_key", "agent_id", "session_key", "run_id", "text", "file_name"] {
        params.remove(alias);
    }
    params
}

/// The JSON of a result.
///
/// # Errors
/// `Internal` if it cannot be written.
pub(super) fn payload(result: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(result).map_err(Error::internal)
}

/// The answer to request `id`.
pub(crate) fn response(id: &str, result: Result<String, Error>, locale: Locale) -> String {
    match result {
        Ok(payload) if payload == "null" => format!(r#"{{"type":"res","id":{},"ok":true}}"#, quoted(id)),
        Ok(payload) => format!(r#"{{"type":"res","id":{},"ok":true,"payload":{payload}}}"#, quoted(id)),
        Err(error) => {
            let body = ErrorShape {
                code: wire(error.kind).ws_code,
                message: words(&error, locale),
                retryable: error.retry_after.is_some(),
                retry_after_ms: error.retry_after.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            };
            let body = serde_json::to_string(&body).unwrap_or_else(|_| "{}".to_owned());
            format!(r#"{{"type":"res","id":{},"ok":false,"error":{body}}}"#, quoted(id))
        }
    }
}

/// The answer to a frame that is no request.
pub(crate) fn refusal(bad: BadFrame, locale: Locale) -> String {
    response("", Err(Error::invalid(message::bad_frame(bad.0))), locale)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorShape {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

/// An event, written once for all who get it; only its number differs.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventFrame {
    /// The frame up to where `seq` goes.
    head: String,
}

impl EventFrame {
    /// The frame of event `name`; a `null` payload is left out.
    pub(super) fn new(name: &str, payload: &Value) -> Self {
        let mut head = format!(r#"{{"type":"event","event":{}"#, quoted(name));
        if !payload.is_null() {
            head.push_str(r#","payload":"#);
            head.push_str(&payload.to_string());
        }
        Self { head }
    }

    /// The frame as the `seq`th event of a connection.
    pub(super) fn numbered(&self, seq: u64) -> String {
        let mut frame = String::with_capacity(self.head.len() + 28);
        frame.push_str(&self.head);
        frame.push_str(r#","seq":"#);
        frame.push_str(&seq.to_string());
        frame.push('}');
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::ErrorKind;
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::json;
    use std::time::Duration;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, rename_all = "camelCase")]
    struct Sample {
        agent_id: String,
        session_key: String,
        key: String,
        message: String,
    }

    fn params(value: Value) -> Params {
        let frame = json!({"type": "req", "id": "1", "method": "m", "params": value});
        parse(frame.to_string().as_bytes()).unwrap().params
    }

    #[test]
    fn a_request_has_text_for_id_and_method() {
        let request = parse(br#"{"type":"req","id":"7","method":"health","extra":1}"#).unwrap();
        assert_eq!(request, Request { id: "7".to_owned(), method: "health".to_owned(), params: Params(Value::Null) });
        for frame in [&br#"{"type":"req","id":7,"method":"health"}"#[..], br#"{"type":"req","method":"health"}"#, br#"{"type":"req","id":"7"}"#] {
            assert!(parse(frame).is_err());
        }
        assert_eq!(parse(br#"{"type":"x"}"#), Err(BadFrame("type must be req")));
        assert_eq!(parse(b"ping"), Err(BadFrame("not JSON")));
        assert_eq!(parse(b"[]"), Err(BadFrame("not an object")));
    }

    #[test]
    fn other_names_stand_in_for_absent_parameters_only() {
        let sample: Sample = params(json!({"agent_key": "a", "agent_id": "b", "session_key": "s", "text": "hi"})).strict().unwrap();
        assert_eq!(sample, Sample { agent_id: "a".into(), session_key: "s".into(), key: "s".into(), message: "hi".into() });
        let sample: Sample = params(json!({"agentId": "x", "agent_key": "a", "message": null, "text": "hi"})).strict().unwrap();
        assert_eq!((sample.agent_id.as_str(), sample.message.as_str()), ("x", "hi"));
    }

    #[test]
    fn parameters_of_a_wrong_type_are_refused_or_ignored() {
        assert_eq!(params(json!({"message": 1})).strict::<Sample>().unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(params(json!([1])).strict::<Sample>().unwrap_err().kind, ErrorKind::Invalid);
        assert_eq!(params(json!({"message": 1})).lenient::<Sample>(), Sample::default());
        assert_eq!(params(Value::Null).strict::<Sample>().unwrap(), Sample::default());
    }

    #[test]
    fn an_answer_echoes_the_id_and_leaves_out_what_is_not_set() {
        assert_eq!(response("a\"b", Ok("{\"x\":1}".to_owned()), Locale::En), r#"{"type":"res","id":"a\"b","ok":true,"payload":{"x":1}}"#);
        assert_eq!(response("1", Ok("null".to_owned()), Locale::En), r#"{"type":"res","id":"1","ok":true}"#);
        let refused: Value = serde_json::from_str(&response("1", Err(Error::required("key")), Locale::En)).unwrap();
        let expected = json!({"type": "res", "id": "1", "ok": false, "error": {"code": "INVALID_REQUEST", "message": "key is required"}});
        assert_eq!(refused, expected);
        let error = Error::unavailable("x").retry_after(Duration::from_millis(1500));
        let refused: Value = serde_json::from_str(&response("1", Err(error), Locale::En)).unwrap();
        assert_eq!((&refused["error"]["retryable"], &refused["error"]["retryAfterMs"]), (&true.into(), &1500.into()));
    }

    #[test]
    fn an_event_is_numbered_and_its_empty_payload_left_out() {
        let frame: Value = serde_json::from_str(&EventFrame::new("agent", &json!({"type": "chunk"})).numbered(3)).unwrap();
        assert_eq!(frame, json!({"type": "event", "event": "agent", "payload": {"type": "chunk"}, "seq": 3}));
        assert_eq!(EventFrame::new("shutdown", &Value::Null).numbered(1), r#"{"type":"event","event":"shutdown","seq":1}"#);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }

        #[test]
        fn any_near_miss_is_read_or_refused(kind in "req|res|", id in "\"[a-z]{0,3}\"|[0-9]{1,3}|null|\\[\\]", method in ".{0,8}") {
            let frame = format!(r#"{{"type":"{kind}","id":{id},"method":{}}}"#, Value::from(method));
            if let Ok(request) = parse(frame.as_bytes()) {
                prop_assert_eq!(Value::from(request.id).to_string(), id);
            }
        }

        #[test]
        fn any_id_comes_back_unchanged(id: String) {
            let answer: Value = serde_json::from_str(&response(&id, Ok("{}".to_owned()), Locale::En)).unwrap();
            prop_assert_eq!(answer["id"].as_str(), Some(id.as_str()));
        }
    }
}
