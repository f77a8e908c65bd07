//! What was looked up lately: keys, tenants, paired browsers.

use super::{Authenticator, Credential, hash_of};
use crate::{
    coherence::Kind,
    lookups::Lookups,
    pairing::{alias_of, is_secret},
};
use goclaw_ports::{
    ApiKeyId, Error, ErrorKind, Result, TenantId,
    api_keys::ApiKey,
    pairing::{BROWSER, PairedDevice},
    tenants::Tenant,
};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};
use std::{sync::Arc, time::Duration};
use subtle::ConstantTimeEq;

const KEYS: Duration = Duration::from_secs(300);
const TENANTS: Duration = Duration::from_secs(30);
const DEVICES: Duration = Duration::from_secs(30);
const CAPACITY: u64 = 10_000;
/// How long noting the use of a key may take.
const NOTE_USE: Duration = Duration::from_secs(5);

/// What was looked up lately.
pub(crate) struct Known {
    keys: Lookups<Option<Arc<ApiKey>>>,
    tenants: Lookups<Option<Arc<Tenant>>>,
    devices: Lookups<Option<Arc<PairedDevice>>>,
}

impl Default for Known {
    fn default() -> Self {
        Self { keys: Lookups::new(CAPACITY, KEYS), tenants: Lookups::new(CAPACITY, TENANTS), devices: Lookups::new(CAPACITY, DEVICES) }
    }
}

impl Known {
    /// Forgets all of this kind; without a kind, everything.
    pub fn forget(&self, kind: Option<Kind>) {
        if kind.is_none_or(|kind| kind == Kind::ApiKeys) {
            self.keys.forget();
        }
        if kind.is_none_or(|kind| kind == Kind::Tenants) {
            self.tenants.forget();
        }
        if kind.is_none_or(|kind| kind == Kind::Pairing) {
            self.devices.forget();
        }
    }
}

impl Authenticator {
    /// What a bearer token is; `None` if it is nothing.
    pub(super) async fn by_bearer(&self, bearer: Option<&str>) -> Result<Option<Credential>> {
        let Some(bearer) = bearer else { return Ok(None) };
        if self.settings.get().gateway.token.as_ref().is_some_and(|token| same(token.expose_secret(), bearer)) {
            return Ok(Some(Credential::GatewayToken));
        }
        let hash = hash_of(bearer);
        let look = async {
            let key = self.keys.all_tenants_find_by_hash(&hash).await?.map(Arc::new);
            if let Some(key) = &key {
                self.note_use(key.tenant_id, key.id);
            }
            Ok(key)
        };
        // Misses are kept too: a wrong key that is sent again and again must not reach the database each time.
        let key = self.known.keys.get(&hash, |_| true, look).await?;
        Ok(key.filter(|key| self.is_good(key)).map(|key| Credential::Key(key, hash)))
    }

    /// The paired browser with this secret.
    ///
    /// # Errors
    /// `Internal` if the store cannot say.
    pub(super) async fn by_sender(&self, secret: Option<&str>) -> Result<Option<Credential>> {
        let Some(secret) = secret.filter(|secret| is_secret(secret)) else { return Ok(None) };
        let (alias, now) = (alias_of(secret), self.clock.now());
        let look = async {
            let found = self.devices.all_tenants_find_paired(BROWSER, &alias, now).await;
            let found = found.map_err(|error| if error.kind == ErrorKind::Internal { error } else { Error::internal(error) })?;
            // Browsers are let in by the installation's own admins only; nobody else's word counts here.
            Ok(found.filter(|(tenant, _)| *tenant == TenantId::MASTER).map(|(_, device)| Arc::new(device)))
        };
        // An unknown secret is not remembered: anybody may send any number of them.
        let device = self.known.devices.get(&alias, Option::is_some, look).await?;
        Ok(device.filter(|device| now < device.expires_at).map(Credential::Device))
    }

    /// The tenant with this id or slug.
    pub(super) async fn tenant(&self, id_or_slug: &str) -> Result<Option<Arc<Tenant>>> {
        let look = async {
            let by_id = match id_or_slug.parse() {
                Ok(id) => self.tenants.find(id).await?,
                Err(_) => None,
            };
            let tenant = match by_id {
                Some(tenant) => Some(tenant),
                None => self.tenants.all_tenants_find_by_slug(id_or_slug).await?,
            };
            Ok(tenant.map(Arc::new))
        };
        // An unknown name is not remembered: anybody may send any number of them.
        self.known.tenants.get(id_or_slug, Option::is_some, look).await
    }

    /// Whether a key is neither revoked nor expired.
    pub(super) fn is_good(&self, key: &ApiKey) -> bool {
        let now = self.clock.now();
        !key.revoked && key.expires_at.is_none_or(|end| now < end)
    }

    fn note_use(&self, tenant: Option<TenantId>, id: ApiKeyId) {
        let (keys, now) = (self.keys.clone(), self.clock.now());
        tokio::spawn(async move {
            if let Err(error) = tokio::time::timeout(NOTE_USE, keys.touch(tenant, id, now)).await.unwrap_or(Ok(())) {
                tracing::warn!(%error, "noting the use of an API key failed");
            }
        });
    }
}

/// Whether two secrets are the same, in a time that does not tell how much of them is.
fn same(one: &str, other: &str) -> bool {
    Sha256::digest(one).ct_eq(&Sha256::digest(other)).into()
}
