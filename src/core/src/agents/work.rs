//! Whether an agent is at work.

use super::{Agents, DEFAULT_KEY};
use crate::caller::{Access, Caller};
use goclaw_ports::{Result, agents::Agent, roles::Role};
use schemars::JsonSchema;
use serde::Serialize;
use std::time::Duration;
use tokio::time::Instant;

/// How long somebody waits for an agent who does not say how long.
const WAIT: Duration = Duration::from_secs(30);
/// How long somebody may wait at most.
const MAX_WAIT: Duration = Duration::from_secs(300);
/// How long the runs of an agent that is deleted have to end.
const GRACE: Duration = Duration::from_secs(10);

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
        let here = self.runs.of_agent(caller.tenant, &agent.agent_key) > 0;
        let is_running = here || !self.elsewhere.busy(caller.tenant, Some(agent.id)).await?.is_empty();
        Ok(AtWork { is_running, id: agent.agent_key })
    }

    /// Waits until an agent has no run any more, at most `timeout_ms` or half a minute.
    ///
    /// # Errors
    /// As [`Agents::at_work`].
    pub async fn wait(&self, caller: &Caller, agent_id: &str, timeout_ms: Option<u64>) -> Result<Waited> {
        caller.require(Role::Viewer, Access::Read, "agent.wait")?;
        let agent = self.resolve(caller, named(agent_id)).await?;
        let limit = timeout_ms.map_or(WAIT, Duration::from_millis).min(MAX_WAIT);
        let idle = self.wait_until_idle(&agent, limit).await?;
        Ok(Waited { id: agent.agent_key, status: if idle { "idle" } else { "running" } })
    }

    /// Stops an agent's runs, wherever they are, and waits a while for their end.
    pub(super) async fn stop_runs(&self, agent: &Agent) -> Result<()> {
        self.runs.cancel_agent(agent.tenant_id, &agent.agent_key);
        self.elsewhere.stop_agent(agent.tenant_id, &agent.agent_key);
        if !self.wait_until_idle(agent, GRACE).await? {
            tracing::warn!(agent = agent.agent_key, "runs of the agent go on though they were stopped");
        }
        Ok(())
    }

    async fn wait_until_idle(&self, agent: &Agent, limit: Duration) -> Result<bool> {
        let until = Instant::now() + limit;
        let here = self.runs.wait_for_agent(agent.tenant_id, &agent.agent_key, limit).await;
        Ok(here && self.elsewhere.wait_for_agent(agent.tenant_id, agent.id, until).await?)
    }
}
