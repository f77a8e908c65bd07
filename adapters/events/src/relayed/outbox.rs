//! What waits to be sent.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;

/// How much waits, and how much goes together.
#[derive(Clone, Copy)]
pub struct Limits {
    pub queue_events: usize,
    pub queue_bytes: usize,
    pub batch_events: usize,
    pub batch_bytes: usize,
}

/// What waits to be sent.
pub struct Outbox {
    limits: Limits,
    queue: Mutex<Queue>,
    arrived: Notify,
    sent: Notify,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<String>,
    bytes: usize,
    /// Events were given up before those that wait.
    gap: bool,
    /// Something has to be sent, if only that this replica is there.
    alive: bool,
    /// Something is on its way.
    sending: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.lines.is_empty() && !self.gap && !self.alive
    }
}

/// What goes next.
pub struct Parcel {
    /// Whether events before it were given up.
    pub after_gap: bool,
    /// The events; none if it is only about being there.
    pub lines: Vec<String>,
}

impl Outbox {
    pub fn new(limits: Limits) -> Self {
        Self { limits, queue: Mutex::default(), arrived: Notify::new(), sent: Notify::new() }
    }

    /// Adds an event. If it does not fit, all that waits is given up with it: the others have to be told that they missed
    /// something in any case, and what they read anew then is newer than what waits here.
    pub fn push(&self, line: String) {
        let mut queue = self.lock();
        if queue.lines.len() >= self.limits.queue_events || queue.bytes + line.len() > self.limits.queue_bytes {
            let dropped = queue.lines.len() + 1;
            if !queue.gap {
                tracing::warn!(dropped, "events for other replicas were given up: too many wait");
            }
            metrics::counter!("goclaw_bus_dropped_total").increment(dropped as u64);
            *queue = Queue { gap: true, sending: queue.sending, ..Queue::default() };
        } else {
            queue.bytes += line.len();
            queue.lines.push_back(line);
        }
        self.arrived(queue);
    }

    /// Sees to it that something is sent.
    pub fn ask_for_alive(&self) {
        let mut queue = self.lock();
        queue.alive = true;
        self.arrived(queue);
    }

    fn arrived(&self, queue: MutexGuard<'_, Queue>) {
        metrics::gauge!("goclaw_bus_queue").set(queue.lines.len() as f64);
        drop(queue);
        self.arrived.notify_one();
    }

    /// Waits until there is something to send.
    pub async fn waiting(&self) {
        while self.lock().is_empty() {
            self.arrived.notified().await;
        }
    }

    /// Whether a batch is full.
    pub fn is_ripe(&self) -> bool {
        let queue = self.lock();
        queue.lines.len() >= self.limits.batch_events || queue.bytes >= self.limits.batch_bytes
    }

    /// Takes what goes next; `None` if there is nothing. Say [`Outbox::done`] when it has gone.
    pub fn take(&self) -> Option<Parcel> {
        let mut queue = self.lock();
        if queue.is_empty() {
            return None;
        }
        let mut bytes = 0;
        let mut lines = Vec::new();
        while let Some(line) =
            queue.lines.pop_front_if(|line| lines.is_empty() || (lines.len() < self.limits.batch_events && bytes + line.len() <= self.limits.batch_bytes))
        {
            bytes += line.len();
            lines.push(line);
        }
        queue.bytes -= bytes;
        queue.alive = false;
        queue.sending = true;
        metrics::gauge!("goclaw_bus_queue").set(queue.lines.len() as f64);
        Some(Parcel { after_gap: std::mem::take(&mut queue.gap), lines })
    }

    /// What was taken has gone, or was given up.
    pub fn done(&self) {
        self.lock().sending = false;
        self.sent.notify_waiters();
    }

    /// Waits until nothing waits and nothing is on its way.
    pub async fn sent(&self) {
        loop {
            let sent = self.sent.notified();
            {
                let queue = self.lock();
                if queue.is_empty() && !queue.sending {
                    return;
                }
            }
            sent.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
