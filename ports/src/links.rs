//! Links between agents: which may hand work to which.

use crate::{AgentId, JsonObject, LinkId, Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A link from one agent to another.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentLink {
    /// Its id.
    pub id: LinkId,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
    /// Where it begins.
    pub source_agent_id: AgentId,
    /// Where it ends; another agent than the source.
    pub target_agent_id: AgentId,
    /// Who of the two may hand work to the other.
    pub direction: LinkDirection,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// How many hand-overs may be under way at once.
    pub max_concurrent: i32,
    /// More about it (`require_role`, `user_allow`, `user_deny`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<JsonObject>,
    /// Whether it holds.
    pub status: LinkStatus,
    /// Who made it.
    pub created_by: String,
    /// What the agents' own rows say; read only.
    #[serde(flatten)]
    pub ends: LinkEnds,
}

/// The agents at the ends of a link, as they are now. All are "" in a link that was not read from the store.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LinkEnds {
    /// The source's key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source_agent_key: String,
    /// The target's key.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_agent_key: String,
    /// The target's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_display_name: String,
    /// What the target is good at: its frontmatter.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub target_description: String,
}

/// Who of a link's two agents may hand work to the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkDirection {
    /// The source to the target.
    Outbound,
    /// The target to the source.
    Inbound,
    /// Both.
    Bidirectional,
}
wire_names!(LinkDirection: Outbound = "outbound", Inbound = "inbound", Bidirectional = "bidirectional");

/// Whether a link holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LinkStatus {
    /// It does.
    Active,
    /// It is kept, but does not.
    Disabled,
}
wire_names!(LinkStatus: Active = "active", Disabled = "disabled");

/// Which of an agent's links are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkSide {
    /// Those that begin at it.
    From,
    /// Those that end at it.
    To,
    /// Both.
    All,
}

/// Changes to a link; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields of AgentLink")]
pub struct LinkPatch {
    pub direction: Option<LinkDirection>,
    pub description: Option<String>,
    pub max_concurrent: Option<i32>,
    pub settings: Option<JsonObject>,
    pub status: Option<LinkStatus>,
}

/// Keeps the links. There is at most one from one agent to another; it goes with either of them.
#[async_trait]
pub trait LinkStore: Send + Sync {
    /// An agent's links, oldest first.
    async fn list(&self, tenant: TenantId, agent: AgentId, side: LinkSide) -> Result<Vec<AgentLink>>;

    /// The link with this id.
    async fn find(&self, tenant: TenantId, id: LinkId) -> Result<Option<AgentLink>>;

    /// Stores a new link.
    ///
    /// # Errors
    /// `AlreadyExists` if there is one from the source to the target, `NotFound` if the tenant lacks one of the two agents.
    async fn insert(&self, tenant: TenantId, link: &AgentLink) -> Result<()>;

    /// Changes a link. `false` if there is none.
    async fn update(&self, tenant: TenantId, id: LinkId, patch: &LinkPatch, now: DateTime<Utc>) -> Result<bool>;

    /// Removes a link. `false` if there is none.
    async fn delete(&self, tenant: TenantId, id: LinkId) -> Result<bool>;
}
