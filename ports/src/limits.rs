//! Rate limits.

use async_trait::async_trait;
use std::time::Duration;

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quota {
    /// Tokens per minute; 0 means no limit.
    pub per_minute: u32,
    /// How many may be taken at once.
    pub burst: u32,
}

/// Counts requests.
#[async_trait]
pub trait RateLimiter: Send + Sync {
    /// Takes one token from the bucket of `key`. `Err` says when the next one is there.
    ///
    /// Keys are chosen by the caller and never hold a secret in clear.
    async fn take(&self, key: &str, quota: Quota) -> Result<(), Duration>;
}
