//! Which other replicas are there.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use uuid::Uuid;

/// The other replicas, by when they were last heard.
pub struct Peers {
    alive_for: Duration,
    heard: Mutex<HashMap<Uuid, Instant>>,
    changed: Notify,
}

impl Peers {
    pub fn new(alive_for: Duration) -> Self {
        Self { alive_for, heard: Mutex::default(), changed: Notify::new() }
    }

    /// A replica was heard. `true` if it was not there before.
    pub fn heard(&self, origin: Uuid) -> bool {
        let now = Instant::now();
        let mut heard = self.lock();
        heard.retain(|_, last| now.duration_since(*last) < self.alive_for);
        let new = heard.insert(origin, now).is_none();
        drop(heard);
        if new {
            self.changed.notify_waiters();
        }
        new
    }

    /// A replica has gone. `true` if it was there.
    pub fn gone(&self, origin: Uuid) -> bool {
        self.lock().remove(&origin).is_some()
    }

    /// Whether there is any.
    pub fn any(&self) -> bool {
        let now = Instant::now();
        self.lock().values().any(|last| now.duration_since(*last) < self.alive_for)
    }

    /// Waits until there is one.
    pub async fn first(&self) {
        loop {
            let changed = self.changed.notified();
            if self.any() {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
