//! `chat.*`.

use super::{frame::payload, methods::Call};
use crate::i18n;
use goclaw_core::{
    chat::{Send, Sent},
    files::MediaInput,
};
use goclaw_ports::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::json;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SendParams {
    message: String,
    agent_id: String,
    session_key: String,
    stream: bool,
    media: Option<Vec<MediaInput>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SessionParams {
    session_key: String,
    run_id: String,
}

/// `chat.send`: runs an agent; answers when the run has ended.
pub(super) async fn send(call: Call) -> Result<String> {
    let SendParams { message, agent_id, session_key, stream, media } = call.params.strict()?;
    let request = Send { message, agent_id, session_key, stream, media: media.unwrap_or_default(), connection: call.connection.id.to_string() };
    let sent = call.gateway.core.chat.send(&call.caller, request).await.map_err(|error| match error.kind {
        // Clients of this method know no code for the rate.
        ErrorKind::RateLimited => Error { kind: ErrorKind::Invalid, ..error },
        _ => error,
    })?;
    match &sent {
        Sent::Command(answer) => payload(&json!({"content": i18n::text(call.caller.locale, answer)})),
        sent => payload(sent),
    }
}

/// `chat.history`: the messages of a session, page by page from the newest on.
pub(super) async fn history(call: Call) -> Result<String> {
    payload(&call.gateway.core.sessions.history(&call.caller, &call.params.strict()?).await?)
}

/// `chat.abort`: ends runs of a session.
pub(super) async fn abort(call: Call) -> Result<String> {
    let SessionParams { session_key, run_id } = call.params.lenient();
    payload(&call.gateway.core.chat.abort(&call.caller, &session_key, &run_id).await?)
}

/// `chat.inject`: adds a message of the agent without a run.
pub(super) async fn inject(call: Call) -> Result<String> {
    payload(&call.gateway.core.chat.inject(&call.caller, call.params.strict()?).await?)
}

/// `chat.session.status`: whether a session is busy.
pub(super) async fn status(call: Call) -> Result<String> {
    let SessionParams { session_key, .. } = call.params.lenient();
    payload(&call.gateway.core.chat.status(&call.caller, &session_key).await?)
}
