//! Pairing: how a browser or a person in a messaging channel gets in without a token, once an admin has agreed.

use crate::{Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::BTreeMap;

/// The channel of paired browsers.
pub const BROWSER: &str = "browser";
/// How long a request waits for an answer.
pub const REQUEST_TTL: TimeDelta = TimeDelta::minutes(60);
/// How long a paired device stays paired.
pub const DEVICE_TTL: TimeDelta = TimeDelta::days(30);

/// Somebody who asks to be let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairingRequest {
    /// What the admin is told: 8 characters.
    pub code: String,
    /// Who asks. Of a browser this is the public alias of its secret, never the secret.
    pub sender: String,
    /// On which channel: `browser`, `telegram`, ….
    pub channel: String,
    /// In which chat; "" if there is none.
    pub chat_id: String,
    /// On which account of the channel; `default` if it has one only.
    pub account_id: String,
    /// The user they say they are; "" if they say nothing.
    pub user_id: String,
    /// Under what pending requests are counted: the account, or a browser's address.
    pub counted_as: String,
    /// More about them, for the admin.
    pub metadata: BTreeMap<String, String>,
    /// When they asked.
    pub created_at: DateTime<Utc>,
    /// When the request is void.
    pub expires_at: DateTime<Utc>,
}

/// Somebody who was let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairedDevice {
    /// Who it is; of a browser the public alias of its secret.
    pub sender: String,
    /// On which channel.
    pub channel: String,
    /// In which chat; "" if there is none.
    pub chat_id: String,
    /// The user it acts as: what the request said, fixed by the approval; "" if it said nothing.
    pub user_id: String,
    /// Who let it in.
    pub paired_by: String,
    /// More about it.
    pub metadata: BTreeMap<String, String>,
    /// Since when.
    pub paired_at: DateTime<Utc>,
    /// Until when.
    pub expires_at: DateTime<Utc>,
}

/// How many requests may wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingLimits {
    /// Of those that count together ([`PairingRequest::counted_as`]), in one channel.
    pub together: i64,
    /// Of the channel, in the tenant.
    pub channel: i64,
}

/// Keeps who asks and who was let in. What has expired at `now` counts as absent and is removed along the way.
#[async_trait]
pub trait PairingStore: Send + Sync {
    /// Stores a request and answers with it; if the same sender of the same channel already waits, that request is the answer
    /// and nothing is stored.
    ///
    /// # Errors
    /// `RateLimited` if too many wait; `AlreadyExists` if the code is taken (in any tenant); `NotFound` without the tenant.
    async fn request(&self, tenant: TenantId, request: &PairingRequest, limits: PendingLimits, now: DateTime<Utc>) -> Result<PairingRequest>;

    /// The tenant's requests, newest first.
    async fn pending(&self, tenant: TenantId, now: DateTime<Utc>) -> Result<Vec<PairingRequest>>;

    /// The tenant's devices, newest first.
    async fn paired(&self, tenant: TenantId, now: DateTime<Utc>) -> Result<Vec<PairedDevice>>;

    /// Lets the sender of a request in, in one step: the request is gone and the device is there until `expires_at`. A device of
    /// the same channel and sender is replaced. `None` without such a request.
    async fn approve(&self, tenant: TenantId, code: &str, paired_by: &str, now: DateTime<Utc>, expires_at: DateTime<Utc>) -> Result<Option<PairedDevice>>;

    /// Removes a request and answers with it; `None` without such a request.
    async fn deny(&self, tenant: TenantId, code: &str, now: DateTime<Utc>) -> Result<Option<PairingRequest>>;

    /// Removes a device and answers with it; `None` without such a device.
    async fn revoke(&self, tenant: TenantId, channel: &str, sender: &str, now: DateTime<Utc>) -> Result<Option<PairedDevice>>;

    /// The tenant of the request with this code.
    async fn all_tenants_of_code(&self, code: &str, now: DateTime<Utc>) -> Result<Option<TenantId>>;

    /// The device of this channel and sender, and its tenant.
    async fn all_tenants_find_paired(&self, channel: &str, sender: &str, now: DateTime<Utc>) -> Result<Option<(TenantId, PairedDevice)>>;

    /// Whether a request of this channel and sender waits.
    async fn all_tenants_is_pending(&self, channel: &str, sender: &str, now: DateTime<Utc>) -> Result<bool>;
}
