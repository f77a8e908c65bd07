//! The event bus: of one process ([`LocalBus`]), and of all replicas of an installation ([`RelayedBus`]).
#![deny(missing_docs)]

mod local;
mod relayed;

pub use local::{DEFAULT_CAPACITY, LocalBus};
pub use relayed::{RelayOptions, RelayedBus};
