//! Agents: who may see, make, change and delete them.

mod body;
mod directory;
mod files;
mod identity;
mod instances;
mod named;
mod shares;
mod summon;
mod work;

pub use body::{AgentUpdate, NewAgent, is_slug};
pub use files::{AgentFile, AgentFiles, FileChange, FileSet};
pub use identity::Identity;
pub use instances::{InstanceFile, InstanceView};
pub use named::{NamedAgent, NamedUpdate, Removed};
pub use shares::NewShare;
pub use summon::Regeneration;
pub use work::{AtWork, Waited};

pub(crate) use body::check_key;
pub(crate) use shares::MAX_USER;

use crate::{
    audit::{self, Audit},
    caller::{Access, Caller},
    context_files,
    known::KnownAgents,
    pools::Routes,
    runs::{Runs, elsewhere::Elsewhere},
    settings::{Settings, TenantSettings},
    summoning::{self, Job, Order, Summoner},
    workspace,
};
use goclaw_ports::{
    AgentId, Error, ErrorKind, Result, TenantId,
    agents::{Agent, AgentFilter, AgentStatus, AgentStore, AgentType, ContextFile, Rewrite},
    clock::{Clock, Ids},
    message,
    roles::Role,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

/// The key that stands for "whichever agent answers here by default".
pub const DEFAULT_KEY: &str = "default";

/// What may be done with agents.
pub struct Agents {
    pub(crate) store: Arc<dyn AgentStore>,
    pub(crate) known: Arc<KnownAgents>,
    pub(crate) settings: Arc<TenantSettings>,
    pub(crate) audit: Audit,
    pub(crate) runs: Arc<Runs>,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) summoner: Arc<Summoner>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// An agent as `agents.list` shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentSummary {
    /// The agent's key.
    pub id: String,
    /// Its display name.
    pub name: String,
    /// Its model.
    pub model: String,
    /// Its provider.
    pub provider: String,
    /// `open` or `predefined`.
    pub agent_type: &'static str,
    /// Its status.
    pub status: &'static str,
    /// Whether it runs now.
    pub is_running: bool,
}

impl Agents {
    /// The agents that the caller may use, newest first, whatever their status.
    ///
    /// # Errors
    /// `Forbidden` below viewer; `Invalid` without a user.
    pub async fn list(&self, caller: &Caller) -> Result<Arc<[Agent]>> {
        caller.require(Role::Viewer, Access::Read, "/v1/agents")?;
        self.known.matching(caller.tenant, &visible_to(caller, None)?).await
    }

    /// The active agents that the caller may use, with whether they run.
    ///
    /// # Errors
    /// As [`Agents::list`].
    pub async fn list_active(&self, caller: &Caller) -> Result<Vec<AgentSummary>> {
        caller.require(Role::Viewer, Access::Read, "agents.list")?;
        let agents = self.known.matching(caller.tenant, &visible_to(caller, Some(AgentStatus::Active))?).await?;
        let busy = self.elsewhere.busy(caller.tenant, None).await?;
        let summary = |agent: &Agent| AgentSummary {
            is_running: self.runs.of_agent(caller.tenant, &agent.agent_key) > 0 || busy.contains(&agent.id),
            name: agent.display_name.clone(),
            id: agent.agent_key.clone(),
            model: agent.model.clone(),
            provider: agent.provider.clone(),
            agent_type: agent.agent_type.as_str(),
            status: agent.status.as_str(),
        };
        Ok(agents.iter().map(summary).collect())
    }

    /// Makes an agent of the caller's. A predefined one with a description is summoned: a model writes its files.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` for bad fields; `AlreadyExists` for a key that is taken;
    /// `Precondition` when the edition allows no more; `Unavailable` with too many summonings.
    pub async fn create(&self, caller: &Caller, new: NewAgent) -> Result<Agent> {
        caller.require(Role::Admin, Access::Manage, "/v1/agents")?;
        let owner = caller.named_user()?.to_owned();
        body::check_key(&new.agent_key)?;
        let tenant = tenant_of(caller, &new);
        let settings = self.settings.of(tenant).await?;
        let mut agent = new.into_agent(tenant, owner, &settings, AgentId(self.ids.row()), self.clock.now())?;
        self.routes.check(tenant, provider_of(&agent.provider, &settings), &agent.other_config).await?;
        let place = match (agent.agent_type, summoning::description_of(&agent)) {
            (AgentType::Predefined, Some(_)) => {
                agent.status = AgentStatus::Summoning;
                Some(self.summoner.reserve()?)
            }
            _ => None,
        };
        let files = context_files::seed_of(&agent);
        self.insert(caller, &settings, &agent, &files).await?;
        if let Some(place) = place {
            let job = Job { agent: agent.clone(), order: Order::Write, before: AgentStatus::Summoning, user: caller.user.clone() };
            self.summoner.begin(place, job);
        }
        self.audit.record(caller, "agent.created", "agent", agent.id, Some(named(&agent))).await;
        Ok(agent)
    }

    async fn insert(&self, caller: &Caller, settings: &Settings, agent: &Agent, files: &[ContextFile]) -> Result<()> {
        check_place(caller, settings, agent)?;
        self.store.insert_within(agent.tenant_id, agent, files, settings.edition.max_agents).await
    }

    /// The agent with this id or key.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` if the caller may not use it.
    pub async fn get(&self, caller: &Caller, id_or_key: &str) -> Result<Agent> {
        caller.require(Role::Viewer, Access::Read, "/v1/agents/{id}")?;
        let agent = self.store.find(caller.tenant, id_or_key).await?.ok_or_else(|| Error::not_found("agent", id_or_key))?;
        self.check_access(caller, &agent).await?;
        Ok(agent)
    }

    /// Changes an agent. Only its owner may.
    ///
    /// # Errors
    /// `Invalid` for a bad id or bad fields, `NotFound`, `Forbidden`, `AlreadyExists` for a key that is taken.
    pub async fn update(&self, caller: &Caller, id: &str, update: AgentUpdate) -> Result<Agent> {
        caller.require(Role::Admin, Access::Manage, "/v1/agents/{id}")?;
        let agent = self.owned(caller, id, "change").await?;
        self.change(caller, agent, update, &[]).await
    }

    /// Changes an agent that the caller owns; `identity` are more fields of its IDENTITY.md.
    async fn change(&self, caller: &Caller, agent: Agent, update: AgentUpdate, identity: &[(&str, &str)]) -> Result<Agent> {
        let patch = update.into_patch()?;
        if let Some(workspace) = &patch.workspace {
            let settings = self.settings.of(caller.tenant).await?;
            check_workspace(caller, &settings, workspace)?;
        }
        if patch.provider.is_some() || patch.other_config.is_some() {
            let settings = self.settings.of(caller.tenant).await?;
            let provider = provider_of(patch.provider.as_ref().unwrap_or(&agent.provider), &settings);
            self.routes.check(caller.tenant, provider, patch.other_config.as_ref().unwrap_or(&agent.other_config)).await?;
        }
        let name = patch.display_name.as_deref().filter(|name| !name.is_empty());
        let fields: Vec<(&str, &str)> = name.map(|name| ("Name", name)).into_iter().chain(identity.iter().copied()).collect();
        let files = self.identity_with(caller.tenant, &agent, &fields).await?;
        let updated = self.store.update(caller.tenant, agent.id, &patch, &files, self.clock.now()).await?;
        let updated = updated.ok_or_else(|| Error::not_found("agent", agent.id))?;
        if let Some(name) = name.map(str::to_owned)
            && updated.agent_type == AgentType::Open
        {
            let renamed: Rewrite = Arc::new(move |text| context_files::with_field(text, "Name", &name));
            self.store.rewrite_user_files(caller.tenant, agent.id, context_files::IDENTITY, renamed, self.clock.now()).await?;
        }
        self.audit.record(caller, "agent.updated", "agent", agent.id, Some(audit::changes(&json!(agent), &json!(updated)))).await;
        Ok(updated)
    }

    /// Deletes an agent and all that belongs to it; its running conversations are stopped first. Only its owner may.
    /// The files in its workspace stay.
    ///
    /// # Errors
    /// `Invalid` for a bad id, `NotFound`, `Forbidden`.
    pub async fn delete(&self, caller: &Caller, id: &str) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "/v1/agents/{id}")?;
        let agent = self.owned(caller, id, "delete").await?;
        self.remove(caller, &agent).await
    }

    async fn remove(&self, caller: &Caller, agent: &Agent) -> Result<()> {
        self.stop_runs(agent).await?;
        if !self.store.delete(caller.tenant, agent.id).await? {
            return Err(Error::not_found("agent", agent.id));
        }
        self.audit.record(caller, "agent.deleted", "agent", agent.id, Some(named(agent))).await;
        Ok(())
    }

    /// The active agent that a conversation names: by key or id, or the one that answers by default.
    ///
    /// # Errors
    /// `NotFound` if there is none or it is not active, `Forbidden` if the caller may not use it.
    pub(crate) async fn resolve(&self, caller: &Caller, named: &str) -> Result<Agent> {
        let found = self.known.named(caller.tenant, named).await?;
        let agent = found.ok_or_else(|| Error::new(ErrorKind::NotFound, message::agent_not_found(named)))?;
        if agent.status != AgentStatus::Active {
            return Err(Error::new(ErrorKind::NotFound, message::agent_inactive(named)));
        }
        self.check_access(caller, &agent).await?;
        Ok(Arc::unwrap_or_clone(agent))
    }

    /// The provider that an agent's questions go to.
    pub(crate) async fn provider_name(&self, agent: &Agent) -> Result<String> {
        let settings = self.settings.of(agent.tenant_id).await?;
        Ok(provider_of(&agent.provider, &settings).to_owned())
    }

    /// The one rule of who may use an agent: its owner, everybody if it is the default, whoever it is shared with.
    async fn check_access(&self, caller: &Caller, agent: &Agent) -> Result<()> {
        if caller.role == Role::Owner || agent.is_default {
            return Ok(());
        }
        let user = &*caller.user;
        if !user.is_empty() && (agent.owner_id == user || self.store.share_role(caller.tenant, agent.id, user).await?.is_some()) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Forbidden, message::no_access("agent")))
    }

    /// The agent with this id, if it is the caller's own.
    async fn owned(&self, caller: &Caller, id: &str, action: &str) -> Result<Agent> {
        let id: AgentId = id.parse().map_err(|_| Error::invalid(message::invalid_id("agent")))?;
        let agent = self.store.find(caller.tenant, &id.to_string()).await?.filter(|agent| agent.id == id);
        let agent = agent.ok_or_else(|| Error::not_found("agent", id))?;
        check_owner(caller, &agent, action)?;
        Ok(agent)
    }

    /// The agent with this id or key, if it is the caller's own.
    pub(crate) async fn own(&self, caller: &Caller, id_or_key: &str, action: &str) -> Result<Agent> {
        let agent = self.store.find(caller.tenant, id_or_key).await?.ok_or_else(|| Error::not_found("agent", id_or_key))?;
        check_owner(caller, &agent, action)?;
        Ok(agent)
    }

    /// The agent with this id or key, whoever's it is.
    pub(crate) async fn known(&self, tenant: TenantId, id_or_key: &str) -> Result<Agent> {
        if id_or_key.is_empty() {
            return Err(Error::required("agentId"));
        }
        self.store.find(tenant, id_or_key).await?.ok_or_else(|| Error::new(ErrorKind::NotFound, message::agent_not_found(id_or_key)))
    }

    /// IDENTITY.md with these fields in it, if there are any.
    async fn identity_with(&self, tenant: TenantId, agent: &Agent, fields: &[(&str, &str)]) -> Result<Vec<ContextFile>> {
        if fields.is_empty() {
            return Ok(vec![]);
        }
        let files = self.store.files(tenant, agent.id).await?;
        let identity = files.into_iter().find(|file| file.name == context_files::IDENTITY).map_or_else(String::new, |file| file.content);
        let content = fields.iter().fold(identity, |text, (field, value)| context_files::with_field(&text, field, value));
        Ok(vec![ContextFile { name: context_files::IDENTITY.into(), content }])
    }
}

/// How the audit log names an agent.
fn named(agent: &Agent) -> Value {
    json!({"agent_key": agent.agent_key, "display_name": agent.display_name})
}

/// The provider that an agent names, or the installation's.
fn provider_of<'a>(provider: &'a str, settings: &'a Settings) -> &'a str {
    if provider.is_empty() { &settings.agents.provider } else { provider }
}

/// Where a new agent goes: owners may name another tenant.
fn tenant_of(caller: &Caller, new: &NewAgent) -> TenantId {
    new.tenant_id.filter(|_| caller.role == Role::Owner).unwrap_or(caller.tenant)
}

fn check_owner(caller: &Caller, agent: &Agent, action: &str) -> Result<()> {
    let owns = !caller.user.is_empty() && agent.owner_id == *caller.user;
    if caller.role == Role::Owner || owns {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Forbidden, message::owner_only(format!("{action} this agent"))))
}

fn visible_to(caller: &Caller, status: Option<AgentStatus>) -> Result<AgentFilter> {
    let user = caller.named_user()?;
    Ok(AgentFilter { visible_to: (caller.role != Role::Owner).then(|| user.to_owned()), status })
}

/// Whether a new agent may be where it says.
pub(crate) fn check_place(caller: &Caller, settings: &Settings, agent: &Agent) -> Result<()> {
    if agent.tenant_id == TenantId::MASTER && agent.agent_key == "tenants" {
        return Err(Error::invalid_request("the key \"tenants\" is reserved"));
    }
    check_workspace(caller, settings, &agent.workspace)
}

/// Only an owner of the installation may point an agent at a directory outside the workspaces' root.
fn check_workspace(caller: &Caller, settings: &Settings, path: &str) -> Result<()> {
    let allowed = path.is_empty() || caller.tenant != TenantId::MASTER || workspace::is_agents_place(Path::new(path), &settings.agents.workspace);
    if allowed || caller.role == Role::Owner {
        return Ok(());
    }
    Err(Error::invalid_request("workspace must be below the gateway's workspace directory"))
}
