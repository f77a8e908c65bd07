//! Locks that hold for every process that shares the database.

use crate::{Result, TenantId};
use async_trait::async_trait;
use std::any::Any;

/// A lock that is held until this is dropped.
pub struct Held(#[expect(dead_code, reason = "it is held to be dropped")] Box<dyn Any + Send + Sync>);

impl Held {
    /// A lock that `held` keeps.
    #[must_use]
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Box::new(held))
    }
}

/// Lets one at a time do what must not be done twice at once, such as using a token that is good for one use. They are few and slow:
/// what can be one statement of a store should be that.
#[async_trait]
pub trait Locks: Send + Sync {
    /// Waits until nobody holds the tenant's lock of this name, and takes it. A process that dies lets go of it.
    ///
    /// # Errors
    /// `Timeout` if it is not free within 45 s.
    async fn lock(&self, tenant: TenantId, name: &str) -> Result<Held>;

    /// Waits, for as long as it takes, until no other process has a run in this conversation, and keeps the conversation to this
    /// process until the answer is dropped. These are many and quick; the runs of one process do not wait for each other here. A
    /// process that dies lets go, and so does one that loses its database.
    ///
    /// # Errors
    /// `Unavailable` if the database is, or if this process has runs in more than 2,000 conversations.
    async fn take_turn(&self, tenant: TenantId, session_key: &str) -> Result<Held>;

    /// Whether another process has taken a conversation's turn.
    ///
    /// # Errors
    /// `Unavailable` if the database is.
    async fn turn_is_taken(&self, tenant: TenantId, session_key: &str) -> Result<bool>;
}
