//! Child processes: the one place where they are started.
//!
//! Each leads a process group of its own, which ends with its owner and takes along everything that was started in it, even if the
//! owner's process is killed.
#![deny(missing_docs)]

mod capture;
mod group;
mod run;
mod warden;

pub use capture::Captured;
pub use group::Group;
pub use run::{End, Ended, run};
