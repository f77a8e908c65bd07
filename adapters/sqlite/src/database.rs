//! The open database: its lock, its threads and the queues to them.

use crate::{
    SqliteOptions,
    connection::{Log, open_reader, open_writer},
    failure::Failure,
    lock::DatabaseLock,
    locks::NamedLocks,
    migrations,
    queue::{self, Queue},
};
use async_trait::async_trait;
use goclaw_ports::{Error, ErrorKind, Result, message, stores::Database};
use rusqlite::Connection;
use std::{
    fs::{DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

/// How long the database may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

/// How many threads may read, at most: each has a page cache of its own.
const MOST_READERS: usize = 64;

/// The database that all stores share.
pub(crate) struct Sqlite {
    writes: Queue,
    reads: Queue,
    threads: Mutex<Option<Threads>>,
    pub(crate) named: NamedLocks,
}

struct Threads {
    writer: JoinHandle<()>,
    readers: Vec<JoinHandle<()>>,
}

impl Sqlite {
    /// Locks, opens and migrates the database and starts its threads. Blocks.
    pub fn open(options: &SqliteOptions) -> Result<Self> {
        let path = options.path.as_path();
        create(path).map_err(Error::internal)?;
        let lock = DatabaseLock::take(path)?;
        let mut connection = open_writer(path)?;
        migrations::run(&mut connection)?;

        let readers = options.readers.clamp(1, MOST_READERS);
        let connections = (0..readers).map(|_| open_reader(path)).collect::<Result<Vec<_>, Failure>>()?;

        let (reads, orders) = Queue::new();
        let orders = Arc::new(Mutex::new(orders));
        let readers = connections
            .into_iter()
            .map(|connection| {
                let orders = Arc::clone(&orders);
                start("sqlite-read", move || queue::read(&connection, &orders))
            })
            .collect::<Result<Vec<_>>>()?;

        let (writes, orders) = Queue::new();
        let log = Log::of(path);
        let writer = start("sqlite-write", move || {
            queue::write(&connection, log, orders);
            finish(connection);
            drop(lock);
        })?;
        Ok(Self { writes, reads, threads: Mutex::new(Some(Threads { writer, readers })), named: NamedLocks::default() })
    }

    /// Has `work` done on a connection that may only read.
    pub async fn read<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
        T: Send + 'static,
    {
        self.reads.call(false, work).await
    }

    /// Has `work` done as one atomic step and answers when the disk has it. It is done even if the caller goes away.
    pub async fn write<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
        T: Send + 'static,
    {
        self.writes.call(false, work).await
    }

    /// As [`Sqlite::write`], but answers when the system has it: a crash of this process loses none of it, and one of the machine
    /// what was written in the last moment. The disk has it as soon as the writer has nothing else to do.
    pub async fn write_relaxed<T, F>(&self, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
        T: Send + 'static,
    {
        self.writes.call(true, work).await
    }
}

#[async_trait]
impl Database for Sqlite {
    async fn ping(&self) -> Result<()> {
        let select = |connection: &Connection| Ok(connection.prepare_cached("select 1")?.query_row([], |_| Ok(()))?);
        let both = async { tokio::try_join!(self.read(select), self.write(select)) };
        match tokio::time::timeout(PING_TIMEOUT, both).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Error::unavailable("database").because(error)),
            Err(_) => Err(Error::new(ErrorKind::Timeout, message::timeout("database"))),
        }
    }

    fn exclusive(&self) -> bool {
        true
    }

    async fn schema_version(&self) -> Result<i64> {
        self.read(|connection| Ok(migrations::version(connection)?)).await
    }

    async fn close(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(Threads { writer, readers }) = threads else { return };
        // The readers go first, so that the writer's last checkpoint finds nobody in its way.
        self.reads.close().await;
        join(readers).await;
        self.writes.close().await;
        join(vec![writer]).await;
    }
}

/// Makes the directory and the file, for this user alone. SQLite gives the file's mode to its log as well.
fn create(path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

fn start(name: &str, life: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(life).map_err(Error::internal)
}

/// Brings the whole log into the database file and closes it.
fn finish(connection: Connection) {
    let checkpoint = connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
    if let Err(error) = checkpoint.and_then(|()| connection.close().map_err(|(_, error)| error)) {
        // Nothing is lost: the next opening reads the log.
        tracing::warn!(%error, "closing the database left its log behind");
    }
}

async fn join(threads: Vec<JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(move || threads.into_iter().map(JoinHandle::join).filter(Result::is_err).count()).await;
    if !matches!(joined, Ok(0)) {
        tracing::error!("a database thread panicked");
    }
}
