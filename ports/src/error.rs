//! How operations fail: a small closed set of kinds, a message for the user, a cause for the log.

use crate::message::{self, Message};
use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

/// The result of every port and use case.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as the gateway maps it to an HTTP status and a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// No such row, in this tenant. 404 `NOT_FOUND`.
    NotFound,
    /// A unique name is taken. 409 `ALREADY_EXISTS`.
    AlreadyExists,
    /// The request is at fault. 400 `INVALID_REQUEST`.
    Invalid,
    /// The body is over its limit. 413 `INVALID_REQUEST`.
    TooLarge,
    /// No credential, or a wrong one. 401 `UNAUTHORIZED`.
    Unauthorized,
    /// The caller may not. 403 `UNAUTHORIZED`.
    Forbidden,
    /// The caller has no access to the tenant it names. 401 `TENANT_ACCESS_REVOKED`.
    TenantRevoked,
    /// The tenant is suspended or archived. 403 `TENANT_ACCESS_REVOKED`.
    TenantClosed,
    /// Too many requests. 429 `RESOURCE_EXHAUSTED`.
    RateLimited,
    /// The state does not allow it. 409 `FAILED_PRECONDITION`.
    Precondition,
    /// Temporarily impossible. 503 `UNAVAILABLE`.
    Unavailable,
    /// It took too long. 504 `AGENT_TIMEOUT`.
    Timeout,
    /// An upstream (LLM provider) failed. 500 `INTERNAL`, with a classified message.
    Upstream,
    /// A fault of ours. 500 `INTERNAL`, with a correlation id instead of the cause.
    Internal,
}

/// A failed operation.
#[derive(Debug, Clone)]
pub struct Error {
    /// The kind, which decides status and code.
    pub kind: ErrorKind,
    /// What the user is told. For [`ErrorKind::Internal`] the gateway puts a correlation id in its place.
    pub message: Message,
    /// When trying again makes sense.
    pub retry_after: Option<Duration>,
    /// The cause, for the log only.
    pub cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{}: {cause}", self.message),
            None => self.message.fmt(f),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|cause| cause.as_ref() as &(dyn StdError + 'static))
    }
}

impl Error {
    /// An error of this kind with this message.
    #[must_use]
    pub fn new(kind: ErrorKind, message: Message) -> Self {
        Self { kind, message, retry_after: None, cause: None }
    }

    /// The request is at fault.
    #[must_use]
    pub fn invalid(message: Message) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// `invalid request: <detail>`.
    #[must_use]
    pub fn invalid_request(detail: impl fmt::Display) -> Self {
        Self::invalid(message::invalid_request(detail))
    }

    /// `<field> is required`.
    #[must_use]
    pub fn required(field: &str) -> Self {
        Self::invalid(message::required(field))
    }

    /// `<what> not found: <id>`.
    #[must_use]
    pub fn not_found(what: &str, id: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, message::not_found(what, id))
    }

    /// `<what> already exists: <id>`.
    #[must_use]
    pub fn already_exists(what: &str, id: impl fmt::Display) -> Self {
        Self::new(ErrorKind::AlreadyExists, message::already_exists(what, id))
    }

    /// The caller may not do `what`.
    #[must_use]
    pub fn forbidden(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Forbidden, message::permission_denied(what))
    }

    /// No valid credential.
    #[must_use]
    pub fn unauthorized() -> Self {
        Self::new(ErrorKind::Unauthorized, message::unauthorized())
    }

    /// `what` cannot be reached now.
    #[must_use]
    pub fn unavailable(what: &str) -> Self {
        Self::new(ErrorKind::Unavailable, message::unavailable(what))
    }

    /// A fault of ours; the cause goes to the log, never to the client.
    pub fn internal(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self { cause: Some(Arc::from(cause.into())), ..Self::new(ErrorKind::Internal, message::internal("-")) }
    }

    /// The disk is full or cannot be written; that passes when somebody makes room. `cause` is for the log.
    #[must_use]
    pub fn no_room(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Unavailable, message::no_room()).because(cause)
    }

    /// What the disk refused: [`Error::no_room`] if it is full or read-only, else a fault of ours.
    #[must_use]
    pub fn of_disk(cause: std::io::Error) -> Self {
        use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
        if matches!(cause.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem) { Self::no_room(cause) } else { Self::internal(cause) }
    }

    /// The same error with a cause for the log.
    #[must_use]
    pub fn because(mut self, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.cause = Some(Arc::from(cause.into()));
        self
    }

    /// The same error, with a time after which trying again makes sense.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}
