//! The schema, one numbered step at a time.

use crate::failure::Failure;
use goclaw_ports::{Error, ErrorKind, message};
use rusqlite::{Connection, TransactionBehavior, params};

struct Migration {
    version: i64,
    up: &'static str,
}

macro_rules! migrations {
    ($($version:literal: $name:literal),* $(,)?) => {
        &[$(Migration { version: $version, up: include_str!(concat!("../../../migrations-sqlite/", $name, "/up.sql")) }),*]
    };
}

/// Every step, oldest first.
const MIGRATIONS: &[Migration] = migrations![1: "0001_foundation"];

/// The version that this build's code is written for.
pub(crate) const NEWEST: i64 = MIGRATIONS[MIGRATIONS.len() - 1].version;

/// Runs the steps that the database lacks, each in a transaction of its own.
///
/// # Errors
/// `Precondition` if the database has steps that this build does not know.
pub(crate) fn run(connection: &mut Connection) -> Result<(), Failure> {
    connection.execute_batch("create table if not exists schema_migrations (version integer not null primary key, applied_at integer not null) strict")?;
    let current = version(connection)?;
    if current > NEWEST {
        return Err(Error::new(ErrorKind::Precondition, message::schema_too_new(current, NEWEST)).into());
    }
    for migration in MIGRATIONS.iter().filter(|migration| migration.version > current) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(migration.up)?;
        transaction.execute(
            "insert into schema_migrations (version, applied_at) values (?1, cast(unixepoch('subsec') * 1000 as integer) * 1000)",
            params![migration.version],
        )?;
        transaction.commit()?;
        tracing::info!(version = migration.version, "migrated the database");
    }
    Ok(())
}

/// The number of the newest step that was run, 0 for none.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("select coalesce(max(version), 0) from schema_migrations", [], |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(connection: &Connection) -> Vec<String> {
        let mut statement = connection.prepare("select name from sqlite_schema where type = 'table' order by name").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap()
    }

    #[test]
    fn a_step_down_undoes_the_step_up() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection).unwrap();
        assert!(tables(&connection).contains(&"sessions".to_owned()));
        assert_eq!(version(&connection).unwrap(), NEWEST);
        connection.execute_batch(include_str!("../../../migrations-sqlite/0001_foundation/down.sql")).unwrap();
        assert_eq!(tables(&connection), ["schema_migrations"]);
    }

    #[test]
    fn running_twice_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        run(&mut connection).unwrap();
        let before = tables(&connection);
        run(&mut connection).unwrap();
        assert_eq!(tables(&connection), before);
        assert_eq!(connection.query_row("select count(*) from tenants", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }

    #[test]
    fn versions_count_up_from_one_without_gaps() {
        assert!(MIGRATIONS.iter().map(|migration| migration.version).eq(1..=NEWEST));
    }
}
