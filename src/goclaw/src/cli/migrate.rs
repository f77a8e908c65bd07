//! `goclaw migrate`.

use crate::{
    config::{Config, edition::Storage},
    run::plain,
};
use anyhow::{Context, Result, bail};
use serde_json::json;

/// What to do with the schema.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Bring the schema up to date
    Up,
    /// Print the schema's version
    Version {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
///
/// # Errors
/// If the database cannot be reached, or a gateway holds the file.
pub async fn run(config: &Config, command: Command) -> Result<()> {
    match command {
        Command::Up => up(config).await,
        Command::Version { json } => {
            let (version, newest) = version(config).await?;
            if json {
                println!("{}", json!({"version": version, "newest": newest}));
            } else {
                match newest {
                    Some(newest) if newest > version => println!("{version} (this build needs {newest}: run `goclaw migrate up`)"),
                    _ => println!("{version}"),
                }
            }
            Ok(())
        }
    }
}

/// Brings the schema up to date and says so.
pub(super) async fn up(config: &Config) -> Result<()> {
    match &config.storage {
        #[cfg(feature = "lite")]
        Storage::Sqlite { path } => {
            let before = match goclaw_sqlite::inspect(path.clone(), false).await.map_err(plain)? {
                Some(found) => found.schema_version,
                None => 0,
            };
            // Opening it brings it up to date.
            let stores = goclaw_sqlite::open(goclaw_sqlite::SqliteOptions { path: path.clone(), readers: 1 }).await.map_err(plain)?;
            let after = stores.database.schema_version().await.map_err(plain);
            stores.database.close().await;
            report(before, after?);
            Ok(())
        }
        #[cfg(feature = "standard")]
        Storage::Postgres { dsn } => {
            let dsn = dsn.as_ref().context("set GOCLAW_POSTGRES_DSN")?;
            let before = goclaw_postgres::schema_version(dsn).await.map_err(plain)?;
            goclaw_postgres::migrate(dsn).await.map_err(plain)?;
            report(before, goclaw_postgres::schema_version(dsn).await.map_err(plain)?);
            Ok(())
        }
        #[expect(unreachable_patterns, reason = "a build may lack a database")]
        _ => bail!("this build has no such database"),
    }
}

fn report(before: i64, after: i64) {
    if before == after {
        println!("the schema is up to date (version {after})");
    } else {
        println!("migrated the schema from version {before} to {after}");
    }
}

/// The schema's version, and the newest that this build knows if it can be told without changing anything.
async fn version(config: &Config) -> Result<(i64, Option<i64>)> {
    match &config.storage {
        #[cfg(feature = "lite")]
        Storage::Sqlite { path } => match goclaw_sqlite::inspect(path.clone(), false).await.map_err(plain)? {
            Some(found) => Ok((found.schema_version, Some(found.newest_version))),
            None => Ok((0, None)),
        },
        #[cfg(feature = "standard")]
        Storage::Postgres { dsn } => Ok((goclaw_postgres::schema_version(dsn.as_ref().context("set GOCLAW_POSTGRES_DSN")?).await.map_err(plain)?, None)),
        #[expect(unreachable_patterns, reason = "a build may lack a database")]
        _ => bail!("this build has no such database"),
    }
}
