//! The event bus of all replicas of an installation.
//!
//! Each replica numbers its batches 1, 2, 3, … and stores them in the relay; the others read what is newer than what they know.
//! A wake-up only says that it is worth looking, so a lost one costs time and no event. A number that is missing means events
//! that nobody can hear any more, and listeners are told so.

mod outbox;
mod peers;
mod receiver;
mod sender;
#[cfg(test)]
mod tests;
mod wire;

use crate::LocalBus;
use async_trait::async_trait;
use goclaw_ports::{
    Error, Result,
    clock::{Clock, SystemClock},
    events::{AGENT, Attendance, Event, EventBus, EventRelay, EventStream},
};
use outbox::{Limits, Outbox};
use peers::Peers;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{runtime::Handle, task::AbortHandle, time::timeout};
use uuid::Uuid;

/// How many replicas' last words are read at the start; with more, it is taken for granted that some are there.
const LAST_WORDS: usize = 100;

/// How a [`RelayedBus`] works. The defaults are right for replicas of one data centre.
#[derive(Clone)]
pub struct RelayOptions {
    /// How many events wait at most while the relay cannot be reached.
    pub queue_events: usize,
    /// How many bytes of events wait at most.
    pub queue_bytes: usize,
    /// How long an event waits for others to go with it.
    pub gather: Duration,
    /// How many events go together at most.
    pub batch_events: usize,
    /// How many bytes of events go together at most; a single event may be larger.
    pub batch_bytes: usize,
    /// How long one call of the relay may take.
    pub call_timeout: Duration,
    /// The shortest and the longest wait after a failed call.
    pub backoff: (Duration, Duration),
    /// How often the relay is read without a wake-up.
    pub poll: Duration,
    /// How often a replica that has nothing to say says that it is there.
    pub alive_every: Duration,
    /// How long a replica counts as there after it was last heard.
    pub alive_for: Duration,
    /// How long the start waits for another replica to answer, if there seems to be one.
    pub greeting: Duration,
    /// How long the relay keeps batches. Whoever could not read it for longer has missed events.
    pub horizon: Duration,
    /// How often old batches are removed.
    pub prune_every: Duration,
    /// Dates the events, so that others can tell how late they are.
    pub clock: Arc<dyn Clock>,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            queue_events: 10_000,
            queue_bytes: 8 << 20,
            gather: Duration::from_millis(5),
            batch_events: 500,
            batch_bytes: 256 << 10,
            call_timeout: Duration::from_secs(5),
            backoff: (Duration::from_millis(50), Duration::from_secs(5)),
            poll: Duration::from_secs(5),
            alive_every: Duration::from_secs(10),
            alive_for: Duration::from_secs(30),
            greeting: Duration::from_millis(250),
            horizon: Duration::from_secs(600),
            prune_every: Duration::from_secs(60),
            clock: Arc::new(SystemClock),
        }
    }
}

/// Carries events between the replicas that share a relay. Listeners of this process hear its events at once, those of the
/// others a few milliseconds later, each replica's in their order.
///
/// `agent` events are written only while other replicas are there. If the queue overflows because the relay cannot be reached,
/// all that waits is given up, and the other replicas learn that they missed something.
pub struct RelayedBus {
    local: LocalBus,
    shared: Arc<Shared>,
    tasks: Vec<AbortHandle>,
}

/// What publishers and the bus's own tasks work with.
struct Shared {
    origin: Uuid,
    relay: Arc<dyn EventRelay>,
    outbox: Outbox,
    peers: Peers,
    /// The others were told that this replica goes.
    closed: AtomicBool,
    options: RelayOptions,
}

impl RelayedBus {
    /// Joins the replicas that share `relay`, from tasks on `runtime` that end with the bus.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` if the relay cannot be reached.
    pub async fn start(relay: Arc<dyn EventRelay>, runtime: &Handle, options: RelayOptions) -> Result<Arc<Self>> {
        let local = LocalBus::default();
        let limits = Limits {
            queue_events: options.queue_events,
            queue_bytes: options.queue_bytes,
            batch_events: options.batch_events,
            batch_bytes: options.batch_bytes,
        };
        let shared = Arc::new(Shared {
            origin: Uuid::new_v4(),
            relay,
            outbox: Outbox::new(limits),
            peers: Peers::new(options.alive_for),
            closed: AtomicBool::default(),
            options,
        });
        // Whatever is sent after the line is open is heard: what is stored before that is the base, what comes later wakes.
        let wakes = shared.call(shared.relay.listen()).await?;
        let base = shared.others().await?;
        let company = shared.may_have_company(&base).await?;
        let (receiver, wake) = receiver::Receiver::new(shared.clone(), local.clone(), base);
        shared.outbox.ask_for_alive();
        let tasks = vec![
            runtime.spawn(receiver::watch(shared.clone(), wakes, wake)).abort_handle(),
            runtime.spawn(receiver.run()).abort_handle(),
            runtime.spawn(sender::run(shared.clone())).abort_handle(),
            runtime.spawn(prune(shared.clone())).abort_handle(),
        ];
        let bus = Arc::new(Self { local, shared, tasks });
        if company {
            // Others may be there, or have crashed. Those who are there answer, and only when they have heard of this replica do
            // they write down what their runs say.
            drop(timeout(bus.shared.options.greeting, bus.shared.peers.first()).await);
        }
        Ok(bus)
    }
}

impl Drop for RelayedBus {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

#[async_trait]
impl EventBus for RelayedBus {
    fn publish(&self, event: Event) {
        // What runs tell is of no use to anybody who is not there while they go on.
        let shared = event.name != AGENT || self.shared.peers.any();
        if shared && !self.shared.closed.load(Ordering::SeqCst) {
            let line = wire::line(&event, self.shared.options.clock.now());
            self.local.publish(event);
            self.shared.outbox.push(line);
        } else {
            self.local.publish(event);
        }
    }

    fn subscribe(&self) -> Box<dyn EventStream> {
        self.local.subscribe()
    }

    fn subscribe_to_others(&self) -> Box<dyn EventStream> {
        self.local.subscribe_to_others()
    }

    fn attend(&self) -> Attendance {
        self.local.attend()
    }

    /// What other replicas' clients want to know is not known here.
    fn attended(&self) -> bool {
        self.local.attended() || self.shared.peers.any()
    }

    /// Waits until the relay has all events, at most two seconds.
    async fn flush(&self) {
        if timeout(Duration::from_secs(2), self.shared.outbox.sent()).await.is_err() {
            tracing::warn!("not all events reached the other replicas");
        }
    }

    async fn close(&self) {
        if self.shared.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        self.shared.outbox.push(wire::leaving(self.shared.options.clock.now()));
        self.flush().await;
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Shared {
    /// A call of the relay that ends in time.
    async fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        timeout(self.options.call_timeout, call).await.unwrap_or_else(|_| Err(Error::unavailable("event relay")))
    }

    /// The newest number of each other replica that has batches stored.
    async fn others(&self) -> Result<Vec<(Uuid, i64)>> {
        let mut newest = self.call(self.relay.newest()).await?;
        newest.retain(|(origin, _)| *origin != self.origin);
        Ok(newest)
    }

    /// Whether any of these replicas may still be there: all but those whose newest batch says that they go.
    async fn may_have_company(&self, newest: &[(Uuid, i64)]) -> Result<bool> {
        if newest.is_empty() || newest.len() > LAST_WORDS {
            return Ok(!newest.is_empty());
        }
        let before: Vec<(Uuid, i64)> = newest.iter().map(|(origin, seq)| (*origin, seq - 1)).collect();
        let last = self.call(self.relay.newer(self.origin, &before, LAST_WORDS as i64)).await?;
        let gone = |(origin, seq): &(Uuid, i64)| {
            last.iter().any(|batch| batch.origin == *origin && batch.seq == *seq && wire::open(&batch.events).is_ok_and(|opened| opened.leaving))
        };
        Ok(!newest.iter().all(gone))
    }
}

/// Removes old batches now and then. It is enough that one of the replicas does.
async fn prune(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(shared.options.prune_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = shared.call(shared.relay.prune()).await {
            tracing::debug!(%error, "old events could not be removed");
        }
    }
}
