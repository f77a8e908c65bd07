//! API keys: 128 random bits, known to the server by their SHA-256 only.

use crate::{ApiKeyId, Result, TenantId, roles::Scope};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A stored API key. The secret itself is never kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApiKey {
    /// Its row's id.
    pub id: ApiKeyId,
    /// The only tenant it acts in; `None` for a system key, which may name one in a header.
    pub tenant_id: Option<TenantId>,
    /// For people; 1 to 100 bytes.
    pub name: String,
    /// The first characters of the key, for recognising it in a list.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The user it always acts as; "" if the caller may name one.
    pub owner_id: String,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to within the key cache's lifetime.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// Who made it; "" if unknown.
    pub created_by: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Keeps API keys. A system key (`tenant_id` is `None`) belongs to no tenant, so a `tenant` of `None` means those.
#[async_trait]
pub trait ApiKeyStore: Send + Sync {
    /// The key with this hash (lower-case hex SHA-256), revoked and expired ones included.
    async fn all_tenants_find_by_hash(&self, hash: &str) -> Result<Option<ApiKey>>;

    /// Stores a new key under its hash.
    ///
    /// # Errors
    /// `AlreadyExists` if the hash is known; `NotFound` if the key names a tenant that does not exist.
    async fn insert(&self, key: &ApiKey, hash: &str) -> Result<()>;

    /// The tenant's keys, newest first, revoked and expired ones included.
    async fn list(&self, tenant: Option<TenantId>) -> Result<Vec<ApiKey>>;

    /// Revokes a key. `false` if the tenant has no such key; revoking twice is `true`.
    async fn revoke(&self, tenant: Option<TenantId>, id: ApiKeyId, now: DateTime<Utc>) -> Result<bool>;

    /// Notes that the key was used.
    async fn touch(&self, tenant: Option<TenantId>, id: ApiKeyId, now: DateTime<Utc>) -> Result<()>;
}
