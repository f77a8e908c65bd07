//! The log: to standard error, for people or as JSON, and its newest lines in memory for operators who watch it from afar.
//! Secrets are struck out on both ways.

mod console;
mod fields;
mod ring;

use crate::config::Config;
use anyhow::{Context, Result};
use console::{JsonLines, RedactedFields};
use goclaw_ports::logs::Logs;
use ring::Ring;
use std::{io::IsTerminal, sync::Arc};
use tracing_subscriber::{EnvFilter, Layer, fmt, prelude::*};

/// What is never logged in more detail, whatever level is asked for.
const QUIET: &[&str] = &["tokio_postgres=info"];

/// Starts the log, and answers with its newest lines. `verbose` wins over the configured level and concerns only this
/// program's own modules. The level is standard error's alone: who watches from afar chooses another.
///
/// # Errors
/// If the configured level or format is none.
pub fn start(config: &Config, verbose: bool) -> Result<Arc<dyn Logs>> {
    let level = if verbose { "info,goclaw=debug" } else { config.log_level() };
    let filter = EnvFilter::try_new(level).with_context(|| format!("logging.level: {level:?} is no level; it must be error, warn, info, debug or trace"))?;
    // At debug it writes down the parameters of statements, and some of them are secrets.
    let filter = QUIET.iter().fold(filter, |filter, directive| match directive.parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    });
    let console = fmt::layer().with_writer(std::io::stderr).fmt_fields(RedactedFields);
    let console = if config.log_json() {
        console.event_format(JsonLines).with_filter(filter).boxed()
    } else {
        console.with_target(false).with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed()
    };
    let ring = Arc::new(Ring::default());
    tracing_subscriber::registry().with(console).with(ring::layer(&ring)).try_init().context("the log is already running")?;
    Ok(Arc::new(ring::Watched(ring)))
}

/// A log that nothing is written to, for those who start a gateway's core without being one.
#[must_use]
pub fn silent() -> Arc<dyn Logs> {
    Arc::new(ring::Watched(Arc::new(Ring::default())))
}
