//! Leases: a process vouches for its runs again and again. Runs whose process no longer does have failed, and whoever waits for them
//! is told, by any process that notices.

use super::Tracer;
use chrono::TimeDelta;
use goclaw_ports::{
    AgentId, Result, TenantId, TraceId,
    events::{Event, EventBus},
    message,
    traces::{LEASE, LostRun, Trace, TraceFilter, TraceStatus},
};
use serde_json::{Map, Value, json};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How often leases are renewed, and those of others looked at.
const ROUND: Duration = Duration::from_secs(10);
/// How many of a tenant's runs are looked at where one is sought, the newest.
const LOOKED_AT: i64 = 1_000;

/// The runs of this process: it vouches for those whose traces are stored.
#[derive(Default)]
pub(super) struct Leases(Mutex<HashMap<TraceId, Held>>);

struct Held {
    /// Stops the run.
    stop: CancellationToken,
    stored: bool,
}

/// One of them. Dropping it ends the lease.
pub(super) struct Lease {
    leases: Arc<Leases>,
    trace: TraceId,
}

impl Leases {
    fn open(&self) -> MutexGuard<'_, HashMap<TraceId, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Knows of a run from now on. `stop` stops it if others gave it up.
    pub fn take(self: &Arc<Self>, trace: TraceId, stop: CancellationToken) -> Lease {
        self.open().insert(trace, Held { stop, stored: false });
        Lease { leases: self.clone(), trace }
    }

    /// The runs of this process.
    fn known(&self) -> HashSet<TraceId> {
        self.open().keys().copied().collect()
    }
}

impl Lease {
    /// The trace is stored: from now on the lease is renewed.
    pub fn begin(&self) {
        if let Some(held) = self.leases.open().get_mut(&self.trace) {
            held.stored = true;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.leases.open().remove(&self.trace);
    }
}

impl Tracer {
    /// Renews this process's leases from now on, and gives up runs whose process no longer does.
    pub(crate) fn keep_leases(&self, bus: Arc<dyn EventBus>, runtime: &tokio::runtime::Handle) {
        let tracer = self.clone();
        runtime.spawn(async move {
            let mut rounds = tokio::time::interval(ROUND);
            rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                rounds.tick().await;
                // What cannot renew its own leases must not judge those of others.
                let round = async {
                    tracer.renew_leases().await?;
                    tracer.give_up(&*bus, false).await
                };
                match tokio::time::timeout(ROUND, round).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::warn!(%error, "the leases of runs could not be renewed"),
                    Err(_) => tracing::warn!("renewing the leases of runs took too long"),
                }
            }
        });
    }

    /// The agents that have runs that other processes vouch for; if one is named, it alone is looked at.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn busy_elsewhere(&self, tenant: TenantId, agent: Option<AgentId>) -> Result<HashSet<AgentId>> {
        // A run of this process may end, or begin, while the store answers.
        let before = self.leases.known();
        let running = self.store.running(tenant, agent).await?;
        let own = self.leases.open();
        let others = running.into_iter().filter(|(trace, _)| !before.contains(trace) && !own.contains_key(trace));
        Ok(others.map(|(_, agent)| agent).collect())
    }

    /// The runs that other processes vouch for, each with its conversation and its id: of a conversation, one by its id, or one by its
    /// id in a conversation; those of this user, if one is named.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn elsewhere(&self, tenant: TenantId, session_key: &str, run_id: &str, user: Option<&str>) -> Result<Vec<(String, String)>> {
        let filter = TraceFilter {
            session_key: (!session_key.is_empty()).then(|| session_key.to_owned()),
            user_id: user.map(str::to_owned),
            status: Some(TraceStatus::Running),
            limit: LOOKED_AT,
            ..TraceFilter::default()
        };
        let before = self.leases.known();
        let (running, _) = self.store.list(tenant, &filter).await?;
        let own = self.leases.open();
        let wanted = |trace: &Trace| if run_id.is_empty() { !trace.run_id.is_empty() } else { trace.run_id == run_id };
        let others = running.into_iter().filter(|trace| !before.contains(&trace.id) && !own.contains_key(&trace.id) && wanted(trace));
        Ok(others.map(|trace| (trace.session_key, trace.run_id)).collect())
    }

    /// Marks runs as failed that lost their process, and tells of them; with `all`, every run that there is: nobody else can be at
    /// work on this database.
    pub(crate) async fn give_up(&self, bus: &dyn EventBus, all: bool) -> Result<()> {
        let now = self.clock.now();
        let error = message::run_interrupted().to_string();
        let lost = self.store.all_tenants_fail_running((!all).then(TimeDelta::zero), now, &error).await?;
        if !lost.is_empty() {
            tracing::warn!(runs = lost.len(), "runs were interrupted by the end of their gateway");
        }
        lost.into_iter().filter(|run| !run.run_id.is_empty()).for_each(|run| bus.publish(failed(run, &error)));
        Ok(())
    }

    async fn renew_leases(&self) -> Result<()> {
        let held: Vec<TraceId> = self.leases.open().iter().filter(|(_, held)| held.stored).map(|(trace, _)| *trace).collect();
        if held.is_empty() {
            return Ok(());
        }
        let running = self.store.all_tenants_renew_leases(&held, LEASE).await?;
        let leases = self.leases.open();
        for lost in held.iter().filter(|trace| !running.contains(trace)) {
            // One that has just ended is not there any more, or has nothing left to stop.
            if let Some(run) = leases.get(lost) {
                run.stop.cancel();
            }
        }
        Ok(())
    }
}

fn failed(run: LostRun, error: &str) -> Event {
    let LostRun { tenant, run_id, agent_key, user_id, session_key, channel } = run;
    let mut payload = Map::from_iter([("type".to_owned(), Value::from("run.failed"))]);
    let values = [("agentId", agent_key), ("runId", run_id), ("userId", user_id.clone()), ("channel", channel), ("sessionKey", session_key)];
    payload.extend(values.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name.to_owned(), value.into())));
    payload.insert("payload".to_owned(), json!({"error": error}));
    Event::new(tenant, "agent", payload.into()).of_user(&user_id)
}
