//! The audit log: who changed what.

use crate::{Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// One change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Activity {
    /// Its id.
    pub id: Uuid,
    /// What kind of actor: `user` or `system`.
    pub actor_type: String,
    /// Who did it.
    pub actor_id: String,
    /// What was done (`agent.created`, …).
    pub action: String,
    /// To what kind of thing; "" if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entity_type: String,
    /// To which one; "" if none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub entity_id: String,
    /// More about it.
    pub details: Option<Value>,
    /// From where, without a port; "" if unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ip_address: String,
    /// When.
    pub created_at: DateTime<Utc>,
}

/// Which entries a list holds. All given conditions must hold; "equal" is exact.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of Activity")]
pub struct ActivityFilter {
    pub actor_type: Option<String>,
    pub actor_id: Option<String>,
    pub action: Option<String>,
    pub entity_type: Option<String>,
    pub entity_id: Option<String>,
    /// At most this many.
    pub limit: i64,
    /// After this many.
    pub offset: i64,
}

/// Keeps the audit log.
#[async_trait]
pub trait ActivityStore: Send + Sync {
    /// Adds entries.
    async fn append(&self, tenant: TenantId, entries: &[Activity]) -> Result<()>;
    /// The entries that match, newest first, and how many there are in all.
    async fn list(&self, tenant: TenantId, filter: &ActivityFilter) -> Result<(Vec<Activity>, i64)>;
}
