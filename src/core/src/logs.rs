//! Watching the log from afar.

use crate::caller::{Access, Caller};
use goclaw_ports::{
    Result,
    logs::{LogLevel, Logs, Tail},
    roles::Role,
};
use std::sync::Arc;

/// How many lines of the past a listener gets first.
const REPLAY: usize = 100;

/// The log, for those who may watch it.
pub struct LogTail {
    pub(crate) logs: Arc<dyn Logs>,
}

impl LogTail {
    /// The newest lines of at least this level, oldest first, and all that come from now on. Lines concern every tenant.
    ///
    /// # Errors
    /// `Forbidden` for all but the installation's owner.
    pub fn follow(&self, caller: &Caller, level: LogLevel) -> Result<Tail> {
        caller.require(Role::Owner, Access::Manage, "logs.tail")?;
        Ok(self.logs.tail(level, REPLAY))
    }
}
