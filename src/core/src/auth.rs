//! Who is there: from a token to a [`Caller`].

use crate::{
    caller::{Caller, Locale},
    settings::{LiveSettings, Settings},
};
use goclaw_ports::{
    ApiKeyId, Error, ErrorKind, Result, TenantId,
    api_keys::{ApiKey, ApiKeyStore},
    clock::Clock,
    limits::{Quota, RateLimiter},
    message,
    roles::{Role, Scope},
    tenants::{Tenant, TenantStatus, TenantStore},
};
use moka::future::Cache;
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::{net::IpAddr, sync::Arc, time::Duration};
use subtle::ConstantTimeEq;

/// Longer user ids count as absent, in bytes.
pub const MAX_USER_ID: usize = 255;
/// How long a looked-up key or tenant is believed.
const CACHE_TTL: Duration = Duration::from_secs(300);
const TENANT_TTL: Duration = Duration::from_secs(30);
/// How often one address may fail to authenticate.
const FAILED_AUTH: Quota = Quota { per_minute: 120, burst: 60 };

/// What a request brings along.
#[derive(Debug, Clone, Copy)]
pub struct Credentials<'a> {
    /// The bearer token.
    pub bearer: Option<&'a str>,
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
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
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
    },
    /// A wrong token. Dashboards log out on an `ok` answer with role `viewer`, so they get that; the connection stays unauthenticated.
    Refused {
        /// The language they asked for.
        locale: Locale,
        /// The user they claimed to be.
        user: String,
    },
}

/// Tells who is there.
pub struct Authenticator {
    settings: Arc<LiveSettings>,
    tenants: Arc<dyn TenantStore>,
    keys: Arc<dyn ApiKeyStore>,
    clock: Arc<dyn Clock>,
    limiter: Arc<dyn RateLimiter>,
    known_keys: Cache<String, Option<Arc<ApiKey>>>,
    known_tenants: Cache<String, Option<Arc<Tenant>>>,
}

enum Credential {
    GatewayToken,
    Key(Arc<ApiKey>),
    Development,
    Wrong,
}

impl Authenticator {
    /// Looks up keys and tenants in these stores.
    pub fn new(
        settings: Arc<LiveSettings>,
        tenants: Arc<dyn TenantStore>,
        keys: Arc<dyn ApiKeyStore>,
        clock: Arc<dyn Clock>,
        limiter: Arc<dyn RateLimiter>,
    ) -> Self {
        Self {
            settings,
            tenants,
            keys,
            clock,
            limiter,
            known_keys: Cache::builder().max_capacity(10_000).time_to_live(CACHE_TTL).build(),
            known_tenants: Cache::builder().max_capacity(10_000).time_to_live(TENANT_TTL).build(),
        }
    }

    /// Who sent an HTTP request.
    ///
    /// # Errors
    /// `Unauthorized`, `TenantRevoked`, `NotFound` for an unknown tenant, `RateLimited` after too many failures.
    pub async fn http(&self, credentials: Credentials<'_>) -> Result<Caller> {
        match self.credential(credentials.bearer).await? {
            Credential::Wrong => Err(self.failed(credentials.ip).await),
            credential => Ok(self.caller(&credential, credentials, Role::Admin).await?.0),
        }
    }

    /// Who opened a WebSocket.
    ///
    /// # Errors
    /// `Invalid` for a user id that is too long, `Unauthorized` without any credential, `TenantRevoked`, `RateLimited`.
    pub async fn connect(&self, params: ConnectParams, ip: Option<IpAddr>) -> Result<Connected> {
        if params.user_id.len() > MAX_USER_ID {
            return Err(Error::invalid(message::too_long("user_id", MAX_USER_ID)));
        }
        let locale = Locale::parse(&params.locale);
        let bearer = Some(params.token.as_str()).filter(|token| !token.is_empty());
        let credential = self.credential(bearer).await?;
        if matches!(credential, Credential::Wrong) {
            let refused = self.failed(ip).await;
            if bearer.is_none() || refused.kind == ErrorKind::RateLimited {
                return Err(refused);
            }
            return Ok(Connected::Refused { locale, user: params.user_id });
        }
        let tenant = [&params.tenant_id, &params.tenant_hint, &params.tenant_scope].into_iter().map(String::as_str).find(|hint| !hint.is_empty());
        let credentials = Credentials { bearer, user_id: &params.user_id, tenant, locale, ip };
        let (caller, tenant) = self.caller(&credential, credentials, Role::Operator).await?;
        Ok(Connected::Authenticated { caller: Box::new(caller), tenant: Box::new(tenant) })
    }

    /// Forgets what is known of keys, so that a revoked one is refused at once.
    pub fn forget_keys(&self) {
        self.known_keys.invalidate_all();
    }

    async fn credential(&self, bearer: Option<&str>) -> Result<Credential> {
        let settings = self.settings.get();
        let configured = settings.gateway.token.as_ref();
        if let (Some(token), Some(bearer)) = (configured, bearer)
            && same(token.expose_secret(), bearer)
        {
            return Ok(Credential::GatewayToken);
        }
        if let Some(bearer) = bearer
            && let Some(key) = self.key(bearer).await?
        {
            return Ok(Credential::Key(key));
        }
        Ok(if configured.is_none() { Credential::Development } else { Credential::Wrong })
    }

    async fn key(&self, bearer: &str) -> Result<Option<Arc<ApiKey>>> {
        let hash = hash_of(bearer);
        let known = self.known_keys.get(&hash).await;
        let key = match known {
            Some(key) => key,
            None => {
                let key = self.keys.all_tenants_find_by_hash(&hash).await?.map(Arc::new);
                self.known_keys.insert(hash, key.clone()).await;
                if let Some(key) = &key {
                    self.note_use(key.tenant_id, key.id);
                }
                key
            }
        };
        let now = self.clock.now();
        Ok(key.filter(|key| !key.revoked && key.expires_at.is_none_or(|end| now < end)))
    }

    fn note_use(&self, tenant: Option<TenantId>, id: ApiKeyId) {
        let (keys, now) = (self.keys.clone(), self.clock.now());
        tokio::spawn(async move {
            if let Err(error) = tokio::time::timeout(Duration::from_secs(5), keys.touch(tenant, id, now)).await.unwrap_or(Ok(())) {
                tracing::warn!(%error, "noting the use of an API key failed");
            }
        });
    }

    async fn failed(&self, ip: Option<IpAddr>) -> Error {
        let key = format!("auth:{}", ip.map_or_else(String::new, |ip| ip.to_string()));
        match self.limiter.take(&key, FAILED_AUTH).await {
            Ok(()) => Error::unauthorized(),
            Err(wait) => Error::new(ErrorKind::RateLimited, message::rate_limit()).retry_after(wait),
        }
    }

    async fn caller(&self, credential: &Credential, from: Credentials<'_>, development_role: Role) -> Result<(Caller, Tenant)> {
        let settings = self.settings.get();
        let claimed = if from.user_id.len() > MAX_USER_ID { "" } else { from.user_id };
        let (role, user, scopes, key): (Role, &str, Option<Arc<[Scope]>>, Option<ApiKeyId>) = match credential {
            Credential::GatewayToken if is_owner(&settings, claimed) => (Role::Owner, claimed, None, None),
            Credential::GatewayToken => (Role::Admin, claimed, None, None),
            Credential::Key(key) => {
                let user = if key.owner_id.is_empty() { claimed } else { &key.owner_id };
                (Scope::role(&key.scopes), user, Some(key.scopes.clone().into()), Some(key.id))
            }
            Credential::Development | Credential::Wrong => (development_role, claimed, None, None),
        };
        let tenant = self.tenant_for(credential, role, user, from.tenant).await?;
        if tenant.status != TenantStatus::Active && role != Role::Owner {
            return Err(revoked());
        }
        let limit_key = match from.bearer {
            Some(bearer) => format!("token:{}", &hash_of(bearer)[..32]),
            None => format!("ip:{}", from.ip.map_or_else(String::new, |ip| ip.to_string())),
        };
        let caller = Caller {
            tenant: tenant.id,
            tenant_slug: tenant.slug.as_str().into(),
            user: user.into(),
            role,
            scopes,
            key,
            limit_key: limit_key.into(),
            locale: from.locale,
            ip: from.ip,
        };
        Ok((caller, tenant))
    }

    async fn tenant_for(&self, credential: &Credential, role: Role, user: &str, hint: Option<&str>) -> Result<Tenant> {
        let hint = hint.filter(|hint| !hint.is_empty());
        let named = match (credential, hint) {
            (Credential::Key(key), _) if key.tenant_id.is_some() => {
                let id = key.tenant_id.unwrap_or(TenantId::MASTER);
                Some(self.tenant(&id.to_string()).await?.ok_or_else(revoked)?)
            }
            (Credential::Development, _) | (_, None) => None,
            (Credential::GatewayToken, Some(hint)) if role != Role::Owner => match self.tenant(hint).await? {
                None => None,
                Some(_) if user.is_empty() => return Err(revoked()),
                Some(tenant) => {
                    self.tenants.member_role(tenant.id, user).await?.ok_or_else(revoked)?;
                    Some(tenant)
                }
            },
            (_, Some(hint)) => Some(self.tenant(hint).await?.ok_or_else(|| Error::not_found("tenant", hint))?),
        };
        let tenant = match named {
            Some(tenant) => tenant,
            None => self.tenant(&TenantId::MASTER.to_string()).await?.ok_or_else(|| Error::internal("the master tenant is missing"))?,
        };
        Ok(Tenant::clone(&tenant))
    }

    async fn tenant(&self, id_or_slug: &str) -> Result<Option<Arc<Tenant>>> {
        if let Some(tenant) = self.known_tenants.get(id_or_slug).await {
            return Ok(tenant);
        }
        let by_id = match id_or_slug.parse() {
            Ok(id) => self.tenants.find(id).await?,
            Err(_) => None,
        };
        let tenant = match by_id {
            Some(tenant) => Some(tenant),
            None => self.tenants.all_tenants_find_by_slug(id_or_slug).await?,
        }
        .map(Arc::new);
        // An unknown name is not remembered: anybody may send any number of them.
        if tenant.is_some() {
            self.known_tenants.insert(id_or_slug.to_owned(), tenant.clone()).await;
        }
        Ok(tenant)
    }
}

fn revoked() -> Error {
    Error::new(ErrorKind::TenantRevoked, message::tenant_revoked())
}

fn is_owner(settings: &Settings, user: &str) -> bool {
    !user.is_empty() && settings.gateway.owner_ids.iter().any(|owner| owner == user)
}

/// The lower-case hex SHA-256 under which a key is known.
#[must_use]
pub fn hash_of(key: &str) -> String {
    hex::encode(Sha256::digest(key))
}

/// Whether two secrets are the same, in a time that does not tell how much of them is.
fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}
