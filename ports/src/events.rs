//! What happened, for whoever listens: WebSocket clients, caches, other replicas.

use crate::TenantId;
use async_trait::async_trait;
use serde_json::Value;
use std::sync::Arc;

/// Something that happened in a tenant.
#[derive(Debug, Clone)]
pub struct Event {
    /// Whose it is. Nobody else sees it.
    pub tenant: TenantId,
    /// `agent`, `session.updated`, ….
    pub name: &'static str,
    /// The user it concerns; non-admins see only events of their own user, or of none.
    pub user: Option<Arc<str>>,
    /// What clients get.
    pub payload: Arc<Value>,
}

/// Carries events to all listeners of this process and of the other replicas.
#[async_trait]
pub trait EventBus: Send + Sync {
    /// Tells all listeners. Never waits for a slow one.
    fn publish(&self, event: Event);
    /// Listens from now on.
    fn subscribe(&self) -> Box<dyn EventStream>;
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
    /// The listener was too slow and missed this many.
    Missed(u64),
    /// The bus is gone.
    Closed,
}
