//! Databases that live for one test.

use futures_util::FutureExt;
use goclaw_ports::stores::Stores;
use goclaw_postgres::PostgresOptions;
use goclaw_sqlite::SqliteOptions;
use secrecy::SecretString;
use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use tokio_postgres::NoTls;
use url::Url;

/// The variable that names a PostgreSQL server whose user may create databases.
pub const POSTGRES_VARIABLE: &str = "GOCLAW_TEST_POSTGRES_DSN";

/// Which database adapter a test runs against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// A file in a temporary directory.
    Sqlite,
    /// A database of its own on the server that [`POSTGRES_VARIABLE`] names.
    Postgres,
}

/// An empty, migrated database.
pub struct TestDatabase {
    /// Its stores.
    pub stores: Stores,
    backend: Backend,
    place: Place,
}

enum Place {
    File(TempDir),
    Server(PostgresDatabase),
}

impl TestDatabase {
    /// Makes a new database, runs `test` on it, and removes it, whether the test passes or not.
    pub async fn with<T, F>(backend: Backend, test: T)
    where
        T: FnOnce(Self) -> F,
        F: Future<Output = ()>,
    {
        let place = match backend {
            Backend::Sqlite => Place::File(tempfile::tempdir().expect("a temporary directory")),
            Backend::Postgres => Place::Server(PostgresDatabase::create().await),
        };
        let (stores, server) = match &place {
            Place::File(dir) => (open_sqlite(&dir.path().join("goclaw.db")).await, None),
            Place::Server(database) => (open_postgres(&database.dsn, false).await, Some(database.clone())),
        };
        let handle = stores.database.clone();
        let outcome = AssertUnwindSafe(test(Self { stores, backend, place })).catch_unwind().await;
        handle.close().await;
        if let Some(database) = server {
            database.remove().await;
        }
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }

    /// Which adapter this is.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The same database as another gateway has it open; it is to be closed before the test ends.
    ///
    /// # Panics
    /// On SQLite: a file belongs to one process.
    pub async fn twin(&self) -> Stores {
        match &self.place {
            Place::File(_) => panic!("two gateways share a database on PostgreSQL only"),
            Place::Server(database) => open_postgres(&database.dsn, false).await,
        }
    }

    /// Ends every connection that holds an advisory lock.
    ///
    /// # Panics
    /// On SQLite, which has neither.
    pub async fn end_lockers(&self) {
        let Place::Server(PostgresDatabase { name, .. }) = &self.place else { panic!("a file has no connections") };
        let end = "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and granted and database";
        execute(&[format!("{end} = (select oid from pg_database where datname = '{name}')")]).await;
    }

    /// Closes the database and opens it again, as a restart of the gateway does.
    pub async fn reopen(&mut self) {
        self.stores.database.close().await;
        self.stores = match &self.place {
            Place::File(dir) => open_sqlite(&dir.path().join("goclaw.db")).await,
            Place::Server(database) => open_postgres(&database.dsn, true).await,
        };
    }
}

/// Opens the SQLite database in `path`, as the gateway does.
pub async fn open_sqlite(path: &Path) -> Stores {
    goclaw_sqlite::open(SqliteOptions { path: path.to_owned(), readers: 2 }).await.expect("the SQLite database opens")
}

/// Opens the PostgreSQL database behind `dsn`, as the gateway does.
pub async fn open_postgres(dsn: &str, migrate: bool) -> Stores {
    let options = PostgresOptions { dsn: SecretString::from(dsn), max_connections: 8, migrate, fallback_limiter: None };
    goclaw_postgres::open(options).await.expect("the PostgreSQL database opens").stores
}

/// A database on the test server.
#[derive(Debug, Clone)]
pub struct PostgresDatabase {
    /// How to connect to it.
    pub dsn: String,
    name: String,
}

impl PostgresDatabase {
    /// Makes a migrated database that nobody else uses.
    pub async fn create() -> Self {
        static TEMPLATE: OnceCell<String> = OnceCell::const_new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let template = TEMPLATE.get_or_init(make_template).await;
        let name = format!("{}_{}", own_prefix(), COUNT.fetch_add(1, Ordering::Relaxed));
        execute(&[format!("create database {name} template {template}")]).await;
        Self { dsn: dsn_of(&name), name }
    }

    /// Makes a database with nothing in it.
    pub async fn create_empty() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}_empty_{}", own_prefix(), COUNT.fetch_add(1, Ordering::Relaxed));
        execute(&[format!("create database {name}")]).await;
        Self { dsn: dsn_of(&name), name }
    }

    /// Removes it from a place that cannot wait, such as a destructor.
    pub fn remove_blocking(self) {
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(self.remove());
        });
        if removal.join().is_err() {
            eprintln!("a test database was left behind");
        }
    }

    /// Removes it, cutting whoever is connected.
    pub async fn remove(&self) {
        execute(&[format!("drop database if exists {} with (force)", self.name)]).await;
    }
}

const PREFIX: &str = "goclaw_test_";

fn own_prefix() -> String {
    format!("{PREFIX}{}", std::process::id())
}

/// Migrates one database that the others are copied from, and removes what test processes that are gone left behind.
async fn make_template() -> String {
    let left = query("select datname from pg_database where datname like 'goclaw\\_test\\_%'").await;
    let orphans = left.into_iter().filter(|name| {
        let pid = name[PREFIX.len()..].split('_').next().unwrap_or_default();
        !Path::new("/proc").join(pid).exists()
    });
    execute(&orphans.map(|name| format!("drop database if exists {name} with (force)")).collect::<Vec<_>>()).await;
    let name = format!("{}_template", own_prefix());
    execute(&[format!("drop database if exists {name} with (force)"), format!("create database {name}")]).await;
    let stores = open_postgres(&dsn_of(&name), true).await;
    stores.database.close().await;
    // A connection that is still being torn down would make copying fail.
    execute(&[format!("select pg_terminate_backend(pid, 5000) from pg_stat_activity where datname = '{name}'")]).await;
    name
}

#[expect(clippy::disallowed_methods, reason = "tests have no configuration loader")]
fn server_dsn() -> String {
    std::env::var(POSTGRES_VARIABLE)
        .unwrap_or_else(|_| panic!("{POSTGRES_VARIABLE} is not set: run the tests through `make test`, or name a PostgreSQL server with pgvector"))
}

fn dsn_of(database: &str) -> String {
    let mut url = Url::parse(&server_dsn()).expect("the DSN is a URL");
    url.set_path(database);
    url.into()
}

async fn connect() -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(&server_dsn(), NoTls).await.expect("the PostgreSQL server answers");
    tokio::spawn(connection);
    client
}

async fn execute(statements: &[String]) {
    if statements.is_empty() {
        return;
    }
    let client = connect().await;
    for statement in statements {
        client.simple_query(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
    }
}

async fn query(statement: &str) -> Vec<String> {
    connect().await.query(statement, &[]).await.expect("the query runs").iter().map(|row| row.get::<_, String>(0)).collect()
}
