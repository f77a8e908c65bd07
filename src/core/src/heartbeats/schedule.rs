//! Looks for heartbeats that are due, claims them and runs them, however many gateways do the same.

use crate::{
    counters,
    runs::{Runs, elsewhere::Elsewhere, engine::Engine},
};
use chrono::TimeDelta;
use goclaw_ports::{
    Result,
    agents::AgentStore,
    channels::Channels,
    clock::{Clock, Ids},
    events::EventBus,
    heartbeats::{ClaimedHeartbeat, HeartbeatStore},
    sessions::SessionStore,
    tenants::TenantStore,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::MissedTickBehavior,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// How often due heartbeats are looked for.
const POLL: Duration = Duration::from_secs(30);
/// How many heartbeats of this process run at once.
const PLACES: usize = 30;
/// How long a claim holds. A process that dies gives its heartbeats back after this time at the latest.
pub(super) const LEASE: TimeDelta = TimeDelta::seconds(120);
/// How long the end waits for what is stopped.
const PATIENCE: Duration = Duration::from_secs(5);

/// Runs heartbeats when they are due.
pub(crate) struct Heart {
    pub store: Arc<dyn HeartbeatStore>,
    pub agents: Arc<dyn AgentStore>,
    pub tenants: Arc<dyn TenantStore>,
    pub sessions: Arc<dyn SessionStore>,
    pub channels: Arc<dyn Channels>,
    pub engine: Arc<Engine>,
    pub runs: Arc<Runs>,
    pub elsewhere: Elsewhere,
    pub bus: Arc<dyn EventBus>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub runtime: tokio::runtime::Handle,
    /// Says that it is worth looking now.
    pub look: Arc<Notify>,
    pub work: Work,
}

/// What goes on.
pub(crate) struct Work {
    places: Arc<Semaphore>,
    pub(super) stop: CancellationToken,
    tasks: TaskTracker,
}

impl Default for Work {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(PLACES)), stop: CancellationToken::new(), tasks: TaskTracker::new() }
    }
}

impl Heart {
    /// Begins to look. `exclusive` is whether no other process can be at work, so that what is claimed was left behind.
    ///
    /// # Errors
    /// What the store says.
    pub async fn begin(self: &Arc<Self>, exclusive: bool) -> Result<()> {
        if exclusive {
            let released = self.store.all_tenants_release().await?;
            if released > 0 {
                tracing::warn!(heartbeats = released, "heartbeats were interrupted when the gateway last stopped");
            }
        }
        let (heart, stop) = (self.clone(), self.work.stop.clone());
        let looking = async move {
            let mut tick = tokio::time::interval(POLL);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => return,
                    _ = tick.tick() => {}
                    () = heart.look.notified() => {}
                }
                if let Err(error) = heart.claim().await {
                    tracing::warn!(%error, "due heartbeats could not be looked for");
                }
            }
        };
        self.work.tasks.spawn_on(looking, &self.runtime);
        Ok(())
    }

    /// Claims what is due, as far as there is room for it, and begins to run it. What finds no room is left to other gateways,
    /// or waits until a place is free.
    async fn claim(self: &Arc<Self>) -> Result<()> {
        loop {
            let mut places: Vec<OwnedSemaphorePermit> = vec![];
            while let Ok(place) = self.work.places.clone().try_acquire_owned() {
                places.push(place);
            }
            let room = places.len();
            if room == 0 {
                return Ok(());
            }
            let (claim, now) = (self.ids.random(), self.clock.now());
            let claimed = self.store.all_tenants_claim(claim, now, now + LEASE, i64::try_from(room).unwrap_or(i64::MAX)).await?;
            let full = claimed.len() == room;
            for (beat, place) in claimed.into_iter().zip(places) {
                self.spawn(beat, claim, place);
            }
            if !full {
                return Ok(());
            }
        }
    }

    fn spawn(self: &Arc<Self>, claimed: ClaimedHeartbeat, claim: Uuid, place: OwnedSemaphorePermit) {
        let heart = self.clone();
        let running = async move {
            let agent = claimed.heartbeat.agent_id;
            let done = heart.run(claimed, claim).await;
            drop(place);
            match done {
                // One that waited for the place, or was woken meanwhile, need not wait for the next look.
                Ok(Some(status)) => {
                    counters::heartbeat(status.as_str());
                    heart.look.notify_one();
                }
                Ok(None) => {}
                // The claim runs out, and somebody tries again.
                Err(error) => tracing::error!(%agent, %error, "a heartbeat could not be run"),
            }
        };
        self.work.tasks.spawn_on(running, &self.runtime);
    }

    /// Looks for no more. What runs goes on.
    pub fn stop(&self) {
        self.work.stop.cancel();
        self.work.tasks.close();
    }

    /// Waits until what was stopped is given back.
    pub async fn settle(&self) {
        if tokio::time::timeout(PATIENCE, self.work.tasks.wait()).await.is_err() {
            tracing::warn!("a heartbeat does not end");
        }
    }
}
