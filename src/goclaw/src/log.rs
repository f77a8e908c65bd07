//! The log: to standard error, for people or as JSON.

use crate::config::Config;
use anyhow::{Context, Result};
use std::io::IsTerminal;
use tracing_subscriber::{EnvFilter, fmt, prelude::*};

/// Starts the log. `verbose` wins over the configured level and concerns only this program's own modules.
///
/// # Errors
/// If the configured level or format is none.
pub fn start(config: &Config, verbose: bool) -> Result<()> {
    let level = if verbose { "info,goclaw=debug" } else { config.log_level() };
    let filter = EnvFilter::try_new(level).with_context(|| format!("logging.level: {level:?} is no level; it must be error, warn, info, debug or trace"))?;
    let registry = tracing_subscriber::registry().with(filter);
    let started = if config.log_json()? {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).try_init()
    } else {
        registry.with(fmt::layer().with_target(false).with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr)).try_init()
    };
    started.context("the log is already running")
}
