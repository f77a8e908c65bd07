//! `spawn`: handing a task to a copy of the same agent.

use super::{
    GONE, Handed, Handle, LABEL, Order, Refused, Subagents, conversation_of,
    errands::{self, Errand},
    handle,
    limits::Limits,
};
use crate::runs::ActiveRun;
use async_trait::async_trait;
use goclaw_ports::{
    JsonObject,
    agents::Agent,
    subagents::{SubagentTask, TaskKind, TaskStatus},
    tools::{Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// The longest message that changes a task's course, in characters.
const MAX_MESSAGE: usize = 4_000;
/// What the label of a task says whose course was changed.
const STEERED: &str = " (steered)";
/// How long a task may take to stop before another takes its place.
const STOPPING: Duration = Duration::from_secs(5);

/// Hands tasks to copies of the same agent.
pub(crate) struct SpawnTool {
    spec: ToolSpec,
    subagents: Handle,
}

impl SpawnTool {
    pub fn new(subagents: Handle) -> Self {
        let text = |description: &str| json!({"type": "string", "description": description});
        let spec = ToolSpec {
            name: "spawn",
            description: "Hand a self-contained task to a sub-agent: a copy of yourself that begins with nothing but the task. Also lists, stops, redirects and waits for what you handed over.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "task": text("What is to be done, with everything that is needed to do it. For action spawn."),
                    "action": text("spawn (default), list, cancel, steer or wait."),
                    "mode": text("async (default): the result comes to you later by itself. sync: wait for it here."),
                    "label": text("A short name for the task. Default: its beginning."),
                    "model": text("Another model for it."),
                    "id": text("Which task: its id; for cancel also last or all; for wait nothing means all."),
                    "message": text("New instructions, for steer. At most 4000 characters."),
                    "timeout": {"type": "integer", "description": "How long to wait at most, in seconds. Default 300."},
                },
                "required": ["task"],
            }),
            effect: ToolEffect::Changes,
        };
        Self { spec, subagents }
    }

    async fn answer(&self, context: &ToolContext, arguments: &JsonObject) -> Result<ToolResult, Refused> {
        let subagents = self.subagents.upgrade().ok_or(GONE)?;
        if arguments.get("agent").is_some_and(|agent| !agent.is_null() && agent != "") {
            return Err(
                "spawn makes copies of yourself only, so it takes no agent. To give work to another agent use delegate or team_tasks, if you have them.".into(),
            );
        }
        let (run, agent) = subagents.parent_of(context).await?;
        let (action, id) = (errands::text(arguments, "action")?, errands::text(arguments, "id")?);
        if let Some(done) = subagents.look_after(&run, Errand { action: &action, id: &id, timeout: errands::timeout(arguments) }).await {
            return done.map(ToolResult::silent);
        }
        match action.as_str() {
            "" | "spawn" => {
                let (task, label, model) = (errands::text(arguments, "task")?, errands::text(arguments, "label")?, errands::text(arguments, "model")?);
                subagents.spawn(&run, agent, Wish { task, label, model, waited: errands::waits(arguments, false)? }).await
            }
            "steer" => subagents.steer(&run, agent, &id, &errands::text(arguments, "message")?).await,
            other => Err(format!("action must be spawn, list, cancel, steer or wait, not {other}")),
        }
    }
}

#[async_trait]
impl Tool for SpawnTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult {
        self.answer(context, &arguments).await.unwrap_or_else(ToolResult::error)
    }
}

/// What a sub-agent is wanted for.
struct Wish {
    task: String,
    label: String,
    model: String,
    waited: bool,
}

impl Subagents {
    async fn spawn(self: &Arc<Self>, run: &ActiveRun, agent: Agent, wish: Wish) -> Result<ToolResult, Refused> {
        if wish.task.is_empty() {
            return Err("task is required".into());
        }
        // Below another run nobody would hear a later result.
        let waited = wish.waited || !run.asked.lineage.session_key.is_empty();
        let handed = self.spawned(run, agent, Wish { waited, ..wish }).await?;
        if waited {
            return self.awaited(handed).await.map(|task| result(&task));
        }
        let Handed { task, .. } = handed;
        let answer = json!({
            "status": "accepted",
            "id": handle(task.id),
            "label": task.subject,
            "note": "It runs on its own. Its result comes to you by itself when it is there; do not ask for it again and again. Go on, or tell the user that it is under way.",
        });
        Ok(ToolResult::silent(answer.to_string()))
    }

    async fn spawned(self: &Arc<Self>, run: &ActiveRun, agent: Agent, wish: Wish) -> Result<Handed, Refused> {
        let settings = self.engine.settings.of(run.asked.caller.tenant).await.map_err(|error| super::told(&error))?;
        let limits = Limits::of(&settings, &agent);
        let depth = run.asked.lineage.spawns;
        if depth >= limits.depth {
            return Err(format!("spawn depth limit reached ({depth}/{})", limits.depth));
        }
        let order = Order {
            kind: TaskKind::Subagent,
            parent: agent.clone(),
            agent,
            task: wish.task,
            label: wish.label,
            model: wish.model,
            waited: wish.waited,
            link: None,
            caps: limits.caps(),
            limits,
        };
        self.hand_over(run, order).await
    }

    /// Stops a task and hands it over again, with what is to be different.
    async fn steer(self: &Arc<Self>, run: &ActiveRun, agent: Agent, id: &str, message: &str) -> Result<ToolResult, Refused> {
        if id.is_empty() || message.is_empty() {
            return Err("id and message are required".into());
        }
        if message.chars().count() > MAX_MESSAGE {
            return Err(format!("message is too long: at most {MAX_MESSAGE} characters"));
        }
        let tenant = run.asked.caller.tenant;
        let running = self.running_of(tenant, &run.session_key, id).await.map_err(|error| super::told(&error))?;
        let task = running.into_iter().find(|task| task.kind == TaskKind::Subagent && id != "all");
        let task = task.ok_or_else(|| format!("No sub-agent that runs in this conversation goes by \"{id}\"."))?;
        if !self.stop_task(tenant, &task).await.map_err(|error| super::told(&error))? {
            return Err("The task has ended meanwhile.".into());
        }
        self.engine.runs.wait_for_session(tenant, &conversation_of(&task), STOPPING).await;
        let label: String = task.subject.trim_end_matches(STEERED).chars().take(LABEL).collect();
        let wish = Wish {
            task: format!("{}\n\nThe task was changed while somebody worked on it. What counts now:\n{message}", task.description),
            label: format!("{label}{STEERED}"),
            model: task.model.clone(),
            waited: false,
        };
        // Another conversation may have taken the place that it leaves: then the model must know that nothing runs.
        self.spawn(run, agent, wish).await.map_err(|why| format!("The task was stopped, but could not begin anew: {why}"))
    }
}

/// What came of a task, for the run that waited for it.
pub(super) fn result(task: &SubagentTask) -> ToolResult {
    let media = super::Kept::of(task).media;
    match task.status {
        TaskStatus::Completed => ToolResult { media, ..ToolResult::silent(task.result.clone()) },
        status => ToolResult { media, ..ToolResult::error(format!("The task ended as {}: {}", status.as_str(), task.result)) },
    }
}
