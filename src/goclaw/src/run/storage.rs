//! Opening the database.

use crate::config::{Config, edition::Storage};
use anyhow::{Result, anyhow, bail};
use goclaw_ports::{Error, ErrorKind, stores::Stores};

/// How many threads read the SQLite file.
#[cfg(feature = "lite")]
const READERS: usize = 4;
/// How many connections one replica holds to PostgreSQL.
#[cfg(feature = "standard")]
const CONNECTIONS: u32 = 20;

/// A port's error as the operator should read it: a fault with its cause, without the wording that hides it from clients.
pub fn plain(error: Error) -> anyhow::Error {
    match (&error.kind, &error.cause) {
        (ErrorKind::Internal, Some(cause)) => anyhow!("{cause}"),
        _ => anyhow!("{error}"),
    }
}

/// Opens the configured database and answers with its stores.
///
/// # Errors
/// Says what to do if there is no database, it cannot be reached, or its schema is not the one that is needed.
pub async fn open(config: &Config) -> Result<Stores> {
    match &config.storage {
        Storage::Sqlite { path } => {
            #[cfg(feature = "lite")]
            return goclaw_sqlite::open(goclaw_sqlite::SqliteOptions { path: path.clone(), readers: READERS })
                .await
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
                let options = goclaw_postgres::PostgresOptions { dsn: dsn.clone(), max_connections: CONNECTIONS, migrate: config.auto_upgrade() };
                goclaw_postgres::open(options).await.map_err(|error| plain(error).context("cannot use the database that GOCLAW_POSTGRES_DSN names"))
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
