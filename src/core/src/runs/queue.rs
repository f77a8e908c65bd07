//! The runs of one conversation: who goes, who waits, and who is turned away.

use super::{
    ActiveRun, Key, Runs,
    lanes::{Lane, LanePlace},
    lock,
};
use crate::counters;
use goclaw_ports::{Error, ErrorKind, Result, TenantId, message};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How many conversations with runs there are at most in this process.
const MAX_CONVERSATIONS: usize = 5_000;
/// The longest queue, whatever the operator wants.
const MAX_QUEUE: usize = 1_000;

/// What a new run does to those of its conversation that are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueMode {
    /// It waits behind them.
    Queue,
    /// It takes their place: those that go on are stopped, those that wait are turned away.
    Interrupt,
}

/// Who is turned away where too many wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropPolicy {
    /// Who waits longest.
    Old,
    /// Who comes.
    New,
}

/// How the operator wants messages to wait in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSettings {
    /// What a new message does to those before it.
    pub mode: QueueMode,
    /// How many wait at most.
    pub cap: usize,
    /// Who is turned away then.
    pub drop: DropPolicy,
}

impl Default for QueueSettings {
    fn default() -> Self {
        Self { mode: QueueMode::Queue, cap: 10, drop: DropPolicy::Old }
    }
}

/// How one run waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queueing {
    /// Within its conversation.
    pub queue: QueueSettings,
    /// How long it waits for others to come before it begins; each that comes begins the wait anew.
    pub debounce: Duration,
    /// How many runs of the conversation go on at once.
    pub at_once: usize,
    /// Where it needs a place besides.
    pub lane: Option<Lane>,
}

impl Default for Queueing {
    fn default() -> Self {
        Self { queue: QueueSettings::default(), debounce: Duration::ZERO, at_once: 1, lane: None }
    }
}

/// The runs of a conversation.
#[derive(Default)]
pub(super) struct Conversation {
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Default)]
struct Queue {
    /// Those that go on, then those that wait, in their order.
    runs: VecDeque<Arc<ActiveRun>>,
    /// How many go on at once, as the newest wants it.
    at_once: usize,
    /// When the newest came.
    last: Option<Instant>,
}

impl Queue {
    /// Those that were not turned away.
    fn counted(&self) -> impl Iterator<Item = &Arc<ActiveRun>> {
        self.runs.iter().filter(|run| run.refusal().is_none())
    }

    fn refuse_waiting(&self, why: &Error) -> usize {
        let waiting: Vec<_> = self.counted().skip(self.at_once).cloned().collect();
        waiting.iter().for_each(|run| run.refuse(why.clone()));
        waiting.len()
    }

    fn stop_going(&self) -> usize {
        let going: Vec<_> = self.counted().take(self.at_once).filter(|run| run.goes_on()).cloned().collect();
        going.iter().for_each(|run| run.cancel.cancel());
        going.len()
    }
}

impl Conversation {
    pub fn runs(&self) -> Vec<Arc<ActiveRun>> {
        lock(&self.queue).runs.iter().cloned().collect()
    }

    pub fn len(&self) -> usize {
        lock(&self.queue).runs.len()
    }

    fn admit(&self, run: &Arc<ActiveRun>, queueing: &Queueing) -> Result<()> {
        let mut queue = lock(&self.queue);
        let QueueSettings { mode, cap, drop } = queueing.queue;
        let at_once = queueing.at_once.max(1);
        match mode {
            QueueMode::Interrupt => {
                queue.refuse_waiting(&dropped());
                queue.stop_going();
            }
            QueueMode::Queue if queue.counted().count() >= at_once + cap.min(MAX_QUEUE) => {
                let oldest = queue.counted().nth(at_once).cloned();
                match (drop, oldest) {
                    (DropPolicy::Old, Some(oldest)) => oldest.refuse(dropped()),
                    _ => return Err(Error::new(ErrorKind::RateLimited, message::queue_full())),
                }
            }
            QueueMode::Queue => {}
        }
        queue.at_once = at_once;
        queue.last = Some(Instant::now());
        queue.runs.push_back(run.clone());
        std::mem::drop(queue);
        self.changed.notify_waiters();
        Ok(())
    }

    /// When a run may begin, if nobody comes; `None` while others are before it.
    fn turn_of(&self, run: &ActiveRun, queueing: &Queueing) -> Option<Instant> {
        let queue = lock(&self.queue);
        let place = queue.counted().position(|other| other.id == run.id)?;
        (place < queueing.at_once.max(1)).then(|| queue.last.map_or_else(Instant::now, |last| last + queueing.debounce))
    }
}

/// Who was turned away because too many waited.
fn dropped() -> Error {
    Error::new(ErrorKind::RateLimited, message::queue_dropped())
}

/// A run's place in its conversation. Dropping it lets the next one go.
pub(crate) struct Place {
    runs: Arc<Runs>,
    key: Key,
    conversation: Arc<Conversation>,
    pub(super) run: Arc<ActiveRun>,
    queueing: Queueing,
    lane: Option<LanePlace>,
}

impl Place {
    /// Waits until the run may begin: when those before it have ended, nobody has come for a while, and its lane has a place.
    pub async fn wait(&mut self) {
        loop {
            let changed = self.conversation.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.conversation.turn_of(&self.run, &self.queueing) {
                Some(turn) if turn <= Instant::now() => break,
                Some(turn) => drop(tokio::time::timeout_at(turn, changed).await),
                None => changed.await,
            }
        }
        if let Some(lane) = self.queueing.lane {
            self.lane = self.runs.lanes.enter(lane).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut conversations = lock(&self.runs.conversations);
        let mut queue = lock(&self.conversation.queue);
        queue.runs.retain(|run| run.id != self.run.id);
        if queue.runs.is_empty() {
            conversations.remove(&self.key);
        }
        drop(queue);
        drop(conversations);
        self.conversation.changed.notify_waiters();
        self.runs.ended.notify_waiters();
        counters::run_left();
    }
}

impl Runs {
    /// Registers a run, behind those of the same conversation.
    ///
    /// # Errors
    /// `Unavailable` while the gateway stops or has too much to do, `RateLimited` if too many wait already.
    pub(crate) fn register(self: &Arc<Self>, tenant: TenantId, run: Arc<ActiveRun>, queueing: Queueing) -> Result<Place> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Unavailable, message::shutting_down()));
        }
        let key = (tenant, run.session_key.clone());
        let mut conversations = lock(&self.conversations);
        let known = conversations.get(&key).cloned();
        if known.is_none() && conversations.len() >= MAX_CONVERSATIONS {
            return Err(Error::unavailable("the gateway").retry_after(Duration::from_secs(5)));
        }
        let conversation = known.unwrap_or_default();
        conversation.admit(&run, &queueing)?;
        conversations.insert(key.clone(), conversation.clone());
        counters::run_registered();
        Ok(Place { runs: self.clone(), key, conversation, run, queueing, lane: None })
    }

    /// Stops the oldest run of a conversation that goes on; those that wait follow. `false` if there is none.
    pub fn stop_one(&self, tenant: TenantId, session_key: &str) -> bool {
        let current = self.current(tenant, session_key);
        current.inspect(|run| run.cancel.cancel()).is_some()
    }

    /// Stops the runs of a conversation that go on, and turns away those that wait. Answers with how many there were.
    pub fn stop_all(&self, tenant: TenantId, session_key: &str) -> usize {
        let conversation = lock(&self.conversations).get(&(tenant, session_key.to_owned())).cloned();
        conversation.map_or(0, |conversation| {
            let queue = lock(&conversation.queue);
            queue.refuse_waiting(&Error::new(ErrorKind::Unavailable, message::run_cancelled())) + queue.stop_going()
        })
    }
}

#[cfg(test)]
mod tests;
