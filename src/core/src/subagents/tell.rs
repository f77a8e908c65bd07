//! Telling those who watch how delegations stand.

use super::{Kept, Subagents, conversation_of, errands::LISTED, lock};
use goclaw_ports::{
    TenantId,
    events::Event,
    subagents::{SubagentTask, TaskKind, TaskStatus},
};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

impl Subagents {
    /// How a delegation stands, when that changes.
    pub(super) fn tell(&self, tenant: TenantId, task: &SubagentTask, mode: &str) {
        if task.kind != TaskKind::Delegation {
            return;
        }
        let (name, error) = match task.status {
            TaskStatus::Running => ("delegation.started", None),
            TaskStatus::Completed => ("delegation.completed", None),
            TaskStatus::Failed => ("delegation.failed", Some(&task.result)),
            TaskStatus::Cancelled => ("delegation.cancelled", None),
        };
        let mut payload = from(task);
        payload.extend(to(task));
        payload.extend(fields(json!({
            "target_agent_id": task.agent_id,
            "mode": mode,
            "task": task.description,
            "status": task.status.as_str(),
            "created_at": task.created_at,
        })));
        payload.extend(elapsed(task));
        payload.extend(error.map(|error| ("error".to_owned(), error.as_str().into())));
        self.publish(tenant, name, task, payload);
    }

    /// A delegation's result is there, and waits until its conversation is told; so many others of it still run.
    pub(super) async fn tell_accumulated(&self, tenant: TenantId, task: &SubagentTask) {
        if task.kind != TaskKind::Delegation {
            return;
        }
        let siblings = self.store.of_session(tenant, &task.session_key, LISTED).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the other tasks of a conversation could not be read");
            vec![]
        });
        let running = siblings.iter().filter(|other| other.id != task.id && other.kind == task.kind && other.status == TaskStatus::Running).count();
        let mut payload = from(task);
        payload.extend(to(task));
        payload.extend(elapsed(task));
        payload.insert("siblings_remaining".to_owned(), running.into());
        self.publish(tenant, "delegation.accumulated", task, payload);
    }

    /// What the delegations of this process do now, for each conversation in one event.
    pub(super) fn tell_progress(&self) {
        let mut under_way: BTreeMap<(TenantId, String), Vec<SubagentTask>> = BTreeMap::new();
        for underway in lock(&self.running).values().filter(|underway| underway.task.kind == TaskKind::Delegation) {
            under_way.entry((underway.tenant, underway.task.session_key.clone())).or_default().push(underway.task.clone());
        }
        let now = self.clock().now();
        for ((tenant, _), mut tasks) in under_way {
            tasks.sort_by_key(|task| task.id);
            let Some(first) = tasks.first() else { continue };
            let active: Vec<Value> = tasks
                .iter()
                .map(|task| {
                    let mut active = to(task);
                    active.insert("elapsed_ms".to_owned(), (now - task.created_at).num_milliseconds().into());
                    let activity = self.engine.runs.current(tenant, &conversation_of(task)).and_then(|run| run.activity()).unwrap_or_default();
                    for (name, value) in [("activity", &activity["phase"]), ("tool", &activity["tool"])] {
                        active.extend(value.as_str().filter(|value| !value.is_empty()).map(|value| (name.to_owned(), value.into())));
                    }
                    active.into()
                })
                .collect();
            let mut payload = from(first);
            payload.remove("source_display_name");
            payload.insert("active_delegations".to_owned(), active.into());
            self.publish(tenant, "delegation.progress", first, payload);
        }
    }

    fn publish(&self, tenant: TenantId, name: &'static str, task: &SubagentTask, payload: Map<String, Value>) {
        self.engine.bus.publish(Event::new(tenant, name, payload.into()).of_user(&task.origin.user_id));
    }
}

/// Who handed a task over, and where.
fn from(task: &SubagentTask) -> Map<String, Value> {
    let mut from = fields(json!({
        "source_agent_id": task.parent_agent_id,
        "source_agent_key": task.parent_agent_key,
        "user_id": task.origin.user_id,
        "channel": task.origin.channel,
        "chat_id": task.origin.chat_id,
    }));
    from.extend(named("source_display_name", Kept::of(task).source_name));
    from
}

/// To whom.
fn to(task: &SubagentTask) -> Map<String, Value> {
    let mut to = fields(json!({"delegation_id": task.id, "target_agent_key": task.agent_key}));
    to.extend(named("target_display_name", Kept::of(task).target_name));
    to
}

fn named(key: &str, name: String) -> Option<(String, Value)> {
    (!name.is_empty()).then(|| (key.to_owned(), name.into()))
}

fn elapsed(task: &SubagentTask) -> Option<(String, Value)> {
    task.completed_at.map(|end| ("elapsed_ms".to_owned(), (end - task.created_at).num_milliseconds().into()))
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
