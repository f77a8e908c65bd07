//! Plain configuration values per tenant.

use crate::{Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// Keeps a tenant's configuration values.
#[async_trait]
pub trait SystemConfigStore: Send + Sync {
    /// All of the tenant's values, by key.
    async fn list(&self, tenant: TenantId) -> Result<Vec<(String, String)>>;
    /// One value.
    async fn get(&self, tenant: TenantId, key: &str) -> Result<Option<String>>;
    /// Stores or replaces one.
    async fn put(&self, tenant: TenantId, key: &str, value: &str, now: DateTime<Utc>) -> Result<()>;
    /// Removes one. `false` if it was not there.
    async fn delete(&self, tenant: TenantId, key: &str) -> Result<bool>;
}
