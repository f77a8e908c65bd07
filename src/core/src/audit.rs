//! The audit log, as use cases write it.

use crate::caller::Caller;
use goclaw_ports::{
    activity::{Activity, ActivityStore},
    clock::{Clock, Ids},
};
use serde_json::Value;
use std::sync::Arc;

/// Writes down who changed what.
#[derive(Clone)]
pub struct Audit {
    store: Arc<dyn ActivityStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
}

impl Audit {
    /// Writes to this store.
    pub fn new(store: Arc<dyn ActivityStore>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>) -> Self {
        Self { store, clock, ids }
    }

    /// Notes that `caller` did `action` (`agent.created`) to the entity. A failure is logged: the change itself stands.
    pub async fn record(&self, caller: &Caller, action: &str, entity_type: &str, entity_id: impl ToString, details: Option<Value>) {
        let entry = Activity {
            id: self.ids.row(),
            actor_type: "user".into(),
            actor_id: if caller.user.is_empty() { "system".into() } else { caller.user.to_string() },
            action: action.into(),
            entity_type: entity_type.into(),
            entity_id: entity_id.to_string(),
            details,
            ip_address: caller.ip.map_or_else(String::new, |ip| ip.to_string()),
            created_at: self.clock.now(),
        };
        if let Err(error) = self.store.append(caller.tenant, &[entry]).await {
            tracing::error!(%error, action, "the audit log could not be written");
        }
    }
}
