//! Who may change what of an agent, beyond its owner: rules by user, place and kind of configuration.

use crate::{AgentId, JsonObject, Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A rule.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigPermission {
    /// Its id.
    pub id: Uuid,
    /// The agent it is about.
    pub agent_id: AgentId,
    /// Where it holds: `agent`, `group:<channel>:<chat>`, `group:<channel>:*`, `group:*` or `*`.
    pub scope: String,
    /// For what: `heartbeat`, `cron`, `context_files`, `file_writer` or `*`.
    pub config_type: String,
    /// For whom; `*` for everybody.
    pub user_id: String,
    /// What it says.
    pub permission: Permission,
    /// Who made it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub granted_by: String,
    /// More about it (`displayName`, `username`).
    pub metadata: JsonObject,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Permission {
    /// They may.
    Allow,
    /// They may not.
    Deny,
}

impl Permission {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }

    /// The permission with this wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Allow, Self::Deny].into_iter().find(|permission| permission.as_str() == text)
    }
}

/// Keeps the rules. One agent has at most one for each scope, kind and user.
#[async_trait]
pub trait ConfigPermissionStore: Send + Sync {
    /// The agent's rules, oldest first.
    async fn list(&self, tenant: TenantId, agent: AgentId) -> Result<Vec<ConfigPermission>>;

    /// Stores a rule. One of the same agent, scope, kind and user keeps its id and its age, and takes everything else.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such agent.
    async fn put(&self, tenant: TenantId, rule: &ConfigPermission) -> Result<()>;

    /// Removes a rule. `false` if there was none.
    async fn delete(&self, tenant: TenantId, agent: AgentId, scope: &str, config_type: &str, user: &str) -> Result<bool>;
}
