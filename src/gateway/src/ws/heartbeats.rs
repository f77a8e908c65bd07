//! `heartbeat.*`.

use super::{frame::payload, methods::Call};
use goclaw_core::heartbeats::HeartbeatChange;
use goclaw_ports::{
    AgentId, Result,
    channels::DeliveryTarget,
    heartbeats::{Heartbeat, HeartbeatLog},
};
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AgentParams {
    agent_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ToggleParams {
    agent_id: String,
    enabled: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LogParams {
    agent_id: String,
    limit: i64,
    offset: i64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ChecklistParams {
    agent_id: String,
    content: String,
}

#[derive(Serialize)]
struct Shown {
    heartbeat: Option<Heartbeat>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Toggled {
    agent_id: AgentId,
    enabled: bool,
}

#[derive(Serialize)]
struct Done {
    ok: bool,
}

#[derive(Serialize)]
struct Logs {
    logs: Vec<HeartbeatLog>,
    total: i64,
}

#[derive(Serialize)]
struct Checklist {
    content: String,
}

#[derive(Serialize)]
struct Written {
    ok: bool,
    length: usize,
}

#[derive(Serialize)]
struct Targets {
    targets: Vec<DeliveryTarget>,
}

/// `heartbeat.get`: the heartbeat of an agent.
pub(super) async fn get(call: Call) -> Result<String> {
    let AgentParams { agent_id } = call.params.strict()?;
    payload(&Shown { heartbeat: call.gateway.core.heartbeats.get(&call.caller, &agent_id).await? })
}

/// `heartbeat.set`: changes it, or makes one.
pub(super) async fn set(call: Call) -> Result<String> {
    let change: HeartbeatChange = call.params.strict()?;
    payload(&Shown { heartbeat: Some(call.gateway.core.heartbeats.set(&call.caller, change).await?) })
}

/// `heartbeat.toggle`: switches it on or off.
pub(super) async fn toggle(call: Call) -> Result<String> {
    let ToggleParams { agent_id, enabled } = call.params.strict()?;
    let agent = call.gateway.core.heartbeats.toggle(&call.caller, &agent_id, enabled).await?;
    payload(&Toggled { agent_id: agent.id, enabled: enabled.unwrap_or_default() })
}

/// `heartbeat.test`: has it run now.
pub(super) async fn test(call: Call) -> Result<String> {
    let AgentParams { agent_id } = call.params.strict()?;
    call.gateway.core.heartbeats.test(&call.caller, &agent_id).await?;
    payload(&Done { ok: true })
}

/// `heartbeat.logs`: what came of it.
pub(super) async fn logs(call: Call) -> Result<String> {
    let LogParams { agent_id, limit, offset } = call.params.strict()?;
    let (logs, total) = call.gateway.core.heartbeats.logs(&call.caller, &agent_id, limit, offset).await?;
    payload(&Logs { logs, total })
}

/// `heartbeat.checklist.get`: what the agent looks after.
pub(super) async fn checklist(call: Call) -> Result<String> {
    let AgentParams { agent_id } = call.params.strict()?;
    payload(&Checklist { content: call.gateway.core.heartbeats.checklist(&call.caller, &agent_id).await? })
}

/// `heartbeat.checklist.set`: says what the agent is to look after.
pub(super) async fn set_checklist(call: Call) -> Result<String> {
    let ChecklistParams { agent_id, content } = call.params.strict()?;
    let length = call.gateway.core.heartbeats.set_checklist(&call.caller, &agent_id, content).await?;
    payload(&Written { ok: true, length })
}

/// `heartbeat.targets`: the chats that answers can be delivered to.
pub(super) async fn targets(call: Call) -> Result<String> {
    let AgentParams { agent_id } = call.params.strict()?;
    payload(&Targets { targets: call.gateway.core.heartbeats.targets(&call.caller, &agent_id).await? })
}
