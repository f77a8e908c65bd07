//! `usage.*` and `quota.usage`.

use super::{frame::payload, methods::Call};
use goclaw_ports::Result;

/// `usage.get`: what conversations took, a page of them.
pub(super) async fn get(call: Call) -> Result<String> {
    payload(&call.gateway.core.usage.records(&call.caller, call.params.lenient()).await?)
}

/// `usage.summary`: what conversations took, by agent.
pub(super) async fn summary(call: Call) -> Result<String> {
    payload(&call.gateway.core.usage.by_session(&call.caller).await?)
}

/// `quota.usage`: what was used since midnight.
pub(super) async fn quota(call: Call) -> Result<String> {
    payload(&call.gateway.core.usage.quota(&call.caller).await?)
}
