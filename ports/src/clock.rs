//! Time and chance, as ports: engines take both from outside, so tests can hold them still.

use chrono::{DateTime, SubsecRound, Utc};
use uuid::Uuid;

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Now, UTC, in whole microseconds (what both databases keep).
    fn now(&self) -> DateTime<Utc>;
}

/// Makes identifiers.
pub trait Ids: Send + Sync {
    /// A time-ordered UUID (version 7), for rows.
    fn row(&self) -> Uuid;
    /// A random UUID (version 4), for runs and connections.
    fn random(&self) -> Uuid;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> DateTime<Utc> {
        Utc::now().trunc_subsecs(6)
    }
}

/// UUIDs from the operating system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn row(&self) -> Uuid {
        Uuid::now_v7()
    }
    fn random(&self) -> Uuid {
        Uuid::new_v4()
    }
}
