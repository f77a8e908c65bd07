//! `agents.links.*`.

use super::{frame::payload, methods::Call};
use goclaw_core::links::{LinkUpdate, NewLink};
use goclaw_ports::{Result, links::AgentLink};
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct ListParams {
    agent_id: String,
    direction: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeleteParams {
    link_id: String,
}

#[derive(Serialize)]
struct Done {
    ok: bool,
}

#[derive(Serialize)]
struct Listed {
    count: usize,
    links: Vec<AgentLink>,
}

#[derive(Serialize)]
struct Created {
    link: AgentLink,
}

/// `agents.links.list`: the links of an agent.
pub(super) async fn list(call: Call) -> Result<String> {
    let ListParams { agent_id, direction } = call.params.strict()?;
    let links = call.gateway.core.links.list(&call.caller, &agent_id, &direction).await?;
    payload(&Listed { count: links.len(), links })
}

/// `agents.links.create`: links one agent to another.
pub(super) async fn create(call: Call) -> Result<String> {
    let params: NewLink = call.params.strict()?;
    payload(&Created { link: call.gateway.core.links.create(&call.caller, params).await? })
}

/// `agents.links.update`: changes a link.
pub(super) async fn update(call: Call) -> Result<String> {
    let params: LinkUpdate = call.params.strict()?;
    call.gateway.core.links.update(&call.caller, params).await?;
    payload(&Done { ok: true })
}

/// `agents.links.delete`: removes a link.
pub(super) async fn delete(call: Call) -> Result<String> {
    let DeleteParams { link_id } = call.params.strict()?;
    call.gateway.core.links.delete(&call.caller, &link_id).await?;
    payload(&Done { ok: true })
}
