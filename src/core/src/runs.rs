//! Which runs go on now, and in which order the others of a conversation follow.

pub(crate) mod budget;
pub(crate) mod compact;
pub(crate) mod emit;
pub(crate) mod engine;
pub(crate) mod guard;
pub(crate) mod history;
pub(crate) mod loops;
pub(crate) mod onboarding;
pub(crate) mod prompt;
pub mod reasoning;
pub(crate) mod request;
pub(crate) mod sanitise;
pub(crate) mod steps;
pub(crate) mod title;

use crate::counters;
use goclaw_ports::{Error, ErrorKind, Result, TenantId, message};
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Mutex as Turn, Notify, OwnedMutexGuard};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many runs of one conversation there are at most: one that goes on, and these behind it.
const QUEUE: usize = 10;
/// How many messages a run takes in while it goes on.
const INBOX: usize = 5;
/// How many runs there are at most in this process.
const MAX_RUNS: usize = 5_000;

type Key = (TenantId, String);

/// The runs of this process.
#[derive(Default)]
pub struct Runs {
    conversations: Mutex<HashMap<Key, Arc<Conversation>>>,
    draining: AtomicBool,
    ended: Notify,
}

#[derive(Default)]
struct Conversation {
    /// Held by the run that goes on; the others wait for it, in order.
    turn: Arc<Turn<()>>,
    /// The run that goes on, and those behind it.
    runs: Mutex<VecDeque<Arc<ActiveRun>>>,
}

/// A run that goes on, or waits for its turn.
pub struct ActiveRun {
    /// Its id.
    pub id: Uuid,
    /// Its conversation.
    pub session_key: String,
    /// The agent that answers.
    pub agent_key: String,
    /// For whom.
    pub user: Arc<str>,
    /// Stops it.
    pub cancel: CancellationToken,
    inbox: Mutex<Inbox>,
    activity: Mutex<Option<Value>>,
    ended: AtomicBool,
}

#[derive(Default)]
struct Inbox {
    open: bool,
    messages: VecDeque<String>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ActiveRun {
    /// A run that is about to be registered.
    #[must_use]
    pub fn new(id: Uuid, session_key: &str, agent_key: &str, user: Arc<str>, cancel: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            id,
            session_key: session_key.into(),
            agent_key: agent_key.into(),
            user,
            cancel,
            inbox: Mutex::default(),
            activity: Mutex::default(),
            ended: AtomicBool::new(false),
        })
    }

    /// From now on the run takes messages in.
    pub(crate) fn open_inbox(&self) {
        lock(&self.inbox).open = true;
    }

    /// Gives the run another message. `false` if it takes none, or no more.
    pub(crate) fn inject(&self, text: &str) -> bool {
        let mut inbox = lock(&self.inbox);
        let takes = inbox.open && inbox.messages.len() < INBOX;
        if takes {
            inbox.messages.push_back(text.to_owned());
        }
        takes
    }

    /// The messages that came in.
    pub(crate) fn drain_inbox(&self) -> Vec<String> {
        lock(&self.inbox).messages.drain(..).collect()
    }

    /// The messages that came in; if there are none, the run takes no more.
    pub(crate) fn drain_or_close_inbox(&self) -> Vec<String> {
        let mut inbox = lock(&self.inbox);
        inbox.open = !inbox.messages.is_empty();
        inbox.messages.drain(..).collect()
    }

    /// What the run does now, as its last `activity` event said.
    #[must_use]
    pub fn activity(&self) -> Option<Value> {
        lock(&self.activity).clone()
    }

    /// All of the run is stored; only its last event is still to come.
    pub(crate) fn set_ended(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn goes_on(&self) -> bool {
        !self.ended.load(Ordering::Acquire)
    }

    pub(crate) fn set_activity(&self, activity: Value) {
        *lock(&self.activity) = Some(activity);
    }
}

/// A run's place in its conversation. Dropping it lets the next one go.
pub(crate) struct Place {
    runs: Arc<Runs>,
    key: Key,
    conversation: Arc<Conversation>,
    run: Arc<ActiveRun>,
    turn: Option<OwnedMutexGuard<()>>,
}

impl Place {
    /// Waits until the runs before this one have ended.
    pub async fn wait(&mut self) {
        self.turn = Some(self.conversation.turn.clone().lock_owned().await);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut conversations = lock(&self.runs.conversations);
        let mut runs = lock(&self.conversation.runs);
        runs.retain(|run| run.id != self.run.id);
        if runs.is_empty() {
            conversations.remove(&self.key);
        }
        drop(runs);
        drop(conversations);
        self.runs.ended.notify_waiters();
        counters::run_left();
    }
}

impl Runs {
    /// Registers a run, behind those of the same conversation.
    ///
    /// # Errors
    /// `Unavailable` while the gateway stops or has too much to do, `RateLimited` if too many wait already.
    pub(crate) fn register(self: &Arc<Self>, tenant: TenantId, run: Arc<ActiveRun>) -> Result<Place> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Unavailable, message::shutting_down()));
        }
        let key = (tenant, run.session_key.clone());
        let mut conversations = lock(&self.conversations);
        if conversations.len() >= MAX_RUNS && !conversations.contains_key(&key) {
            return Err(Error::unavailable("the gateway").retry_after(Duration::from_secs(5)));
        }
        let conversation = conversations.entry(key.clone()).or_default().clone();
        let mut runs = lock(&conversation.runs);
        if runs.len() > QUEUE {
            return Err(Error::new(ErrorKind::RateLimited, message::queue_full()));
        }
        runs.push_back(run.clone());
        drop(runs);
        counters::run_registered();
        Ok(Place { runs: self.clone(), key, conversation, run, turn: None })
    }

    fn of_session(&self, tenant: TenantId, session_key: &str) -> Vec<Arc<ActiveRun>> {
        let conversations = lock(&self.conversations);
        let conversation = conversations.get(&(tenant, session_key.to_owned()));
        conversation.map(|conversation| lock(&conversation.runs).iter().cloned().collect()).unwrap_or_default()
    }

    fn of_tenant(&self, tenant: TenantId) -> Vec<Arc<ActiveRun>> {
        let conversations = lock(&self.conversations);
        let own = conversations.iter().filter(|((of, _), _)| *of == tenant);
        own.flat_map(|(_, conversation)| lock(&conversation.runs).iter().cloned().collect::<Vec<_>>()).collect()
    }

    /// The run of a conversation that goes on now.
    #[must_use]
    pub fn current(&self, tenant: TenantId, session_key: &str) -> Option<Arc<ActiveRun>> {
        self.of_session(tenant, session_key).into_iter().find(|run| run.goes_on())
    }

    /// How many runs an agent has.
    #[must_use]
    pub fn of_agent(&self, tenant: TenantId, agent_key: &str) -> usize {
        self.of_tenant(tenant).iter().filter(|run| run.agent_key == agent_key && run.goes_on()).count()
    }

    /// The runs that a caller means: of a conversation, or one by its id, or one by its id in a conversation.
    #[must_use]
    pub fn find(&self, tenant: TenantId, session_key: &str, run_id: &str) -> Vec<Arc<ActiveRun>> {
        let mut runs = if session_key.is_empty() { self.of_tenant(tenant) } else { self.of_session(tenant, session_key) };
        if !run_id.is_empty() {
            runs.retain(|run| run.id.to_string() == run_id);
        }
        runs.retain(|run| run.goes_on());
        runs
    }

    /// Stops an agent's runs and waits until they have ended.
    pub async fn stop_agent(&self, tenant: TenantId, agent_key: &str) {
        for run in self.of_tenant(tenant).iter().filter(|run| run.agent_key == agent_key) {
            run.cancel.cancel();
        }
        self.wait_until(Duration::from_secs(10), |runs| runs.of_agent(tenant, agent_key) == 0).await;
    }

    /// Waits until an agent has no run any more. `false` if it still has when the time is up.
    pub async fn wait_for_agent(&self, tenant: TenantId, agent_key: &str, limit: Duration) -> bool {
        self.wait_until(limit, |runs| runs.of_agent(tenant, agent_key) == 0).await
    }

    /// Stops a conversation's runs, those that wait included, and waits until they have ended.
    pub async fn stop_session(&self, tenant: TenantId, session_key: &str) {
        self.of_session(tenant, session_key).iter().for_each(|run| run.cancel.cancel());
        self.wait_until(Duration::from_secs(10), |runs| runs.of_session(tenant, session_key).is_empty()).await;
    }

    /// How many runs there are.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.conversations).values().map(|conversation| lock(&conversation.runs).len()).sum()
    }

    /// Whether the gateway stops.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Takes no new runs, lets the others end within `grace`, then stops them.
    pub async fn drain(&self, grace: Duration) {
        self.draining.store(true, Ordering::Release);
        if self.wait_until(grace, |runs| runs.count() == 0).await {
            return;
        }
        let left: Vec<_> = lock(&self.conversations).values().flat_map(|conversation| lock(&conversation.runs).iter().cloned().collect::<Vec<_>>()).collect();
        tracing::warn!(runs = left.len(), "the grace period is over; stopping the runs that are left");
        left.iter().for_each(|run| run.cancel.cancel());
        self.wait_until(Duration::from_secs(5), |runs| runs.count() == 0).await;
    }

    async fn wait_until(&self, limit: Duration, holds: impl Fn(&Self) -> bool) -> bool {
        let wait = async {
            loop {
                let ended = self.ended.notified();
                tokio::pin!(ended);
                ended.as_mut().enable();
                if holds(self) {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(limit, wait).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(key: &str) -> Arc<ActiveRun> {
        ActiveRun::new(Uuid::new_v4(), key, "a", "u".into(), CancellationToken::new())
    }

    #[tokio::test]
    async fn runs_of_one_conversation_follow_each_other_in_order() {
        let runs = Arc::new(Runs::default());
        let mut first = runs.register(TenantId::MASTER, run("s")).unwrap();
        first.wait().await;
        let mut second = runs.register(TenantId::MASTER, run("s")).unwrap();
        let waiting = tokio::spawn(async move {
            second.wait().await;
            second
        });
        assert_eq!(runs.find(TenantId::MASTER, "s", "").len(), 2);
        drop(first);
        drop(waiting.await.unwrap());
        assert_eq!(runs.count(), 0);
        assert!(lock(&runs.conversations).is_empty());
    }

    #[tokio::test]
    async fn too_many_waiting_runs_are_refused() {
        let runs = Arc::new(Runs::default());
        let places: Vec<_> = (0..=QUEUE).map(|_| runs.register(TenantId::MASTER, run("s")).unwrap()).collect();
        assert_eq!(runs.register(TenantId::MASTER, run("s")).err().map(|error| error.kind), Some(ErrorKind::RateLimited));
        assert!(runs.register(TenantId::MASTER, run("other")).is_ok());
        drop(places);
    }

    #[tokio::test]
    async fn draining_refuses_new_runs_and_waits_for_the_others() {
        let runs = Arc::new(Runs::default());
        let place = runs.register(TenantId::MASTER, run("s")).unwrap();
        let stopped = place.run.cancel.clone();
        let draining = tokio::spawn({
            let runs = runs.clone();
            async move { runs.drain(Duration::from_millis(1)).await }
        });
        stopped.cancelled().await;
        assert!(runs.register(TenantId::MASTER, run("t")).is_err());
        drop(place);
        draining.await.unwrap();
    }

    #[test]
    fn a_run_takes_messages_until_it_closes_with_none_left() {
        let run = run("s");
        assert!(!run.inject("too early"));
        run.open_inbox();
        assert!((0..INBOX).all(|n| run.inject(&n.to_string())));
        assert!(!run.inject("too many"));
        assert_eq!(run.drain_or_close_inbox().len(), INBOX);
        assert!(run.inject("still open"));
        assert_eq!(run.drain_or_close_inbox(), ["still open"]);
        assert!(run.drain_or_close_inbox().is_empty());
        assert!(!run.inject("closed"));
    }
}
