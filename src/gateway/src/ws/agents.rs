//! `agents.*`.

use super::{frame::payload, methods::Call};
use goclaw_core::agents::AgentSummary;
use goclaw_ports::Result;
use serde::Serialize;

#[derive(Serialize)]
struct AgentList {
    agents: Vec<AgentSummary>,
}

/// `agents.list`: the active agents that the caller may use.
pub(super) async fn list(call: Call) -> Result<String> {
    payload(&AgentList { agents: call.gateway.core.agents.list_active(&call.caller).await? })
}
