//! How failures of the database become failures of the ports.

use diesel::result::{DatabaseErrorKind, Error as QueryError};
use goclaw_ports::{Error, ErrorKind, message};
use std::fmt::Display;

/// What the user is told has failed.
pub(crate) const DATABASE: &str = "the database";

/// Why a statement or a transaction failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The database, or the way to it, refused.
    Query(QueryError),
    /// There was no answer in time.
    Timeout,
}

impl From<QueryError> for Failure {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl Failure {
    fn kind(&self) -> Option<&DatabaseErrorKind> {
        match self {
            Self::Query(QueryError::DatabaseError(kind, _)) => Some(kind),
            _ => None,
        }
    }

    fn is_unique(&self) -> bool {
        matches!(self.kind(), Some(DatabaseErrorKind::UniqueViolation))
    }

    fn is_foreign_key(&self) -> bool {
        matches!(self.kind(), Some(DatabaseErrorKind::ForeignKeyViolation))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let error = match failure {
            Failure::Timeout => return timeout(),
            Failure::Query(error) => error,
        };
        if let QueryError::DatabaseError(kind, reason) = &error {
            // The client library keeps no SQLSTATE beyond the named kinds, so the rest is told by its text.
            let reason = reason.message();
            let says = |texts: &[&str]| texts.iter().any(|text| reason.contains(text));
            if matches!(kind, DatabaseErrorKind::UnableToSendCommand | DatabaseErrorKind::ClosedConnection)
                || says(&["terminating connection", "the database system is", "connection slots", "too many clients"])
            {
                return Self::unavailable(DATABASE).because(error);
            }
            if says(&["statement timeout", "lock timeout"]) {
                return timeout().because(error);
            }
        }
        Self::internal(error)
    }
}

fn timeout() -> Error {
    Error::new(ErrorKind::Timeout, message::timeout(DATABASE))
}

/// A unique name that is taken is `AlreadyExists`: `what` `id`.
pub(crate) fn taken(what: &str, id: impl Display) -> impl FnOnce(Failure) -> Error {
    move |failure| if failure.is_unique() { Error::already_exists(what, id) } else { failure.into() }
}

/// A row that refers to one that is not there is `NotFound`: `what` `id`.
pub(crate) fn missing(what: &str, id: impl Display) -> impl FnOnce(Failure) -> Error {
    move |failure| if failure.is_foreign_key() { Error::not_found(what, id) } else { failure.into() }
}

/// Both [`taken`] and [`missing`].
pub(crate) fn taken_or_missing(what: &str, id: impl Display, parent: &str, parent_id: impl Display) -> impl FnOnce(Failure) -> Error {
    move |failure| if failure.is_unique() { Error::already_exists(what, id) } else { missing(parent, parent_id)(failure) }
}

/// A stored value that no version of this program writes.
pub(crate) fn corrupt(column: &str, value: impl Display) -> Error {
    Error::internal(format!("the database holds an unknown value in {column}: {value}"))
}
