//! `agent`, `agent.*` and `agents.*`.

use super::{frame::payload, methods::Call};
use goclaw_core::agents::{AgentFile, AgentFiles, AgentSummary, FileChange, FileSet};
use goclaw_ports::Result;
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct AgentParams {
    agent_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WaitParams {
    agent_id: String,
    timeout_ms: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct IdentityParams {
    agent_id: String,
    session_key: String,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeleteParams {
    agent_id: String,
    delete_files: bool,
}

impl Default for DeleteParams {
    fn default() -> Self {
        Self { agent_id: String::new(), delete_files: true }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct FileParams {
    agent_id: String,
    name: String,
}

#[derive(Serialize)]
struct AgentList {
    agents: Vec<AgentSummary>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Created<'a> {
    ok: bool,
    agent_id: &'a str,
    name: &'a str,
    workspace: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed<'a> {
    ok: bool,
    agent_id: &'a str,
}

#[derive(Serialize)]
struct FileList {
    files: Vec<AgentFile>,
}

#[derive(Serialize)]
struct OneFile {
    file: AgentFile,
}

/// `agent`: whether an agent runs now.
pub(super) async fn at_work(call: Call) -> Result<String> {
    let AgentParams { agent_id } = call.params.strict()?;
    payload(&call.gateway.core.agents.at_work(&call.caller, &agent_id).await?)
}

/// `agent.wait`: waits until an agent has no run any more.
pub(super) async fn wait(call: Call) -> Result<String> {
    let WaitParams { agent_id, timeout_ms } = call.params.strict()?;
    payload(&call.gateway.core.agents.wait(&call.caller, &agent_id, timeout_ms).await?)
}

/// `agent.identity.get`: what an agent is called and how it looks.
pub(super) async fn identity(call: Call) -> Result<String> {
    let IdentityParams { agent_id, session_key } = call.params.strict()?;
    payload(&call.gateway.core.agents.identity(&call.caller, &agent_id, &session_key).await?)
}

/// `agents.list`: the active agents that the caller may use.
pub(super) async fn list(call: Call) -> Result<String> {
    payload(&AgentList { agents: call.gateway.core.agents.list_active(&call.caller).await? })
}

/// `agents.create`: makes an agent from its name.
pub(super) async fn create(call: Call) -> Result<String> {
    let agent = call.gateway.core.agents.create_named(&call.caller, call.params.strict()?).await?;
    payload(&Created { ok: true, agent_id: &agent.agent_key, name: &agent.display_name, workspace: &agent.workspace })
}

/// `agents.update`: changes an agent.
pub(super) async fn update(call: Call) -> Result<String> {
    let agent = call.gateway.core.agents.update_named(&call.caller, call.params.strict()?).await?;
    payload(&Changed { ok: true, agent_id: &agent.agent_key })
}

/// `agents.delete`: deletes an agent, and its directory.
pub(super) async fn delete(call: Call) -> Result<String> {
    let DeleteParams { agent_id, delete_files } = call.params.strict()?;
    payload(&call.gateway.core.agents.delete_named(&call.caller, &agent_id, delete_files).await?)
}

/// `agents.files.list`: which files an agent has.
pub(super) async fn list_files(call: Call) -> Result<String> {
    let AgentParams { agent_id } = call.params.strict()?;
    let files = call.gateway.core.agents.list_files(&call.caller, &agent_id).await?;
    payload(&AgentFiles { agent_id, files: FileList { files } })
}

/// `agents.files.get`: one of an agent's files.
pub(super) async fn read_file(call: Call) -> Result<String> {
    let FileParams { agent_id, name } = call.params.strict()?;
    let file = call.gateway.core.agents.read_file(&call.caller, &agent_id, &name).await?;
    payload(&AgentFiles { agent_id, files: OneFile { file } })
}

/// `agents.files.set`: writes one of an agent's files.
pub(super) async fn write_file(call: Call) -> Result<String> {
    let change: FileChange = call.params.strict()?;
    let agent_id = change.agent_id.clone();
    let files: FileSet = call.gateway.core.agents.write_file(&call.caller, change).await?;
    payload(&AgentFiles { agent_id, files })
}
