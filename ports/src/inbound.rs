//! Messages that were accepted and are not answered yet. They outlive the process that accepted them.

use crate::{
    AgentId, InboundId, JsonObject, Result, TenantId,
    media::MediaRef,
    subagents::{TaskLease, TaskOrigin},
};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};

/// A message that is owed an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct InboundMessage {
    /// Its id.
    pub id: InboundId,
    /// Its conversation.
    pub session_key: String,
    /// Who is to answer. The message goes with it.
    pub agent_id: AgentId,
    /// What was said.
    pub text: String,
    /// Where, by whom and in which role.
    pub origin: TaskOrigin,
    /// More about the run that answers it (`tags`, `trace`, …).
    pub metadata: JsonObject,
    /// The number of the message in its conversation; `None` until it is in there.
    pub said: Option<i64>,
    /// How often it was taken over from a process that was gone.
    pub attempts: i32,
    /// When it came.
    pub created_at: DateTime<Utc>,
}

/// Keeps them. Every method but `all_tenants_…` sees only rows of `tenant`. What a run says about them it says with its messages
/// ([`crate::sessions::SessionDelta`]), so that an answer is there exactly if its message is no longer owed one.
#[async_trait]
pub trait InboundStore: Send + Sync {
    /// Keeps a message that is not in its conversation yet.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such agent.
    async fn keep(&self, tenant: TenantId, message: &InboundMessage, lease: TaskLease) -> Result<()>;

    /// Keeps a message and puts it into its conversation as the user's, with its files, in one durable step. `false`, and nothing is
    /// kept, if there is no such session.
    ///
    /// # Errors
    /// As [`InboundStore::keep`].
    async fn say(&self, tenant: TenantId, message: &InboundMessage, media_refs: &[MediaRef], lease: TaskLease) -> Result<bool>;

    /// Nothing is owed for these any more.
    async fn settle(&self, tenant: TenantId, ids: &[InboundId]) -> Result<()>;

    /// The same, and they leave their conversations: nobody will answer them.
    async fn retract(&self, tenant: TenantId, ids: &[InboundId]) -> Result<()>;

    /// Lets go of these: whoever looks next takes them over.
    async fn release(&self, tenant: TenantId, ids: &[InboundId]) -> Result<()>;

    /// Holds on to these as long as nobody has taken them over, and answers with those that it still holds.
    async fn all_tenants_renew(&self, ids: &[InboundId], lease: TaskLease) -> Result<Vec<InboundId>>;

    /// Takes over at most `limit` messages that are held for less than `ahead` from now, or not any more, and counts the attempt; oldest
    /// first. Of several callers at once, one gets each.
    async fn all_tenants_adopt(&self, ahead: TimeDelta, lease: TaskLease, limit: i64) -> Result<Vec<(TenantId, InboundMessage)>>;
}
