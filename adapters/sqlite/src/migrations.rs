//! The schema, one numbered step at a time.

use crate::failure::Failure;
use goclaw_ports::{Error, ErrorKind, message};
use rusqlite::{Connection, TransactionBehavior, params};
use std::collections::BTreeSet;

struct Migration {
    version: i64,
    up: &'static str,
    #[cfg(test)]
    down: &'static str,
}

macro_rules! migrations {
    ($($version:literal: $name:literal),* $(,)?) => {
        &[$(Migration {
            version: $version,
            up: include_str!(concat!("../../../migrations-sqlite/", $name, "/up.sql")),
            #[cfg(test)]
            down: include_str!(concat!("../../../migrations-sqlite/", $name, "/down.sql")),
        }),*]
    };
}

/// Every step, oldest first.
const MIGRATIONS: &[Migration] = migrations![
    1: "0001_foundation",
    2: "0002_platform",
    3: "0003_heartbeats",
    4: "0004_media",
    5: "0005_agents",
    9: "0009_delegation",
    10: "0010_sessions",
    11: "0011_run_leases",
    12: "0012_subagents",
    13: "0013_usage",
    15: "0015_trace_indexes",
    16: "0016_inbound",
    17: "0017_usage_totals",
    18: "0018_channel_statistics",
];

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
    // A step may come later than one with a higher number.
    let known: BTreeSet<i64> =
        connection.prepare("select version from schema_migrations")?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for migration in MIGRATIONS.iter().filter(|migration| !known.contains(&migration.version)) {
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

    fn schema(connection: &Connection) -> Vec<(String, String)> {
        let mut statement = connection.prepare("select name, coalesce(sql, '') from sqlite_schema where name <> 'schema_migrations' order by name").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?.replace('"', "")))).unwrap();
        rows.collect::<rusqlite::Result<_>>().unwrap()
    }

    fn in_memory() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        connection
    }

    #[test]
    fn every_step_down_undoes_its_step_up() {
        let connection = in_memory();
        let mut schemas = Vec::new();
        for migration in MIGRATIONS {
            schemas.push(schema(&connection));
            connection.execute_batch(migration.up).unwrap();
        }
        for migration in MIGRATIONS.iter().rev() {
            connection.execute_batch(migration.down).unwrap();
            assert_eq!(schema(&connection), schemas.pop().unwrap(), "version {}", migration.version);
        }
        assert!(schema(&connection).is_empty());
    }

    #[test]
    fn memberships_get_random_ids_and_keep_what_they_had() {
        let mut connection = in_memory();
        connection.execute_batch(MIGRATIONS[0].up).unwrap();
        for user in ["mai", "lan"] {
            let member = "insert into tenant_users (tenant_id, user_id, role, created_at, updated_at) select id, ?1, 'admin', 5, 6 from tenants";
            connection.execute(member, [user]).unwrap();
        }
        connection.execute_batch("create table schema_migrations (version integer not null primary key, applied_at integer not null) strict").unwrap();
        connection.execute("insert into schema_migrations values (1, 0)", []).unwrap();
        run(&mut connection).unwrap();
        assert_eq!(version(&connection).unwrap(), NEWEST);

        let mut statement =
            connection.prepare("select id, user_id, display_name, role, metadata, created_at, updated_at from tenant_users order by user_id").unwrap();
        let mut ids = Vec::new();
        let mut rows = statement.query([]).unwrap();
        for user in ["lan", "mai"] {
            let row = rows.next().unwrap().unwrap();
            let id: String = row.get(0).unwrap();
            let parsed = uuid::Uuid::parse_str(&id).unwrap();
            assert_eq!((parsed.get_version_num(), parsed.get_variant(), parsed.to_string()), (4, uuid::Variant::RFC4122, id));
            ids.push(parsed);
            assert_eq!(row.get::<_, String>(1).unwrap(), user);
            assert_eq!(row.get::<_, Option<String>>(2).unwrap(), None);
            assert_eq!((row.get::<_, String>(3).unwrap().as_str(), row.get::<_, String>(4).unwrap().as_str()), ("admin", "{}"));
            assert_eq!((row.get::<_, i64>(5).unwrap(), row.get::<_, i64>(6).unwrap()), (5, 6));
        }
        assert!(rows.next().unwrap().is_none());
        assert_ne!(ids[0], ids[1]);
    }

    #[test]
    fn running_twice_changes_nothing() {
        let mut connection = in_memory();
        run(&mut connection).unwrap();
        let before = schema(&connection);
        run(&mut connection).unwrap();
        assert_eq!(schema(&connection), before);
        assert_eq!(connection.query_row("select count(*) from tenants", [], |row| row.get::<_, i64>(0)).unwrap(), 1);
    }

    #[test]
    fn versions_count_up() {
        assert!(MIGRATIONS.iter().map(|migration| migration.version).is_sorted_by(|one, next| one < next));
    }

    #[test]
    fn steps_that_come_after_a_later_one_are_run() {
        let (mut whole, mut late) = (in_memory(), in_memory());
        run(&mut whole).unwrap();
        whole.execute_batch(MIGRATIONS[MIGRATIONS.len() - 1].down).unwrap();
        late.execute_batch("create table schema_migrations (version integer not null primary key, applied_at integer not null) strict").unwrap();
        late.execute("insert into schema_migrations (version, applied_at) values (?1, 0)", [NEWEST]).unwrap();
        run(&mut late).unwrap();
        assert_eq!(schema(&late), schema(&whole));
    }
}
