//! From a credential that counts to a caller in a tenant.

use super::{Authenticator, Credentials, Grounds, MAX_USER_ID, TokenMark, hash_of, network_of};
use crate::{caller::Caller, settings::Settings};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    api_keys::ApiKey,
    message,
    pairing::PairedDevice,
    roles::{Role, Scope},
    tenants::{Tenant, TenantStatus},
};
use std::sync::Arc;

/// What somebody brought that counts.
pub(super) enum Credential {
    /// The token that opens everything.
    GatewayToken,
    /// An API key, and its hash.
    Key(Arc<ApiKey>, String),
    /// A paired browser.
    Device(Arc<PairedDevice>),
    /// Nothing, and nothing is needed.
    Development,
}

impl Credential {
    /// What the audit log calls it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::GatewayToken => "gateway_token",
            Self::Key(..) => "api_key",
            Self::Device(_) => "paired_device",
            Self::Development => "development",
        }
    }

    /// Whether a tenant that is named opens to the user by membership alone.
    fn wants_membership(&self, role: Role) -> bool {
        matches!((self, role), (Self::GatewayToken, role) if role != Role::Owner) || matches!(self, Self::Device(_))
    }
}

/// Somebody who was let in.
pub(super) struct Admitted {
    pub caller: Caller,
    pub tenant: Tenant,
    pub grounds: Grounds,
}

impl Authenticator {
    /// Lets the bearer of `credential` in. Without any token configured it gets `development_role`.
    pub(super) async fn admit(&self, credential: &Credential, from: Credentials<'_>, development_role: Role) -> Result<Admitted> {
        let settings = self.settings.get();
        let claimed = if from.user_id.len() > MAX_USER_ID { "" } else { from.user_id };
        let (role, user) = match credential {
            Credential::GatewayToken if is_owner(&settings, claimed) => (Role::Owner, claimed),
            Credential::GatewayToken => (Role::Admin, claimed),
            Credential::Key(key, _) => (Scope::role(&key.scopes), if key.owner_id.is_empty() { claimed } else { &key.owner_id }),
            Credential::Device(device) => (Role::Operator, if device.user_id.is_empty() { &*device.sender } else { &device.user_id }),
            Credential::Development => (development_role, claimed),
        };
        let found = self.tenant_for(credential, role, user, from.tenant).await;
        let open = |tenant: &Tenant| tenant.status == TenantStatus::Active || role == Role::Owner;
        let found = found.and_then(|found| if open(&found.0) { Ok(found) } else { Err(Error::new(ErrorKind::TenantClosed, message::tenant_closed())) });
        if found.as_ref().is_err_and(|error| matches!(error.kind, ErrorKind::TenantRevoked | ErrorKind::TenantClosed)) {
            self.note_failure(&from, "tenant").await;
        }
        let (tenant, membership) = found?;
        let (limit_key, grounds) = match credential {
            Credential::Key(key, hash) => {
                (token_key(hash), Grounds { key_hash: Some(hash.as_str().into()), membership, until: key.expires_at, ..Grounds::default() })
            }
            Credential::Device(device) => (format!("device:{}", device.sender), Grounds { membership, until: Some(device.expires_at), ..Grounds::default() }),
            Credential::GatewayToken | Credential::Development => {
                let key = from.bearer.map_or_else(|| format!("ip:{}", network_of(from.ip)), |bearer| token_key(&hash_of(bearer)));
                (key, Grounds { token: Some(TokenMark::of(&settings)), membership, ..Grounds::default() })
            }
        };
        let (scopes, key, device) = match credential {
            Credential::Key(key, _) => (Some(key.scopes.clone().into()), Some(key.id), None),
            Credential::Device(device) => (None, None, Some(device.sender.as_str().into())),
            Credential::GatewayToken | Credential::Development => (None, None, None),
        };
        let caller = Caller {
            tenant: tenant.id,
            tenant_slug: tenant.slug.as_str().into(),
            user: user.into(),
            bound: match credential {
                Credential::Key(key, _) => !key.owner_id.is_empty(),
                Credential::Device(_) => true,
                Credential::GatewayToken | Credential::Development => false,
            },
            role,
            scopes,
            key,
            device,
            limit_key: limit_key.into(),
            locale: from.locale,
            ip: from.ip,
        };
        Ok(Admitted { caller, tenant, grounds })
    }

    /// The tenant to act in, and whether that rests on the user's membership.
    async fn tenant_for(&self, credential: &Credential, role: Role, user: &str, hint: Option<&str>) -> Result<(Tenant, bool)> {
        let hint = hint.filter(|hint| !hint.is_empty());
        let membership = credential.wants_membership(role);
        let named = match (credential, hint) {
            (Credential::Key(key, _), _) if key.tenant_id.is_some() => {
                let id = key.tenant_id.unwrap_or(TenantId::MASTER);
                Some(self.tenant(&id.to_string()).await?.ok_or_else(revoked)?)
            }
            (Credential::Development, _) | (_, None) => None,
            (_, Some(hint)) if membership => match self.tenant(hint).await? {
                None => None,
                Some(_) if user.is_empty() => return Err(revoked()),
                Some(tenant) => {
                    self.tenants.member_role(tenant.id, user).await?.ok_or_else(revoked)?;
                    Some(tenant)
                }
            },
            (_, Some(hint)) => Some(self.tenant(hint).await?.ok_or_else(|| Error::not_found("tenant", hint))?),
        };
        let by_membership = membership && named.is_some();
        let tenant = match named {
            Some(tenant) => tenant,
            None => self.tenant(&TenantId::MASTER.to_string()).await?.ok_or_else(|| Error::internal("the master tenant is missing"))?,
        };
        Ok((Tenant::clone(&tenant), by_membership))
    }
}

fn revoked() -> Error {
    Error::new(ErrorKind::TenantRevoked, message::tenant_revoked())
}

/// Whether the configuration names this user as an owner.
pub(super) fn is_owner(settings: &Settings, user: &str) -> bool {
    !user.is_empty() && settings.gateway.owner_ids.iter().any(|owner| owner == user)
}

/// What rate limits count a token under, by its hash.
fn token_key(hash: &str) -> String {
    format!("token:{}", &hash[..32])
}
