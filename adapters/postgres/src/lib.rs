//! Keeps everything in PostgreSQL.
//!
//! Connections speak the protocol themselves (no libpq), with TLS by rustls. Each of them works in one of two database
//! roles: `goclaw_tenant`, to which row-level security shows one tenant's rows only, and `goclaw_engine`, which sees all
//! and serves the methods that cross tenants. Statements name the tenant all the same; the role is the second wall.
#![deny(missing_docs)]

mod activity;
mod agents;
mod api_keys;
mod builtin_tools;
mod connect;
mod database;
mod error;
mod json;
mod migrations;
mod pool;
mod providers;
mod schema;
mod secrets;
mod sessions;
mod statement;
mod system_configs;
mod tenants;
mod traces;

pub use migrations::{migrate, schema_version};

use connect::Server;
use goclaw_ports::{Result, stores::Stores};
use pool::Postgres;
use secrecy::SecretString;
use std::sync::Arc;

/// How to reach the database and how much to ask of it.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`, or libpq's `key=value` form. `sslmode` is `disable`,
    /// `prefer` (the default), `require` or `verify-full`; whenever TLS is spoken, the server's certificate is verified.
    pub dsn: SecretString,
    /// How many connections to hold at most, in all; at least 2 are.
    pub max_connections: u32,
    /// Whether to bring the schema up to date first.
    pub migrate: bool,
}

/// Opens the database and gives its stores. Must be called on the runtime that the connections are to live on.
///
/// # Errors
/// `Invalid` for a malformed DSN, `Unavailable` if the server cannot be reached, and `Precondition` if the schema is
/// newer than this build, if it is older and `migrate` is off, or if the user lacks a right that a migration needs.
pub async fn open(options: PostgresOptions) -> Result<Stores> {
    let server = Server::new(&options.dsn)?;
    if options.migrate {
        migrations::run(&server).await?;
    } else {
        migrations::check(&server).await?;
    }
    let store = Arc::new(Postgres::new(server, options.max_connections));
    Ok(Stores {
        tenants: store.clone(),
        api_keys: store.clone(),
        agents: store.clone(),
        providers: store.clone(),
        sessions: store.clone(),
        secrets: store.clone(),
        system_configs: store.clone(),
        traces: store.clone(),
        activity: store.clone(),
        builtin_tools: store.clone(),
        database: store,
    })
}
