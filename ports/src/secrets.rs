//! Sealed configuration values (table `config_secrets`), such as the gateway token.

use crate::{Result, TenantId, sealer::Sealed};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// Keeps sealed configuration values by name (`gateway.token`, …).
#[async_trait]
pub trait SecretStore: Send + Sync {
    /// All of the tenant's secrets, by name.
    async fn list(&self, tenant: TenantId) -> Result<Vec<(String, Sealed)>>;
    /// One secret.
    async fn get(&self, tenant: TenantId, name: &str) -> Result<Option<Sealed>>;
    /// Stores or replaces one.
    async fn put(&self, tenant: TenantId, name: &str, value: &Sealed, now: DateTime<Utc>) -> Result<()>;
    /// Removes one. `false` if it was not there.
    async fn delete(&self, tenant: TenantId, name: &str) -> Result<bool>;
}
