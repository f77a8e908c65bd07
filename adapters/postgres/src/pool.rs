//! Pooled connections, each working in one database role, and statements on them.

use crate::{
    background::Background,
    connect::{CONNECT_TIMEOUT, Server},
    error::{DATABASE, Failure},
    statistics::Statistics,
    turns::Turns,
};
use bb8::{ManageConnection, Pool, PooledConnection, QueueStrategy};
use diesel::{ConnectionError, QueryResult, result::Error as QueryError};
use diesel_async::{AsyncPgConnection, RunQueryDsl, pooled_connection::PoolableConnection};
use futures_util::future;
use goclaw_ports::{Error, Result, TenantId};
use std::{
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::context::TokioContext;

/// How long a call waits for its answer. The server gives up on a statement earlier, after 30 s; this is for a server
/// or a network that says nothing any more, and for transactions.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(35);

/// How many locks are held or waited for at most.
const LOCKERS: usize = 8;

diesel::define_sql_function! {
    fn set_config(name: diesel::sql_types::Text, value: diesel::sql_types::Text, local: diesel::sql_types::Bool) -> diesel::sql_types::Text;
}

/// Both pools. It implements every store trait; each domain's module holds its own.
pub(crate) struct Postgres {
    tenant: RolePool,
    engine: RolePool,
    server: Server,
    background: Background,
    pub(crate) statistics: Statistics,
    /// Connections beside the pools: one for each lock that is held or waited for.
    pub(crate) lockers: Arc<Semaphore>,
    /// The conversations that this process has runs in.
    pub(crate) turns: Turns,
}

impl Postgres {
    /// Pools of `max_connections` together. None is opened before it is needed, and then it lives on this runtime.
    pub(crate) fn new(server: Server, max_connections: u32) -> Self {
        let max = max_connections.max(2);
        // Of what crosses tenants, rate limits and events are short, and the rest is cached by its callers.
        let engine = (max / 4).clamp(1, 16);
        Self {
            tenant: RolePool::new(server.clone(), "tenant", max - engine),
            engine: RolePool::new(server.clone(), "engine", engine),
            server,
            background: Background::default(),
            statistics: Statistics::default(),
            lockers: Arc::new(Semaphore::new(LOCKERS)),
            turns: Turns::default(),
        }
    }

    /// For connections outside the pools.
    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// The tasks that end with the database.
    pub(crate) fn background(&self) -> &Background {
        &self.background
    }

    /// A connection that sees this tenant's rows only.
    pub(crate) async fn tenant(&self, tenant: TenantId) -> Result<Connection> {
        let (inner, turn) = self.tenant.get().await?;
        Ok(Connection { inner, tenant: Some(tenant), _turn: turn })
    }

    /// A connection that sees every row.
    pub(crate) async fn engine(&self) -> Result<Connection> {
        let (inner, turn) = self.engine.get().await?;
        Ok(Connection { inner, tenant: None, _turn: turn })
    }

    /// The tenant's connection, or the engine's for rows that belong to no tenant.
    pub(crate) async fn tenant_or_engine(&self, tenant: Option<TenantId>) -> Result<Connection> {
        match tenant {
            Some(tenant) => self.tenant(tenant).await,
            None => self.engine().await,
        }
    }

    /// Lets go of the connections; those in use end with their call.
    pub(crate) fn release(&self) {
        self.tenant.release();
        self.engine.release();
    }
}

struct RolePool {
    name: &'static str,
    pool: RwLock<Option<Pool<Manager>>>,
    /// Where connections live, whoever needs them first: the runtime of a thread that serves requests ends before the work does
    /// that others do with the connection.
    runtime: Handle,
    /// One for each connection. Callers wait here, first come, first served: the pool itself lets newcomers overtake
    /// those who wait, until they time out.
    turns: Arc<Semaphore>,
}

/// A connection of a pool.
struct Member {
    connection: AsyncPgConnection,
    /// Whose rows it shows; `None` if that is not known for certain.
    shows: Mutex<Option<TenantId>>,
}

impl Member {
    fn shows(&self) -> Option<TenantId> {
        *self.shows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_shows(&self, tenant: Option<TenantId>) {
        *self.shows.lock().unwrap_or_else(PoisonError::into_inner) = tenant;
    }
}

/// Makes connections in the role `goclaw_` and `role`.
struct Manager {
    server: Server,
    role: &'static str,
}

impl ManageConnection for Manager {
    type Connection = Member;
    type Error = ConnectionError;

    async fn connect(&self) -> Result<Member, ConnectionError> {
        let connection = set_up(&self.server, self.role).await.inspect_err(|error| tracing::warn!(%error, "cannot connect to the database"))?;
        Ok(Member { connection, shows: Mutex::default() })
    }

    /// A connection that the server closed is known to be closed without asking it.
    async fn is_valid(&self, member: &mut Member) -> Result<(), ConnectionError> {
        if member.connection.is_broken() { Err(ConnectionError::BadConnection("it was closed".into())) } else { Ok(()) }
    }

    fn has_broken(&self, member: &mut Member) -> bool {
        std::thread::panicking() || member.connection.is_broken()
    }
}

type Pooled = PooledConnection<'static, Manager>;

impl RolePool {
    /// Connections in the role `goclaw_` and `name`.
    fn new(server: Server, name: &'static str, size: u32) -> Self {
        let pool = Pool::builder()
            .max_size(size)
            // The connection that was used last: its backend is still warm, and those that are not needed can rest.
            .queue_strategy(QueueStrategy::Lifo)
            .connection_timeout(CONNECT_TIMEOUT)
            .build_unchecked(Manager { server, role: name });
        Self { name, pool: RwLock::new(Some(pool)), runtime: Handle::current(), turns: Arc::new(Semaphore::new(size as usize)) }
    }

    async fn get(&self) -> Result<(Pooled, OwnedSemaphorePermit)> {
        let asked = Instant::now();
        let taken = self.take().await;
        metrics::histogram!("goclaw_db_pool_wait_seconds", "pool" => self.name).record(asked.elapsed());
        taken
    }

    async fn take(&self) -> Result<(Pooled, OwnedSemaphorePermit)> {
        let unavailable = |cause: String| Error::unavailable(DATABASE).because(cause);
        let turn = tokio::time::timeout(CONNECT_TIMEOUT, self.turns.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| unavailable("every connection is busy".into()))?.map_err(|error| unavailable(error.to_string()))?;
        let pool = self.pool.read().unwrap_or_else(PoisonError::into_inner).clone();
        let pool = pool.ok_or_else(|| unavailable("the database was closed".into()))?;
        let connection = TokioContext::new(pool.get_owned(), self.runtime.clone()).await;
        let connection = connection.map_err(|error| unavailable(format!("no connection from the pool: {error}")))?;
        Ok((connection, turn))
    }

    fn release(&self) {
        self.pool.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

async fn set_up(server: &Server, name: &str) -> diesel::ConnectionResult<AsyncPgConnection> {
    let setup = format!("set role goclaw_{name}; set statement_timeout = '30s'; set lock_timeout = '15s'; set idle_in_transaction_session_timeout = '60s'");
    let connection = server.connect(&setup).await?;
    // Prepared now, so that it is always sent ahead of the statement it belongs to.
    set_tenant("", false).execute(&mut &connection).await.map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
    Ok(connection)
}

type SetTenant = diesel::dsl::select<set_config<&'static str, String, bool>>;

fn set_tenant(tenant: &str, local: bool) -> SetTenant {
    diesel::select(set_config("goclaw.tenant", tenant.to_owned(), local))
}

/// A connection taken from a pool for one call.
pub(crate) struct Connection {
    inner: Pooled,
    tenant: Option<TenantId>,
    /// The last field: it is given on after the connection is back in the pool.
    _turn: OwnedSemaphorePermit,
}

impl Connection {
    /// What to build a query's future on: `query.load(&mut connection.pipe())`. The future does nothing until [`Self::run`] polls it.
    pub(crate) fn pipe(&self) -> &AsyncPgConnection {
        &self.inner.connection
    }

    /// Runs a query. If the connection shows another tenant's rows, the tenant setting travels ahead of it in the same packet, so it costs
    /// no round trip.
    pub(crate) async fn run<T: Send>(&self, query: impl Future<Output = QueryResult<T>> + Send) -> Result<T, Failure> {
        let Some(tenant) = self.tenant else {
            return within(async { Ok(query.await?) }).await;
        };
        if self.inner.shows() == Some(tenant) {
            return within(async { Ok(query.await?) }).await;
        }
        within(async {
            // Until the server has answered, nobody knows what it did: the call may be given up.
            self.inner.set_shows(None);
            let mut pipe = self.pipe();
            let (set, answer) = future::join(set_tenant(&tenant.to_string(), false).execute(&mut pipe), query).await;
            if set.is_ok() {
                self.inner.set_shows(Some(tenant));
            }
            let answer = answer?;
            set?;
            Ok(answer)
        })
        .await
    }

    /// Runs a query whose row may not be there.
    pub(crate) async fn run_optional<T: Send>(&self, query: impl Future<Output = QueryResult<T>> + Send) -> Result<Option<T>, Failure> {
        match self.run(query).await {
            Ok(row) => Ok(Some(row)),
            Err(Failure::Query(QueryError::NotFound)) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The connection itself, for a transaction. The first statement in it must be [`enter`] if a tenant's rows are touched.
    pub(crate) fn raw(&mut self) -> &mut AsyncPgConnection {
        &mut self.inner.connection
    }
}

/// Shows the tenant's rows to the transaction that is open; afterwards the connection shows what it showed before.
pub(crate) async fn enter(connection: &mut AsyncPgConnection, tenant: TenantId) -> QueryResult<()> {
    set_tenant(&tenant.to_string(), true).execute(connection).await.map(drop)
}

/// The outcome of a statement or a transaction, or [`Failure::Timeout`] if there is none in time.
pub(crate) async fn within<T>(work: impl Future<Output = Result<T, Failure>> + Send) -> Result<T, Failure> {
    let begun = Instant::now();
    let outcome = tokio::time::timeout(ANSWER_TIMEOUT, work).await.unwrap_or(Err(Failure::Timeout));
    metrics::histogram!("goclaw_db_statement_seconds").record(begun.elapsed());
    outcome
}
