//! An open WebSocket, as the rest of the gateway sees it.

use super::frame::EventFrame;
use actix_ws::CloseCode;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use goclaw_core::caller::{Caller, Locale};
use std::{
    net::IpAddr,
    sync::{Arc, OnceLock, PoisonError, RwLock},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
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
    queue: mpsc::Sender<Outgoing>,
    stop: CancellationToken,
    code: OnceLock<CloseCode>,
}

#[derive(Clone, Default)]
struct Identity {
    caller: Option<Arc<Caller>>,
    locale: Locale,
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
    /// A connection that nobody has authenticated yet, and what it wants sent.
    pub(super) fn new(id: Uuid, opened: DateTime<Utc>, ip: Option<IpAddr>) -> (Arc<Self>, mpsc::Receiver<Outgoing>) {
        let (queue, outgoing) = mpsc::channel(QUEUE);
        let connection = Self {
            id,
            opened,
            ip,
            background: Arc::new(Semaphore::new(BACKGROUND as usize)),
            identity: RwLock::default(),
            queue,
            stop: CancellationToken::new(),
            code: OnceLock::new(),
        };
        (Arc::new(connection), outgoing)
    }

    /// Who it is; `None` before `connect`.
    pub(super) fn caller(&self) -> Option<Arc<Caller>> {
        self.identity.read().unwrap_or_else(PoisonError::into_inner).caller.clone()
    }

    /// The language of its messages.
    pub(super) fn locale(&self) -> Locale {
        self.identity.read().unwrap_or_else(PoisonError::into_inner).locale
    }

    /// Changes the language of its messages.
    pub(super) fn speak(&self, locale: Locale) {
        self.identity.write().unwrap_or_else(PoisonError::into_inner).locale = locale;
    }

    /// Changes who it is. Only the hub does, because it keeps connections by tenant.
    pub(super) fn set_caller(&self, caller: Option<Arc<Caller>>) {
        self.identity.write().unwrap_or_else(PoisonError::into_inner).caller = caller;
    }

    /// Queues a frame. Nothing is ever dropped: a client whose queue is full is sent away.
    pub(super) fn send(&self, outgoing: Outgoing) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.queue.try_send(outgoing) {
            tracing::info!(connection = %self.id, "closing a slow WebSocket client");
            self.stop(CloseCode::Again);
        }
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

    #[tokio::test]
    async fn a_full_queue_ends_the_connection_instead_of_dropping_an_answer() {
        let (connection, mut outgoing) = Connection::new(Uuid::nil(), DateTime::UNIX_EPOCH, None);
        for n in 0..QUEUE {
            connection.send(Outgoing::Response(n.to_string()));
        }
        assert!(!connection.stop.is_cancelled());
        connection.send(Outgoing::Response("one too many".to_owned()));
        assert_eq!(connection.stopped().await, CloseCode::Again);
        let Some(Outgoing::Response(first)) = outgoing.recv().await else { panic!("an answer waits") };
        assert_eq!(first, "0");
    }

    #[tokio::test]
    async fn the_first_reason_to_stop_is_told() {
        let (connection, _outgoing) = Connection::new(Uuid::nil(), DateTime::UNIX_EPOCH, None);
        connection.stop(CloseCode::Size);
        connection.stop(CloseCode::Away);
        assert_eq!(connection.stopped().await, CloseCode::Size);
    }
}
