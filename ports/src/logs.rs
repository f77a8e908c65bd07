//! The newest lines of the log, for operators who watch it from afar. Secrets are struck out before a line gets here.

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// How important a line is. The order is the rank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For finding faults.
    Debug,
    /// What happens.
    #[default]
    Info,
    /// What somebody should look at.
    Warn,
    /// What failed.
    Error,
}

/// A line of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogRecord {
    /// When, in milliseconds since 1970.
    pub timestamp: i64,
    /// How important.
    pub level: LogLevel,
    /// What.
    pub message: String,
    /// Which part of the gateway says so; "" if it does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// More about it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub attrs: BTreeMap<String, String>,
}

/// The past, oldest line first, and all lines that come after it.
pub type Tail = (Vec<Arc<LogRecord>>, Box<dyn LogStream>);

/// Keeps the newest lines, and passes new ones on.
pub trait Logs: Send + Sync {
    /// The newest lines of at least this level, at most `count`, and all that come from now on.
    fn tail(&self, level: LogLevel, count: usize) -> Tail;
}

/// New lines. While somebody holds one that wants debug lines, such lines are made.
#[async_trait]
pub trait LogStream: Send {
    /// The next line; `None` if the log has ended. Lines that came too fast are left out, and a line says how many.
    async fn next(&mut self) -> Option<Arc<LogRecord>>;
}
