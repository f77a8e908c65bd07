//! The audit log, as use cases write it.

use crate::{caller::Caller, counters};
use goclaw_ports::{
    TenantId,
    activity::{Activity, ActivityStore},
    clock::{Clock, Ids},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// How many notes wait at most.
const QUEUE: usize = 256;
/// How many notes are written together at most.
const BATCH: usize = 64;
/// A text of at most so many bytes is shown before and after its change.
const SHORT: usize = 256;
/// How long writing the last notes may take.
const FLUSH: Duration = Duration::from_secs(5);

/// Writes down who changed what.
#[derive(Clone)]
pub struct Audit {
    store: Arc<dyn ActivityStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    notes: mpsc::Sender<Note>,
    dropped: Arc<AtomicU64>,
}

enum Note {
    Entry(TenantId, Box<Activity>),
    Flush(oneshot::Sender<()>),
}

impl Audit {
    /// Writes to this store; what is only noted, from a task on this runtime.
    pub fn start(store: Arc<dyn ActivityStore>, clock: Arc<dyn Clock>, ids: Arc<dyn Ids>, runtime: &tokio::runtime::Handle) -> Self {
        let (notes, waiting) = mpsc::channel(QUEUE);
        runtime.spawn(write(store.clone(), waiting));
        Self { store, clock, ids, notes, dropped: Arc::default() }
    }

    /// Notes that `caller` did `action` (`agent.created`) to the entity. A failure is logged: the change itself stands.
    pub async fn record(&self, caller: &Caller, action: &str, entity_type: &str, entity_id: impl ToString, details: Option<Value>) {
        let entry = self.entry(&caller.user, caller.ip, action, (entity_type, &entity_id.to_string()), details);
        if let Err(error) = self.store.append(caller.tenant, &[entry]).await {
            tracing::error!(%error, action, "the audit log could not be written");
        }
    }

    /// Notes what changed nothing: that somebody came, asked or was refused. It waits for nothing and is written soon after;
    /// what finds the queue full is counted and dropped. `entity` is a kind of thing and which one.
    pub fn note(&self, tenant: TenantId, actor: &str, ip: Option<IpAddr>, action: &str, entity: (&str, &str), details: Option<Value>) {
        let entry = Box::new(self.entry(actor, ip, action, entity, details));
        if self.notes.try_send(Note::Entry(tenant, entry)).is_err() {
            counters::audit_dropped();
            let dropped = self.dropped.fetch_add(1, Ordering::Relaxed) + 1;
            // A flood of notes must not become one of log lines.
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "notes for the audit log came too fast and were dropped");
            }
        }
    }

    /// Waits until everything that was noted is written.
    pub async fn flush(&self) {
        let (done, written) = oneshot::channel();
        let flushing = async {
            if self.notes.send(Note::Flush(done)).await.is_ok() {
                let _ = written.await;
            }
        };
        if timeout(FLUSH, flushing).await.is_err() {
            tracing::error!("the last notes of the audit log could not be written in time");
        }
    }

    fn entry(&self, actor: &str, ip: Option<IpAddr>, action: &str, entity: (&str, &str), details: Option<Value>) -> Activity {
        Activity {
            id: self.ids.row(),
            actor_type: "user".into(),
            actor_id: if actor.is_empty() { "system".into() } else { actor.into() },
            action: action.into(),
            entity_type: entity.0.into(),
            entity_id: entity.1.into(),
            details,
            ip_address: ip.map_or_else(String::new, |ip| ip.to_string()),
            created_at: self.clock.now(),
        }
    }
}

/// What differs between two states of a thing, given as JSON objects: short plain values with `before` and `after`; of long or
/// nested ones, which may hold anything, only that they changed. That something is newer is not told.
pub(crate) fn changes(before: &Value, after: &Value) -> Value {
    let fields = |state: &Value| state.as_object().cloned().unwrap_or_default();
    let (before, after) = (fields(before), fields(after));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).filter(|name| *name != "updated_at").collect();
    let told = |name: &String| {
        let (before, after) = (before.get(name).unwrap_or(&Value::Null), after.get(name).unwrap_or(&Value::Null));
        let change = if is_short(before) && is_short(after) { json!({"before": before, "after": after}) } else { "changed".into() };
        (before != after).then(|| (name.clone(), change))
    };
    Value::Object(names.into_iter().filter_map(told).collect())
}

fn is_short(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => text.len() <= SHORT,
        Value::Array(_) | Value::Object(_) => false,
    }
}

async fn write(store: Arc<dyn ActivityStore>, mut waiting: mpsc::Receiver<Note>) {
    let mut batch = Vec::with_capacity(BATCH);
    while waiting.recv_many(&mut batch, BATCH).await > 0 {
        let mut entries: BTreeMap<TenantId, Vec<Activity>> = BTreeMap::new();
        let mut flushed = Vec::new();
        for note in batch.drain(..) {
            match note {
                Note::Entry(tenant, entry) => entries.entry(tenant).or_default().push(*entry),
                Note::Flush(done) => flushed.push(done),
            }
        }
        for (tenant, entries) in entries {
            if let Err(error) = store.append(tenant, &entries).await {
                tracing::error!(%error, notes = entries.len(), "the audit log could not be written");
            }
        }
        for done in flushed {
            let _ = done.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use async_trait::async_trait;
    use goclaw_ports::{
        Result,
        activity::ActivityFilter,
        clock::{SystemClock, SystemIds},
    };
    use std::sync::Mutex;
    use tokio::sync::Semaphore;

    #[test]
    fn changes_tell_short_values_and_keep_the_others_to_themselves() {
        let before = json!({"name": "a", "limit": 5, "gone": true, "config": {"token": "x"}, "same": 1, "text": "b".repeat(300), "updated_at": 1});
        let after = json!({"name": "b", "limit": null, "config": {"token": "y"}, "same": 1, "text": "c", "new": "n", "updated_at": 2});
        let expected = json!({
            "name": {"before": "a", "after": "b"}, "limit": {"before": 5, "after": null}, "gone": {"before": true, "after": null},
            "new": {"before": null, "after": "n"}, "config": "changed", "text": "changed",
        });
        assert_eq!(changes(&before, &after), expected);
        assert_eq!(changes(&before, &before), json!({}));
    }

    /// Keeps entries, but only while there are permits.
    struct Kept {
        entries: Mutex<Vec<(TenantId, Activity)>>,
        open: Semaphore,
    }

    #[async_trait]
    impl ActivityStore for Kept {
        async fn append(&self, tenant: TenantId, entries: &[Activity]) -> Result<()> {
            let _open = self.open.acquire().await.unwrap();
            self.entries.lock().unwrap().extend(entries.iter().map(|entry| (tenant, entry.clone())));
            Ok(())
        }
        async fn list(&self, _: TenantId, _: &ActivityFilter) -> Result<(Vec<Activity>, i64)> {
            Ok((Vec::new(), 0))
        }
    }

    fn audit(permits: usize) -> (Audit, Arc<Kept>) {
        let kept = Arc::new(Kept { entries: Mutex::default(), open: Semaphore::new(permits) });
        (Audit::start(kept.clone(), Arc::new(SystemClock), Arc::new(SystemIds), &tokio::runtime::Handle::current()), kept)
    }

    #[tokio::test]
    async fn what_was_noted_is_there_after_a_flush_in_its_tenant() {
        let (audit, kept) = audit(1);
        let other = TenantId(uuid::Uuid::nil());
        audit.note(TenantId::MASTER, "", "203.0.113.9".parse().ok(), "auth.failed", ("auth", ""), None);
        audit.note(other, "mai", None, "auth.login", ("auth", "api_key"), None);
        audit.flush().await;
        let mut entries = kept.entries.lock().unwrap().clone();
        entries.sort_by_key(|(tenant, _)| *tenant != TenantId::MASTER);
        let told: Vec<_> = entries.iter().map(|(tenant, entry)| (*tenant, entry.actor_id.as_str(), entry.action.as_str(), entry.ip_address.as_str())).collect();
        assert_eq!(told, [(TenantId::MASTER, "system", "auth.failed", "203.0.113.9"), (other, "mai", "auth.login", "")]);
    }

    #[tokio::test]
    async fn a_flood_is_dropped_and_never_waits() {
        let (audit, kept) = audit(0);
        let flood = QUEUE + BATCH + 100;
        for _ in 0..flood {
            audit.note(TenantId::MASTER, "", None, "auth.failed", ("auth", ""), None);
        }
        let dropped = usize::try_from(audit.dropped.load(Ordering::Relaxed)).unwrap();
        assert!(dropped >= 100, "{dropped}");
        kept.open.add_permits(1);
        audit.flush().await;
        assert_eq!(kept.entries.lock().unwrap().len() + dropped, flood, "all others are written");
    }
}
