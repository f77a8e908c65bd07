//! Who is there: from a token to a [`Caller`].

mod admit;
mod known;

pub(crate) use known::Known;

use crate::{
    audit::Audit,
    caller::{Caller, Locale},
    coherence::{Change, Forget},
    pairing::{Pairing, Waiting},
    settings::{LiveSettings, Settings},
};
use admit::Credential;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    api_keys::ApiKeyStore,
    clock::Clock,
    limits::{Quota, RateLimiter},
    message,
    pairing::PairingStore,
    roles::Role,
    tenants::{Tenant, TenantStatus, TenantStore},
};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{fmt, net::IpAddr, sync::Arc};

/// Longer user ids count as absent, in bytes.
pub const MAX_USER_ID: usize = 255;
/// How often one network may fail to authenticate.
const FAILED_AUTH: Quota = Quota { per_minute: 120, burst: 60 };
/// How often one network may connect, unless rate limits are switched off: enough for everybody behind one proxy to come back
/// at once, and too little to flood the database and the audit log.
const CONNECTS: Quota = Quota { per_minute: 600, burst: 300 };
/// How many failures of one network the audit log tells.
const FAILED_AUTH_NOTES: Quota = Quota { per_minute: 5, burst: 5 };

/// What a request brings along.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// The bearer token.
    pub bearer: Option<&'a str>,
    /// The secret of a paired browser.
    pub sender: Option<&'a str>,
    /// The user they claim to act for; "" for none.
    pub user_id: &'a str,
    /// The tenant they ask for: an id or a slug.
    pub tenant: Option<&'a str>,
    /// Their language.
    pub locale: Locale,
    /// Their address.
    pub ip: Option<IpAddr>,
}

/// The parameters of the WebSocket method `connect`; "" is absent.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are the wire's")]
pub struct ConnectParams {
    pub token: String,
    pub user_id: String,
    pub sender_id: String,
    pub locale: String,
    pub tenant_id: String,
    pub tenant_hint: String,
    pub tenant_scope: String,
}

/// How `connect` ended.
#[derive(Debug, Clone)]
pub enum Connected {
    /// Known.
    Authenticated {
        /// Who it is.
        caller: Box<Caller>,
        /// Their tenant.
        tenant: Box<Tenant>,
        /// What that rests on.
        grounds: Grounds,
    },
    /// A browser that brought nothing: an admin is asked to let it in.
    Pending(Waiting),
    /// A wrong token. Dashboards log out on an `ok` answer with role `viewer`, so they get that; the connection stays unauthenticated.
    Refused {
        /// The language they asked for.
        locale: Locale,
        /// The user they claimed to be.
        user: String,
    },
}

/// What an admission rests on, so that a connection that lasts can be asked about again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grounds {
    /// The hash of the API key.
    pub key_hash: Option<Arc<str>>,
    /// The gateway token of then: what opened the gateway, or that nothing was needed.
    pub token: Option<TokenMark>,
    /// Whether it rests on the user's membership in the tenant.
    pub membership: bool,
    /// When it ends by itself.
    pub until: Option<DateTime<Utc>>,
}

/// What a gateway token is recognised by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenMark([u8; 32]);

impl fmt::Debug for TokenMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenMark")
    }
}

impl TokenMark {
    fn of(settings: &Settings) -> Self {
        let token = settings.gateway.token.as_ref().map_or("", ExposeSecret::expose_secret);
        Self(Sha256::digest(token).into())
    }
}

/// Tells who is there.
pub struct Authenticator {
    pub(crate) settings: Arc<LiveSettings>,
    pub(crate) tenants: Arc<dyn TenantStore>,
    pub(crate) keys: Arc<dyn ApiKeyStore>,
    pub(crate) devices: Arc<dyn PairingStore>,
    pub(crate) pairing: Arc<Pairing>,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limiter: Arc<dyn RateLimiter>,
    pub(crate) known: Known,
}

impl Authenticator {
    /// Who sent an HTTP request.
    ///
    /// # Errors
    /// `Unauthorized`, `TenantRevoked`, `TenantClosed`, `NotFound` for an unknown tenant, `RateLimited` after too many failures.
    pub async fn http(&self, credentials: Credentials<'_>) -> Result<Caller> {
        let credential = match self.by_bearer(credentials.bearer).await? {
            Some(credential) => credential,
            None => match self.by_sender(credentials.sender).await? {
                Some(credential) => credential,
                None if self.is_open() => Credential::Development,
                None => return Err(self.failed(&credentials).await),
            },
        };
        Ok(self.admit(&credential, credentials, Role::Admin).await?.caller)
    }

    /// Who opened a WebSocket.
    ///
    /// # Errors
    /// `Invalid` for a user id that is too long, `TenantRevoked`, `TenantClosed`, `RateLimited` after too many attempts or failures or while too
    /// many wait to be paired, `Internal` if nobody can say whether a browser is paired.
    pub async fn connect(&self, params: &ConnectParams, ip: Option<IpAddr>) -> Result<Connected> {
        if self.settings.get().gateway.rate_limit_rpm > 0 {
            let attempt = self.limiter.take(&format!("connect:{}", network_of(ip)), CONNECTS).await;
            attempt.map_err(|wait| Error::new(ErrorKind::RateLimited, message::rate_limit()).retry_after(wait))?;
        }
        if params.user_id.len() > MAX_USER_ID {
            return Err(Error::invalid(message::too_long("user_id", MAX_USER_ID)));
        }
        let locale = Locale::parse(&params.locale);
        let (bearer, sender) = (given(&params.token), given(&params.sender_id));
        let tenant = [&params.tenant_id, &params.tenant_hint, &params.tenant_scope].into_iter().find_map(|hint| given(hint));
        let credentials = Credentials { bearer, sender, user_id: &params.user_id, tenant, locale, ip };
        let credential = match self.by_bearer(bearer).await? {
            Some(credential) => credential,
            None if self.is_open() => Credential::Development,
            None => match self.by_sender(sender).await? {
                Some(credential) => credential,
                None if bearer.is_none() => return self.pairing.request_browser(sender, &params.user_id, ip).await.map(Connected::Pending),
                None => {
                    let refused = self.failed(&credentials).await;
                    if refused.kind == ErrorKind::RateLimited {
                        return Err(refused);
                    }
                    return Ok(Connected::Refused { locale, user: params.user_id.clone() });
                }
            },
        };
        let admitted = self.admit(&credential, credentials, Role::Operator).await?;
        let caller = &admitted.caller;
        let details = json!({"role": caller.role, "key": caller.key, "device": caller.device.as_deref()});
        self.audit.note(caller.tenant, &caller.user, ip, "auth.login", ("auth", credential.name()), Some(details));
        Ok(Connected::Authenticated { caller: Box::new(admitted.caller), tenant: Box::new(admitted.tenant), grounds: admitted.grounds })
    }

    /// Whether the configuration still gives what an admission rests on: the gateway token is the one of then, and who is an
    /// owner is still named as one.
    #[must_use]
    pub fn configuration_stands(&self, caller: &Caller, grounds: &Grounds) -> bool {
        let settings = self.settings.get();
        grounds.token.is_none_or(|mark| mark == TokenMark::of(&settings)) && (caller.role != Role::Owner || admit::is_owner(&settings, &caller.user))
    }

    /// Whether the key with this hash is still good. Asks the store, not the cache.
    ///
    /// # Errors
    /// What the store says.
    pub async fn key_stands(&self, hash: &str) -> Result<bool> {
        let key = self.keys.all_tenants_find_by_hash(hash).await?;
        Ok(key.is_some_and(|key| self.is_good(&key)))
    }

    /// Whether others than owners may work in the tenant. Asks the store, not the cache.
    ///
    /// # Errors
    /// What the store says.
    pub async fn tenant_is_open(&self, tenant: TenantId) -> Result<bool> {
        Ok(self.tenants.find(tenant).await?.is_some_and(|tenant| tenant.status == TenantStatus::Active))
    }

    /// Whether there is no gateway token, so that everybody may come in.
    fn is_open(&self) -> bool {
        self.settings.get().gateway.token.is_none()
    }

    /// The refusal of somebody who brought nothing that counts.
    async fn failed(&self, from: &Credentials<'_>) -> Error {
        let network = network_of(from.ip);
        // Who brought nothing at all did not try anything.
        if from.bearer.is_some() || from.sender.is_some() {
            self.note_failure(from, "credential").await;
        }
        match self.limiter.take(&format!("auth:{network}"), FAILED_AUTH).await {
            Ok(()) => Error::unauthorized(),
            Err(wait) => Error::new(ErrorKind::RateLimited, message::rate_limit()).retry_after(wait),
        }
    }

    async fn note_failure(&self, from: &Credentials<'_>, reason: &'static str) {
        if self.limiter.take(&format!("auth-notes:{}", network_of(from.ip)), FAILED_AUTH_NOTES).await.is_ok() {
            let claimed = Some(from.user_id).filter(|user| !user.is_empty() && user.len() <= MAX_USER_ID);
            self.audit.note(TenantId::MASTER, "", from.ip, "auth.failed", ("auth", reason), Some(json!({"claimed_user": claimed})));
        }
    }
}

impl Forget for Authenticator {
    fn forget(&self, change: Option<&Change>) {
        self.known.forget(change.map(|change| change.kind));
    }
}

/// What was given; "" is nothing.
fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// What an address is counted under: itself, or of IPv6 the network that one customer gets.
pub(crate) fn network_of(ip: Option<IpAddr>) -> String {
    match ip.map(|ip| ip.to_canonical()) {
        None => "unknown".to_owned(),
        Some(IpAddr::V4(ip)) => ip.to_string(),
        Some(IpAddr::V6(ip)) => {
            let [a, b, c, d, ..] = ip.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
    }
}

/// The lower-case hex SHA-256 under which a key is known.
#[must_use]
pub fn hash_of(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

#[cfg(test)]
mod tests;
