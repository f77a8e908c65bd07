//! Agents that look after something by themselves: what may be set about it, and what came of it.

mod change;
mod hours;
mod report;
mod run;
mod schedule;
mod tool;

pub use change::HeartbeatChange;
pub(crate) use schedule::Heart;
pub(crate) use tool::HeartbeatTool;

use crate::{
    agents::Agents,
    audit::Audit,
    caller::{Access, Caller},
    context_files::HEARTBEAT,
    providers::Registry,
};
use change::Checked;
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    agents::{Agent, AgentStatus, AgentStore, ContextFile},
    channels::{Channels, DeliveryTarget},
    clock::{Clock, Ids},
    heartbeats::{Heartbeat, HeartbeatLog, HeartbeatStore},
    message,
    providers::ProviderStore,
    roles::Role,
};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::Notify;

/// How many entries of a log are shown if nobody says.
const PAGE: i64 = 20;
/// How many are shown at most.
const MAX_PAGE: i64 = 200;
/// The largest checklist, in bytes.
const MAX_CHECKLIST: usize = 64 * 1024;

/// What may be done with heartbeats.
pub struct Heartbeats {
    pub(crate) store: Arc<dyn HeartbeatStore>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) files: Arc<dyn AgentStore>,
    pub(crate) providers: Arc<dyn ProviderStore>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) channels: Arc<dyn Channels>,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    /// Tells the one who runs heartbeats to look now.
    pub(crate) look: Arc<Notify>,
}

impl Heartbeats {
    /// The agent's heartbeat, if it has one.
    ///
    /// # Errors
    /// `Forbidden` below viewer, or without access below admin; `Invalid` without an agent; `NotFound`.
    pub async fn get(&self, caller: &Caller, agent: &str) -> Result<Option<Heartbeat>> {
        let agent = self.readable(caller, agent, "heartbeat.get").await?;
        self.store.find(caller.tenant, agent.id).await
    }

    /// Changes the agent's heartbeat, or makes one. Only the agent's owner and admins may.
    ///
    /// # Errors
    /// `Forbidden`; `Invalid` without an agent and for values that are wrong; `NotFound` for an unknown agent.
    pub async fn set(&self, caller: &Caller, change: HeartbeatChange) -> Result<Heartbeat> {
        let agent = self.writable(caller, &change.agent_id, "heartbeat.set").await?;
        self.change(caller, &agent, change).await
    }

    /// Switches the agent's heartbeat on or off. Only the agent's owner and admins may.
    ///
    /// # Errors
    /// `Forbidden`; `Invalid` without an agent or a switch; `NotFound` for an unknown agent, and if it has no heartbeat.
    pub async fn toggle(&self, caller: &Caller, agent: &str, enabled: Option<bool>) -> Result<Agent> {
        let agent = self.writable(caller, agent, "heartbeat.toggle").await?;
        self.switch(caller, &agent, enabled.ok_or_else(|| Error::required("enabled"))?).await?;
        Ok(agent)
    }

    /// Has the agent's heartbeat run now, whether it is switched on or not. Only the agent's owner and admins may.
    ///
    /// # Errors
    /// `Forbidden`; `Invalid` without an agent; `NotFound` for an agent that is unknown or not active, and if it has no heartbeat.
    pub async fn test(&self, caller: &Caller, agent: &str) -> Result<()> {
        let agent = self.writable(caller, agent, "heartbeat.test").await?;
        self.begin(caller, &agent).await
    }

    /// What came of the agent's heartbeat, newest first, and how many entries there are.
    ///
    /// # Errors
    /// As [`Heartbeats::get`].
    pub async fn logs(&self, caller: &Caller, agent: &str, limit: i64, offset: i64) -> Result<(Vec<HeartbeatLog>, i64)> {
        let agent = self.readable(caller, agent, "heartbeat.logs").await?;
        let limit = if limit <= 0 { PAGE } else { limit.min(MAX_PAGE) };
        self.store.logs(caller.tenant, agent.id, limit, offset.max(0)).await
    }

    /// The agent's checklist; "" if it has none.
    ///
    /// # Errors
    /// As [`Heartbeats::get`].
    pub async fn checklist(&self, caller: &Caller, agent: &str) -> Result<String> {
        let agent = self.readable(caller, agent, "heartbeat.checklist.get").await?;
        checklist_of(&*self.files, &agent).await
    }

    /// Writes the agent's checklist, and answers with its length in characters. Only the agent's owner and admins may.
    ///
    /// # Errors
    /// `Forbidden`; `Invalid` without an agent, and for a text that is too long; `NotFound` for an unknown agent.
    pub async fn set_checklist(&self, caller: &Caller, agent: &str, content: String) -> Result<usize> {
        let agent = self.writable(caller, agent, "heartbeat.checklist.set").await?;
        self.write_checklist(caller, &agent, content).await
    }

    /// The chats that answers can be delivered to.
    ///
    /// # Errors
    /// As [`Heartbeats::get`].
    pub async fn targets(&self, caller: &Caller, agent: &str) -> Result<Vec<DeliveryTarget>> {
        self.readable(caller, agent, "heartbeat.targets").await?;
        self.channels.targets(caller.tenant).await
    }

    async fn readable(&self, caller: &Caller, agent: &str, what: &str) -> Result<Agent> {
        caller.require(Role::Viewer, Access::Read, what)?;
        if caller.is_admin() { self.agents.known(caller.tenant, agent).await } else { self.agents.accessible(caller, agent).await }
    }

    async fn writable(&self, caller: &Caller, agent: &str, what: &str) -> Result<Agent> {
        caller.require(Role::Operator, Access::Write, what)?;
        let agent = self.agents.known(caller.tenant, agent).await?;
        if caller.is_admin() || owns(caller, &agent) {
            return Ok(agent);
        }
        Err(Error::new(ErrorKind::Forbidden, message::owner_only("change this agent's heartbeat")))
    }

    /// Changes the heartbeat of an agent for somebody who may.
    async fn change(&self, caller: &Caller, agent: &Agent, change: HeartbeatChange) -> Result<Heartbeat> {
        let checked = Checked::new(change)?;
        let provider = match &checked.provider {
            Some(Some(name)) => Some(Some(self.provider(caller.tenant, name).await?)),
            other => other.as_ref().map(|_| None),
        };
        let (now, id, of_agent) = (self.clock.now(), self.ids.row(), agent.id);
        let edit = Arc::new(move |before: Option<Heartbeat>| {
            let before = before.unwrap_or_else(|| change::fresh(id.into(), of_agent, now));
            checked.applied(before, provider.clone(), now)
        });
        let beat = self.store.change(caller.tenant, agent.id, edit).await?;
        self.audit.record(caller, "heartbeat.set", "heartbeat", beat.id, Some(json!({"agent_id": agent.id, "enabled": beat.enabled}))).await;
        Ok(beat)
    }

    /// Switches the heartbeat of an agent for somebody who may.
    async fn switch(&self, caller: &Caller, agent: &Agent, enabled: bool) -> Result<Heartbeat> {
        let (now, missing) = (self.clock.now(), unconfigured(agent));
        let edit = Arc::new(move |before: Option<Heartbeat>| Ok(change::switched(before.ok_or_else(|| missing.clone())?, enabled, now)));
        let beat = self.store.change(caller.tenant, agent.id, edit).await?;
        self.audit.record(caller, "heartbeat.toggled", "heartbeat", beat.id, Some(json!({"agent_id": agent.id, "enabled": enabled}))).await;
        Ok(beat)
    }

    /// Has the heartbeat of an agent run now, for somebody who may.
    async fn begin(&self, caller: &Caller, agent: &Agent) -> Result<()> {
        if agent.status != AgentStatus::Active {
            return Err(Error::new(ErrorKind::NotFound, message::agent_inactive(&agent.agent_key)));
        }
        if !self.store.wake(caller.tenant, agent.id, self.clock.now()).await? {
            return Err(unconfigured(agent));
        }
        self.audit.record(caller, "heartbeat.test", "agent", agent.id, None).await;
        self.look.notify_one();
        Ok(())
    }

    /// Writes the checklist of an agent for somebody who may.
    async fn write_checklist(&self, caller: &Caller, agent: &Agent, content: String) -> Result<usize> {
        if content.len() > MAX_CHECKLIST {
            return Err(Error::invalid(message::too_long("content", MAX_CHECKLIST)));
        }
        let length = content.chars().count();
        self.files.put_file(caller.tenant, agent.id, &ContextFile { name: HEARTBEAT.to_owned(), content }, self.clock.now()).await?;
        self.audit.record(caller, "heartbeat.checklist.set", "agent", agent.id, Some(json!({"length": length}))).await;
        Ok(length)
    }

    /// The provider of this name: the tenant's own by its id, others by their name.
    async fn provider(&self, tenant: TenantId, name: &str) -> Result<change::ProviderChoice> {
        if let Some(row) = self.providers.find_by_name(tenant, name).await? {
            return Ok(change::ProviderChoice { id: Some(row.id), name: row.name });
        }
        match self.registry.named(tenant, name) {
            Some(_) => Ok(change::ProviderChoice { id: None, name: name.to_owned() }),
            None => Err(Error::invalid(message::not_found("provider", name))),
        }
    }
}

/// Whether the caller owns the agent.
fn owns(caller: &Caller, agent: &Agent) -> bool {
    !caller.user.is_empty() && agent.owner_id == *caller.user
}

fn unconfigured(agent: &Agent) -> Error {
    Error::new(ErrorKind::NotFound, message::heartbeat_not_configured(&agent.agent_key))
}

/// The agent's checklist; "" if it has none.
async fn checklist_of(files: &dyn AgentStore, agent: &Agent) -> Result<String> {
    let files = files.files(agent.tenant_id, agent.id).await?;
    Ok(files.into_iter().find(|file| file.name == HEARTBEAT).map_or_else(String::new, |file| file.content))
}
