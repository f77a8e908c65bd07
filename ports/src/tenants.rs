//! Tenants and their members.

use crate::{JsonObject, Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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

/// A user who belongs to a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Member {
    /// The membership's id.
    pub id: Uuid,
    /// The tenant.
    pub tenant_id: TenantId,
    /// The user, as clients name it; at most 255 bytes.
    pub user_id: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Its part in the tenant.
    pub role: MemberRole,
    /// Free data.
    pub metadata: JsonObject,
    /// Since when.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A member's part in the tenant. It decides about membership and about the tenant's own settings, not about a request's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MemberRole {
    /// Owns the tenant.
    Owner,
    /// Manages it.
    Admin,
    /// Uses it.
    Operator,
    /// Belongs to it.
    #[default]
    Member,
    /// Looks at it.
    Viewer,
}

impl MemberRole {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Owner, Self::Admin, Self::Operator, Self::Member, Self::Viewer];

    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    /// The role with this wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

/// What is to change of a tenant; `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TenantPatch {
    /// Its name.
    pub name: Option<String>,
    /// Whether its members may work.
    pub status: Option<TenantStatus>,
    /// Its settings, as a whole.
    pub settings: Option<JsonObject>,
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

    /// The tenants that `user` is a member of, oldest tenant first, with its role; whatever their status.
    async fn all_tenants_memberships(&self, user: &str) -> Result<Vec<(Tenant, MemberRole)>>;

    /// Stores a new tenant.
    ///
    /// # Errors
    /// `AlreadyExists` if the slug (or the id) is taken.
    async fn insert(&self, tenant: &Tenant) -> Result<()>;

    /// Changes a tenant and answers with it. `None` if there is no such tenant.
    async fn update(&self, tenant: TenantId, patch: &TenantPatch, now: DateTime<Utc>) -> Result<Option<Tenant>>;

    /// The role of `user` in the tenant, `None` if it is no member.
    async fn member_role(&self, tenant: TenantId, user: &str) -> Result<Option<MemberRole>>;

    /// The members, oldest membership first.
    async fn members(&self, tenant: TenantId) -> Result<Vec<Member>>;

    /// The members whose id or display name holds `text` (case of ASCII letters aside; "" is in every one), oldest membership
    /// first, at most `limit`.
    async fn search_members(&self, tenant: TenantId, text: &str, limit: i64) -> Result<Vec<Member>>;

    /// Makes somebody a member. One who is a member already only gets the role (and `updated_at`). Answers with the role before.
    ///
    /// # Errors
    /// `NotFound` if there is no such tenant.
    async fn put_member(&self, tenant: TenantId, member: &Member) -> Result<Option<MemberRole>>;

    /// Ends a membership and answers with the role that it had. `None` if there was none.
    async fn remove_member(&self, tenant: TenantId, user: &str) -> Result<Option<MemberRole>>;
}
