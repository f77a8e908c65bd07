//! The stores of the lite edition: one SQLite file, one process.
//!
//! One thread owns the write connection and commits whatever waits for it in one transaction; a few threads read, each
//! with a connection of its own. Callers await answers, so that no worker of the async runtime ever waits for the disk.
//!
//! Commits are synced before they are answered (`synchronous=FULL`): what a store has answered survives a crash of the
//! process or the machine. Because writes are committed in groups, many writers share the price of one sync. Traces, and
//! what a model said, are answered first and synced right after: a crash of the process loses none of them either.
#![deny(missing_docs)]

mod activity;
mod agents;
mod api_keys;
mod archives;
mod backup;
mod builtin_tools;
mod config_permissions;
mod connection;
mod database;
mod failure;
mod filter;
mod heartbeats;
mod inbound;
mod inspect;
mod links;
mod lock;
mod locks;
mod media;
mod migrations;
mod pairing;
mod providers;
mod queue;
mod sealed;
mod secrets;
mod sessions;
mod subagents;
mod system_configs;
mod tenants;
#[cfg(test)]
mod tests;
mod traces;
mod usage;
mod values;

pub use backup::backup;
pub use inspect::{Inspection, inspect, schema_version_of};
pub use lock::DatabaseLock;

/// The number of the newest migration that this build knows.
pub const NEWEST_VERSION: i64 = migrations::NEWEST;

use database::Sqlite;
use goclaw_ports::{Error, Result, stores::Stores};
use std::{path::PathBuf, sync::Arc};

/// Where the database is and how it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The database file. It and its directory (0700) are made if they are missing.
    pub path: PathBuf,
    /// How many threads read at the same time, 1 to 64; a number outside is brought inside.
    pub readers: usize,
}

/// Opens the database, brings its schema up to date and answers with its stores.
///
/// The database is held by an exclusive lock on `<path>.lock` until [`goclaw_ports::stores::Database::close`], or until
/// the last of the stores is dropped.
///
/// # Errors
/// `Precondition` if the database is in use (the message names the process and the lock file), or if its schema is newer
/// than this build knows; `Internal` if it cannot be opened.
pub async fn open(options: SqliteOptions) -> Result<Stores> {
    let database = tokio::task::spawn_blocking(move || Sqlite::open(&options)).await.map_err(Error::internal)??;
    let database = Arc::new(database);
    Ok(Stores {
        tenants: database.clone(),
        api_keys: database.clone(),
        agents: database.clone(),
        providers: database.clone(),
        sessions: database.clone(),
        secrets: database.clone(),
        system_configs: database.clone(),
        traces: database.clone(),
        usage: database.clone(),
        activity: database.clone(),
        builtin_tools: database.clone(),
        pairing: database.clone(),
        config_permissions: database.clone(),
        links: database.clone(),
        media: database.clone(),
        heartbeats: database.clone(),
        inbound: database.clone(),
        locks: database.clone(),
        subagents: database.clone(),
        archives: database.clone(),
        sealed: database.clone(),
        database,
    })
}
