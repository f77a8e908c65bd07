//! What runs read again and again and what rarely changes: agents and their files, links, the switches of tools.
//!
//! Each type here stands before a store and is one itself: its own reads ask the store, its writes tell all caches when they are over,
//! so whoever writes need not think of it. What may be remembered is read by methods of its own. This process sees its own changes at
//! once, other replicas a moment later; therefore shares, and the links that a hand-over goes by, are always asked for.

mod agents;
mod links;
mod tools;

pub use agents::KnownAgents;
pub(crate) use links::KnownLinks;
pub(crate) use tools::{KnownTools, Switches};

use crate::coherence::{Coherence, Kind};
use goclaw_ports::TenantId;
use std::time::Duration;

/// How long something is believed if nobody tells of a change.
const TTL: Duration = Duration::from_secs(30);
/// How much of each kind is remembered, in bytes of JSON.
const CAPACITY: u64 = 8 << 20;

/// A write under way. All caches are told when it is over, also if it failed or nobody waits for it any more.
#[must_use]
pub(crate) struct Write<'a> {
    coherence: &'a Coherence,
    tenant: TenantId,
    kind: Kind,
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        self.coherence.changed(self.tenant, self.kind, "");
    }
}
