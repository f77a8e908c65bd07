//! Opening the database.

use crate::config::{Config, edition::Storage};
use anyhow::{Result, bail};
use goclaw_ports::{Error, ErrorKind, events::EventRelay, limits::RateLimiter, stores::Stores};
use std::sync::Arc;

/// How many threads read the SQLite file.
#[cfg(feature = "lite")]
const READERS: usize = 4;
/// How many connections one replica holds to PostgreSQL.
#[cfg(feature = "standard")]
const CONNECTIONS: u32 = 20;

/// A port's error in the operator's words; the kind is kept for those who must tell one from another.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Plain {
    /// The kind.
    pub kind: ErrorKind,
    text: String,
}

/// A port's error as the operator should read it: a fault with its cause, without the wording that hides it from clients.
pub fn plain(error: Error) -> anyhow::Error {
    let text = match (&error.kind, &error.cause) {
        (ErrorKind::Internal, Some(cause)) => cause.to_string(),
        _ => error.to_string(),
    };
    Plain { kind: error.kind, text }.into()
}

/// An open database, and what replicas that share it have in common.
pub struct Opened {
    /// Its stores.
    pub stores: Stores,
    /// What carries events between replicas; `None` if there cannot be others.
    pub relay: Option<Arc<dyn EventRelay>>,
    /// What all replicas count requests with.
    pub limiter: Arc<dyn RateLimiter>,
}

/// The stores of the configured database.
///
/// # Errors
/// As [`open_all`].
pub async fn open(config: &Config) -> Result<Stores> {
    Ok(open_all(config).await?.stores)
}

/// Opens the configured database.
///
/// # Errors
/// Says what to do if there is no database, it cannot be reached, or its schema is not the one that is needed.
pub async fn open_all(config: &Config) -> Result<Opened> {
    let limiter: Arc<dyn RateLimiter> = Arc::new(goclaw_limits::LocalLimiter::default());
    match &config.storage {
        Storage::Sqlite { path } => {
            #[cfg(feature = "lite")]
            return goclaw_sqlite::open(goclaw_sqlite::SqliteOptions { path: path.clone(), readers: READERS })
                .await
                .map(|stores| Opened { stores, relay: None, limiter })
                .map_err(|error| plain(error).context(format!("cannot open the database {}", path.display())));
            #[cfg(not(feature = "lite"))]
            bail!("this build has no SQLite, so it cannot open {}", path.display());
        }
        Storage::Postgres { dsn: None } => bail!(
            "the standard edition keeps its data in PostgreSQL: set GOCLAW_POSTGRES_DSN (postgres://user:password@host:5432/goclaw), or GOCLAW_EDITION=lite for a single file"
        ),
        Storage::Postgres { dsn: Some(dsn) } => {
            #[cfg(feature = "standard")]
            {
                let options = goclaw_postgres::PostgresOptions {
                    dsn: dsn.clone(),
                    max_connections: CONNECTIONS,
                    migrate: config.auto_upgrade(),
                    fallback_limiter: Some(limiter),
                };
                goclaw_postgres::open(options)
                    .await
                    .map(|opened| Opened { stores: opened.stores, relay: Some(opened.relay), limiter: opened.limiter })
                    .map_err(|error| plain(error).context("cannot use the database that GOCLAW_POSTGRES_DSN names"))
            }
            #[cfg(not(feature = "standard"))]
            {
                drop(dsn.clone());
                bail!("this build has no PostgreSQL");
            }
        }
    }
}

/// The database in a few words, without its password.
#[must_use]
pub fn describe(storage: &Storage) -> String {
    match storage {
        Storage::Sqlite { path } => format!("SQLite, {}", path.display()),
        Storage::Postgres { dsn: None } => "PostgreSQL, no DSN".to_owned(),
        Storage::Postgres { dsn: Some(_) } => "PostgreSQL".to_owned(),
    }
}
