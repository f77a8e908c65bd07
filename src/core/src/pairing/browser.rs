//! Browsers that ask to be let in. Their secret is known to nobody but themselves.

use super::{ALIAS, Pairing, alias_of, is_secret};
use crate::auth::network_of;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    limits::Quota,
    message,
    pairing::{BROWSER, PairingRequest},
};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr};

/// How often one network may ask to be let in.
const REQUESTS: Quota = Quota { per_minute: 30, burst: 10 };
/// How often one network may ask how its request stands. Clients ask every two or three seconds.
const POLLS: Quota = Quota { per_minute: 60, burst: 10 };

/// A browser that waits to be let in.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// What its user tells an admin.
    pub code: String,
    /// What it shows from now on, for nobody else to see.
    pub secret: SecretString,
    /// When the request is void.
    pub until: DateTime<Utc>,
}

/// How a browser's request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// It may connect.
    Approved,
    /// It waits.
    Pending,
    /// It was denied, nobody answered in time, or there never was such a request.
    Expired,
}

impl Pairing {
    /// Asks the installation's admins to let a browser in, as the user that it says it is. One that already waits gets the code
    /// that it has. Every other gets a new secret, whatever it brought along: that may have been revoked because others know it.
    ///
    /// # Errors
    /// `RateLimited` while too many wait, or if it asks too often.
    pub(crate) async fn request_browser(&self, secret: Option<&str>, user: &str, ip: Option<IpAddr>) -> Result<Waiting> {
        let network = network_of(ip);
        self.limit(&format!("pairing-request:{network}"), REQUESTS).await?;
        let blank = self.blank();
        let secret = match secret.filter(|secret| is_secret(secret)) {
            Some(secret) if self.store.all_tenants_is_pending(BROWSER, &alias_of(secret), blank.created_at).await? => secret.to_owned(),
            _ => hex::encode(self.random()),
        };
        let mut metadata = BTreeMap::new();
        if let Some(ip) = ip {
            metadata.insert("ip".to_owned(), ip.to_string());
        }
        // Devices without a user act as their alias; nobody may ask to be one of them.
        let user_id = if user.starts_with(ALIAS) { String::new() } else { user.to_owned() };
        let request = PairingRequest { sender: alias_of(&secret), channel: BROWSER.into(), user_id, counted_as: network, metadata, ..blank };
        let (request, new) = self.store_request(TenantId::MASTER, request).await?;
        if new {
            self.announce(TenantId::MASTER, &request, "", ip);
        }
        Ok(Waiting { code: request.code, secret: secret.into(), until: request.expires_at })
    }

    /// How the request of the browser with this secret stands.
    ///
    /// # Errors
    /// `Invalid` without a secret; `RateLimited` if it asks too often.
    pub async fn progress(&self, secret: &str, ip: Option<IpAddr>) -> Result<Progress> {
        if secret.is_empty() {
            return Err(Error::invalid(message::sender_id_required()));
        }
        self.limit(&format!("pairing:{}", network_of(ip)), POLLS).await?;
        if !is_secret(secret) {
            return Ok(Progress::Expired);
        }
        let (alias, now) = (alias_of(secret), self.clock.now());
        if self.is_paired(&alias, now).await? {
            return Ok(Progress::Approved);
        }
        if self.store.all_tenants_is_pending(BROWSER, &alias, now).await? {
            return Ok(Progress::Pending);
        }
        // It may have been approved between the two questions.
        Ok(if self.is_paired(&alias, now).await? { Progress::Approved } else { Progress::Expired })
    }

    async fn is_paired(&self, alias: &str, now: DateTime<Utc>) -> Result<bool> {
        let found = self.store.all_tenants_find_paired(BROWSER, alias, now).await?;
        Ok(found.is_some_and(|(tenant, _)| tenant == TenantId::MASTER))
    }

    async fn limit(&self, key: &str, quota: Quota) -> Result<()> {
        let limited = |wait| Error::new(ErrorKind::RateLimited, message::rate_limit()).retry_after(wait);
        self.limiter.take(key, quota).await.map_err(limited)
    }
}
