//! Bodies of fuzz targets: see `fuzz/README.md`.

use crate::ws::frame::{self, Params};
use goclaw_core::caller::Locale;
use goclaw_ports::{Error, JsonObject, message};
use serde::Deserialize;
use serde_json::Value;

/// What the methods ask for most.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Usual {
    agent_id: String,
    session_key: String,
    key: String,
    message: String,
    name: String,
    stream: bool,
    limit: Option<i64>,
}

/// Reads a text frame of a client, and answers it.
///
/// # Panics
/// If a frame is read that is none, or an answer is no JSON.
pub fn frames(bytes: &[u8]) {
    let answer = match frame::parse(bytes) {
        Err(bad) => frame::refusal(bad, Locale::Vi),
        Ok(request) => {
            let told: Value = serde_json::from_slice(bytes).unwrap_or_default();
            assert_eq!((&told["type"], &told["id"], &told["method"]), (&"req".into(), &request.id.clone().into(), &request.method.clone().into()));
            read(request.params.clone());
            let refusal = frame::response(&request.id, Err(Error::invalid(message::invalid_json())), Locale::Zh);
            assert_eq!(json(&refusal)["id"], request.id);
            frame::response(&request.id, Ok(told.to_string()), Locale::En)
        }
    };
    let answer = json(&answer);
    assert_eq!(answer["type"], "res");
    assert!(answer["ok"].is_boolean() && answer["id"].is_string());
}

fn read(params: Params) {
    let all = params.clone().strict::<JsonObject>();
    assert!(all.is_ok() || params.clone().strict::<Usual>().is_err(), "only objects hold parameters");
    drop((params.clone().strict::<Usual>(), params.lenient::<Usual>()));
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[cfg(test)]
#[path = "../../../fuzz/bounded.rs"]
mod bounded;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_frame_is_read_or_refused() {
        bounded::run("frames", frames);
    }
}
