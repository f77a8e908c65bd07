//! Runs of other gateways: knowing of them, and having them stopped.

use super::Runs;
use crate::traces::Tracer;
use goclaw_ports::{
    AgentId, Result, TenantId,
    events::{Event, EventBus, Heard},
    locks::Locks,
};
use serde_json::{Value, json};
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Asks the other gateways to stop runs, which it names (what begins while they are told goes on), or all of an agent. It never leaves
/// them.
const STOP: &str = "run.stop";
/// How often somebody who waits for runs of other gateways looks.
const LOOK: Duration = Duration::from_millis(250);

/// The other gateways of this installation.
#[derive(Clone)]
pub(crate) struct Elsewhere {
    pub tracer: Tracer,
    pub bus: Arc<dyn EventBus>,
    pub locks: Arc<dyn Locks>,
    /// Whether there cannot be any.
    pub alone: bool,
}

impl Elsewhere {
    /// The ids of runs that other gateways have: of a conversation, one by its id, or one by its id in a conversation; those of this
    /// user, if one is named. Those in a conversation of their own are not found.
    ///
    /// # Errors
    /// What the database says.
    pub async fn find(&self, tenant: TenantId, session_key: &str, run_id: &str, user: Option<&str>) -> Result<Vec<String>> {
        let nothing = self.alone || (!session_key.is_empty() && !self.locks.turn_is_taken(tenant, session_key).await?);
        let running = if nothing { vec![] } else { self.tracer.elsewhere(tenant, session_key, run_id, user).await? };
        let mut found = vec![];
        for (session, id) in running {
            // A gateway that crashed vouches for its runs for a while yet; its turns are gone at once.
            if !session_key.is_empty() || self.locks.turn_is_taken(tenant, &session).await? {
                found.push(id);
            }
        }
        Ok(found)
    }

    /// Has such runs stopped, and answers with which. They end a moment later.
    ///
    /// # Errors
    /// As [`Elsewhere::find`].
    pub async fn stop(&self, tenant: TenantId, session_key: &str, run_id: &str, user: Option<&str>) -> Result<Vec<String>> {
        let ids = self.find(tenant, session_key, run_id, user).await?;
        if !ids.is_empty() {
            self.bus.publish(Event::new(tenant, STOP, json!({"runIds": ids})));
        }
        Ok(ids)
    }

    /// The agents that have a run at another gateway; if one is named, it alone is looked at. A gateway that crashed vouches for its runs
    /// for a while yet.
    ///
    /// # Errors
    /// What the database says.
    pub async fn busy(&self, tenant: TenantId, agent: Option<AgentId>) -> Result<HashSet<AgentId>> {
        if self.alone { Ok(HashSet::new()) } else { self.tracer.busy_elsewhere(tenant, agent).await }
    }

    /// Waits until an agent has no run at another gateway any more. `false` if it still has when the time is up.
    ///
    /// # Errors
    /// As [`Elsewhere::busy`].
    pub async fn wait_for_agent(&self, tenant: TenantId, agent: AgentId, until: Instant) -> Result<bool> {
        while !self.busy(tenant, Some(agent)).await?.is_empty() {
            if Instant::now() >= until {
                return Ok(false);
            }
            tokio::time::sleep_until(until.min(Instant::now() + LOOK)).await;
        }
        Ok(true)
    }

    /// Has an agent's runs at the other gateways stopped. They end a moment later.
    pub fn stop_agent(&self, tenant: TenantId, agent_key: &str) {
        if !self.alone {
            self.bus.publish(Event::new(tenant, STOP, json!({"agentKey": agent_key})));
        }
    }

    /// Stops what the others ask this gateway to stop, until the bus is gone.
    pub fn obey(&self, runs: Arc<Runs>, runtime: &tokio::runtime::Handle) {
        if self.alone {
            return;
        }
        let mut events = self.bus.subscribe_to_others();
        runtime.spawn(async move {
            loop {
                match events.next().await {
                    Heard::Event(event) if event.name == STOP => {
                        for id in event.payload["runIds"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                            runs.find(event.tenant, "", id).iter().for_each(|run| run.cancel.cancel());
                        }
                        event.payload["agentKey"].as_str().into_iter().for_each(|agent| runs.cancel_agent(event.tenant, agent));
                    }
                    // Who is not heard asks again.
                    Heard::Event(_) | Heard::Missed(_) => {}
                    Heard::Closed => return,
                }
            }
        });
    }
}
