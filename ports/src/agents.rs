//! Agents: who answers, with which model, tools and files.

use crate::{AgentId, JsonObject, Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use uuid::Uuid;

/// An agent, as the wire shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Agent {
    /// Its id.
    pub id: AgentId,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// Its name in URLs, session keys and events: a slug of at most 100 characters, unique in the tenant.
    pub agent_key: String,
    /// For people; at most 255 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub display_name: String,
    /// A short summary of its expertise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub frontmatter: String,
    /// The user who owns it.
    pub owner_id: String,
    /// The name of its provider; "" for any.
    pub provider: String,
    /// The model's id at the provider; "" for the provider's default.
    pub model: String,
    /// The model's context, in tokens.
    pub context_window: i64,
    /// How many times one run may call the model.
    pub max_tool_iterations: i32,
    /// The directory its files live in.
    pub workspace: String,
    /// Always true: file tools never leave the workspace.
    pub restrict_to_workspace: bool,
    /// Whose files shape it.
    pub agent_type: AgentType,
    /// Whether everybody in the tenant may use it. At most one agent of a tenant is the default.
    pub is_default: bool,
    /// Whether it may run.
    pub status: AgentStatus,
    /// What it may cost in a calendar month (UTC), in US cents; `None` for no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_monthly_cents: Option<i64>,
    /// Which tools it may use.
    pub tools_config: JsonObject,
    /// Overrides of the sandbox defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox_config: Option<JsonObject>,
    /// Overrides of the sub-agent defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subagents_config: Option<JsonObject>,
    /// Overrides of the memory defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_config: Option<JsonObject>,
    /// Overrides of the compaction defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compaction_config: Option<JsonObject>,
    /// Overrides of the pruning defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context_pruning: Option<JsonObject>,
    /// Everything else. Unknown keys are kept.
    pub other_config: JsonObject,
}

impl Agent {
    /// The entry `key` of `other_config`, if it has one.
    #[must_use]
    pub fn other(&self, key: &str) -> Option<&Value> {
        self.other_config.get(key)
    }
}

/// Whose files shape an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AgentType {
    /// Each user shapes a copy of its own.
    Open,
    /// Its owner shapes it for all.
    Predefined,
}

impl AgentType {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Predefined => "predefined",
        }
    }
    /// The type with this wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Open, Self::Predefined].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Whether an agent may run: only an active one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// It may.
    Active,
    /// It was switched off.
    Inactive,
    /// Its files are being written.
    Summoning,
    /// Writing its files failed.
    SummonFailed,
}

impl AgentStatus {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Summoning => "summoning",
            Self::SummonFailed => "summon_failed",
        }
    }
    /// The status with this wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Inactive, Self::Summoning, Self::SummonFailed].into_iter().find(|status| status.as_str() == text)
    }
}

/// Changes to an agent. `None` leaves a column as it is; for nullable columns `Some(None)` clears it.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of Agent")]
pub struct AgentPatch {
    pub agent_key: Option<String>,
    pub display_name: Option<String>,
    pub frontmatter: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub context_window: Option<i64>,
    pub max_tool_iterations: Option<i32>,
    pub workspace: Option<String>,
    pub agent_type: Option<AgentType>,
    /// `Some(true)` also takes the flag from the tenant's other agents.
    pub is_default: Option<bool>,
    pub status: Option<AgentStatus>,
    pub budget_monthly_cents: Option<Option<i64>>,
    pub tools_config: Option<JsonObject>,
    pub sandbox_config: Option<Option<JsonObject>>,
    pub subagents_config: Option<Option<JsonObject>>,
    pub memory_config: Option<Option<JsonObject>>,
    pub compaction_config: Option<Option<JsonObject>>,
    pub context_pruning: Option<Option<JsonObject>>,
    pub other_config: Option<JsonObject>,
}

/// Which agents a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentFilter {
    /// Only agents that this user owns, that are shared with it, or that are the tenant's default.
    pub visible_to: Option<String>,
    /// Only agents of this status.
    pub status: Option<AgentStatus>,
}

/// A text that becomes part of an agent's prompt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContextFile {
    /// `SOUL.md`, `USER.md`, …; at most 255 bytes.
    pub name: String,
    /// Its text.
    pub content: String,
}

/// What an agent knows of one of its users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserProfile {
    /// The directory of the user's files, set at the first contact and never changed.
    pub workspace: String,
    /// When the user first wrote.
    pub first_seen_at: DateTime<Utc>,
    /// When the user last wrote, or up to half a minute before.
    pub last_seen_at: DateTime<Utc>,
}

/// That a user may use an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentShare {
    /// Its id.
    pub id: Uuid,
    /// When the agent was shared.
    pub created_at: DateTime<Utc>,
    /// When the role was last given.
    pub updated_at: DateTime<Utc>,
    /// The agent.
    pub agent_id: AgentId,
    /// Who may use it; at most 255 bytes.
    pub user_id: String,
    /// `user`, `viewer`, `operator` or `admin`. All of them give access, and nothing else.
    pub role: String,
    /// Who shared it.
    pub granted_by: String,
}

/// A user of an agent, and what the agent keeps for them.
#[derive(Debug, Clone, PartialEq)]
pub struct UserInstance {
    /// The user.
    pub user_id: String,
    /// When the user first wrote.
    pub first_seen_at: DateTime<Utc>,
    /// When the user last wrote.
    pub last_seen_at: DateTime<Utc>,
    /// How many context files the user has.
    pub file_count: i64,
    /// What else is known of the user.
    pub metadata: JsonObject,
}

/// Makes a file's new text from its old one.
pub type Rewrite = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// Keeps agents, their files, and who may use them. Every method sees only rows of `tenant`.
#[async_trait]
pub trait AgentStore: Send + Sync {
    /// The agent with this id or key. A text that parses as a UUID is taken as an id first, then as a key.
    async fn find(&self, tenant: TenantId, id_or_key: &str) -> Result<Option<Agent>>;

    /// The agent that stands in where none is named: the default one, else the oldest active one.
    async fn find_default(&self, tenant: TenantId) -> Result<Option<Agent>>;

    /// The agents that match, newest first.
    async fn list(&self, tenant: TenantId, filter: &AgentFilter) -> Result<Vec<Agent>>;

    /// How many agents the tenant has.
    async fn count(&self, tenant: TenantId) -> Result<i64>;

    /// Stores a new agent with its first context files, in one step. If it is the default, no other agent is any more.
    ///
    /// # Errors
    /// `AlreadyExists` if the tenant has an agent with this key.
    async fn insert(&self, tenant: TenantId, agent: &Agent, files: &[ContextFile]) -> Result<()> {
        self.insert_within(tenant, agent, files, 0).await
    }

    /// The same, unless the tenant has `limit` agents already; 0 is no limit. Of many callers at once no more get through.
    ///
    /// # Errors
    /// `AlreadyExists` if the tenant has an agent with this key, `Precondition` if it has too many.
    async fn insert_within(&self, tenant: TenantId, agent: &Agent, files: &[ContextFile], limit: i64) -> Result<()>;

    /// Changes an agent and answers with the result; `None` if the tenant has no such agent.
    /// `files`, if any, replace the agent-level context files of the same names, in the same step.
    ///
    /// # Errors
    /// `AlreadyExists` if the new key is taken.
    async fn update(&self, tenant: TenantId, id: AgentId, patch: &AgentPatch, files: &[ContextFile], now: DateTime<Utc>) -> Result<Option<Agent>>;

    /// Gives an agent the status `to` if it has one of `from`. `false` if it has not, or if the tenant has no such agent.
    async fn switch_status(&self, tenant: TenantId, id: AgentId, from: &[AgentStatus], to: AgentStatus, now: DateTime<Utc>) -> Result<bool>;

    /// Marks agents as failed that are being summoned and were last changed before `before`. Answers how many there were.
    async fn all_tenants_fail_summoning(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<i64>;

    /// Deletes an agent with its files, shares, profiles and sessions. `false` if there is none.
    /// Traces stay, for the accounts.
    async fn delete(&self, tenant: TenantId, id: AgentId) -> Result<bool>;

    /// The role under which the agent is shared with `user`.
    async fn share_role(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<Option<String>>;

    /// The agent's shares, oldest first.
    async fn shares(&self, tenant: TenantId, id: AgentId) -> Result<Vec<AgentShare>>;

    /// Shares an agent with a user. If it is shared already, the role and who gave it are replaced; the rest stays.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such agent.
    async fn put_share(&self, tenant: TenantId, share: &AgentShare) -> Result<()>;

    /// Ends a share. `false` if there was none.
    async fn delete_share(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<bool>;

    /// The agent's own context files, by name.
    async fn files(&self, tenant: TenantId, id: AgentId) -> Result<Vec<ContextFile>>;

    /// Stores one of the agent's own files, replacing it if it is there.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such agent.
    async fn put_file(&self, tenant: TenantId, id: AgentId, file: &ContextFile, now: DateTime<Utc>) -> Result<()>;

    /// A user's context files, by name.
    async fn user_files(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<Vec<ContextFile>>;

    /// Stores one of a user's files, replacing it if it is there.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such agent.
    async fn put_user_file(&self, tenant: TenantId, id: AgentId, user: &str, file: &ContextFile, now: DateTime<Utc>) -> Result<()>;

    /// Deletes one of a user's files. `false` if it was not there.
    async fn delete_user_file(&self, tenant: TenantId, id: AgentId, user: &str, name: &str) -> Result<bool>;

    /// Notes that `user` was seen. At the first time the profile is made with `workspace`, later the stored one stays; one
    /// without a workspace gets it.
    /// `seed` files are stored in the same step if the user has no context file at all.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such agent.
    async fn touch_profile(&self, tenant: TenantId, id: AgentId, user: &str, workspace: &str, seed: &[ContextFile], now: DateTime<Utc>) -> Result<UserProfile>;

    /// The agent's users, those first who wrote last.
    async fn instances(&self, tenant: TenantId, id: AgentId) -> Result<Vec<UserInstance>>;

    /// Stores one of a user's files, and in the same step a profile without a workspace if the user has none.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such agent.
    async fn put_instance_file(&self, tenant: TenantId, id: AgentId, user: &str, file: &ContextFile, now: DateTime<Utc>) -> Result<()>;

    /// Puts entries into the metadata of a user's profile, over those of the same names. `false` if the user has no profile.
    async fn merge_metadata(&self, tenant: TenantId, id: AgentId, user: &str, metadata: &JsonObject) -> Result<bool>;

    /// Rewrites the file `name` of all users who have one, in one step. Answers how many there were.
    async fn rewrite_user_files(&self, tenant: TenantId, id: AgentId, name: &str, rewrite: Rewrite, now: DateTime<Utc>) -> Result<i64>;
}
