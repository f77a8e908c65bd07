//! Jobs, and the threads that do them.

use crate::{connection::Log, failure::Failure};
use goclaw_ports::{Error, Result};
use rusqlite::Connection;
use std::{
    any::Any,
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::{
    mpsc::{self, error::SendTimeoutError},
    oneshot,
};

/// How many jobs may wait for a thread; more callers wait for a place.
const WAITING: usize = 1024;

/// How long a caller waits for a place.
const PATIENCE: Duration = Duration::from_secs(30);

/// How many jobs share a transaction.
const BATCH: usize = 256;

/// Work on a connection that somebody waits for.
pub(crate) trait Job: Send {
    /// Does it. `false` if what it wrote must be undone.
    fn run(&mut self, connection: &Connection) -> bool;
    /// Tells who waits; `lost` says why what it wrote could not be kept.
    fn answer(self: Box<Self>, lost: Option<Error>);
    /// Whether nobody waits any more.
    fn is_abandoned(&self) -> bool;
    /// Whether who waits may be told before the disk has what it wrote.
    fn is_relaxed(&self) -> bool;
}

struct Call<F, T> {
    work: Option<F>,
    relaxed: bool,
    outcome: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<F, T> Job for Call<F, T>
where
    F: FnOnce(&Connection) -> Result<T, Failure> + Send,
    T: Send,
{
    fn run(&mut self, connection: &Connection) -> bool {
        if let Some(work) = self.work.take() {
            self.outcome = Some(match catch_unwind(AssertUnwindSafe(|| work(connection))) {
                Ok(outcome) => outcome.map_err(Error::from),
                Err(panic) => Err(Error::internal(format!("a database job panicked: {}", panic_text(panic.as_ref())))),
            });
        }
        matches!(self.outcome, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, lost: Option<Error>) {
        let outcome = match (self.outcome, lost) {
            (Some(Err(error)), _) | (_, Some(error)) => Err(error),
            (Some(outcome), None) => outcome,
            (None, None) => Err(Error::internal("a database job was not done")),
        };
        // A caller that has gone away does not want to know.
        let _ = self.reply.send(outcome);
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn is_relaxed(&self) -> bool {
        self.relaxed
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// What a thread is told.
pub(crate) enum Order {
    /// To do this.
    Run(Box<dyn Job>),
    /// To do what is waiting, take no more, and end.
    Close,
}

/// The callers' end of the threads' queue.
#[derive(Clone)]
pub(crate) struct Queue {
    orders: mpsc::Sender<Order>,
}

impl Queue {
    /// A queue and its threads' end.
    pub fn new() -> (Self, mpsc::Receiver<Order>) {
        let (orders, receiver) = mpsc::channel(WAITING);
        (Self { orders }, receiver)
    }

    /// Has `work` done and answers with its outcome; if it is relaxed, perhaps before the disk has what it wrote.
    ///
    /// # Errors
    /// `Unavailable` if the queue was closed, or is full for too long; `Internal` if `work` panics.
    pub async fn call<T, F>(&self, relaxed: bool, work: F) -> Result<T>
    where
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
        T: Send + 'static,
    {
        let (reply, outcome) = oneshot::channel();
        let job = Call { work: Some(work), relaxed, outcome: None, reply };
        self.send(Order::Run(Box::new(job))).await?;
        outcome.await.unwrap_or_else(|_| Err(Error::unavailable("database")))
    }

    /// Lets the threads end once they have done what is waiting.
    pub async fn close(&self) {
        // If the queue is closed already, the threads end anyway.
        let _ = self.orders.send(Order::Close).await;
    }

    async fn send(&self, order: Order) -> Result<()> {
        self.orders.send_timeout(order, PATIENCE).await.map_err(|error| match error {
            SendTimeoutError::Timeout(_) => Error::unavailable("database").because("the queue stayed full"),
            SendTimeoutError::Closed(_) => Error::unavailable("database").because("the database was closed"),
        })
    }
}

/// The life of the writing thread: until the queue is closed, takes what waits and commits it together.
pub(crate) fn write(connection: &Connection, mut log: Log, mut orders: mpsc::Receiver<Order>) {
    let mut batch = VecDeque::with_capacity(BATCH);
    let mut unsynced = false;
    while let Some(order) = orders.blocking_recv() {
        let mut next = Some(order);
        while let Some(order) = next.take() {
            match order {
                Order::Run(job) => batch.push_back(job),
                Order::Close => orders.close(),
            }
            if batch.len() < BATCH {
                next = orders.try_recv().ok();
            }
        }
        metrics::gauge!("goclaw_db_queue_length").set(count(batch.len() + orders.len()));
        metrics::histogram!("goclaw_db_commit_jobs").record(count(batch.len()));
        let started = Instant::now();
        let relaxed = batch.iter().all(|job| job.is_relaxed());
        commit(connection, &mut batch);
        metrics::histogram!("goclaw_db_commit_seconds").record(started.elapsed());
        unsynced |= relaxed;
        if unsynced && orders.is_empty() {
            log.sync();
            unsynced = false;
        }
        metrics::gauge!("goclaw_db_queue_length").set(count(orders.len()));
    }
}

/// A queue's length, for a metric.
fn count(jobs: usize) -> u32 {
    u32::try_from(jobs).unwrap_or(u32::MAX)
}

/// The life of a reading thread: until the queue is closed, takes one job after the other.
pub(crate) fn read(connection: &Connection, orders: &Mutex<mpsc::Receiver<Order>>) {
    loop {
        match next(orders) {
            Some(Order::Run(job)) if job.is_abandoned() => {}
            Some(Order::Run(mut job)) => {
                let started = Instant::now();
                job.run(connection);
                metrics::histogram!("goclaw_db_read_seconds").record(started.elapsed());
                job.answer(None);
            }
            Some(Order::Close) => {}
            None => break,
        }
    }
}

/// The next order of the queue that the reading threads share.
fn next(orders: &Mutex<mpsc::Receiver<Order>>) -> Option<Order> {
    let mut orders = orders.lock().unwrap_or_else(PoisonError::into_inner);
    let order = orders.blocking_recv();
    if matches!(order, Some(Order::Close)) {
        // While the lock is held: the next thread would wait for an order, with the lock, for ever.
        orders.close();
    }
    order
}

/// Does the jobs in as few transactions as possible (one, unless the database fails) and answers each after its commit.
pub(crate) fn commit(connection: &Connection, batch: &mut VecDeque<Box<dyn Job>>) {
    while !batch.is_empty() {
        let mut done = Vec::with_capacity(batch.len());
        let lost = transaction(connection, batch, &mut done).err().map(Error::from);
        if let Some(error) = &lost {
            tracing::error!(%error, jobs = done.len(), "a transaction was lost");
        }
        for job in done {
            job.answer(lost.clone());
        }
    }
}

/// Moves jobs from `batch` to `done` while it does them. An error means that nothing that is in `done` was kept.
fn transaction(connection: &Connection, batch: &mut VecDeque<Box<dyn Job>>, done: &mut Vec<Box<dyn Job>>) -> Result<(), Failure> {
    // A commit that waits for the disk brings there what was written before it, too.
    let synced = if batch.iter().all(|job| job.is_relaxed()) { "pragma synchronous = normal" } else { "pragma synchronous = full" };
    if let Err(error) = execute(connection, synced).and_then(|()| execute(connection, "begin immediate")) {
        done.extend(batch.drain(..));
        return Err(error.into());
    }
    let outcome = fill(connection, batch, done).and_then(|()| Ok(execute(connection, "commit")?));
    if outcome.is_err() && !connection.is_autocommit() {
        execute(connection, "rollback")?;
    }
    outcome
}

fn fill(connection: &Connection, batch: &mut VecDeque<Box<dyn Job>>, done: &mut Vec<Box<dyn Job>>) -> Result<(), Failure> {
    while let Some(mut job) = batch.pop_front() {
        let begun = execute(connection, "savepoint job");
        let keep = begun.is_ok() && job.run(connection);
        done.push(job);
        begun?;
        // A full disk and the like make SQLite undo the whole transaction by itself.
        if connection.is_autocommit() {
            return Err(Error::internal("the database gave up the transaction").into());
        }
        if !keep {
            execute(connection, "rollback to job")?;
        }
        execute(connection, "release job")?;
    }
    Ok(())
}

fn execute(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(drop)
}

#[cfg(test)]
mod tests;
