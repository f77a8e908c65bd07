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
use tokio::runtime::Runtime;

/// The runtime that engines, stores and upstream connections live on.
///
/// # Errors
/// If the system gives no threads.
pub fn runtime() -> Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("goclaw-engine").build().context("cannot start threads")
}

/// Chooses the one implementation of TLS, before anything speaks it.
pub fn install_tls() {
    // It fails only if one was chosen before, and there is no other in the program.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}
