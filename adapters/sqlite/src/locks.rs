//! Locks by name. One process has the database, so they need not leave it.

use crate::database::Sqlite;
use async_trait::async_trait;
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    locks::{Held, Locks},
    message,
};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

/// The longest wait.
const PATIENCE: Duration = Duration::from_secs(45);

/// The locks that somebody holds or waits for.
#[derive(Default)]
pub(crate) struct NamedLocks(Mutex<HashMap<Name, Weak<tokio::sync::Mutex<()>>>>);

/// A tenant's name for something.
type Name = (TenantId, String);

impl NamedLocks {
    fn of(&self, tenant: TenantId, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        locks.retain(|_, lock| lock.strong_count() > 0);
        let entry = locks.entry((tenant, name.to_owned())).or_default();
        entry.upgrade().unwrap_or_else(|| {
            let lock = Arc::default();
            *entry = Arc::downgrade(&lock);
            lock
        })
    }
}

#[async_trait]
impl Locks for Sqlite {
    async fn lock(&self, tenant: TenantId, name: &str) -> Result<Held> {
        let lock = self.named.of(tenant, name);
        match tokio::time::timeout(PATIENCE, lock.lock_owned()).await {
            Ok(held) => Ok(Held::new(held)),
            Err(_) => Err(Error::new(ErrorKind::Timeout, message::timeout(name))),
        }
    }

    /// There is no other process.
    async fn take_turn(&self, _tenant: TenantId, _session_key: &str) -> Result<Held> {
        Ok(Held::new(()))
    }

    async fn turn_is_taken(&self, _tenant: TenantId, _session_key: &str) -> Result<bool> {
        Ok(false)
    }
}
