//! Hears what other replicas send.

use super::{Shared, wire};
use crate::LocalBus;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Result,
    events::{Batch, EventBus, Wakes},
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};
use uuid::Uuid;

/// How many batches are read at once.
const AT_ONCE: i64 = 32;
/// How many events listeners get at once, and what they get to pass them on: whole batches would flood queues that are right
/// for events as they happen.
const PORTION: usize = 50;
const BREATH: Duration = Duration::from_millis(2);

/// Keeps the line open on which wake-ups come, and passes them on.
pub async fn watch(shared: Arc<Shared>, first: Box<dyn Wakes>, wake: Arc<Notify>) {
    let mut line = Some(first);
    let (shortest, longest) = shared.options.backoff;
    let mut wait = shortest;
    loop {
        if let Some(wakes) = &mut line {
            let opened = Instant::now();
            let error = loop {
                match wakes.next().await {
                    Ok(()) => wake.notify_one(),
                    Err(error) => break error,
                }
            };
            tracing::warn!(%error, "the line to the other replicas broke; opening it again");
            // A line that broke at once is no reason to try again at once.
            if opened.elapsed() > longest {
                wait = shortest;
            }
        }
        sleep(wait).await;
        wait = (wait * 2).min(longest);
        line = match shared.call(shared.relay.listen()).await {
            Ok(wakes) => {
                tracing::info!("the line to the other replicas is open");
                // What was sent while nobody listened woke nobody.
                wake.notify_one();
                Some(wakes)
            }
            Err(error) => {
                tracing::debug!(%error, "the line to the other replicas cannot be opened");
                None
            }
        };
    }
}

/// Reads what other replicas have sent.
pub struct Receiver {
    shared: Arc<Shared>,
    local: LocalBus,
    wake: Arc<Notify>,
    /// The newest number of each replica that was heard.
    known: HashMap<Uuid, i64>,
    /// When the relay was last read to its end, by the clock that stands still while the machine sleeps and by the one that does not.
    reached: (Instant, DateTime<Utc>),
    /// When the replicas that are gone were last forgotten.
    tidied: Instant,
    failing: bool,
    /// How many events listeners got since the last pause.
    portion: usize,
}

impl Receiver {
    /// Starts after these numbers. Whoever notifies what comes with it makes it look.
    pub fn new(shared: Arc<Shared>, local: LocalBus, base: Vec<(Uuid, i64)>) -> (Self, Arc<Notify>) {
        let wake = Arc::new(Notify::new());
        let now = Instant::now();
        let known = base.into_iter().collect();
        let reached = (now, shared.options.clock.now());
        (Self { shared, local, wake: wake.clone(), known, reached, tidied: now, failing: false, portion: 0 }, wake)
    }

    /// Reads, for as long as the bus lives.
    pub async fn run(mut self) {
        loop {
            drop(timeout(self.shared.options.poll, self.wake.notified()).await);
            match self.read().await {
                Ok(()) => {
                    if std::mem::take(&mut self.failing) {
                        tracing::info!("events of other replicas can be read again");
                    }
                    self.reached = (Instant::now(), self.shared.options.clock.now());
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.failing, true) {
                        tracing::warn!(%error, "events of other replicas cannot be read; trying again");
                    }
                }
            }
        }
    }

    async fn read(&mut self) -> Result<()> {
        let asleep = (self.shared.options.clock.now() - self.reached.1).to_std().unwrap_or_default();
        if self.reached.0.elapsed().max(asleep) >= self.shared.options.horizon {
            // Some of what was sent meanwhile is gone. What is told from here on is heard, and what came before is missed.
            self.known = self.shared.others().await?.into_iter().collect();
            self.miss();
        }
        loop {
            let known: Vec<(Uuid, i64)> = self.known.iter().map(|(origin, seq)| (*origin, *seq)).collect();
            let batches = self.shared.call(self.shared.relay.newer(self.shared.origin, &known, AT_ONCE)).await?;
            let more = batches.len() as i64 >= AT_ONCE;
            for batch in batches {
                self.hear(&batch).await;
            }
            if !more {
                break;
            }
        }
        if self.tidied.elapsed() >= self.shared.options.horizon {
            // Replicas without a batch in the relay have been silent for so long that they are gone.
            let stored: HashMap<Uuid, i64> = self.shared.others().await?.into_iter().collect();
            self.known.retain(|origin, _| stored.contains_key(origin));
            self.tidied = Instant::now();
        }
        Ok(())
    }

    async fn hear(&mut self, batch: &Batch) {
        let last = self.known.get(&batch.origin).copied().unwrap_or(0);
        if batch.seq <= last || batch.origin == self.shared.origin {
            return;
        }
        if batch.seq != last + 1 {
            tracing::warn!(origin = %batch.origin, heard = last, next = batch.seq, "events of another replica are missing");
            self.miss();
        }
        self.known.insert(batch.origin, batch.seq);
        let opened = wire::open(&batch.events);
        if opened.as_ref().is_ok_and(|opened| opened.leaving) {
            if self.shared.peers.gone(batch.origin) {
                tracing::info!(origin = %batch.origin, "another replica has stopped");
            }
        } else if self.shared.peers.heard(batch.origin) {
            tracing::info!(origin = %batch.origin, "another replica is there");
            self.shared.outbox.ask_for_alive();
        }
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::error!(origin = %batch.origin, %error, "a batch of events of another replica makes no sense");
                return self.miss();
            }
        };
        metrics::counter!("goclaw_bus_batches_total", "direction" => "in").increment(1);
        metrics::counter!("goclaw_bus_events_total", "direction" => "in").increment(opened.events.len() as u64);
        if let Some(at) = opened.at {
            let late = (self.shared.options.clock.now().timestamp_millis() - at).max(0);
            metrics::histogram!("goclaw_bus_lag_seconds").record(late as f64 / 1000.0);
        }
        for event in opened.events {
            if self.portion == PORTION {
                self.portion = 0;
                sleep(BREATH).await;
            }
            self.portion += 1;
            self.local.publish(event);
        }
    }

    fn miss(&self) {
        metrics::counter!("goclaw_bus_missed_total").increment(1);
        self.local.missed();
    }
}
