//! Rate limits that gateways count together in Redis.
//!
//! Redis is a help and never a need: while it does not answer, another limiter decides, and no request waits for it to come back.
#![deny(missing_docs)]

mod line;

use async_trait::async_trait;
use goclaw_ports::limits::{Quota, RateLimiter};
use line::{Connection, Line};
use redis::{Client, RedisError};
use secrecy::{ExposeSecret, SecretString};
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};

/// Before the keys of buckets, since others may use the same database.
const PREFIX: &str = "goclaw:limit:";
/// The bucket that shows whether Redis can count. Nobody's key begins like this.
const PROBE: &str = "goclaw:probe";
/// How long Redis may take to say that it is there, when somebody asks how it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// A bucket is the microsecond at which it will be full again; `ARGV[1]` is how many microseconds one token takes and `ARGV[2]` how
/// many the bucket holds. Time is Redis's, so the clocks of gateways need not agree. A bucket that was emptied under a slower quota
/// is no emptier than empty under this one. The answer is 0, or the microseconds until the next token is there.
const TAKE: &str = "\
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local token = tonumber(ARGV[1])
local whole = token * tonumber(ARGV[2])
local full = tonumber(redis.call('GET', KEYS[1]) or now)
local after = math.min(math.max(full, now), now + whole) + token
if after > now + whole then return after - whole - now end
redis.call('SET', KEYS[1], string.format('%.0f', after), 'PX', math.ceil((after - now) / 1000))
return 0";

/// Why Redis cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What it says may hold a password, so it is not repeated.
    #[error("it is no URL of a Redis server (redis://user:password@host:port/database, or rediss:// for TLS)")]
    Url,
}

/// Buckets in Redis, one for each key, and whoever decides while Redis cannot.
pub struct RedisLimiter {
    line: Arc<Line>,
    fallback: Arc<dyn RateLimiter>,
    keeper: JoinHandle<()>,
}

impl RedisLimiter {
    /// Connects to `dsn` (`redis://…`, `rediss://…`) and keeps connecting, on `runtime`, for as long as the limiter lives. Waits for
    /// the first attempt only; if it fails, `fallback` decides until another one succeeds.
    ///
    /// # Errors
    /// If `dsn` is no address of a Redis server.
    pub async fn start(dsn: &SecretString, fallback: Arc<dyn RateLimiter>, runtime: &Handle) -> Result<Self, StartError> {
        let client = client(dsn)?;
        let line = Arc::new(Line::default());
        let reached = line.open(&client).await;
        let keeper = runtime.spawn(line.clone().keep(client, reached));
        Ok(Self { line, fallback, keeper })
    }

    /// Whether Redis answers now. Takes a second at most.
    pub async fn answers(&self) -> bool {
        let Some((mut connection, number)) = self.line.get() else { return false };
        match timeout(PATIENCE, redis::cmd("PING").exec_async(&mut connection)).await {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                self.line.lost(number, &error);
                false
            }
            Err(_) => false,
        }
    }
}

impl Drop for RedisLimiter {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

/// Whether a Redis server answers at `dsn` and can count. The text says why not.
///
/// # Errors
/// If it does not.
pub async fn check(dsn: &SecretString) -> Result<(), String> {
    let client = client(dsn).map_err(|error| error.to_string())?;
    Line::default().open(&client).await.map_err(|error| error.to_string())
}

fn client(dsn: &SecretString) -> Result<Client, StartError> {
    Client::open(dsn.expose_secret()).map_err(|_| StartError::Url)
}

/// Takes a token from a bucket; if there is none, answers with the time until the next one.
async fn ask(connection: &mut Connection, key: &str, quota: Quota) -> Result<Result<(), Duration>, RedisError> {
    let token = (60_000_000 / u64::from(quota.per_minute.max(1))).max(1);
    let mut command = redis::cmd("EVAL");
    command.arg(TAKE).arg(1).arg(format!("{PREFIX}{key}")).arg(token).arg(quota.burst.max(1));
    let wait: u64 = command.query_async(connection).await?;
    Ok(if wait == 0 { Ok(()) } else { Err(Duration::from_micros(wait)) })
}

#[async_trait]
impl RateLimiter for RedisLimiter {
    async fn take(&self, key: &str, quota: Quota) -> Result<(), Duration> {
        if quota.per_minute == 0 {
            return Ok(());
        }
        if let Some((mut connection, number)) = self.line.get() {
            match ask(&mut connection, key, quota).await {
                Ok(answer) => return answer,
                Err(error) => self.line.lost(number, &error),
            }
        }
        self.fallback.take(key, quota).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        for dsn in ["", "redis", "http://h/", "redis://u:hunter2@[", "redis://:hunter2@host/none"] {
            let error = client(&SecretString::from(dsn)).map(drop).unwrap_err().to_string();
            assert!(!error.contains("hunter2") && error.contains("rediss://"), "{error}");
        }
        for dsn in ["redis://127.0.0.1/", "redis://u:p@host:6380/3", "rediss://host"] {
            client(&SecretString::from(dsn)).unwrap();
        }
    }
}
