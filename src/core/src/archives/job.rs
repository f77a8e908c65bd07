//! Work that takes a while, and tells how far it is.

use goclaw_ports::{Error, Result};
use schemars::JsonSchema;
use serde::Serialize;
use std::future::Future;
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    task::AbortHandle,
};
use tokio_util::task::TaskTracker;

/// How many notes wait for somebody to read them; more are left out.
const QUEUE: usize = 256;

/// How far some work is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Progress {
    /// Which part of it.
    pub phase: &'static str,
    /// `running`, `done` or `error`.
    pub status: &'static str,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// How many are dealt with.
    #[serde(skip_serializing_if = "is_zero")]
    pub current: u64,
    /// Of how many.
    #[serde(skip_serializing_if = "is_zero")]
    pub total: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Tells how far some work is. Never waits for whoever listens.
#[derive(Clone)]
pub(super) struct Teller(mpsc::Sender<Progress>);

impl Teller {
    /// A part begins, or goes on: this many are dealt with.
    pub fn running(&self, phase: &'static str, current: u64) {
        self.tell(Progress { phase, status: "running", detail: None, current, total: 0 });
    }

    /// A part is done, with this many.
    pub fn done(&self, phase: &'static str, count: u64) {
        self.tell(Progress { phase, status: "done", detail: None, current: count, total: count });
    }

    /// A part was left out, for this reason.
    pub fn skipped(&self, phase: &'static str, count: u64, why: &str) {
        self.tell(Progress { phase, status: "done", detail: Some(why.to_owned()), current: 0, total: count });
    }

    fn tell(&self, progress: Progress) {
        // Nobody listens, or too slowly: the outcome is told in any case.
        let _ = self.0.try_send(progress);
    }
}

/// Work that is under way.
pub struct Job<T> {
    progress: mpsc::Receiver<Progress>,
    outcome: oneshot::Receiver<Result<T>>,
    abort: Option<AbortHandle>,
}

/// What is heard of a job.
pub enum Step<T> {
    /// How far it is.
    Progress(Progress),
    /// How it ended. Nothing follows.
    End(Result<T>),
}

impl<T: Send + 'static> Job<T> {
    /// Begins work that goes on though the job is dropped.
    pub(super) fn start<F>(tasks: &TaskTracker, runtime: &Handle, work: impl FnOnce(Teller) -> F) -> Self
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (teller, progress) = mpsc::channel(QUEUE);
        let (told, outcome) = oneshot::channel();
        let work = work(Teller(teller));
        let task = async move {
            // Whoever asked may have gone.
            let _ = told.send(work.await);
        };
        tasks.spawn_on(task, runtime);
        Self { progress, outcome, abort: None }
    }

    /// Begins work that ends when the job is dropped.
    pub(super) fn start_for_caller<F>(runtime: &Handle, work: impl FnOnce(Teller) -> F) -> Self
    where
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let (teller, progress) = mpsc::channel(QUEUE);
        let (told, outcome) = oneshot::channel();
        let work = work(Teller(teller));
        let task = runtime.spawn(async move {
            let _ = told.send(work.await);
        });
        Self { progress, outcome, abort: Some(task.abort_handle()) }
    }

    /// What is next to be heard of it.
    pub async fn next(&mut self) -> Step<T> {
        match self.progress.recv().await {
            Some(progress) => Step::Progress(progress),
            None => Step::End((&mut self.outcome).await.unwrap_or_else(|_| Err(Error::internal("a job ended without an outcome")))),
        }
    }

    /// How it ended.
    ///
    /// # Errors
    /// What made it fail.
    pub async fn finish(mut self) -> Result<T> {
        loop {
            if let Step::End(outcome) = self.next().await {
                return outcome;
            }
        }
    }
}

impl<T> Drop for Job<T> {
    fn drop(&mut self) {
        if let Some(task) = &self.abort {
            task.abort();
        }
    }
}
