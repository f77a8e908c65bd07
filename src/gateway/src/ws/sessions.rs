//! `sessions.*`.

use super::{frame::payload, methods::Call};
use goclaw_ports::Result;
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct PreviewParams {
    key: String,
}

/// `sessions.list`: a page of the caller's sessions.
pub(super) async fn list(call: Call) -> Result<String> {
    payload(&call.gateway.core.sessions.list(&call.caller, call.params.lenient()).await?)
}

/// `sessions.preview`: a session's messages and summary.
pub(super) async fn preview(call: Call) -> Result<String> {
    let PreviewParams { key } = call.params.lenient();
    payload(&call.gateway.core.sessions.preview(&call.caller, &key).await?)
}
