//! Stored LLM providers: where a tenant's models are, and the sealed key to them.

use crate::{JsonObject, ProviderId, Result, TenantId, sealer::Sealed};
use async_trait::async_trait;
use chrono::{DateTime, Utc};

/// A provider's row. Its key is sealed; the store never sees it in clear.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderRow {
    /// Its id.
    pub id: ProviderId,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// The name that agents use: a slug of at most 50 characters, unique in the tenant.
    pub name: String,
    /// For people; at most 255 characters, "" if none.
    pub display_name: String,
    /// One of the accepted types (`anthropic_native`, `openai_compat`, …); at most 30 characters.
    pub provider_type: String,
    /// The base URL; "" for the type's own.
    pub api_base: String,
    /// The sealed key, bound to this row's id.
    pub api_key: Option<Sealed>,
    /// Whether it may be used.
    pub enabled: bool,
    /// Free settings; unknown keys are kept.
    pub settings: JsonObject,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Changes to a provider. `None` leaves a column as it is.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of ProviderRow")]
pub struct ProviderPatch {
    pub name: Option<String>,
    pub display_name: Option<String>,
    pub api_base: Option<String>,
    pub api_key: Option<Sealed>,
    pub enabled: Option<bool>,
    pub settings: Option<JsonObject>,
    /// Settings to set; those of other names stay as they are, or as `settings` says.
    pub set: JsonObject,
}

/// Keeps providers. Every method but `all_tenants_…` sees only rows of `tenant`.
#[async_trait]
pub trait ProviderStore: Send + Sync {
    /// The tenant's providers, by name.
    async fn list(&self, tenant: TenantId) -> Result<Vec<ProviderRow>>;

    /// The provider with this id.
    async fn find(&self, tenant: TenantId, id: ProviderId) -> Result<Option<ProviderRow>>;

    /// The provider with this name.
    async fn find_by_name(&self, tenant: TenantId, name: &str) -> Result<Option<ProviderRow>>;

    /// Stores a new provider.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken in the tenant.
    async fn insert(&self, tenant: TenantId, row: &ProviderRow) -> Result<()>;

    /// Changes a provider and answers with the result; `None` if the tenant has none with this id.
    ///
    /// # Errors
    /// `AlreadyExists` if the new name is taken.
    async fn update(&self, tenant: TenantId, id: ProviderId, patch: &ProviderPatch, now: DateTime<Utc>) -> Result<Option<ProviderRow>>;

    /// Deletes a provider and answers with what it was.
    async fn delete(&self, tenant: TenantId, id: ProviderId) -> Result<Option<ProviderRow>>;

    /// Whether any tenant has a provider of this type, switched on or not.
    async fn all_tenants_have(&self, provider_type: &str) -> Result<bool>;

    /// Every enabled provider of every tenant, for filling the registry at start.
    async fn all_tenants_enabled(&self) -> Result<Vec<ProviderRow>>;
}
