//! How commands end. The exit code says what kind of failure it was; the text on standard error says what happened.
//!
//! 0: done. 1: it failed. 2: the arguments make no sense. 3: no gateway could be reached. 4: it was refused, or there is no such thing.

use super::socket::Refusal;
use crate::run::Plain;
use anyhow::Error;
use goclaw_ports::ErrorKind;

/// A failure whose kind scripts may want to know.
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The arguments make no sense together, or something is missing that cannot be asked for.
    #[error("{0}")]
    Usage(String),
    /// No gateway answers.
    #[error("{0}")]
    Unreachable(String),
    /// Whoever could do it will not, or there is no such thing.
    #[error("{0}")]
    Refused(String),
}

/// What is missing or makes no sense.
pub fn usage(text: impl Into<String>) -> Error {
    Stop::Usage(text.into()).into()
}

/// No gateway answers.
pub fn unreachable(text: impl Into<String>) -> Error {
    Stop::Unreachable(text.into()).into()
}

/// It is not done, for this reason.
pub fn refused(text: impl Into<String>) -> Error {
    Stop::Refused(text.into()).into()
}

/// The exit code of a failure.
pub fn code(error: &Error) -> u8 {
    for cause in error.chain() {
        match cause.downcast_ref() {
            Some(Stop::Usage(_)) => return 2,
            Some(Stop::Unreachable(_)) => return 3,
            Some(Stop::Refused(_)) => return 4,
            None => {}
        }
        if let Some(refusal) = cause.downcast_ref::<Refusal>() {
            return if refusal.is_final() { 4 } else { 1 };
        }
        if let Some(Plain { kind, .. }) = cause.downcast_ref() {
            use ErrorKind::{AlreadyExists, Forbidden, NotFound, Precondition, Unauthorized};
            return if matches!(kind, AlreadyExists | Forbidden | NotFound | Precondition | Unauthorized) { 4 } else { 1 };
        }
    }
    1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::plain;
    use anyhow::{Context, anyhow};

    #[test]
    fn the_kind_survives_what_is_said_around_it() {
        let around = |error: Error| Err::<(), _>(error).context("while doing this").unwrap_err();
        assert_eq!(code(&around(usage("x"))), 2);
        assert_eq!(code(&around(unreachable("x"))), 3);
        assert_eq!(code(&around(refused("x"))), 4);
        assert_eq!(code(&around(anyhow!("x"))), 1);
        assert_eq!(code(&around(plain(goclaw_ports::Error::not_found("agent", "fox")))), 4);
        assert_eq!(code(&around(plain(goclaw_ports::Error::unavailable("database")))), 1);
    }
}
