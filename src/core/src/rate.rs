//! How often somebody may ask for work.

use crate::settings::TenantSettings;
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    limits::{Quota, RateLimiter},
    message,
};
use std::{sync::Arc, time::Duration};

/// How many requests come at once before the rate limit holds.
const BURST: u32 = 5;

/// The limit on requests that start work: `gateway.rate_limit_rpm` of the tenant.
pub(crate) struct RequestRate {
    pub limiter: Arc<dyn RateLimiter>,
    pub settings: Arc<TenantSettings>,
}

impl RequestRate {
    /// Counts a request of whoever has this key.
    ///
    /// # Errors
    /// `RateLimited`, with the time after which the next one passes.
    pub async fn take(&self, tenant: TenantId, key: &str) -> Result<()> {
        let per_minute = self.settings.of(tenant).await?.gateway.rate_limit_rpm;
        if per_minute == 0 {
            return Ok(());
        }
        self.limiter.take(key, Quota { per_minute, burst: BURST }).await.map_err(limited)
    }
}

/// The refusal of a request that came too soon.
pub(crate) fn limited(wait: Duration) -> Error {
    Error::new(ErrorKind::RateLimited, message::rate_limit()).retry_after(wait)
}
