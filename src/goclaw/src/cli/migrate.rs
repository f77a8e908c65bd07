//! `goclaw migrate` and `goclaw upgrade`: the database's schema.

use super::{
    exit::refused,
    print::{self, confirm},
};
use crate::{
    config::{Config, edition::Storage},
    run::{describe, plain},
};
use anyhow::{Context, Result, bail};
use serde_json::json;
use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// What to do with the schema. It goes forward only: to go back, restore a backup that was made before (`goclaw restore`).
#[derive(clap::Subcommand)]
pub enum Command {
    /// Bring the schema up to date
    Up {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print the schema's version
    Version {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove the database's tables with all that is in them
    Drop {
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// How to bring an installation up to date.
#[derive(clap::Args)]
pub struct Upgrade {
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Only say how things stand
    #[arg(long)]
    status: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How the schema stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Versions {
    /// The database's; 0 for a fresh one.
    current: i64,
    /// The newest that this build knows.
    newest: i64,
}

impl Versions {
    fn words(self) -> String {
        let Self { current, newest } = self;
        match current {
            0 => format!("0 (a fresh database; this build needs {newest}: run `goclaw migrate up`)"),
            _ if current < newest => format!("{current} (this build needs {newest}: run `goclaw migrate up`)"),
            _ if current > newest => format!("{current} (newer than the {newest} that this build knows; use a newer build)"),
            _ => current.to_string(),
        }
    }

    fn refuse_newer(self) -> Result<()> {
        let Self { current, newest } = self;
        if current > newest {
            return Err(refused(format!("the database has schema version {current}, newer than the {newest} this build knows; use a newer build")));
        }
        Ok(())
    }
}

/// Does it.
///
/// # Errors
/// If the database cannot be reached, or a gateway holds the file.
pub async fn run(config: &Config, command: Command) -> Result<()> {
    match command {
        Command::Up { json } => bring_up(config, json).await,
        Command::Version { json: as_json } => {
            let versions = versions(config).await?;
            if as_json { print::json(&json!({"version": versions.current, "newest": versions.newest})) } else { print::line(&versions.words()) }
        }
        Command::Drop { yes, json: as_json } => {
            drop_all(config, yes).await?;
            if as_json {
                print::json(&json!({"dropped": true}))
            } else {
                print::line("dropped; the next start, or `goclaw migrate up`, makes an empty database")
            }
        }
    }
}

/// Brings the installation up to date.
///
/// # Errors
/// If the schema is newer than this build, or as [`bring_up`].
pub async fn upgrade(config: &Config, options: Upgrade) -> Result<()> {
    let versions = versions(config).await?;
    versions.refuse_newer()?;
    if !options.status && !options.dry_run {
        return bring_up(config, options.json).await;
    }
    if options.json {
        let Versions { current, newest } = versions;
        return print::json(&json!({"version": current, "newest": newest, "pending": newest - current, "dry_run": options.dry_run}));
    }
    match (options.status, versions.newest - versions.current) {
        (_, 0) => print::line(&format!("the schema is up to date (version {})", versions.current)),
        (true, _) => print::line(&versions.words()),
        (false, _) => print::line(&format!("would migrate the schema from version {} to {}", versions.current, versions.newest)),
    }
}

/// Brings the schema up to date and says so.
///
/// # Errors
/// If the database cannot be reached, a gateway holds the file, or the schema is newer than this build.
pub(super) async fn bring_up(config: &Config, as_json: bool) -> Result<()> {
    let before = versions(config).await?;
    before.refuse_newer()?;
    match &config.storage {
        #[cfg(feature = "lite")]
        Storage::Sqlite { path } => {
            // Opening it brings it up to date.
            let stores = goclaw_sqlite::open(goclaw_sqlite::SqliteOptions { path: path.clone(), readers: 1 }).await.map_err(plain)?;
            stores.database.close().await;
        }
        #[cfg(feature = "standard")]
        Storage::Postgres { dsn } => {
            goclaw_postgres::migrate(dsn.as_ref().context("set GOCLAW_POSTGRES_DSN")?).await.map_err(plain)?;
        }
        #[expect(unreachable_patterns, reason = "a build may lack a database")]
        _ => bail!("this build has no such database"),
    }
    let (before, after) = (before.current, versions(config).await?.current);
    match as_json {
        true => print::json(&json!({"from": before, "to": after})),
        false if before == after => print::line(&format!("the schema is up to date (version {after})")),
        false => print::line(&format!("migrated the schema from version {before} to {after}")),
    }
}

/// How the schema stands. A gateway may run.
async fn versions(config: &Config) -> Result<Versions> {
    match &config.storage {
        #[cfg(feature = "lite")]
        Storage::Sqlite { path } => {
            let current = match goclaw_sqlite::schema_version_of(path.clone()).await {
                Err(error) if error.kind == goclaw_ports::ErrorKind::NotFound => 0,
                found => found.map_err(plain)?,
            };
            Ok(Versions { current, newest: goclaw_sqlite::NEWEST_VERSION })
        }
        #[cfg(feature = "standard")]
        Storage::Postgres { dsn } => {
            let found = goclaw_postgres::inspect(dsn.as_ref().context("set GOCLAW_POSTGRES_DSN")?).await.map_err(plain)?;
            Ok(Versions { current: found.schema_version, newest: found.newest_version })
        }
        #[expect(unreachable_patterns, reason = "a build may lack a database")]
        _ => bail!("this build has no such database"),
    }
}

/// Refuses while a gateway, or another command, has the database open. One that has been idle for long may have let go of it.
#[cfg(feature = "standard")]
pub(super) fn refuse_while_used(found: &goclaw_postgres::Inspection) -> Result<()> {
    match found.gateway_connections {
        0 => Ok(()),
        count => Err(refused(format!("{count} connections of gateways use the database {}; stop all gateways first", found.database))),
    }
}

async fn drop_all(config: &Config, yes: bool) -> Result<()> {
    let question = format!("Remove all agents, sessions and secrets of this database ({})? It cannot be undone.", describe(&config.storage));
    match &config.storage {
        #[cfg(feature = "lite")]
        Storage::Sqlite { path } => {
            if !path.exists() {
                return Err(refused(format!("there is no database at {}", path.display())));
            }
            // Whoever takes the lock from here on finds no database.
            let _lock = goclaw_sqlite::DatabaseLock::take(path).map_err(plain)?;
            confirm(yes, &question)?;
            // The log goes first: without its database it would be taken for the next one's.
            for ending in ["-wal", "-shm", "-journal", ""] {
                remove(&beside(path, ending))?;
            }
            Ok(())
        }
        #[cfg(feature = "standard")]
        Storage::Postgres { dsn } => {
            let dsn = dsn.as_ref().context("set GOCLAW_POSTGRES_DSN")?;
            let found = goclaw_postgres::inspect(dsn).await.map_err(plain)?;
            if found.schema_version == 0 {
                return Err(refused(format!("the database {} holds nothing of GoClaw", found.database)));
            }
            refuse_while_used(&found)?;
            confirm(yes, &question)?;
            goclaw_postgres::drop_schema(dsn).await.map_err(plain)
        }
        #[expect(unreachable_patterns, reason = "a build may lack a database")]
        _ => bail!("this build has no such database"),
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error).with_context(|| format!("cannot remove {}", path.display())),
        _ => Ok(()),
    }
}
