//! Tenants and their members.

use crate::{JsonObject, Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An organisation whose data nobody else sees.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Tenant {
    /// Its id.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// For URLs and headers; unique in the installation, never changed.
    pub slug: String,
    /// Whether its members may work.
    pub status: TenantStatus,
    /// Free settings.
    pub settings: JsonObject,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Whether a tenant's members may work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TenantStatus {
    /// They may.
    Active,
    /// Refused to all but owners, for now.
    Suspended,
    /// Refused to all but owners, for good.
    Archived,
}

impl TenantStatus {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Archived => "archived",
        }
    }

    /// The status with this wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Archived].into_iter().find(|status| status.as_str() == text)
    }
}

/// Keeps tenants and who belongs to them.
#[async_trait]
pub trait TenantStore: Send + Sync {
    /// The tenant with this id.
    async fn find(&self, tenant: TenantId) -> Result<Option<Tenant>>;

    /// The tenant with this slug.
    async fn all_tenants_find_by_slug(&self, slug: &str) -> Result<Option<Tenant>>;

    /// Every tenant, oldest first.
    async fn all_tenants_list(&self) -> Result<Vec<Tenant>>;

    /// Stores a new tenant.
    ///
    /// # Errors
    /// `AlreadyExists` if the slug (or the id) is taken.
    async fn insert(&self, tenant: &Tenant) -> Result<()>;

    /// Changes a tenant's status. `false` if there is no such tenant.
    async fn set_status(&self, tenant: TenantId, status: TenantStatus, now: DateTime<Utc>) -> Result<bool>;

    /// The role of `user` in the tenant (`owner admin operator member viewer`), `None` if it is no member.
    async fn member_role(&self, tenant: TenantId, user: &str) -> Result<Option<String>>;

    /// Makes `user` a member, or changes its role.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant.
    async fn put_member(&self, tenant: TenantId, user: &str, role: &str, now: DateTime<Utc>) -> Result<()>;

    /// Ends a membership. `false` if there was none.
    async fn remove_member(&self, tenant: TenantId, user: &str) -> Result<bool>;
}
