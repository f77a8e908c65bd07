//! Having a model write an agent's files.

use super::Agents;
use crate::{
    caller::{Access, Caller},
    summoning::{Job, Order, description_of},
};
use goclaw_ports::{
    Error, ErrorKind, Result,
    agents::{Agent, AgentStatus},
    message,
    roles::Role,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

/// The longest wish, in characters.
const MAX_PROMPT: usize = 20_000;

/// How an agent is to change.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Regeneration {
    /// What is to be different.
    pub prompt: String,
}

impl Agents {
    /// Has a model change the agent's files. Only its owner may. It goes on in the background; the event `agent.summoning`
    /// tells what comes of it.
    ///
    /// # Errors
    /// `Invalid` for a bad id or no wish, `NotFound`, `Forbidden`, `Precondition` while it is being summoned, `Unavailable`
    /// without a provider or with too many summonings.
    pub async fn regenerate(&self, caller: &Caller, id: &str, wanted: Regeneration) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "/v1/agents/{id}/regenerate")?;
        let agent = self.owned(caller, id, "change").await?;
        if wanted.prompt.trim().is_empty() {
            return Err(Error::required("prompt"));
        }
        if wanted.prompt.chars().count() > MAX_PROMPT {
            return Err(Error::invalid(message::too_long("prompt", MAX_PROMPT)));
        }
        self.summon_again(caller, agent, Order::Edit(wanted.prompt), "agent.regenerated").await
    }

    /// Has a model write the agent's files from its description once more. Files that were written already stay. Only its
    /// owner may.
    ///
    /// # Errors
    /// `Invalid` for a bad id or an agent without a description; the others as [`Agents::regenerate`].
    pub async fn resummon(&self, caller: &Caller, id: &str) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "/v1/agents/{id}/resummon")?;
        let agent = self.owned(caller, id, "change").await?;
        if description_of(&agent).is_none() {
            return Err(Error::required("other_config.description"));
        }
        self.summon_again(caller, agent, Order::Write, "agent.resummoned").await
    }

    async fn summon_again(&self, caller: &Caller, mut agent: Agent, order: Order, action: &str) -> Result<()> {
        let before = agent.status;
        let busy = || Error::new(ErrorKind::Precondition, message::agent_summoning());
        if before == AgentStatus::Summoning {
            return Err(busy());
        }
        self.summoner.provider(&agent).await?;
        let place = self.summoner.reserve()?;
        if !self.store.switch_status(caller.tenant, agent.id, &[before], AgentStatus::Summoning, self.clock.now()).await? {
            return Err(busy());
        }
        agent.status = AgentStatus::Summoning;
        let (id, details) = (agent.id, json!({"agent_key": agent.agent_key}));
        self.summoner.begin(place, Job { agent, order, before, user: caller.user.clone() });
        self.audit.record(caller, action, "agent", id, Some(details)).await;
        Ok(())
    }
}
