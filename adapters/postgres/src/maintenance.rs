//! What commands need that look after a database: looking at it, emptying it, and letting PostgreSQL's own programs reach it.

use crate::{
    connect::Server,
    error::Failure,
    migrations::{self, LOCK},
};
use diesel::{
    QueryableByName,
    sql_types::{BigInt, Text},
};
use diesel_async::{RunQueryDsl, SimpleAsyncConnection};
use goclaw_ports::{Error, Result};
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::{Host, SslMode};

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// The number of the newest migration that was run, 0 for none.
    pub schema_version: i64,
    /// The number of the newest migration that this build knows.
    pub newest_version: i64,
    /// The database's name.
    pub database: String,
    /// The PostgreSQL schema that holds the tables, usually `public`.
    pub schema: String,
    /// How many other connections of gateways or their commands the database has now. A gateway that has been idle for long may
    /// have none.
    pub gateway_connections: i64,
}

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    database: String,
    #[diesel(sql_type = Text)]
    schema: String,
    #[diesel(sql_type = BigInt)]
    connections: i64,
}

/// Looks at a database without changing it.
///
/// # Errors
/// `Invalid` for a malformed DSN, `Unavailable` if the server cannot be reached.
pub async fn inspect(dsn: &SecretString) -> Result<Inspection> {
    let connection = migrations::connect(&Server::new(dsn)?).await?;
    let schema_version = migrations::current(&connection).await?;
    let query = "select current_database()::text as database, coalesce(current_schema(), 'public')::text as schema,
        (select count(*) from pg_stat_activity
         where datname = current_database() and application_name = 'goclaw' and pid <> pg_backend_pid()) as connections";
    let found: Found = diesel::sql_query(query).get_result(&mut &connection).await.map_err(Failure::from)?;
    Ok(Inspection {
        schema_version,
        newest_version: migrations::newest()?,
        database: found.database,
        schema: found.schema,
        gateway_connections: found.connections,
    })
}

/// SQL that removes everything that migrations made in the current schema, one statement. The roles stay: they belong to the whole
/// server. What the migrations made is told by its grants, so that tables of other programs stay.
#[must_use]
pub fn drop_script() -> &'static str {
    r"do $$
declare
    statement text;
begin
    for statement in select unnest(array(
        select format('drop %s if exists %I.%I cascade', case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'S' then 'sequence' else 'table' end, n.nspname, c.relname)
        from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = current_schema() and c.relkind in ('r', 'p', 'v', 'm', 'S')
            and (c.relname = '__diesel_schema_migrations' or exists (
                select from aclexplode(c.relacl) a join pg_roles r on r.oid = a.grantee where r.rolname = 'goclaw_engine'))
        order by c.relkind = 'S'
    )) loop
        execute statement;
    end loop;
    for statement in select unnest(array(
        select format('drop routine if exists %s cascade', p.oid::regprocedure)
        from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = current_schema() and p.proname like 'goclaw\_%'
    )) loop
        execute statement;
    end loop;
    -- What is made later and is none of theirs, such as the list of migrations, must not be granted to them.
    execute format('alter default privileges in schema %I revoke all on tables from goclaw_tenant, goclaw_engine', current_schema());
    execute format('alter default privileges in schema %I revoke all on sequences from goclaw_tenant, goclaw_engine', current_schema());
end
$$;"
}

/// Removes everything that migrations made ([`drop_script`]), in one step.
///
/// # Errors
/// `Unavailable` if the server cannot be reached; `Timeout` if somebody uses the tables.
pub async fn drop_schema(dsn: &SecretString) -> Result<()> {
    let mut connection = migrations::connect(&Server::new(dsn)?).await?;
    connection.batch_execute(LOCK).await.map_err(Failure::from)?;
    connection.batch_execute("set lock_timeout = '15s'").await.map_err(Failure::from)?;
    connection.batch_execute(drop_script()).await.map_err(Failure::from)?;
    Ok(())
}

/// SQL that grants anew what the first migration grants on the current schema as a whole: [`drop_script`] takes it away, and a dump does
/// not carry it to a database of another user. One statement.
#[must_use]
pub fn grant_script() -> &'static str {
    "do $$
begin
    execute format('grant usage on schema %I to goclaw_tenant, goclaw_engine', current_schema());
    execute format('alter default privileges in schema %I grant select, insert, update, delete on tables to goclaw_tenant, goclaw_engine', current_schema());
    execute format('alter default privileges in schema %I grant usage, select on sequences to goclaw_tenant, goclaw_engine', current_schema());
end
$$;"
}

/// The variables that lead PostgreSQL's own programs (`psql`, `pg_dump`) to the database of `dsn`.
///
/// # Errors
/// `Invalid` for a malformed DSN.
pub fn client_environment(dsn: &SecretString) -> Result<Vec<(&'static str, SecretString)>> {
    let server = Server::new(dsn)?;
    let config = server.config();
    let mut variables = Vec::new();
    let mut set = |name, value: String| {
        if !value.is_empty() {
            variables.push((name, SecretString::from(value)));
        }
    };
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        #[cfg(unix)]
        Host::Unix(path) => path.to_string_lossy().into_owned(),
    });
    set("PGHOST", hosts.collect::<Vec<_>>().join(","));
    set("PGHOSTADDR", config.get_hostaddrs().iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    set("PGPORT", config.get_ports().iter().map(ToString::to_string).collect::<Vec<_>>().join(","));
    set("PGUSER", config.get_user().unwrap_or_default().to_owned());
    set("PGDATABASE", config.get_dbname().or(config.get_user()).unwrap_or_default().to_owned());
    set("PGOPTIONS", config.get_options().unwrap_or_default().to_owned());
    if let Some(password) = config.get_password() {
        let password = std::str::from_utf8(password).map_err(|_| Error::invalid_request("malformed PostgreSQL DSN"))?;
        set("PGPASSWORD", password.to_owned());
    }
    let strict = ["verify-full", "verify-ca"].into_iter().find(|mode| options_of(dsn.expose_secret()).contains(&format!("sslmode={mode}")));
    let mode = strict.unwrap_or(match config.get_ssl_mode() {
        SslMode::Disable => "disable",
        SslMode::Require => "require",
        _ => "prefer",
    });
    set("PGSSLMODE", mode.to_owned());
    Ok(variables)
}

/// The part of a DSN that holds its options.
fn options_of(dsn: &str) -> &str {
    if dsn.contains("://") { dsn.rsplit_once('?').map_or("", |(_, options)| options) } else { dsn }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(dsn: &str) -> Vec<(&'static str, String)> {
        client_environment(&SecretString::from(dsn)).unwrap().into_iter().map(|(name, value)| (name, value.expose_secret().to_owned())).collect()
    }

    #[test]
    fn a_dsn_becomes_variables() {
        let expected =
            [("PGHOST", "db"), ("PGPORT", "5433"), ("PGUSER", "ana"), ("PGDATABASE", "goclaw"), ("PGPASSWORD", "p@ss"), ("PGSSLMODE", "verify-full")];
        let expected: Vec<_> = expected.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        assert_eq!(variables("postgres://ana:p%40ss@db:5433/goclaw?sslmode=verify-full"), expected);
        assert_eq!(variables("host=db port=5433 user=ana dbname=goclaw password=p@ss sslmode=verify-full"), expected);
    }

    #[test]
    fn a_malformed_dsn_is_not_repeated() {
        let error = client_environment(&SecretString::from("postgres://u:hunter2@h:notaport/d")).unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }
}
