//! `sessions.*`.

use super::{frame::payload, methods::Call};
use goclaw_ports::Result;
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize)]
#[serde(default)]
struct KeyParams {
    key: String,
}

#[derive(Serialize)]
struct Done {
    ok: bool,
}

/// `sessions.list`: a page of the caller's sessions.
pub(super) async fn list(call: Call) -> Result<String> {
    payload(&call.gateway.core.sessions.list(&call.caller, call.params.lenient()).await?)
}

/// `sessions.preview`: a session's messages and summary.
pub(super) async fn preview(call: Call) -> Result<String> {
    let KeyParams { key } = call.params.lenient();
    payload(&call.gateway.core.sessions.preview(&call.caller, &key).await?)
}

/// `sessions.patch`: changes a session's title, model or metadata.
pub(super) async fn patch(call: Call) -> Result<String> {
    payload(&call.gateway.core.sessions.patch(&call.caller, call.params.strict()?).await?)
}

/// `sessions.delete`: deletes a session.
pub(super) async fn delete(call: Call) -> Result<String> {
    let KeyParams { key } = call.params.lenient();
    call.gateway.core.sessions.delete(&call.caller, &key).await?;
    payload(&Done { ok: true })
}

/// `sessions.reset`: removes a session's messages.
pub(super) async fn reset(call: Call) -> Result<String> {
    let KeyParams { key } = call.params.lenient();
    call.gateway.core.sessions.reset(&call.caller, &key).await?;
    payload(&Done { ok: true })
}
