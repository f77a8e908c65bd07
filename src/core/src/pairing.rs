//! Pairing: who asks to be let in, and who was.

mod browser;
mod views;

pub use browser::{Progress, Waiting};
pub use views::{DeviceView, PairingRequests, RequestView};

use crate::{
    audit::Audit,
    caller::{Access, Caller},
    coherence::{Coherence, Kind},
};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    clock::{Clock, Ids},
    events::{Event, EventBus},
    limits::RateLimiter,
    message,
    pairing::{BROWSER, DEVICE_TTL, PairingRequest, PairingStore, PendingLimits, REQUEST_TTL},
    roles::Role,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// What codes are made of: 32 characters that nobody takes for one another.
const ALPHABET: &[u8; 32] = b"ABCDEFGHJKLMNPQRSTUVWXYZ23456789";
const CODE_LENGTH: usize = 8;
/// How many codes are tried; with 40 bits a second one is hardly ever needed.
const CODE_ATTEMPTS: usize = 5;
const LIMITS: PendingLimits = PendingLimits { together: 3, channel: 100 };
/// A shorter text is no secret.
const SECRET_LENGTH: usize = 32;
/// The longest sender, chat or account, in bytes.
const MAX_NAME: usize = 255;
const REQUESTED: &str = "device.pair.requested";
const RESOLVED: &str = "device.pair.resolved";

/// What may be done with pairings.
pub struct Pairing {
    pub(crate) store: Arc<dyn PairingStore>,
    pub(crate) audit: Audit,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) limiter: Arc<dyn RateLimiter>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// A request on behalf of somebody: the parameters of `device.pair.request`; "" is absent.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct NewRequest {
    /// Who asks. Of a browser this is its secret, of which only the alias is kept.
    #[serde(alias = "sender_id")]
    pub sender_id: String,
    /// On which channel.
    pub channel: String,
    /// In which chat.
    #[serde(alias = "chat_id")]
    pub chat_id: String,
    /// On which account of the channel; `default` if absent.
    #[serde(alias = "account_id")]
    pub account_id: String,
}

impl Pairing {
    /// Asks on behalf of somebody and answers with the code. A browser's request goes to the installation's admins.
    ///
    /// # Errors
    /// `Forbidden` below operator or without the scope; `Invalid` without sender or channel, for a browser's secret that is too
    /// short to be one, and while too many wait.
    pub async fn request(&self, caller: &Caller, new: NewRequest) -> Result<String> {
        caller.require(Role::Operator, Access::Pairing, "device.pair.request")?;
        let NewRequest { sender_id, channel, chat_id, account_id } = new;
        if sender_id.is_empty() || channel.is_empty() {
            return Err(Error::invalid(message::sender_channel_required()));
        }
        for (field, value) in [("senderId", &sender_id), ("channel", &channel), ("chatId", &chat_id), ("accountId", &account_id)] {
            if value.len() > MAX_NAME {
                return Err(Error::invalid(message::too_long(field, MAX_NAME)));
            }
        }
        let account_id = if account_id.is_empty() { "default".to_owned() } else { account_id };
        let (tenant, sender) = if channel == BROWSER {
            if !is_secret(&sender_id) {
                return Err(Error::invalid_request(format!("senderId of a browser is a secret of at least {SECRET_LENGTH} characters")));
            }
            (TenantId::MASTER, alias_of(&sender_id))
        } else {
            (caller.tenant, sender_id)
        };
        let request = PairingRequest { sender, channel, chat_id, counted_as: account_id.clone(), account_id, metadata: by(&caller.user), ..self.blank() };
        let (request, new) = self.store_request(tenant, request).await.map_err(|error| match error.kind {
            ErrorKind::RateLimited => Error::invalid(error.message),
            _ => error,
        })?;
        if new {
            self.announce(tenant, &request, &caller.user, caller.ip);
        }
        Ok(request.code)
    }

    /// Lets the sender of a request in. `approved_by` is who says so if the caller names no user.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` without a code; `NotFound` for a code that is unknown, expired or another tenant's.
    pub async fn approve(&self, caller: &Caller, code: &str, approved_by: &str) -> Result<DeviceView> {
        caller.require(Role::Admin, Access::Pairing, "device.pair.approve")?;
        let code = Self::code(code)?;
        let (tenant, now) = (self.tenant_of(caller, &code).await?, self.clock.now());
        let named = [&*caller.user, approved_by, "operator"].into_iter().find(|name| !name.is_empty()).unwrap_or_default();
        if named.len() > MAX_NAME {
            return Err(Error::invalid(message::too_long("approvedBy", MAX_NAME)));
        }
        let device = self.store.approve(tenant, &code, named, now, now + DEVICE_TTL).await?.ok_or_else(|| unknown(&code))?;
        let details = json!({"channel": device.channel, "sender_id": device.sender, "user_id": device.user_id});
        self.audit.record(&acting_in(caller, tenant), "pairing.approved", "pairing", &code, Some(details)).await;
        self.resolved(tenant, "approved");
        Ok(device.into())
    }

    /// Turns a request down.
    ///
    /// # Errors
    /// As [`Pairing::approve`].
    pub async fn deny(&self, caller: &Caller, code: &str) -> Result<()> {
        caller.require(Role::Admin, Access::Pairing, "device.pair.deny")?;
        let code = Self::code(code)?;
        let tenant = self.tenant_of(caller, &code).await?;
        let request = self.store.deny(tenant, &code, self.clock.now()).await?.ok_or_else(|| unknown(&code))?;
        let details = json!({"channel": request.channel, "sender_id": request.sender, "user_id": request.user_id});
        self.audit.record(&acting_in(caller, tenant), "pairing.denied", "pairing", &code, Some(details)).await;
        self.resolved(tenant, "denied");
        Ok(())
    }

    /// Who asks and who was let in, in the caller's tenant, newest first.
    ///
    /// # Errors
    /// `Forbidden` below operator or without the scope.
    pub async fn list(&self, caller: &Caller) -> Result<PairingRequests> {
        caller.require(Role::Operator, Access::Pairing, "device.pair.list")?;
        let now = self.clock.now();
        let (pending, paired) = tokio::try_join!(self.store.pending(caller.tenant, now), self.store.paired(caller.tenant, now))?;
        Ok(PairingRequests { pending: pending.into_iter().map(Into::into).collect(), paired: paired.into_iter().map(Into::into).collect() })
    }

    /// Shuts a device out at once: its connections are closed and its requests refused. `sender` is what [`Pairing::list`]
    /// shows, or a browser's secret.
    ///
    /// # Errors
    /// `Forbidden` below admin; `Invalid` without sender or channel; `NotFound` if the tenant has no such device.
    pub async fn revoke(&self, caller: &Caller, sender: &str, channel: &str) -> Result<()> {
        caller.require(Role::Admin, Access::Pairing, "device.pair.revoke")?;
        if sender.is_empty() || channel.is_empty() {
            return Err(Error::invalid(message::sender_channel_required()));
        }
        let browser = channel == BROWSER;
        let sender = if browser && !sender.starts_with(ALIAS) { alias_of(sender) } else { sender.to_owned() };
        let revoked = self.store.revoke(caller.tenant, channel, &sender, self.clock.now()).await?;
        let device = revoked.ok_or_else(|| Error::not_found("paired device", &sender))?;
        // A sender of another channel may look like a browser's alias.
        let key = if browser { sender.clone() } else { format!("{channel}:{sender}") };
        self.coherence.changed(caller.tenant, Kind::Pairing, key);
        let details = json!({"channel": channel, "user_id": device.user_id});
        self.audit.record(caller, "pairing.revoked", "pairing", &sender, Some(details)).await;
        self.resolved(caller.tenant, "revoked");
        Ok(())
    }

    /// The tenant whose request an answer is about: the caller's own; owners may answer any.
    async fn tenant_of(&self, caller: &Caller, code: &str) -> Result<TenantId> {
        if caller.role != Role::Owner {
            return Ok(caller.tenant);
        }
        self.store.all_tenants_of_code(code, self.clock.now()).await?.ok_or_else(|| unknown(code))
    }

    fn code(given: &str) -> Result<String> {
        let code = given.trim().to_ascii_uppercase();
        if code.is_empty() {
            return Err(Error::invalid(message::code_required()));
        }
        // No code is longer, and an answer need not repeat what was sent.
        if code.len() > CODE_LENGTH { Err(unknown("-")) } else { Ok(code) }
    }

    /// Stores a request under a fresh code. Answers with what waits now, and whether that is new.
    async fn store_request(&self, tenant: TenantId, mut request: PairingRequest) -> Result<(PairingRequest, bool)> {
        let now = request.created_at;
        for _ in 0..CODE_ATTEMPTS {
            request.code = self.fresh_code();
            match self.store.request(tenant, &request, LIMITS, now).await {
                Ok(waiting) => {
                    let new = waiting.code == request.code;
                    return Ok((waiting, new));
                }
                Err(error) if error.kind == ErrorKind::AlreadyExists => {}
                Err(error) if error.kind == ErrorKind::RateLimited => return Err(Error::new(ErrorKind::RateLimited, message::too_many_pairings())),
                Err(error) => return Err(error),
            }
        }
        Err(Error::internal("no free pairing code was found"))
    }

    /// A request of now, to be filled in.
    fn blank(&self) -> PairingRequest {
        let now: DateTime<Utc> = self.clock.now();
        PairingRequest {
            code: String::new(),
            sender: String::new(),
            channel: String::new(),
            chat_id: String::new(),
            account_id: "default".to_owned(),
            user_id: String::new(),
            counted_as: String::new(),
            metadata: BTreeMap::new(),
            created_at: now,
            expires_at: now + REQUEST_TTL,
        }
    }

    /// 256 bits from the system's random source.
    fn random(&self) -> [u8; 32] {
        // Each of the three has 122 random bits.
        let mut hash = Sha256::new();
        for _ in 0..3 {
            hash.update(self.ids.random().as_bytes());
        }
        hash.finalize().into()
    }

    fn fresh_code(&self) -> String {
        self.random().iter().take(CODE_LENGTH).map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect()
    }

    /// Tells the tenant's admins of a new request.
    fn announce(&self, tenant: TenantId, request: &PairingRequest, actor: &str, ip: Option<IpAddr>) {
        let details = json!({"channel": request.channel, "claimed_user": Some(&request.user_id).filter(|user| !user.is_empty())});
        // Not the code: it is worth something as long as the request waits.
        self.audit.note(tenant, actor, ip, "pairing.requested", ("pairing", &request.sender), Some(details));
        let payload = json!({"code": request.code, "sender_id": request.sender, "channel": request.channel, "chat_id": request.chat_id});
        self.bus.publish(Event::new(tenant, REQUESTED, payload));
    }

    fn resolved(&self, tenant: TenantId, action: &str) {
        self.bus.publish(Event::new(tenant, RESOLVED, json!({"action": action})));
    }
}

const ALIAS: &str = "browser-";

/// What others see of a browser's secret.
#[must_use]
pub fn alias_of(secret: &str) -> String {
    let hash = hex::encode(Sha256::digest(secret));
    format!("{ALIAS}{}", &hash[..32])
}

/// Whether a text can be a browser's secret. An alias never is: it is public.
pub(crate) fn is_secret(text: &str) -> bool {
    (SECRET_LENGTH..=MAX_NAME).contains(&text.len()) && !text.starts_with(ALIAS)
}

/// Notes on whose behalf a request was made.
fn by(user: &str) -> BTreeMap<String, String> {
    Some(user).filter(|user| !user.is_empty()).map(|user| ("requested_by".to_owned(), user.to_owned())).into_iter().collect()
}

fn unknown(code: &str) -> Error {
    Error::not_found("pairing request", code)
}

/// The caller, for the audit log of the tenant that it acted in.
fn acting_in(caller: &Caller, tenant: TenantId) -> Caller {
    Caller { tenant, ..caller.clone() }
}

#[cfg(test)]
mod tests;
