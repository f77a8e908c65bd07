//! The schema's versions.

use crate::{
    connect::Server,
    error::{DATABASE, Failure},
};
use diesel::{
    ConnectionError, OptionalExtension, QueryableByName,
    migration::{Migration, MigrationSource},
    pg::Pg,
    sql_types::{BigInt, Bool, Nullable},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection, async_connection_wrapper::AsyncConnectionWrapper};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use goclaw_ports::{Error, ErrorKind, Result, message};
use secrecy::SecretString;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations-postgres");

/// Migrators of all replicas wait for each other on this advisory lock ("goclaw" in ASCII), at most five minutes.
pub(crate) const LOCK: &str = "set lock_timeout = '300s'; select pg_advisory_lock(113668023640439)";

/// Brings the schema up to date and answers with the names of the migrations that were run, oldest first. Two at once
/// are safe: the second waits and finds nothing left to do.
///
/// # Errors
/// `Unavailable` if the server cannot be reached; `Precondition` if the schema is newer than this build, or if the
/// user lacks a right that a migration needs (the first one makes two roles: CREATEROLE).
pub async fn migrate(dsn: &SecretString) -> Result<Vec<String>> {
    run(&Server::new(dsn)?).await
}

/// The number of the newest migration that was run, 0 for none.
///
/// # Errors
/// `Unavailable` if the server cannot be reached.
pub async fn schema_version(dsn: &SecretString) -> Result<i64> {
    let connection = connect(&Server::new(dsn)?).await?;
    current(&connection).await
}

pub(crate) async fn run(server: &Server) -> Result<Vec<String>> {
    let mut connection = connect(server).await?;
    // Freed when the connection is dropped.
    connection.batch_execute(LOCK).await.map_err(Failure::from)?;
    refuse_newer(current(&connection).await?)?;
    // The harness blocks, which a worker of a current-thread runtime must not.
    let runtime = tokio::runtime::Handle::current();
    let work = tokio::task::spawn_blocking(move || -> Result<Vec<String>> {
        let _entered = runtime.enter();
        let mut connection: AsyncConnectionWrapper<AsyncPgConnection> = connection.into();
        let pending = MigrationHarness::<Pg>::pending_migrations(&mut connection, MIGRATIONS).map_err(failed)?;
        let mut names = Vec::with_capacity(pending.len());
        for migration in pending {
            connection.run_migration(&migration).map_err(failed)?;
            names.push(migration.name().to_string());
        }
        Ok(names)
    });
    let names = work.await.map_err(Error::internal)??;
    for name in &names {
        tracing::info!(migration = %name, "migrated the database");
    }
    Ok(names)
}

/// Refuses a schema that is not the one this build was made for.
pub(crate) async fn check(server: &Server) -> Result<()> {
    let version = current(&connect(server).await?).await?;
    refuse_newer(version)?;
    let needed = newest()?;
    if version < needed {
        return Err(Error::new(ErrorKind::Precondition, message::schema_outdated(version, needed)));
    }
    Ok(())
}

fn refuse_newer(version: i64) -> Result<()> {
    let known = newest()?;
    if version > known {
        return Err(Error::new(ErrorKind::Precondition, message::schema_too_new(version, known)));
    }
    Ok(())
}

/// The number of the newest migration that this build has.
pub(crate) fn newest() -> Result<i64> {
    let migrations = MigrationSource::<Pg>::migrations(&MIGRATIONS).map_err(Error::internal)?;
    Ok(migrations.iter().filter_map(|migration| migration.name().version().to_string().parse().ok()).max().unwrap_or(0))
}

#[derive(QueryableByName)]
struct Known {
    #[diesel(sql_type = Bool)]
    known: bool,
}

#[derive(QueryableByName)]
struct Newest {
    #[diesel(sql_type = Nullable<BigInt>)]
    version: Option<i64>,
}

pub(crate) async fn current(mut connection: &AsyncPgConnection) -> Result<i64> {
    let known: Known =
        diesel::sql_query("select to_regclass('__diesel_schema_migrations') is not null as known").get_result(&mut connection).await.map_err(Failure::from)?;
    if !known.known {
        return Ok(0);
    }
    let newest: Option<Newest> = diesel::sql_query("select max(version::bigint) as version from __diesel_schema_migrations")
        .get_result(&mut connection)
        .await
        .optional()
        .map_err(Failure::from)?;
    Ok(newest.and_then(|newest| newest.version).unwrap_or(0))
}

pub(crate) async fn connect(server: &Server) -> Result<AsyncPgConnection> {
    server.connect("select 1").await.map_err(|error| match error {
        ConnectionError::CouldntSetupConfiguration(error) => Failure::from(error).into(),
        error => Error::unavailable(DATABASE).because(error),
    })
}

/// The migrations say in their own words which right they miss.
fn failed(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    let text = error.to_string();
    if text.contains("CREATEROLE") {
        return Error::new(ErrorKind::Precondition, message::database_rights("CREATEROLE")).because(error);
    }
    Error::internal(error)
}
