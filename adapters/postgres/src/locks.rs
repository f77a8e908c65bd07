//! Locks by name, as advisory locks of sessions of their own: what is done under one may take its time and fail in every way, and
//! neither a transaction nor a connection of the pools waits for it.

use crate::{
    error::{DATABASE, Failure},
    json::text,
    pool::Postgres,
};
use async_trait::async_trait;
use diesel::{sql_query, sql_types::Text};
use diesel_async::RunQueryDsl;
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    locks::{Held, Locks},
    message,
};
use std::time::Duration;

/// The longest wait for a connection to spare, and the server's for the lock.
const PATIENCE: Duration = Duration::from_secs(45);

#[async_trait]
impl Locks for Postgres {
    async fn lock(&self, tenant: TenantId, name: &str) -> Result<Held> {
        let too_long = || Error::new(ErrorKind::Timeout, message::timeout(name));
        let unavailable = |cause: String| Error::unavailable(DATABASE).because(cause);
        let turn = tokio::time::timeout(PATIENCE, self.lockers.clone().acquire_owned()).await.map_err(|_| too_long())?;
        let turn = turn.map_err(|error| unavailable(error.to_string()))?;
        let setup = format!("set statement_timeout = 0; set lock_timeout = '{}s'", PATIENCE.as_secs());
        let mut connection = self.server().connect(&setup).await.map_err(|error| unavailable(error.to_string()))?;
        let lock = sql_query("select pg_advisory_lock(hashtextextended($1, 0))").bind::<Text, _>(format!("lock {tenant} {name}"));
        let locked = tokio::time::timeout(PATIENCE, lock.execute(&mut connection)).await;
        locked.map_err(|_| too_long())?.map_err(Failure::from)?;
        // The server lets go of the lock when the connection ends.
        Ok(Held::new((connection, turn)))
    }

    async fn take_turn(&self, tenant: TenantId, session_key: &str) -> Result<Held> {
        self.turns.take(self.server(), turn(tenant, session_key)).await
    }

    async fn turn_is_taken(&self, tenant: TenantId, session_key: &str) -> Result<bool> {
        self.turns.is_taken(self.server(), turn(tenant, session_key)).await
    }
}

/// The name of a conversation's turn.
fn turn(tenant: TenantId, session_key: &str) -> String {
    format!("turn {tenant} {}", text(session_key))
}
