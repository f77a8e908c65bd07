//! An open WebSocket, as the rest of the gateway sees it.

use super::{frame::EventFrame, queue::Queue};
use crate::metrics;
use actix_ws::CloseCode;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use goclaw_core::{
    auth::Grounds,
    caller::{Caller, Locale},
};
use goclaw_ports::ErrorKind;
use std::{
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

/// How many frames wait for a client. One that is slower is told to go away.
pub(super) const QUEUE: usize = 256;
/// How many calls of one connection may work in the background.
const BACKGROUND: u32 = 32;

/// An open WebSocket.
pub(crate) struct Connection {
    /// Its id.
    pub(super) id: Uuid,
    /// When it was opened.
    pub(super) opened: DateTime<Utc>,
    /// From where.
    pub(super) ip: Option<IpAddr>,
    background: Arc<Semaphore>,
    identity: RwLock<Identity>,
    queue: Queue<Outgoing>,
    /// The log, while it is sent here.
    tail: Mutex<Option<Tail>>,
    stop: CancellationToken,
    code: OnceLock<CloseCode>,
}

/// The log on its way to a connection. Dropping it ends that.
#[derive(Debug)]
pub(super) struct Tail(#[expect(dead_code, reason = "held for its end")] DropGuard);

impl Tail {
    /// One that has begun, and what tells its end.
    pub(super) fn new() -> (Self, CancellationToken) {
        let ended = CancellationToken::new();
        (Self(ended.clone().drop_guard()), ended)
    }
}

#[derive(Clone, Default)]
struct Identity {
    standing: Standing,
    locale: Locale,
}

/// How a connection stands with us.
#[derive(Debug, Clone, Default)]
pub(super) enum Standing {
    /// It has not said who it is.
    #[default]
    Nobody,
    /// It waits to be paired.
    Pending {
        /// When it need not wait any longer.
        until: Instant,
    },
    /// It is known.
    Known {
        /// Who it is.
        caller: Arc<Caller>,
        /// What that rests on.
        grounds: Arc<Grounds>,
        /// When that ends by itself.
        until: Option<Instant>,
    },
    /// It lost what it was known by, or the tenant that it worked in.
    Lost {
        /// What its next call is refused with.
        why: ErrorKind,
        /// Since when.
        since: Instant,
    },
}

/// What is to be sent.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// An answer.
    Response(String),
    /// An event, to be numbered.
    Event(Arc<EventFrame>),
    /// The answer to a ping.
    Pong(Bytes),
    /// The end, after everything that waits.
    Close(CloseCode),
}

impl Connection {
    /// A connection that nobody has authenticated yet.
    pub(super) fn new(id: Uuid, opened: DateTime<Utc>, ip: Option<IpAddr>) -> Arc<Self> {
        Arc::new(Self {
            id,
            opened,
            ip,
            background: Arc::new(Semaphore::new(BACKGROUND as usize)),
            identity: RwLock::default(),
            queue: Queue::new(QUEUE),
            tail: Mutex::default(),
            stop: CancellationToken::new(),
            code: OnceLock::new(),
        })
    }

    /// Who it is; `None` before `connect`.
    pub(super) fn caller(&self) -> Option<Arc<Caller>> {
        match &self.identity.read().unwrap_or_else(PoisonError::into_inner).standing {
            Standing::Known { caller, .. } => Some(caller.clone()),
            _ => None,
        }
    }

    /// How it stands with us.
    pub(super) fn standing(&self) -> Standing {
        self.identity.read().unwrap_or_else(PoisonError::into_inner).standing.clone()
    }

    /// The language of its messages.
    pub(super) fn locale(&self) -> Locale {
        self.identity.read().unwrap_or_else(PoisonError::into_inner).locale
    }

    /// Changes the language of its messages.
    pub(super) fn speak(&self, locale: Locale) {
        self.identity.write().unwrap_or_else(PoisonError::into_inner).locale = locale;
    }

    /// Changes how it stands. Only the hub does, because it keeps connections by tenant. What only the one before might see ends.
    pub(super) fn stands(&self, standing: Standing) {
        self.follow(None);
        self.identity.write().unwrap_or_else(PoisonError::into_inner).standing = standing;
    }

    /// Queues a frame. Nothing is ever dropped: a client whose queue is full is sent away. Nothing is queued after the end.
    pub(super) fn send(&self, outgoing: Outgoing) {
        if !self.stop.is_cancelled() && !self.queue.push(outgoing) {
            tracing::info!(connection = %self.id, "closing a slow WebSocket client");
            metrics::ws_slow_closed();
            self.stop(CloseCode::Again);
        }
    }

    /// Queues a frame that may wait, once half of the queue is free. Nothing is queued after the end.
    pub(super) async fn send_when_idle(&self, outgoing: Outgoing) {
        if self.queue.len() >= QUEUE / 2 {
            tokio::select! {
                () = self.queue.fewer_than(QUEUE / 2) => {}
                () = self.stop.cancelled() => return,
            }
        }
        self.send(outgoing);
    }

    /// The frame that is to be sent next, as soon as there is one.
    pub(super) async fn next(&self) -> Outgoing {
        self.queue.next().await
    }

    /// The frame that is to be sent next, if there is one.
    #[cfg(test)]
    pub(super) fn try_next(&self) -> Option<Outgoing> {
        self.queue.try_next()
    }

    /// The log is sent here from now on, or no more; what was sent before ends.
    pub(super) fn follow(&self, tail: Option<Tail>) {
        let before = std::mem::replace(&mut *self.tail.lock().unwrap_or_else(PoisonError::into_inner), tail);
        drop(before);
    }

    /// Begins a call in the background, which lasts until the permit is dropped; `None` if there are too many.
    pub(super) fn begin(&self) -> Option<OwnedSemaphorePermit> {
        self.background.clone().try_acquire_owned().ok()
    }

    /// Waits until no call works in the background.
    pub(super) async fn idle(&self) {
        // An error means that the semaphore is closed, which it never is.
        let _ = self.background.acquire_many(BACKGROUND).await;
    }

    /// Ends the connection at once, without sending what waits.
    pub(super) fn stop(&self, code: CloseCode) {
        let _ = self.code.set(code);
        self.stop.cancel();
    }

    /// Waits for [`Connection::stop`] and answers with its code.
    pub(super) async fn stopped(&self) -> CloseCode {
        self.stop.cancelled().await;
        self.code.get().copied().unwrap_or(CloseCode::Normal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn a_full_queue_ends_the_connection_instead_of_dropping_an_answer() {
        let connection = Connection::new(Uuid::nil(), DateTime::UNIX_EPOCH, None);
        for n in 0..QUEUE {
            connection.send(Outgoing::Response(n.to_string()));
        }
        assert!(!connection.stop.is_cancelled());
        connection.send(Outgoing::Response("one too many".to_owned()));
        assert_eq!(connection.stopped().await, CloseCode::Again);
        let Outgoing::Response(first) = connection.next().await else { panic!("an answer waits") };
        assert_eq!(first, "0");
    }

    #[tokio::test]
    async fn what_may_wait_leaves_half_of_the_queue_to_the_rest() {
        let connection = Connection::new(Uuid::nil(), DateTime::UNIX_EPOCH, None);
        let mut sending = Box::pin(async {
            loop {
                connection.send_when_idle(Outgoing::Response("line".to_owned())).await;
            }
        });
        assert!(sending.as_mut().now_or_never().is_none());
        assert_eq!(connection.queue.len(), QUEUE / 2);
        connection.next().await;
        assert!(sending.as_mut().now_or_never().is_none());
        assert_eq!(connection.queue.len(), QUEUE / 2);
        connection.send(Outgoing::Response("an answer".to_owned()));
        assert!(!connection.stop.is_cancelled());
    }

    #[tokio::test]
    async fn whoever_comes_next_does_not_get_the_log() {
        let connection = Connection::new(Uuid::nil(), DateTime::UNIX_EPOCH, None);
        let (tail, ended) = Tail::new();
        connection.follow(Some(tail));
        assert!(!ended.is_cancelled());
        connection.stands(Standing::Nobody);
        assert!(ended.is_cancelled());
    }

    #[tokio::test]
    async fn the_first_reason_to_stop_is_told() {
        let connection = Connection::new(Uuid::nil(), DateTime::UNIX_EPOCH, None);
        connection.stop(CloseCode::Size);
        connection.stop(CloseCode::Away);
        assert_eq!(connection.stopped().await, CloseCode::Size);
    }
}
