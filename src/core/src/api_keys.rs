//! API keys: who may make, see and revoke them.

use crate::{
    audit::Audit,
    auth::{MAX_USER_ID, hash_of},
    caller::{Access, Caller},
    coherence::{Coherence, Kind},
};
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    ApiKeyId, Error, ErrorKind, Result, TenantId,
    api_keys::{ApiKey, ApiKeyStore},
    clock::{Clock, Ids},
    message,
    roles::{Role, Scope},
    tenants::TenantStore,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{cmp::Reverse, sync::Arc};
use uuid::Uuid;

/// What every key begins with.
const MARK: &str = "goclaw_";
/// How much of a key lists show: the mark and 8 hex digits, in bytes.
const PREFIX: usize = MARK.len() + 8;
/// In bytes.
const MAX_NAME: usize = 100;
/// The longest life of a key that ends at all, in seconds: some 3,000 years. Later dates have years that few clients can read.
const MAX_LIFETIME: i64 = 100_000_000_000;
/// How much of a wrong scope is repeated in the refusal, in characters.
const SHOWN: usize = 64;

/// What may be done with API keys.
pub struct ApiKeys {
    pub(crate) store: Arc<dyn ApiKeyStore>,
    pub(crate) tenants: Arc<dyn TenantStore>,
    pub(crate) audit: Audit,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// A new API key, as a request describes it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NewApiKey {
    /// For people; 1 to 100 bytes.
    pub name: String,
    /// What it may do; at least one.
    #[schemars(with = "Vec<Scope>")]
    pub scopes: Vec<String>,
    /// After how many seconds it stops working; never if it is absent or not positive.
    pub expires_in: Option<i64>,
    /// The tenant that it acts in. Owners only: for others it is their own. Without it an owner makes a system key.
    #[schemars(with = "Option<TenantId>")]
    pub tenant_id: Option<String>,
}

/// An API key, as lists show it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "ApiKey")]
pub struct ApiKeyView {
    /// Its id.
    pub id: ApiKeyId,
    /// The tenant that it acts in; `00000000-0000-0000-0000-000000000000` for a system key, which may name any.
    pub tenant_id: TenantId,
    /// For people.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// The user that it always acts as; absent if it may name any.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schemars(default)]
    pub owner_id: String,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was last used, to within five minutes.
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

impl From<ApiKey> for ApiKeyView {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id,
            tenant_id: key.tenant_id.unwrap_or(TenantId(Uuid::nil())),
            name: key.name,
            prefix: key.prefix,
            scopes: key.scopes,
            owner_id: key.owner_id,
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            revoked: key.revoked,
            created_by: key.created_by,
            created_at: key.created_at,
            updated_at: key.updated_at,
        }
    }
}

/// A new API key: the one time that the key itself is told. It has no `Debug`, so that it gets into no log.
#[derive(Clone, Serialize, JsonSchema)]
#[schemars(rename = "ApiKeyCreated")]
pub struct CreatedApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// For people.
    pub name: String,
    /// Its first characters.
    pub prefix: String,
    /// The key. It is not kept and cannot be told again.
    pub key: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it stops working.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
}

/// What is left of a key that was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Revoked {
    /// Always `revoked`.
    pub status: &'static str,
}

impl ApiKeys {
    /// The keys of the caller's tenant, newest first, revoked and expired ones included; for owners the system keys as well.
    ///
    /// # Errors
    /// `Forbidden` below admin.
    pub async fn list(&self, caller: &Caller) -> Result<Vec<ApiKeyView>> {
        admin(caller)?;
        let mut keys = self.store.list(Some(caller.tenant)).await?;
        if caller.role == Role::Owner {
            keys.extend(self.store.list(None).await?);
            keys.sort_by_key(|key| Reverse((key.created_at, key.id)));
        }
        Ok(keys.into_iter().map(ApiKeyView::from).collect())
    }

    /// Makes a key for the caller's tenant; an owner's key is for the tenant that the request names, or a system key.
    ///
    /// # Errors
    /// `Forbidden` below admin and for scopes above the caller's, `Invalid` for bad fields, `NotFound` for an unknown tenant.
    pub async fn create(&self, caller: &Caller, new: NewApiKey) -> Result<CreatedApiKey> {
        admin(caller)?;
        let asked = tenant_of(&new)?;
        let tenant = if caller.role == Role::Owner { asked } else { Some(caller.tenant) };
        self.make(caller, new, String::new(), tenant).await
    }

    /// The same, for those who set up tenants for others: the key may be bound to a user (`owner`; "" for none), and a caller
    /// whose key holds `operator.provision` beside `operator.admin` names the tenant.
    ///
    /// # Errors
    /// As [`ApiKeys::create`]; `Forbidden` too for another tenant than the one that the caller's key belongs to.
    pub async fn provision(&self, caller: &Caller, new: NewApiKey, owner: String) -> Result<CreatedApiKey> {
        admin(caller)?;
        let asked = tenant_of(&new)?;
        let tenant = match asked {
            _ if caller.role == Role::Owner => asked,
            Some(asked) if asked != caller.tenant && provisions(caller) => {
                if is_bound(&*self.store, caller).await? {
                    return Err(Error::forbidden(format!("api_keys.create: {asked}")));
                }
                Some(asked)
            }
            _ => Some(caller.tenant),
        };
        self.make(caller, new, owner, tenant).await
    }

    /// Revokes a key of the caller's tenant; owners may revoke system keys as well. Again is fine.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad id, `NotFound`.
    pub async fn revoke(&self, caller: &Caller, id: &str) -> Result<Revoked> {
        admin(caller)?;
        let key: ApiKeyId = id.parse().map_err(|_| Error::invalid(message::invalid_id("API key")))?;
        let now = self.clock.now();
        let tenant = if self.store.revoke(Some(caller.tenant), key, now).await? {
            Some(caller.tenant)
        } else if caller.role == Role::Owner && self.store.revoke(None, key, now).await? {
            None
        } else {
            return Err(Error::not_found("API key", key));
        };
        self.coherence.changed(tenant.unwrap_or(TenantId::MASTER), Kind::ApiKeys, key);
        self.audit.record(caller, "api_key.revoked", "api_key", key, None).await;
        Ok(Revoked { status: "revoked" })
    }

    async fn make(&self, caller: &Caller, new: NewApiKey, owner_id: String, tenant_id: Option<TenantId>) -> Result<CreatedApiKey> {
        let name = name_of(&new.name)?;
        let scopes = scopes_of(&new.scopes)?;
        let now = self.clock.now();
        let expires_at = end_of(new.expires_in, now)?;
        if owner_id.len() > MAX_USER_ID {
            return Err(Error::invalid(message::too_long("owner_id", MAX_USER_ID)));
        }
        if owner_id.contains(char::is_control) {
            return Err(Error::invalid_request("owner_id holds control characters"));
        }
        if let Some(above) = scopes.iter().find(|scope| !may_give(caller, **scope)) {
            return Err(Error::new(ErrorKind::Forbidden, message::scope_above_role(above.as_str())));
        }
        if let Some(tenant) = tenant_id
            && self.tenants.find(tenant).await?.is_none()
        {
            return Err(Error::not_found("tenant", tenant));
        }
        let secret = secret();
        let key = ApiKey {
            id: ApiKeyId(self.ids.row()),
            tenant_id,
            name,
            prefix: secret[..PREFIX].to_owned(),
            scopes,
            owner_id,
            expires_at,
            last_used_at: None,
            revoked: false,
            created_by: caller.user.to_string(),
            created_at: now,
            updated_at: now,
        };
        self.store.insert(&key, &hash_of(&secret)).await?;
        self.coherence.changed(tenant_id.unwrap_or(TenantId::MASTER), Kind::ApiKeys, key.id);
        let details = json!({"name": key.name, "scopes": key.scopes, "tenant_id": tenant_id, "owner_id": key.owner_id, "expires_at": expires_at});
        self.audit.record(caller, "api_key.created", "api_key", key.id, Some(details)).await;
        Ok(CreatedApiKey { id: key.id, name: key.name, prefix: key.prefix, key: secret, scopes: key.scopes, expires_at, created_at: now })
    }
}

fn admin(caller: &Caller) -> Result<()> {
    caller.require(Role::Admin, Access::Manage, "/v1/api-keys")
}

/// Whether the caller came with a key for setting up tenants.
pub(crate) fn provisions(caller: &Caller) -> bool {
    caller.scopes.is_some() && caller.covers(Access::Provision)
}

/// Whether the caller's key belongs to one tenant, so that it must not reach others.
pub(crate) async fn is_bound(keys: &dyn ApiKeyStore, caller: &Caller) -> Result<bool> {
    let Some(own) = caller.key else { return Ok(false) };
    Ok(!keys.list(None).await?.iter().any(|key| key.id == own))
}

/// Nobody gives more than they have. The gateway token alone makes no provisioning keys: those reach beyond an admin's tenant.
fn may_give(caller: &Caller, scope: Scope) -> bool {
    match &caller.scopes {
        None => caller.role == Role::Owner || scope != Scope::Provision,
        Some(own) => own.contains(&scope) || (scope != Scope::Provision && own.contains(&Scope::Admin)),
    }
}

/// A new key: 128 random bits, from the generator that the operating system seeds.
fn secret() -> String {
    let mut bits = [0_u8; 16];
    rand::fill(&mut bits[..]);
    format!("{MARK}{}", hex::encode(bits))
}

fn tenant_of(new: &NewApiKey) -> Result<Option<TenantId>> {
    new.tenant_id.as_deref().map(|id| id.parse().map_err(|_| Error::invalid(message::invalid_id("tenant")))).transpose()
}

fn name_of(name: &str) -> Result<String> {
    let name = name.trim();
    if name.is_empty() {
        return Err(Error::required("name"));
    }
    if name.len() > MAX_NAME {
        return Err(Error::invalid(message::too_long("name", MAX_NAME)));
    }
    if name.contains(char::is_control) {
        return Err(Error::invalid_request("name holds control characters"));
    }
    Ok(name.to_owned())
}

fn scopes_of(names: &[String]) -> Result<Vec<Scope>> {
    let mut scopes = Vec::new();
    for name in names {
        let scope = Scope::parse(name).ok_or_else(|| {
            let shown: String = name.chars().take(SHOWN).collect();
            Error::invalid(message::unknown_scope(shown, Scope::ALL.map(Scope::as_str).join(", ")))
        })?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    if scopes.is_empty() { Err(Error::invalid(message::scopes_required())) } else { Ok(scopes) }
}

fn end_of(seconds: Option<i64>, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
    let Some(seconds) = seconds.filter(|seconds| *seconds > 0) else { return Ok(None) };
    let end = (seconds <= MAX_LIFETIME).then(|| TimeDelta::try_seconds(seconds)).flatten().and_then(|life| now.checked_add_signed(life));
    end.map(Some).ok_or_else(|| Error::invalid(message::out_of_range("expires_in", 1, MAX_LIFETIME)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn caller(role: Role, scopes: Option<&[Scope]>) -> Caller {
        Caller { scopes: scopes.map(Into::into), ..Caller::without_credential(TenantId::MASTER, "master", role, "mai") }
    }

    fn gifts(caller: &Caller) -> Vec<Scope> {
        Scope::ALL.into_iter().filter(|scope| may_give(caller, *scope)).collect()
    }

    #[test]
    fn nobody_gives_more_than_they_have() {
        use Scope::{Admin, Approvals, Pairing, Provision, Read, Write};
        assert_eq!(gifts(&caller(Role::Owner, None)), Scope::ALL);
        assert_eq!(gifts(&caller(Role::Admin, None)), [Admin, Write, Approvals, Pairing, Read]);
        assert_eq!(gifts(&caller(Role::Admin, Some(&[Admin]))), [Admin, Write, Approvals, Pairing, Read]);
        assert_eq!(gifts(&caller(Role::Admin, Some(&[Admin, Provision]))), Scope::ALL);
        assert_eq!(gifts(&caller(Role::Viewer, Some(&[Provision]))), [Provision]);
        assert_eq!(gifts(&caller(Role::Viewer, Some(&[]))), []);
    }

    #[test]
    fn the_gateway_token_alone_does_not_provision() {
        assert!(!provisions(&caller(Role::Admin, None)));
        assert!(!provisions(&caller(Role::Admin, Some(&[Scope::Admin]))));
        assert!(provisions(&caller(Role::Viewer, Some(&[Scope::Provision]))));
    }

    #[test]
    fn a_key_is_128_bits_in_hex_and_never_the_same() {
        let keys: Vec<String> = (0..100).map(|_| secret()).collect();
        for key in &keys {
            let bits = key.strip_prefix("goclaw_").unwrap();
            assert!(bits.len() == 32 && bits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')), "{key}");
        }
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), 100);
    }

    #[rstest]
    #[case(None, None)]
    #[case(Some(0), None)]
    #[case(Some(i64::MIN), None)]
    #[case(Some(60), Some(60))]
    #[case(Some(MAX_LIFETIME), Some(MAX_LIFETIME))]
    fn a_key_ends_after_its_life_or_never(#[case] seconds: Option<i64>, #[case] expected: Option<i64>) {
        let now = DateTime::UNIX_EPOCH;
        assert_eq!(end_of(seconds, now).unwrap(), expected.map(|seconds| now + TimeDelta::seconds(seconds)));
    }

    #[test]
    fn a_life_beyond_all_dates_is_refused() {
        for seconds in [MAX_LIFETIME + 1, i64::MAX] {
            assert_eq!(end_of(Some(seconds), DateTime::UNIX_EPOCH).unwrap_err().kind, ErrorKind::Invalid);
        }
    }

    #[test]
    fn scopes_are_taken_once_each_and_unknown_ones_are_refused_in_short() {
        let named = |names: &[&str]| scopes_of(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(named(&["operator.read", "operator.write", "operator.read"]).unwrap(), [Scope::Read, Scope::Write]);
        for wrong in [&[][..], &[""], &["operator.read", "foo"], &["OPERATOR.READ"], &["operator.read "]] {
            assert_eq!(named(wrong).unwrap_err().kind, ErrorKind::Invalid, "{wrong:?}");
        }
        assert!(named(&[&"x".repeat(100_000)]).unwrap_err().to_string().len() < 400);
    }
}
