//! The connection to Redis, which is there or is being made.

use super::{PROBE, ask};
use goclaw_ports::limits::Quota;
use redis::{AsyncConnectionConfig, Client, RedisError};
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{sync::Notify, time::sleep};

/// One connection carries the questions of all requests at once.
pub type Connection = redis::aio::MultiplexedConnection;

/// How long connecting may take, and one answer.
const CONNECT: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_secs(3);
/// How many questions wait for their answers at most; the next ones wait for them.
const AT_ONCE: usize = 256;
/// How long it takes until the next attempt to connect.
const RETRY: Duration = Duration::from_secs(1);

/// The connection, if there is one.
#[derive(Default)]
pub struct Line {
    state: RwLock<State>,
    cut: Notify,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    /// Which connection it is: the second failure of one that is gone already must not take its successor along.
    number: u64,
}

impl Line {
    /// The connection and its number, if there is one.
    pub fn get(&self) -> Option<(Connection, u64)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.connection.clone().map(|connection| (connection, state.number))
    }

    /// Gives up the connection with this number, on which something went wrong.
    pub fn lost(&self, number: u64, why: &RedisError) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.number == number && state.connection.take().is_some() {
            tracing::warn!(error = %why, "Redis does not answer; rate limits are counted without it until it does");
            self.cut.notify_one();
        }
    }

    /// Connects, and sees whether Redis can count.
    pub async fn open(&self, client: &Client) -> Result<(), RedisError> {
        let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER)).set_concurrency_limit(AT_ONCE);
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        redis::cmd("PING").exec_async(&mut connection).await?;
        // A server that may not run scripts, or is full, answers all the same.
        let _ = ask(&mut connection, PROBE, Quota { per_minute: 60_000, burst: 60_000 }).await?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State { connection: Some(connection), number: state.number + 1 };
        Ok(())
    }

    /// Connects again whenever the connection is lost. `reached` says how the first attempt went.
    pub async fn keep(self: Arc<Self>, client: Client, mut reached: Result<(), RedisError>) {
        if let Err(error) = &reached {
            tracing::warn!(%error, "Redis cannot be reached; rate limits are counted without it until it can");
        }
        loop {
            if reached.is_ok() {
                self.cut.notified().await;
            }
            sleep(RETRY).await;
            reached = self.open(&client).await;
            if reached.is_ok() {
                tracing::info!("Redis counts requests again");
            }
        }
    }
}
