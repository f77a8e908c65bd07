//! Tenants and their members: who may see and change them.

mod members;

pub use members::{MemberSource, NewMember, UserHit, UserQuery};

use crate::{
    agents::is_slug,
    api_keys::{is_bound, provisions},
    audit::{self, Audit},
    caller::{Access, Caller},
    coherence::{Coherence, Kind},
    settings::LiveSettings,
    workspace,
};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, ErrorKind, JsonObject, Result, TenantId,
    api_keys::ApiKeyStore,
    clock::{Clock, Ids},
    events::EventBus,
    message,
    roles::Role,
    tenants::{MemberRole, Tenant, TenantPatch, TenantStatus, TenantStore},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// In characters.
const MAX_NAME: usize = 255;
/// In characters.
const MAX_SLUG: usize = 100;
/// How long making a new tenant's directory may take.
const DIRECTORY_TIMEOUT: Duration = Duration::from_secs(5);

/// What may be done with tenants.
pub struct Tenants {
    pub(crate) store: Arc<dyn TenantStore>,
    pub(crate) api_keys: Arc<dyn ApiKeyStore>,
    pub(crate) settings: Arc<LiveSettings>,
    pub(crate) audit: Audit,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// A new tenant, as a request describes it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NewTenant {
    /// For people; 1 to 255 characters.
    pub name: String,
    /// For URLs and headers: lowercase letters, digits and hyphens, none at an end; at most 100. It never changes.
    pub slug: String,
    /// Free settings.
    pub settings: Option<JsonObject>,
}

/// A tenant that was just made.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "TenantCreated")]
#[expect(missing_docs, reason = "the fields are those of Tenant")]
pub struct CreatedTenant {
    pub id: TenantId,
    pub name: String,
    pub slug: String,
    pub status: TenantStatus,
    pub created_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
}

/// Changes to a tenant. What is absent or "" stays as it is.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct TenantUpdate {
    /// For people; at most 255 characters.
    pub name: Option<String>,
    /// `active`, `suspended` or `archived`. The master tenant is always active.
    #[schemars(with = "Option<TenantStatus>")]
    pub status: Option<String>,
    /// Free settings, as a whole.
    pub settings: Option<JsonObject>,
}

/// A tenant that the caller can enter.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct TenantEntry {
    /// Its id.
    pub id: TenantId,
    /// For people.
    pub name: String,
    /// For headers.
    pub slug: String,
    /// The caller's part in it.
    pub role: MemberRole,
    /// Whether its members may work.
    pub status: TenantStatus,
}

impl TenantEntry {
    fn new(tenant: Tenant, role: MemberRole) -> Self {
        Self { id: tenant.id, name: tenant.name, slug: tenant.slug, role, status: tenant.status }
    }
}

impl Tenants {
    /// All tenants, oldest first.
    ///
    /// # Errors
    /// `Forbidden` for all but owners.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<Tenant>> {
        owner(caller, "/v1/tenants")?;
        self.store.all_tenants_list().await
    }

    /// One tenant.
    ///
    /// # Errors
    /// `Forbidden` for all but owners, `Invalid` for a bad id, `NotFound`.
    pub async fn get(&self, caller: &Caller, id: &str) -> Result<Tenant> {
        owner(caller, "/v1/tenants/{id}")?;
        self.existing(tenant_id(id)?).await
    }

    /// Makes a tenant.
    ///
    /// # Errors
    /// `Forbidden` for all but owners, `Invalid` for bad fields, `AlreadyExists` for a slug that is taken.
    pub async fn create(&self, caller: &Caller, new: NewTenant) -> Result<CreatedTenant> {
        owner(caller, "/v1/tenants")?;
        self.make(caller, new).await
    }

    /// The same, for owners and for keys with the scope `operator.provision` that belong to no tenant.
    ///
    /// # Errors
    /// As [`Tenants::create`].
    pub async fn provision(&self, caller: &Caller, new: NewTenant) -> Result<CreatedTenant> {
        if self.reach(caller, "tenants.create").await? != Reach::All {
            return Err(Error::new(ErrorKind::Forbidden, message::requires_role("tenants.create", Role::Owner)));
        }
        self.make(caller, new).await
    }

    /// Changes a tenant. Members of one that is no longer active are shut out from their next call on.
    ///
    /// # Errors
    /// `Forbidden` for all but owners; `Invalid` for a bad id, bad fields, nothing to change, or another status than active
    /// for the master tenant; `NotFound`.
    pub async fn update(&self, caller: &Caller, id: &str, update: TenantUpdate) -> Result<Tenant> {
        owner(caller, "/v1/tenants/{id}")?;
        let id = tenant_id(id)?;
        let patch = update.into_patch()?;
        if patch == TenantPatch::default() {
            return Err(Error::invalid(message::no_updates_provided()));
        }
        if id == TenantId::MASTER && patch.status.is_some_and(|status| status != TenantStatus::Active) {
            return Err(Error::invalid(message::master_tenant_fixed()));
        }
        let before = self.existing(id).await?;
        let after = self.store.update(id, &patch, self.clock.now()).await?.ok_or_else(|| Error::not_found("tenant", id))?;
        self.coherence.changed(id, Kind::Tenants, id);
        self.audit.record(caller, "tenant.updated", "tenant", id, Some(audit::changes(&audited(&before), &audited(&after)))).await;
        Ok(after)
    }

    /// The tenants that the caller can enter: for owners all of them, for others the active ones that their user is a member
    /// of, oldest first. A key that belongs to a tenant leads into no other, and learns of no other.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn mine(&self, caller: &Caller) -> Result<Vec<TenantEntry>> {
        caller.require(Role::Viewer, Access::Read, "tenants.mine")?;
        if caller.role == Role::Owner {
            let all = self.store.all_tenants_list().await?;
            return Ok(all.into_iter().map(|tenant| TenantEntry::new(tenant, MemberRole::Owner)).collect());
        }
        if caller.user.is_empty() {
            return Ok(vec![]);
        }
        let mut memberships = self.store.all_tenants_memberships(&caller.user).await?;
        if is_bound(&*self.api_keys, caller).await? {
            memberships.retain(|(tenant, _)| tenant.id == caller.tenant);
        }
        let active = memberships.into_iter().filter(|(tenant, _)| tenant.status == TenantStatus::Active);
        Ok(active.map(|(tenant, role)| TenantEntry::new(tenant, role)).collect())
    }

    async fn make(&self, caller: &Caller, new: NewTenant) -> Result<CreatedTenant> {
        let name = name_of(&new.name)?.ok_or_else(|| Error::required("name"))?;
        let slug = slug_of(new.slug)?;
        let now = self.clock.now();
        let tenant = Tenant {
            id: TenantId(self.ids.row()),
            name,
            slug,
            status: TenantStatus::Active,
            settings: new.settings.unwrap_or_default(),
            created_at: now,
            updated_at: now,
        };
        self.store.insert(&tenant).await?;
        self.coherence.changed(tenant.id, Kind::Tenants, tenant.id);
        self.make_directory(&tenant.slug).await;
        let details = json!({"name": tenant.name, "slug": tenant.slug});
        self.audit.record(caller, "tenant.created", "tenant", tenant.id, Some(details)).await;
        let Tenant { id, name, slug, status, created_at, updated_at, .. } = tenant;
        Ok(CreatedTenant { id, name, slug, status, created_at, updated_at })
    }

    /// A directory that cannot be made now is made by the first run that needs it.
    async fn make_directory(&self, slug: &str) {
        let directory = workspace::of_tenant(&self.settings.get(), slug);
        match tokio::time::timeout(DIRECTORY_TIMEOUT, tokio::fs::create_dir_all(&directory)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(directory = %directory.display(), %error, "the tenant's directory could not be made"),
            Err(_) => tracing::warn!(directory = %directory.display(), "making the tenant's directory takes too long"),
        }
    }

    async fn existing(&self, id: TenantId) -> Result<Tenant> {
        self.store.find(id).await?.ok_or_else(|| Error::not_found("tenant", id))
    }

    /// Where an owner or a provisioning key may set up tenants.
    async fn reach(&self, caller: &Caller, what: &str) -> Result<Reach> {
        if caller.role == Role::Owner {
            return Ok(Reach::All);
        }
        if !provisions(caller) {
            return Err(Error::new(ErrorKind::Forbidden, message::requires_role(what, Role::Owner)));
        }
        Ok(if is_bound(&*self.api_keys, caller).await? { Reach::Own } else { Reach::All })
    }
}

/// Where somebody may set up tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Everywhere.
    All,
    /// In their own tenant.
    Own,
}

impl TenantUpdate {
    fn into_patch(self) -> Result<TenantPatch> {
        let name = self.name.as_deref().map(name_of).transpose()?.flatten();
        let status = match self.status.as_deref() {
            None | Some("") => None,
            Some(status) => {
                let known = TenantStatus::parse(status);
                Some(known.ok_or_else(|| Error::invalid(message::not_one_of("status", "active, suspended, archived")))?)
            }
        };
        Ok(TenantPatch { name, status, settings: self.settings })
    }
}

fn owner(caller: &Caller, what: &str) -> Result<()> {
    caller.require(Role::Owner, Access::Manage, what)
}

fn tenant_id(id: &str) -> Result<TenantId> {
    id.parse().map_err(|_| Error::invalid(message::invalid_id("tenant")))
}

/// The name without blanks around it; `None` if nothing is left.
fn name_of(name: &str) -> Result<Option<String>> {
    let name = name.trim();
    if name.chars().count() > MAX_NAME {
        return Err(Error::invalid(message::too_long("name", MAX_NAME)));
    }
    if name.contains(char::is_control) {
        return Err(Error::invalid_request("name holds control characters"));
    }
    Ok((!name.is_empty()).then(|| name.to_owned()))
}

fn slug_of(slug: String) -> Result<String> {
    if slug.is_empty() {
        return Err(Error::required("slug"));
    }
    if !is_slug(&slug) {
        return Err(Error::invalid(message::invalid_slug("slug")));
    }
    if slug.len() > MAX_SLUG {
        return Err(Error::invalid(message::too_long("slug", MAX_SLUG)));
    }
    Ok(slug)
}

/// What the audit log compares of a tenant.
fn audited(tenant: &Tenant) -> Value {
    json!({"name": tenant.name, "status": tenant.status, "settings": tenant.settings})
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("a")]
    #[case("acme-2")]
    #[case("0--0")]
    fn good_slugs(#[case] slug: &str) {
        assert_eq!(slug_of(slug.to_owned()).unwrap(), slug);
    }

    #[rstest]
    #[case("")]
    #[case("Bad_Slug")]
    #[case("-a")]
    #[case("a-")]
    #[case("a.b")]
    #[case("../a")]
    #[case("a\n")]
    #[case("công-ty")]
    fn bad_slugs(#[case] slug: &str) {
        assert_eq!(slug_of(slug.to_owned()).unwrap_err().kind, ErrorKind::Invalid);
    }

    #[test]
    fn a_slug_has_100_characters_at_most() {
        assert!(slug_of("a".repeat(100)).is_ok() && slug_of("a".repeat(101)).is_err());
    }

    #[test]
    fn names_are_counted_in_characters_without_the_blanks_around_them() {
        assert_eq!(name_of("  Công ty \t").unwrap().as_deref(), Some("Công ty"));
        assert_eq!(name_of(" \n ").unwrap(), None);
        assert!(name_of(&format!(" {} ", "ị".repeat(255))).is_ok());
        assert!(name_of(&"a".repeat(256)).is_err() && name_of("a\0b").is_err());
    }

    #[test]
    fn empty_texts_change_nothing() {
        let update = TenantUpdate { name: Some(" ".to_owned()), status: Some(String::new()), settings: None };
        assert_eq!(update.into_patch().unwrap(), TenantPatch::default());
    }
}
