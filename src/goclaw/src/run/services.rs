//! Servers beside the database that help and are not needed.

use crate::config::Config;
use anyhow::{Context, Result};
use async_trait::async_trait;
use goclaw_core::platform::Service;
use goclaw_ports::limits::RateLimiter;
use goclaw_redis::RedisLimiter;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What requests are counted with: Redis, if there is one, and `limiter` while it does not answer.
///
/// # Errors
/// If the configuration names no server that there could be.
pub async fn start(config: &Config, limiter: Arc<dyn RateLimiter>) -> Result<(Arc<dyn RateLimiter>, Vec<Arc<dyn Service>>)> {
    let Some(dsn) = config.redis() else { return Ok((limiter, Vec::new())) };
    let redis = Arc::new(RedisLimiter::start(&dsn, limiter, &Handle::current()).await.context("GOCLAW_REDIS_DSN")?);
    let service: Arc<dyn Service> = Arc::new(Redis(redis.clone()));
    let limiter: Arc<dyn RateLimiter> = redis;
    Ok((limiter, vec![service]))
}

/// Redis, for readiness.
struct Redis(Arc<RedisLimiter>);

#[async_trait]
impl Service for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn answers(&self) -> bool {
        self.0.answers().await
    }
}
