//! Keeps everything in PostgreSQL.
//!
//! Connections speak the protocol themselves (no libpq), with TLS by rustls. Each of them works in one of two database
//! roles: `goclaw_tenant`, to which row-level security shows one tenant's rows only, and `goclaw_engine`, which sees all
//! and serves the methods that cross tenants. Statements name the tenant all the same; the role is the second wall.
#![deny(missing_docs)]

mod activity;
mod agents;
mod api_keys;
mod archives;
mod background;
mod builtin_tools;
mod config_permissions;
mod connect;
mod database;
mod error;
mod heartbeats;
mod inbound;
mod json;
mod limiter;
mod links;
mod locks;
mod maintenance;
mod media;
mod migrations;
mod pairing;
mod pool;
mod providers;
mod relay;
mod schema;
mod sealed;
mod secrets;
mod sessions;
mod statement;
mod statistics;
mod subagents;
mod system_configs;
mod tenants;
mod traces;
mod turns;
mod usage;

pub use maintenance::{Inspection, client_environment, drop_schema, drop_script, grant_script, inspect};
pub use migrations::{migrate, schema_version};

use connect::Server;
use goclaw_ports::{Result, events::EventRelay, limits::RateLimiter, stores::Stores};
use limiter::Limiter;
use pool::Postgres;
use secrecy::SecretString;
use std::{fmt, sync::Arc};

/// How to reach the database and how much to ask of it.
#[derive(Clone)]
pub struct PostgresOptions {
    /// `postgres://user:password@host:port/database?sslmode=…`, or libpq's `key=value` form. `sslmode` is `disable`,
    /// `prefer` (the default), `require` or `verify-full`; whenever TLS is spoken, the server's certificate is verified.
    pub dsn: SecretString,
    /// How many connections to hold at most, in all; at least 2 are.
    pub max_connections: u32,
    /// Whether to bring the schema up to date first.
    pub migrate: bool,
    /// Decides about rate limits while the database cannot; without it, nothing is limited then.
    pub fallback_limiter: Option<Arc<dyn RateLimiter>>,
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("dsn", &self.dsn)
            .field("max_connections", &self.max_connections)
            .field("migrate", &self.migrate)
            .finish_non_exhaustive()
    }
}

/// An open database. [`goclaw_ports::stores::Database::close`] closes all of it.
pub struct Opened {
    /// What is kept in it.
    pub stores: Stores,
    /// Carries events to the other processes that have it open.
    pub relay: Arc<dyn EventRelay>,
    /// Rate limits that all processes share that have it open. If it cannot say within a second, [`PostgresOptions::fallback_limiter`]
    /// decides, for five seconds at a time.
    pub limiter: Arc<dyn RateLimiter>,
}

/// Opens the database. Must be called on the runtime that the connections are to live on.
///
/// # Errors
/// `Invalid` for a malformed DSN, `Unavailable` if the server cannot be reached, and `Precondition` if the schema is
/// newer than this build, if it is older and `migrate` is off, or if the user lacks a right that a migration needs.
pub async fn open(options: PostgresOptions) -> Result<Opened> {
    let server = Server::new(&options.dsn)?;
    if options.migrate {
        migrations::run(&server).await?;
    } else {
        migrations::check(&server).await?;
    }
    let store = Arc::new(Postgres::new(server, options.max_connections));
    let limiter = Arc::new(Limiter::new(store.clone(), options.fallback_limiter));
    let stores = Stores {
        tenants: store.clone(),
        api_keys: store.clone(),
        agents: store.clone(),
        providers: store.clone(),
        sessions: store.clone(),
        secrets: store.clone(),
        system_configs: store.clone(),
        traces: store.clone(),
        usage: store.clone(),
        activity: store.clone(),
        builtin_tools: store.clone(),
        pairing: store.clone(),
        config_permissions: store.clone(),
        links: store.clone(),
        media: store.clone(),
        heartbeats: store.clone(),
        inbound: store.clone(),
        locks: store.clone(),
        subagents: store.clone(),
        archives: store.clone(),
        sealed: store.clone(),
        database: store.clone(),
    };
    Ok(Opened { stores, relay: store, limiter })
}
