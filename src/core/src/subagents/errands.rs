//! Looking after what a conversation handed over: listing, stopping and waiting for it. Both tools that hand tasks over do it
//! in the same way.

use super::{Subagents, end_of, handle, lock};
use crate::runs::ActiveRun;
use chrono::TimeDelta;
use goclaw_ports::{
    JsonObject, Result, TenantId,
    subagents::{SubagentTask, TaskEnd, TaskStatus},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, MissedTickBehavior};

/// How many tasks of a conversation are looked at.
pub(super) const LISTED: i64 = 50;
/// How often somebody who waits looks.
const GLANCE: Duration = Duration::from_millis(500);
/// How long somebody waits at most, in seconds.
const MAX_WAIT: i64 = 3_600;
/// How much of a result a list shows, in characters.
const SHOWN: usize = 300;
/// How long a task that was stopped is put away after.
const ARCHIVE: TimeDelta = TimeDelta::minutes(60);

/// What is to be done with tasks, in the model's words.
pub(super) struct Errand<'a> {
    pub action: &'a str,
    pub id: &'a str,
    pub timeout: i64,
}

impl Subagents {
    /// Lists, stops or waits for tasks of the run's conversation. `None` for another action.
    pub(super) async fn look_after(&self, run: &ActiveRun, errand: Errand<'_>) -> Option<Result<String, String>> {
        let (tenant, key) = (run.asked.caller.tenant, run.session_key.as_str());
        let done = match errand.action {
            "list" => self.listed(tenant, key).await,
            "cancel" => self.cancelled(tenant, key, errand.id).await,
            "wait" => self.waited_for(tenant, key, &errand).await,
            _ => return None,
        };
        Some(done.unwrap_or_else(|error| Err(super::told(&error))))
    }

    async fn listed(&self, tenant: TenantId, key: &str) -> Result<Result<String, String>> {
        let tasks = self.store.of_session(tenant, key, LISTED).await?;
        let shown: Vec<Value> = tasks.iter().map(|task| self.shown(task)).collect();
        Ok(Ok(if shown.is_empty() { "Nothing was handed over in this conversation.".into() } else { json!(shown).to_string() }))
    }

    fn shown(&self, task: &SubagentTask) -> Value {
        let end = task.completed_at.unwrap_or_else(|| self.clock().now());
        json!({
            "id": handle(task.id),
            "agent": task.agent_key,
            "label": task.subject,
            "status": task.status.as_str(),
            "seconds": (end - task.created_at).num_seconds(),
            "result": task.result.chars().take(SHOWN).collect::<String>(),
        })
    }

    /// The conversation's tasks that run and that `id` names: one by its id, `last`, or `all`.
    pub(super) async fn running_of(&self, tenant: TenantId, key: &str, id: &str) -> Result<Vec<SubagentTask>> {
        let mut tasks = self.store.of_session(tenant, key, LISTED).await?;
        tasks.retain(|task| task.status == TaskStatus::Running);
        match id {
            "all" => {}
            "last" => tasks.truncate(1),
            id => tasks.retain(|task| handle(task.id) == id || task.id.to_string() == id),
        }
        Ok(tasks)
    }

    async fn cancelled(&self, tenant: TenantId, key: &str, id: &str) -> Result<Result<String, String>> {
        if id.is_empty() {
            return Ok(Err("id is required: that of a task, \"last\" or \"all\".".into()));
        }
        let mut stopped = vec![];
        for task in self.running_of(tenant, key, id).await? {
            if self.stop_task(tenant, &task).await? {
                stopped.push(handle(task.id));
            }
        }
        Ok(if stopped.is_empty() {
            Err(format!("Nothing that runs in this conversation goes by \"{id}\"."))
        } else {
            Ok(format!("Stopped: {}", stopped.join(", ")))
        })
    }

    /// Stops a task whose conversation need not be told. The replica that it runs on notices, if it is another. `false` if it
    /// has ended meanwhile.
    pub(super) async fn stop_task(&self, tenant: TenantId, task: &SubagentTask) -> Result<bool> {
        let end = end_of(TaskStatus::Cancelled, "The task was stopped by the run that handed it over.".into(), task, self.clock().now(), ARCHIVE);
        let stopped = self.store.finish(tenant, task.id, &TaskEnd { told: true, ..end }).await?;
        if let Some(underway) = lock(&self.running).get(&task.id) {
            underway.cancel.cancel();
        }
        Ok(stopped)
    }

    async fn waited_for(&self, tenant: TenantId, key: &str, errand: &Errand<'_>) -> Result<Result<String, String>> {
        let wanted = |task: &SubagentTask| matches!(errand.id, "" | "all") || handle(task.id) == errand.id || task.id.to_string() == errand.id;
        let deadline = Instant::now() + Duration::from_secs(errand.timeout.clamp(1, MAX_WAIT).unsigned_abs());
        let mut ticks = tokio::time::interval(GLANCE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (tasks, running) = loop {
            ticks.tick().await;
            let mut tasks = self.store.of_session(tenant, key, LISTED).await?;
            tasks.retain(wanted);
            let running: Vec<String> = tasks.iter().filter(|task| task.status == TaskStatus::Running).map(|task| handle(task.id)).collect();
            if running.is_empty() || Instant::now() >= deadline {
                break (tasks, running);
            }
        };
        if tasks.is_empty() {
            return Ok(Err(format!("Nothing in this conversation goes by \"{}\".", errand.id)));
        }
        // What is handed to the model here need not be announced.
        let ended: Vec<&SubagentTask> = tasks.iter().filter(|task| task.status != TaskStatus::Running).collect();
        let news = self.store.mark_told(tenant, &ended.iter().map(|task| task.id).collect::<Vec<_>>(), self.clock().now()).await?;
        let named = |task: &&&SubagentTask| news.contains(&task.id) || !matches!(errand.id, "" | "all");
        let mut parts: Vec<String> = ended.iter().rev().filter(named).map(|task| super::announce::result_of(task, usize::MAX)).collect();
        if !running.is_empty() {
            parts.push(format!("Still running: {}", running.join(", ")));
        }
        Ok(Ok(if parts.is_empty() { "Nothing runs, and there is nothing new.".into() } else { parts.join("\n\n") }))
    }

    /// Waits for a task on the spot. Whoever stops waiting stops it.
    pub(super) async fn awaited(self: &Arc<Self>, handed: super::Handed) -> Result<SubagentTask, String> {
        let stop = handed.run.cancel.clone().drop_guard();
        let task = handed.ended.await.map_err(|_| super::GONE.to_owned())?;
        stop.disarm();
        Ok(task)
    }
}

/// A text argument; "" if it is absent. Numbers count as their text.
pub(super) fn text(arguments: &JsonObject, name: &str) -> Result<String, String> {
    match arguments.get(name) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.trim().to_owned()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(_) => Err(format!("{name} must be a string")),
    }
}

/// Whether the result is waited for, by the argument `mode`.
pub(super) fn waits(arguments: &JsonObject, default: bool) -> Result<bool, String> {
    match text(arguments, "mode")?.as_str() {
        "" => Ok(default),
        "sync" => Ok(true),
        "async" => Ok(false),
        other => Err(format!("mode must be sync or async, not {other}")),
    }
}

/// The argument `timeout`, in seconds.
pub(super) fn timeout(arguments: &JsonObject) -> i64 {
    let given = arguments.get("timeout").and_then(|value| value.as_f64().or_else(|| value.as_str()?.trim().parse().ok()));
    #[expect(clippy::cast_possible_truncation, reason = "a number of seconds; what is too large is cut")]
    given.map_or(300, |seconds| seconds as i64)
}
