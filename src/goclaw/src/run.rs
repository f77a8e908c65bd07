//! Running the gateway: which adapter stands behind which port, from the first file to the last signal.

mod assemble;
mod programs;
mod releases;
mod serve;
mod services;
mod storage;

pub use crate::config::live::place;
pub use assemble::{Assembled, assemble, llm};
pub use programs::machine_outside;
pub use serve::serve;
pub use storage::{Plain, describe, open, plain};

use anyhow::{Context, Result};
use std::num::NonZero;
use tokio::runtime::Runtime;

/// The runtime that engines, stores and upstream connections live on.
///
/// # Errors
/// If the system gives no threads.
pub fn runtime() -> Result<Runtime> {
    // A core is left to the threads that serve requests. On two cores, a second thread here would be woken several times in each run,
    // find nothing to do, and keep the first one waiting meanwhile: 0.3 of the 2.5 ms that a run adds to its model's time.
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.saturating_sub(1).max(1);
    let builder = &mut tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).enable_all().thread_name("goclaw-engine").build().context("cannot start threads")
}

/// Chooses the one implementation of TLS, before anything speaks it.
pub fn install_tls() {
    // It fails only if one was chosen before, and there is no other in the program.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}
