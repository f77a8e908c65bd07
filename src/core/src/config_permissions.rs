//! Who may change what of an agent, beyond its owner.

mod rules;

pub use rules::decide;

use crate::{
    audit::Audit,
    caller::{Access, Caller},
    coherence::{Change, Coherence, Forget, Kind},
    lookups::Lookups,
};
use goclaw_ports::{
    AgentId, Error, ErrorKind, JsonObject, Result, TenantId,
    agents::AgentStore,
    clock::{Clock, Ids},
    config_permissions::{ConfigPermission, ConfigPermissionStore, Permission},
    message,
    roles::Role,
};
use rules::{CONFIG_TYPES, SCOPES, is_scope};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use std::{sync::Arc, time::Duration};

const CACHE_TTL: Duration = Duration::from_secs(60);
const CACHED_AGENTS: u64 = 1_000;
/// The longest user or scope, in bytes.
const MAX_NAME: usize = 255;
/// The largest metadata, in bytes of JSON.
const MAX_METADATA: usize = 4_096;

/// What may be done with the rules, and what they say.
pub struct ConfigPermissions {
    pub(crate) store: Arc<dyn ConfigPermissionStore>,
    pub(crate) agents: Arc<dyn AgentStore>,
    pub(crate) audit: Audit,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
    pub(crate) known: KnownRules,
}

/// The rules of agents, as they were looked up lately.
pub(crate) struct KnownRules(Lookups<Arc<Vec<ConfigPermission>>>);

impl Default for KnownRules {
    fn default() -> Self {
        Self(Lookups::new(CACHED_AGENTS, CACHE_TTL))
    }
}

/// Which rule: the parameters of `config.permissions.grant` and `.revoke`; "" is absent.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct RuleParams {
    /// The agent's id.
    pub agent_id: String,
    /// Where it holds: `agent`, `group:<channel>:<chat>`, `group:<channel>:*`, `group:*` or `*`.
    pub scope: String,
    /// For what: `heartbeat`, `cron`, `context_files`, `file_writer` or `*`.
    pub config_type: String,
    /// For whom; `*` for everybody.
    pub user_id: String,
    /// `allow` or `deny`; of a grant only.
    pub permission: String,
    /// More about it (`displayName`, `username`); of a grant only.
    pub metadata: JsonObject,
}

impl ConfigPermissions {
    /// The agent's rules, oldest first: all, or those of one kind of configuration.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` without an agent's id or for an unknown kind; `NotFound` for another tenant's agent.
    pub async fn list(&self, caller: &Caller, agent: &str, config_type: &str) -> Result<Vec<ConfigPermission>> {
        caller.require(Role::Admin, Access::Manage, "config.permissions.list")?;
        let agent = self.agent(caller.tenant, agent).await?;
        if !config_type.is_empty() {
            one_of("configType", config_type, &CONFIG_TYPES)?;
        }
        let mut rules = self.store.list(caller.tenant, agent).await?;
        rules.retain(|rule| config_type.is_empty() || rule.config_type == config_type);
        Ok(rules)
    }

    /// Makes a rule, or changes the one of the same agent, scope, kind and user.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` for values that are missing or unknown; `NotFound` for another tenant's agent.
    pub async fn grant(&self, caller: &Caller, params: RuleParams) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "config.permissions.grant")?;
        required(&params, true)?;
        let agent = self.agent(caller.tenant, &params.agent_id).await?;
        if params.scope.len() > MAX_NAME || !is_scope(&params.scope) {
            return Err(Error::invalid(message::not_one_of("scope", SCOPES)));
        }
        one_of("configType", &params.config_type, &CONFIG_TYPES)?;
        let permission = Permission::parse(&params.permission).ok_or_else(|| Error::invalid(message::not_one_of("permission", "allow, deny")))?;
        if params.user_id.len() > MAX_NAME {
            return Err(Error::invalid(message::too_long("userId", MAX_NAME)));
        }
        if serde_json::to_string(&params.metadata).map_err(Error::internal)?.len() > MAX_METADATA {
            return Err(Error::invalid(message::too_long("metadata", MAX_METADATA)));
        }
        let now = self.clock.now();
        let rule = ConfigPermission {
            id: self.ids.row(),
            agent_id: agent,
            scope: params.scope,
            config_type: params.config_type,
            user_id: params.user_id,
            permission,
            granted_by: caller.user.to_string(),
            metadata: params.metadata,
            created_at: now,
            updated_at: now,
        };
        self.store.put(caller.tenant, &rule).await.map_err(|error| match error.kind {
            ErrorKind::NotFound => unknown(agent),
            _ => error,
        })?;
        self.coherence.changed(caller.tenant, Kind::ConfigPermissions, agent);
        let details = json!({"scope": rule.scope, "config_type": rule.config_type, "user_id": rule.user_id, "permission": permission});
        self.audit.record(caller, "config_permission.granted", "config_permission", agent, Some(details)).await;
        Ok(())
    }

    /// Removes a rule. It is no failure if there is none.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` for values that are missing.
    pub async fn revoke(&self, caller: &Caller, params: RuleParams) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "config.permissions.revoke")?;
        required(&params, false)?;
        let RuleParams { scope, config_type, user_id, .. } = params;
        let agent = id(&params.agent_id)?;
        if self.store.delete(caller.tenant, agent, &scope, &config_type, &user_id).await? {
            self.coherence.changed(caller.tenant, Kind::ConfigPermissions, agent);
            let details = json!({"scope": scope, "config_type": config_type, "user_id": user_id});
            self.audit.record(caller, "config_permission.revoked", "config_permission", agent, Some(details)).await;
        }
        Ok(())
    }

    /// Whether the agent's rules let `user` change configuration of this kind in this place (`agent`,
    /// `group:<channel>:<chat>`); `None` if no rule says anything, which is no permission either.
    ///
    /// # Errors
    /// What the store says.
    pub async fn may(&self, tenant: TenantId, agent: AgentId, user: &str, scope: &str, config_type: &str) -> Result<Option<bool>> {
        let look = async { Ok(Arc::new(self.store.list(tenant, agent).await?)) };
        let rules = self.known.0.get(&format!("{tenant}/{agent}"), |_| true, look).await?;
        Ok(decide(&rules, user, scope, config_type))
    }

    async fn agent(&self, tenant: TenantId, text: &str) -> Result<AgentId> {
        if text.is_empty() {
            return Err(Error::required("agentId"));
        }
        let agent = id(text)?;
        let found = self.agents.find(tenant, &agent.to_string()).await?;
        found.filter(|found| found.id == agent).map(|found| found.id).ok_or_else(|| unknown(agent))
    }
}

impl Forget for ConfigPermissions {
    fn forget(&self, change: Option<&Change>) {
        if change.is_none_or(|change| change.kind == Kind::ConfigPermissions) {
            self.known.0.forget();
        }
    }
}

fn required(params: &RuleParams, grant: bool) -> Result<()> {
    let fields = [("agentId", &params.agent_id), ("scope", &params.scope), ("configType", &params.config_type), ("userId", &params.user_id)];
    let missing = fields.into_iter().chain(grant.then_some(("permission", &params.permission))).find(|(_, value)| value.is_empty());
    missing.map_or(Ok(()), |(field, _)| Err(Error::required(field)))
}

fn one_of(field: &str, value: &str, known: &[&str]) -> Result<()> {
    if known.contains(&value) { Ok(()) } else { Err(Error::invalid(message::not_one_of(field, known.join(", ")))) }
}

fn id(text: &str) -> Result<AgentId> {
    text.parse().map_err(|_| Error::invalid(message::invalid_id("agent")))
}

fn unknown(agent: AgentId) -> Error {
    Error::new(ErrorKind::NotFound, message::agent_not_found(agent))
}
