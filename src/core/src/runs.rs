//! Which runs go on now, and in which order the others of a conversation follow.

pub(crate) mod budget;
pub(crate) mod compact;
pub(crate) mod elsewhere;
pub(crate) mod emit;
pub(crate) mod engine;
pub(crate) mod fallback;
pub(crate) mod guard;
pub(crate) mod history;
pub(crate) mod inbound;
pub mod lanes;
pub(crate) mod loops;
pub(crate) mod onboarding;
pub(crate) mod prompt;
pub mod queue;
pub mod reasoning;
pub(crate) mod request;
pub(crate) mod resume;
pub(crate) mod sanitise;
pub(crate) mod steps;
pub(crate) mod title;

use goclaw_ports::{Error, InboundId, TenantId, sessions::ChatMessage};
use lanes::{LaneSizes, Lanes};
use queue::Conversation;
use request::Asked;
use serde_json::Value;
use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many messages a run takes in while it goes on.
const INBOX: usize = 5;

type Key = (TenantId, String);

/// The runs of this process.
pub struct Runs {
    conversations: Mutex<HashMap<Key, Arc<Conversation>>>,
    lanes: Lanes,
    draining: AtomicBool,
    ended: Notify,
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
    pub(crate) asked: Asked,
    inbox: Mutex<Inbox>,
    activity: Mutex<Option<Value>>,
    ended: AtomicBool,
    refusal: OnceLock<Error>,
}

#[derive(Default)]
struct Inbox {
    open: bool,
    /// Those that the model has not seen.
    messages: VecDeque<(InboundId, ChatMessage)>,
    /// Those that the run is to answer: what it was started for, and what it took in.
    owed: Vec<InboundId>,
}

impl Inbox {
    fn has_room(&self) -> bool {
        self.open && self.messages.len() < INBOX
    }

    fn drain(&mut self) -> Vec<ChatMessage> {
        let (ids, messages): (Vec<_>, Vec<_>) = self.messages.drain(..).unzip();
        self.owed.extend(ids);
        messages
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ActiveRun {
    /// A run that is about to be registered.
    #[must_use]
    pub(crate) fn new(id: Uuid, session_key: &str, agent_key: &str, asked: Asked, cancel: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            id,
            session_key: session_key.into(),
            agent_key: agent_key.into(),
            user: asked.caller.user.clone(),
            cancel,
            asked,
            inbox: Mutex::default(),
            activity: Mutex::default(),
            ended: AtomicBool::new(false),
            refusal: OnceLock::new(),
        })
    }

    /// Turns the run away before it begins, for this reason.
    pub(crate) fn refuse(&self, why: Error) {
        let _ = self.refusal.set(why);
        self.cancel.cancel();
    }

    /// Why the run was turned away, if it was.
    pub(crate) fn refusal(&self) -> Option<&Error> {
        self.refusal.get()
    }

    /// From now on the run takes messages in.
    pub(crate) fn open_inbox(&self) {
        lock(&self.inbox).open = true;
    }

    /// Whether the run would take another message in.
    pub(crate) fn has_room(&self) -> bool {
        lock(&self.inbox).has_room()
    }

    /// Gives the run another message. `false` if it takes none, or no more.
    pub(crate) fn inject(&self, id: InboundId, message: ChatMessage) -> bool {
        let mut inbox = lock(&self.inbox);
        let takes = inbox.has_room();
        if takes {
            inbox.messages.push_back((id, message));
        }
        takes
    }

    /// The run is to answer these.
    pub(crate) fn owe(&self, ids: &[InboundId]) {
        lock(&self.inbox).owed.extend(ids);
    }

    /// The messages that came in.
    pub(crate) fn drain_inbox(&self) -> Vec<ChatMessage> {
        lock(&self.inbox).drain()
    }

    /// The messages that came in; if there are none, the run takes no more.
    pub(crate) fn drain_or_close_inbox(&self) -> Vec<ChatMessage> {
        let mut inbox = lock(&self.inbox);
        inbox.open = !inbox.messages.is_empty();
        inbox.drain()
    }

    /// The run takes no more messages in. Answers with those that it is to answer, and empties their list.
    pub(crate) fn close_inbox(&self) -> Vec<InboundId> {
        let mut inbox = lock(&self.inbox);
        inbox.open = false;
        std::mem::take(&mut inbox.owed)
    }

    /// The messages that came in and that the model has not seen, once no more come in.
    pub(crate) fn unseen(&self) -> Vec<(InboundId, ChatMessage)> {
        lock(&self.inbox).messages.drain(..).collect()
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

impl Runs {
    /// No run goes on yet; so many of each lane may.
    #[must_use]
    pub fn new(lanes: LaneSizes) -> Self {
        Self { conversations: Mutex::default(), lanes: Lanes::new(lanes), draining: AtomicBool::new(false), ended: Notify::new() }
    }

    fn of_session(&self, tenant: TenantId, session_key: &str) -> Vec<Arc<ActiveRun>> {
        let conversations = lock(&self.conversations);
        let conversation = conversations.get(&(tenant, session_key.to_owned()));
        conversation.map(|conversation| conversation.runs()).unwrap_or_default()
    }

    fn of_tenant(&self, tenant: TenantId) -> Vec<Arc<ActiveRun>> {
        let conversations = lock(&self.conversations);
        let own = conversations.iter().filter(|((of, _), _)| *of == tenant);
        own.flat_map(|(_, conversation)| conversation.runs()).collect()
    }

    /// The run of a conversation that goes on now.
    #[must_use]
    pub fn current(&self, tenant: TenantId, session_key: &str) -> Option<Arc<ActiveRun>> {
        self.of_session(tenant, session_key).into_iter().find(|run| run.goes_on())
    }

    /// The run that takes a conversation's messages in: its only one. Where others wait, a message goes behind them.
    pub(crate) fn taking_in(&self, tenant: TenantId, session_key: &str) -> Option<Arc<ActiveRun>> {
        let mut runs = self.of_session(tenant, session_key);
        runs.retain(|run| run.goes_on());
        let only = runs.pop()?;
        (runs.is_empty() && only.has_room()).then_some(only)
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

    /// Stops an agent's runs. They end a moment later.
    pub fn cancel_agent(&self, tenant: TenantId, agent_key: &str) {
        self.of_tenant(tenant).iter().filter(|run| run.agent_key == agent_key).for_each(|run| run.cancel.cancel());
    }

    /// Waits until an agent has no run any more. `false` if it still has when the time is up.
    pub async fn wait_for_agent(&self, tenant: TenantId, agent_key: &str, limit: Duration) -> bool {
        self.wait_until(limit, |runs| runs.of_agent(tenant, agent_key) == 0).await
    }

    /// Stops a conversation's runs, those that wait and those that work for it included, and waits until its own have ended.
    pub async fn stop_session(&self, tenant: TenantId, session_key: &str) {
        let mut runs = self.of_tenant(tenant);
        let mut stopped = vec![session_key.to_owned()];
        while let Some(key) = stopped.pop() {
            let (own, others): (Vec<_>, Vec<_>) = runs.into_iter().partition(|run| run.session_key == key || run.asked.lineage.session_key == key);
            stopped.extend(own.iter().map(|run| run.session_key.clone()).filter(|own| *own != key));
            own.iter().for_each(|run| run.cancel.cancel());
            runs = others;
        }
        self.wait_until(Duration::from_secs(10), |runs| runs.of_session(tenant, session_key).is_empty()).await;
    }

    /// Waits until a conversation has no run any more.
    pub(crate) async fn wait_for_session(&self, tenant: TenantId, session_key: &str, limit: Duration) -> bool {
        self.wait_until(limit, |runs| runs.of_session(tenant, session_key).is_empty()).await
    }

    /// How many runs there are.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.conversations).values().map(|conversation| conversation.len()).sum()
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
        let left: Vec<_> = lock(&self.conversations).values().flat_map(|conversation| conversation.runs()).collect();
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
    use super::{
        queue::Queueing,
        request::{Lineage, Origin},
        *,
    };
    use crate::caller::Caller;
    use goclaw_ports::{TraceId, roles::Role, sessions::MessageRole};

    pub(super) fn run(key: &str) -> Arc<ActiveRun> {
        run_for(key, "")
    }

    fn run_for(key: &str, parent: &str) -> Arc<ActiveRun> {
        let lineage = Lineage { session_key: parent.into(), ..Lineage::default() };
        let asked = Asked {
            caller: Caller::without_credential(TenantId::MASTER, "master", Role::Operator, "u"),
            origin: Origin::direct("ws", "u"),
            lineage,
            trace: TraceId(Uuid::nil()),
            allow_tools: vec![],
            provider: String::new(),
            model: String::new(),
        };
        ActiveRun::new(Uuid::new_v4(), key, "a", asked, CancellationToken::new())
    }

    #[tokio::test]
    async fn stopping_a_conversation_stops_what_works_for_it() {
        let runs = Arc::new(Runs::new(LaneSizes::default()));
        let of = |key, parent| runs.register(TenantId::MASTER, run_for(key, parent), Queueing::default()).unwrap();
        let (parent, child, grandchild, other) = (of("s", ""), of("c", "s"), of("g", "c"), of("o", "x"));
        let stopped = [&parent, &child, &grandchild].map(|place| place.run.cancel.clone());
        let stopping = tokio::spawn({
            let runs = runs.clone();
            async move { runs.stop_session(TenantId::MASTER, "s").await }
        });
        for run in stopped {
            run.cancelled().await;
        }
        assert!(!other.run.cancel.is_cancelled());
        drop(parent);
        stopping.await.unwrap();
    }

    #[tokio::test]
    async fn runs_of_one_conversation_follow_each_other_in_order() {
        let runs = Arc::new(Runs::new(LaneSizes::default()));
        let mut first = runs.register(TenantId::MASTER, run("s"), Queueing::default()).unwrap();
        first.wait().await;
        let mut second = runs.register(TenantId::MASTER, run("s"), Queueing::default()).unwrap();
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
    async fn draining_refuses_new_runs_and_waits_for_the_others() {
        let runs = Arc::new(Runs::new(LaneSizes::default()));
        let place = runs.register(TenantId::MASTER, run("s"), Queueing::default()).unwrap();
        let stopped = place.run.cancel.clone();
        let draining = tokio::spawn({
            let runs = runs.clone();
            async move { runs.drain(Duration::from_millis(1)).await }
        });
        stopped.cancelled().await;
        assert!(runs.register(TenantId::MASTER, run("t"), Queueing::default()).is_err());
        drop(place);
        draining.await.unwrap();
    }

    #[test]
    fn a_run_takes_messages_until_it_closes_with_none_left() {
        let run = run("s");
        let id = |n| InboundId(Uuid::from_u128(n));
        let said = |text: &str| ChatMessage::new(MessageRole::User, text);
        assert!(!run.inject(id(0), said("too early")));
        run.open_inbox();
        assert!((0..INBOX).all(|n| run.inject(id(1), said(&n.to_string()))));
        assert!(!run.has_room() && !run.inject(id(0), said("too many")));
        assert_eq!(run.drain_or_close_inbox().len(), INBOX);
        assert!(run.inject(id(2), said("still open")));
        assert_eq!(run.drain_or_close_inbox(), [said("still open")]);
        assert!(run.drain_or_close_inbox().is_empty());
        assert!(!run.inject(id(0), said("closed")));
        assert_eq!(run.close_inbox(), [id(1), id(1), id(1), id(1), id(1), id(2)]);
        assert!(run.close_inbox().is_empty() && run.unseen().is_empty());
    }

    #[test]
    fn what_a_run_has_not_seen_when_it_closes_it_does_not_answer() {
        let run = run("s");
        let id = |n| InboundId(Uuid::from_u128(n));
        let said = |text: &str| ChatMessage::new(MessageRole::User, text);
        run.owe(&[id(1)]);
        run.open_inbox();
        assert!(run.inject(id(2), said("late")));
        assert_eq!(run.close_inbox(), [id(1)]);
        assert!(!run.inject(id(3), said("too late")));
        assert_eq!(run.unseen(), [(id(2), said("late"))]);
    }
}
