//! Looking at a database that nobody uses, without changing it.

use crate::{connection::open_reader, failure::Failure, lock::DatabaseLock, migrations};
use goclaw_ports::{Error, Result};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The number of the newest migration that was run, 0 for none.
    pub schema_version: i64,
    /// The number of the newest migration that this build knows.
    pub newest_version: i64,
    /// What SQLite's integrity and foreign key checks complain about; empty if all is well.
    pub problems: Vec<String>,
}

/// Inspects the database at `path`, while holding its lock; `None` if there is no file. A `thorough` look reads all of it;
/// without one, no problems are found.
///
/// # Errors
/// `Precondition` if the database is in use (the message names the process); `Internal` if the file is no database.
pub async fn inspect(path: PathBuf, thorough: bool) -> Result<Option<Inspection>> {
    let inspected = tokio::task::spawn_blocking(move || if path.exists() { look(&path, thorough).map(Some) } else { Ok(None) });
    Ok(inspected.await.map_err(Error::internal)??)
}

fn look(path: &Path, thorough: bool) -> Result<Inspection, Failure> {
    let _lock = DatabaseLock::take(path)?;
    let connection = open_reader(path)?;
    let problems = if thorough { problems(&connection)? } else { Vec::new() };
    Ok(Inspection { schema_version: schema_version(&connection)?, newest_version: migrations::NEWEST, problems })
}

/// The number of the newest migration that was run on the database at `path`, 0 for none. The database may be in use: nothing is
/// locked or changed.
///
/// # Errors
/// `NotFound` if there is no file; `Internal` if it is no database.
pub async fn schema_version_of(path: PathBuf) -> Result<i64> {
    let asked = tokio::task::spawn_blocking(move || {
        if !path.is_file() {
            return Err(Error::not_found("database", path.display()).into());
        }
        schema_version(&open_reader(&path)?)
    });
    Ok(asked.await.map_err(Error::internal)??)
}

/// The number of the newest migration that was run, 0 for none.
pub(crate) fn schema_version(connection: &Connection) -> Result<i64, Failure> {
    let migrated = connection.prepare("select 1 from sqlite_schema where name = 'schema_migrations'")?.exists([])?;
    Ok(if migrated { migrations::version(connection)? } else { 0 })
}

fn problems(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut problems = damages(connection)?;
    let mut orphans = connection.prepare("pragma foreign_key_check")?;
    for orphan in orphans.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(2)?)))? {
        let (table, parent) = orphan?;
        problems.push(format!("a row of {table} refers to a row of {parent} that is not there"));
    }
    Ok(problems)
}

/// What SQLite's integrity check complains about.
pub(crate) fn damages(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut lines: Vec<String> = connection.prepare("pragma integrity_check")?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    lines.retain(|line| line != "ok");
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::ErrorKind;

    #[tokio::test]
    async fn a_database_is_inspected_only_when_nobody_holds_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("goclaw.db");
        assert_eq!(inspect(path.clone(), true).await.unwrap(), None);

        let stores = crate::open(crate::SqliteOptions { path: path.clone(), readers: 1 }).await.unwrap();
        assert_eq!(inspect(path.clone(), true).await.unwrap_err().kind, ErrorKind::Precondition);

        stores.database.close().await;
        let found = inspect(path, true).await.unwrap().unwrap();
        assert_eq!(found, Inspection { schema_version: migrations::NEWEST, newest_version: migrations::NEWEST, problems: vec![] });
    }
}
