//! The catalogue of built-in tools: what an installation offers, and what a tenant switched off.

use crate::{JsonObject, Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A tool of the catalogue. The catalogue is one for the whole installation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BuiltinTool {
    /// The name that models call it by.
    pub name: String,
    /// For people.
    pub display_name: String,
    /// One sentence.
    pub description: String,
    /// `filesystem`, `runtime`, `web`, …
    pub category: String,
    /// Whether it is on at all.
    pub enabled: bool,
    /// Its settings.
    pub settings: JsonObject,
    /// What it needs, for information.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requires: Vec<String>,
    /// Hints for dashboards.
    pub metadata: JsonObject,
    /// When it was first seeded.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Keeps the catalogue and the tenants' switches.
#[async_trait]
pub trait BuiltinToolStore: Send + Sync {
    /// Makes the catalogue hold exactly `tools`: known ones keep `enabled`, and `settings` unless empty; others go.
    async fn all_tenants_seed(&self, tools: &[BuiltinTool]) -> Result<()>;
    /// The catalogue, by category, then name.
    async fn all_tenants_list(&self) -> Result<Vec<BuiltinTool>>;
    /// The tenant's switches by tool name; a tool that is not here has none.
    async fn overrides(&self, tenant: TenantId) -> Result<Vec<(String, bool)>>;
    /// Sets a switch.
    ///
    /// # Errors
    /// `NotFound` if the catalogue has no such tool.
    async fn put_override(&self, tenant: TenantId, tool: &str, enabled: bool, now: DateTime<Utc>) -> Result<()>;
    /// Removes a switch. `false` if there was none.
    async fn delete_override(&self, tenant: TenantId, tool: &str) -> Result<bool>;
}
