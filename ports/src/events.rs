//! What happened, for whoever listens: WebSocket clients, caches, other replicas.

use crate::{Result, TenantId};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use uuid::Uuid;

/// The name of what runs tell while they go on: by far the most events.
pub const AGENT: &str = "agent";

/// Something that happened in a tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Whose it is. Nobody else sees it.
    pub tenant: TenantId,
    /// `agent`, `session.updated`, ….
    pub name: Cow<'static, str>,
    /// The user it concerns; non-admins see only events of their own user, or of none.
    pub user: Option<Arc<str>>,
    /// What clients get.
    pub payload: Arc<Value>,
}

impl Event {
    /// An event that concerns the whole tenant.
    #[must_use]
    pub fn new(tenant: TenantId, name: &'static str, payload: Value) -> Self {
        Self { tenant, name: Cow::Borrowed(name), user: None, payload: Arc::new(payload) }
    }

    /// The same event, concerning this user; "" is nobody in particular.
    #[must_use]
    pub fn of_user(mut self, user: &str) -> Self {
        self.user = (!user.is_empty()).then(|| user.into());
        self
    }
}

/// Carries events to all listeners of this process and of the other replicas.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Tells all listeners. Never waits for a slow one.
    fn publish(&self, event: Event);
    /// Listens from now on.
    fn subscribe(&self) -> Box<dyn EventStream>;
    /// Listens from now on to all but [`AGENT`] events, which would wake a listener for nothing that looks for something else.
    fn subscribe_to_others(&self) -> Box<dyn EventStream>;
    /// Somebody wants to know what runs tell, until this is dropped.
    fn attend(&self) -> Attendance;
    /// Whether anybody wants to know what runs tell. If not, [`AGENT`] events need not be published.
    fn attended(&self) -> bool;
    /// Sends off what is still waiting for other replicas.
    async fn flush(&self) {}
    /// Sends off what is still waiting, and tells the other replicas that this one goes. What is published afterwards stays here.
    async fn close(&self) {}
}

/// Counts who wants to know what runs tell.
#[derive(Debug, Clone, Default)]
pub struct Audience(Arc<AtomicUsize>);

/// Somebody who wants to know what runs tell.
#[derive(Debug)]
pub struct Attendance(Arc<AtomicUsize>);

impl Audience {
    /// One more, until this is dropped.
    #[must_use]
    pub fn join(&self) -> Attendance {
        self.0.fetch_add(1, Ordering::SeqCst);
        Attendance(self.0.clone())
    }

    /// Whether there is nobody.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a listener hears.
#[async_trait]
pub trait EventStream: Send {
    /// The next event.
    async fn next(&mut self) -> Heard;
}

/// What a listener hears next.
#[derive(Debug, Clone)]
pub enum Heard {
    /// An event.
    Event(Event),
    /// The listener was too slow and missed this many; 0 if nobody knows how many.
    Missed(u64),
    /// The bus is gone.
    Closed,
}

/// Events of one replica, sent together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The replica that sent them.
    pub origin: Uuid,
    /// Their number: the replica's batches are numbered 1, 2, 3, … without gaps.
    pub seq: i64,
    /// The events, as JSON.
    pub events: String,
}

/// Carries batches of events between replicas.
#[async_trait]
pub trait EventRelay: Send + Sync {
    /// Stores a batch, and wakes the other replicas. One that is stored already, because the answer to an earlier attempt got
    /// lost, stays as it is; that is no error, or `AlreadyExists`.
    async fn send(&self, batch: &Batch) -> Result<()>;

    /// Begins to listen for [`EventRelay::send`] of other replicas. A wake-up that was sent after this returned is not lost
    /// until [`Wakes::next`] fails.
    async fn listen(&self) -> Result<Box<dyn Wakes>>;

    /// The newest number of each replica that has batches stored.
    async fn newest(&self) -> Result<Vec<(Uuid, i64)>>;

    /// The batches of other replicas than `own` that are newer than `known`, by replica and number, at most `limit`. Of a replica
    /// that is not in `known`, all.
    async fn newer(&self, own: Uuid, known: &[(Uuid, i64)], limit: i64) -> Result<Vec<Batch>>;

    /// Removes batches that are older than ten minutes.
    async fn prune(&self) -> Result<()>;
}

/// Wake-ups.
#[async_trait]
pub trait Wakes: Send {
    /// Waits for a wake-up.
    ///
    /// # Errors
    /// `Unavailable` if the line is dead; listen again.
    async fn next(&mut self) -> Result<()>;
}
