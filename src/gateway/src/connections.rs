//! Connections on which no whole request arrives.
//!
//! The server times the head of a connection's first request only: whoever was answered once could take for ever over the next one, a
//! byte at a time. So connections on which no request has begun for too long are closed here, for reading: what is still on its way
//! to the client arrives.

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    dev::{Extensions, ServiceResponse},
    http::StatusCode,
    rt::net::TcpStream as Accepted,
};
use bytes::Bytes;
use std::{
    any::Any,
    net::{Shutdown, TcpStream},
    os::fd::AsFd,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tokio::time::{MissedTickBehavior, interval};

/// How often it is looked for them, at the least.
const LOOK: Duration = Duration::from_secs(5);
/// Answers of up to so many bytes are as good as sent when they are made.
const SHORT: u64 = 64 << 10;

/// How long clients may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpTimes {
    /// For the head of a request.
    pub head: Duration,
    /// For a JSON body, or for the next piece of a form.
    pub body: Duration,
    /// Between an answer and the next request.
    pub idle: Duration,
}

impl Default for HttpTimes {
    fn default() -> Self {
        Self { head: Duration::from_secs(10), body: Duration::from_secs(30), idle: Duration::from_secs(75) }
    }
}

/// The connections that are open.
#[derive(Default)]
pub(crate) struct Connections(Mutex<Vec<Weak<Connection>>>);

/// A connection, as its requests know it.
pub(crate) struct Connection(Mutex<Standing>);

struct Standing {
    /// The way to close it; none for what is no HTTP any more.
    socket: Option<TcpStream>,
    /// Since when it waits for the next request; `None` for the first one and while one is answered.
    waits: Option<Instant>,
}

impl Connections {
    /// Notes a connection that has come, for its requests to find in `extensions`.
    pub(crate) fn opened(&self, io: &dyn Any, extensions: &mut Extensions) {
        let accepted = io.downcast_ref::<Accepted>();
        // The last piece of a stream must not wait until the client has confirmed the one before, which takes up to 40 ms.
        if let Some(Err(error)) = accepted.map(|accepted| accepted.set_nodelay(true)) {
            tracing::debug!(%error, "small pieces may be held back on a connection");
        }
        let socket = accepted.map(|accepted| accepted.as_fd().try_clone_to_owned());
        // Without a descriptor left there are other worries than slow clients.
        let Some(Ok(socket)) = socket else { return };
        let connection = Arc::new(Connection(Mutex::new(Standing { socket: Some(socket.into()), waits: None })));
        self.open().push(Arc::downgrade(&connection));
        extensions.insert(connection);
    }

    /// Closes those that wait for a request for longer than `times` allow, again and again.
    pub(crate) async fn watch(&self, times: HttpTimes) {
        // The server itself ends those from which nothing comes; here it is about those from which too little does.
        let patience = times.idle + times.head;
        let mut looks = interval(LOOK.min(patience / 4));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let mut open = std::mem::take(&mut *self.open());
            open.retain(|connection| connection.upgrade().is_some_and(|connection| connection.may_stay(patience)));
            self.open().append(&mut open);
        }
    }

    fn open(&self) -> MutexGuard<'_, Vec<Weak<Connection>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    /// A request has come; the connection waits for none until the guard is gone.
    pub(crate) fn asked(self: &Arc<Self>) -> Answering {
        self.standing().waits = None;
        Answering(self.clone())
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has not waited for too long. One that has is closed.
    fn may_stay(&self, patience: Duration) -> bool {
        let standing = self.standing();
        if standing.waits.is_none_or(|since| since.elapsed() < patience) {
            return true;
        }
        tracing::debug!("closing a connection whose next request does not arrive");
        if let Some(socket) = &standing.socket {
            drop(socket.shutdown(Shutdown::Read));
        }
        false
    }
}

/// A request that is answered.
pub(crate) struct Answering(Arc<Connection>);

impl Answering {
    /// The answer, which takes this along if it is yet to be made.
    pub(crate) fn with(self, response: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // WebSockets have times of their own.
            self.0.standing().socket = None;
            return response;
        }
        response.map_body(|_, body| match body.size() {
            BodySize::None | BodySize::Sized(0..=SHORT) => body,
            BodySize::Sized(_) | BodySize::Stream => BoxBody::new(Made { body, _answering: self }),
        })
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.standing().waits = Some(Instant::now());
    }
}

/// A body at whose end the request is answered.
struct Made {
    body: BoxBody,
    _answering: Answering,
}

impl MessageBody for Made {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_next(cx)
    }
}
