//! What SQLite's errors mean to the ports.

use goclaw_ports::Error;
use rusqlite::{ErrorCode, ffi};
use std::fmt;

/// Why a job failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// As SQLite says it.
    Sql(rusqlite::Error),
    /// As the port says it.
    Port(Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Port(error)
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::Port(Error::internal(error))
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Port(error) => error,
            Failure::Sql(error) if is_unique(&error) => Self::already_exists("row", "its key is taken").because(error),
            Failure::Sql(error) if is_foreign_key(&error) => Self::not_found("row", "what it belongs to").because(error),
            Failure::Sql(error) if is_busy(&error) => Self::unavailable("database").because(error),
            Failure::Sql(error) if is_full(&error) => Self::no_room(error),
            Failure::Sql(error) => Self::internal(error),
        }
    }
}

fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|error| error.extended_code)
}

fn is_unique(error: &rusqlite::Error) -> bool {
    matches!(extended_code(error), Some(ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID))
}

fn is_foreign_key(error: &rusqlite::Error) -> bool {
    extended_code(error) == Some(ffi::SQLITE_CONSTRAINT_FOREIGNKEY)
}

/// The disk has no room, or may not be written. Without room for the log that is written ahead, or for its index, SQLite speaks of an
/// input/output error.
fn is_full(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(code, Some(ErrorCode::DiskFull | ErrorCode::ReadOnly))
        || matches!(extended_code(error), Some(ffi::SQLITE_IOERR_WRITE | ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_TRUNCATE | ffi::SQLITE_IOERR_FSYNC))
}

/// Another program (a backup tool, a shell) holds the file's own lock: that passes.
fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Says what a violated constraint means.
pub(crate) trait Explain<T> {
    /// A violated `unique` means that there is such a `what` already.
    fn unless_exists(self, what: &str, id: impl fmt::Display) -> Result<T, Failure>;
    /// A violated foreign key means that there is no such `what`.
    fn unless_missing(self, what: &str, id: impl fmt::Display) -> Result<T, Failure>;
}

impl<T, E: Into<Failure>> Explain<T> for Result<T, E> {
    fn unless_exists(self, what: &str, id: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| match error.into() {
            Failure::Sql(error) if is_unique(&error) => Error::already_exists(what, id).because(error).into(),
            other => other,
        })
    }

    fn unless_missing(self, what: &str, id: impl fmt::Display) -> Result<T, Failure> {
        self.map_err(|error| match error.into() {
            Failure::Sql(error) if is_foreign_key(&error) => Error::not_found(what, id).because(error).into(),
            other => other,
        })
    }
}
