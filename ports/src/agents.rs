//! Agents: who answers, with which model, tools and files.

use crate::{AgentId, JsonObject, Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
    /// When the user last wrote.
    pub last_seen_at: DateTime<Utc>,
}

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
    async fn insert(&self, tenant: TenantId, agent: &Agent, files: &[ContextFile]) -> Result<()>;

    /// Changes an agent and answers with the result; `None` if the tenant has no such agent.
    /// `files`, if any, replace the agent-level context files of the same names, in the same step.
    ///
    /// # Errors
    /// `AlreadyExists` if the new key is taken.
    async fn update(&self, tenant: TenantId, id: AgentId, patch: &AgentPatch, files: &[ContextFile], now: DateTime<Utc>) -> Result<Option<Agent>>;

    /// Deletes an agent with its files, shares, profiles and sessions. `false` if there is none.
    /// Traces stay, for the accounts.
    async fn delete(&self, tenant: TenantId, id: AgentId) -> Result<bool>;

    /// The role under which the agent is shared with `user`.
    async fn share_role(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<Option<String>>;

    /// Shares the agent with a user, or changes the share's role.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such agent.
    async fn put_share(&self, tenant: TenantId, id: AgentId, user: &str, role: &str, granted_by: &str, now: DateTime<Utc>) -> Result<()>;

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

    /// Notes that `user` was seen. At the first time the profile is made with `workspace`, later the stored one stays.
    /// `seed` files are stored in the same step if the user has no context file at all.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such agent.
    async fn touch_profile(&self, tenant: TenantId, id: AgentId, user: &str, workspace: &str, seed: &[ContextFile], now: DateTime<Utc>) -> Result<UserProfile>;
}
