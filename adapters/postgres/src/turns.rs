//! Conversations that this process has runs in, as advisory locks that share one connection: they cost no table, are gone with the
//! process that held them, and may be held for as long as a run takes. One process may hold the same one several times.

use crate::{
    connect::Server,
    error::{DATABASE, Failure},
    pool::within,
    statement::Fixed,
};
use diesel::{
    QueryResult,
    dsl::sql_query,
    prelude::*,
    sql_types::{Bool, Text},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use goclaw_ports::{Error, Result, locks::Held};
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{Mutex, Semaphore},
};

/// How many are held at most: PostgreSQL keeps the advisory locks of all clients in one table of limited size.
const MOST: usize = 2_000;
/// The first pause of who waits, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));
/// The server notices within half a minute if this machine is gone without a word.
const SETUP: &str = "set statement_timeout = '30s'; set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3";

/// The connection, once it is needed.
pub(crate) struct Turns {
    line: Mutex<Option<Line>>,
    places: Arc<Semaphore>,
}

type Line = Arc<AsyncPgConnection>;

/// One of them. Dropping it lets go.
struct Turn {
    line: Line,
    name: Arc<str>,
    runtime: Handle,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    done: bool,
}

impl Default for Turns {
    fn default() -> Self {
        Self { line: Mutex::default(), places: Arc::new(Semaphore::new(MOST)) }
    }
}

impl Turns {
    /// Waits until no other process holds this name, and holds it.
    pub(crate) async fn take(&self, server: &Server, name: String) -> Result<Held> {
        let full = |_| Error::unavailable("the gateway").retry_after(Duration::from_secs(5));
        let place = self.places.clone().try_acquire_owned().map_err(full)?;
        let name: Arc<str> = name.into();
        let mut pause = PAUSES.0;
        loop {
            if let Some(turn) = self.attempt(server, &name).await? {
                return Ok(Held::new((turn, place)));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Whether another process holds this name.
    pub(crate) async fn is_taken(&self, server: &Server, name: String) -> Result<bool> {
        Ok(self.attempt(server, &name.into()).await?.is_none())
    }

    /// Takes it if it is free.
    async fn attempt(&self, server: &Server, name: &Arc<str>) -> Result<Option<Turn>> {
        // The first connection may have ended since it was used last.
        for last in [false, true] {
            let line = self.line(server).await?;
            // In a task: if whoever waits goes away meanwhile, what the server gave is given back.
            match tokio::spawn(Turn::taken(line.clone(), name.clone())).await.map_err(Error::internal)? {
                Ok(turn) => return Ok(turn),
                Err(failure) => {
                    self.forget(&line).await;
                    if last {
                        return Err(failure.into());
                    }
                }
            }
        }
        Ok(None)
    }

    async fn line(&self, server: &Server) -> Result<Line> {
        let mut line = self.line.lock().await;
        if let Some(line) = &*line {
            return Ok(line.clone());
        }
        let connected = server.connect(SETUP).await.map_err(|error| Error::unavailable(DATABASE).because(error.to_string()))?;
        Ok(line.insert(Arc::new(connected)).clone())
    }

    async fn forget(&self, broken: &Line) {
        self.line.lock().await.take_if(|line| Arc::ptr_eq(line, broken));
    }

    /// Closes the connection as soon as nothing is held.
    pub(crate) async fn end(&self) {
        self.line.lock().await.take();
    }
}

impl Turn {
    /// An answer that does not come is one that the server may yet give: then the whole line is given up, and all that it holds.
    async fn taken(line: Line, name: Arc<str>) -> Result<Option<Self>, Failure> {
        let taken = within(async { Ok(asked(&line, "select pg_try_advisory_lock(hashtextextended($1, 0)) as done", &name).await?) }).await?;
        Ok(taken.then(|| Self { line, name, runtime: Handle::current() }))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let (line, name) = (self.line.clone(), self.name.clone());
        self.runtime.spawn(async move {
            // If the connection has ended, it is free already.
            if let Err(error) = asked(&line, "select pg_advisory_unlock(hashtextextended($1, 0)) as done", &name).await {
                tracing::debug!(%error, "a conversation was let go with its connection");
            }
        });
    }
}

async fn asked(mut line: &AsyncPgConnection, statement: &'static str, name: &str) -> QueryResult<bool> {
    let answer: Answer = Fixed(sql_query(statement).bind::<Text, _>(name.to_owned())).get_result(&mut line).await?;
    Ok(answer.done)
}
