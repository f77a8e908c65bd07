//! Whether an agent is at work.

use super::{Agents, DEFAULT_KEY};
use crate::caller::{Access, Caller};
use goclaw_ports::{Result, roles::Role};
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;

/// How long somebody waits for an agent who does not say how long.
const WAIT: Duration = Duration::from_secs(30);
/// How long somebody may wait at most.
const MAX_WAIT: Duration = Duration::from_secs(300);

/// Whether an agent runs now.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AtWork {
    /// The agent's key.
    pub id: String,
    /// Whether it does.
    pub is_running: bool,
}

/// What came of waiting for an agent.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Waited {
    /// The agent's key.
    pub id: String,
    /// `idle`, or `running` if it still was when the time was up.
    pub status: &'static str,
}

fn named(agent_id: &str) -> &str {
    if agent_id.is_empty() { DEFAULT_KEY } else { agent_id }
}

impl Agents {
    /// Whether an agent runs now; the default one if none is named.
    ///
    /// # Errors
    /// `Forbidden` below viewer or without access, `NotFound`.
    pub async fn at_work(&self, caller: &Caller, agent_id: &str) -> Result<AtWork> {
        caller.require(Role::Viewer, Access::Read, "agent")?;
        let agent = self.resolve(caller, named(agent_id)).await?;
        Ok(AtWork { is_running: self.runs.of_agent(caller.tenant, &agent.agent_key) > 0, id: agent.agent_key })
    }

    /// Waits until an agent has no run any more, at most `timeout_ms` or half a minute.
    ///
    /// # Errors
    /// As [`Agents::at_work`].
    pub async fn wait(&self, caller: &Caller, agent_id: &str, timeout_ms: Option<u64>) -> Result<Waited> {
        caller.require(Role::Viewer, Access::Read, "agent.wait")?;
        let agent = self.resolve(caller, named(agent_id)).await?;
        let limit = timeout_ms.map_or(WAIT, Duration::from_millis).min(MAX_WAIT);
        let idle = self.runs.wait_for_agent(caller.tenant, &agent.agent_key, limit).await;
        Ok(Waited { id: agent.agent_key, status: if idle { "idle" } else { "running" } })
    }
}
