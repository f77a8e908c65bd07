//! `delegate`: handing a task to an agent that this one is linked to.

use super::{
    GONE, Handed, Handle, Order, Refused, Subagents,
    errands::{self, Errand},
    handle,
    limits::Limits,
    spawn,
};
use crate::{
    delegation::{self, Delegate},
    runs::ActiveRun,
};
use async_trait::async_trait;
use goclaw_ports::{
    JsonObject,
    agents::Agent,
    subagents::{TaskCaps, TaskKind},
    tools::{Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use serde_json::json;
use std::sync::Arc;

/// How many delegations an agent works on at once, whoever they come from.
const TO_ONE_AGENT: i64 = 5;
/// How often a task may be handed on.
const DEPTH: i32 = 5;

/// Hands tasks to linked agents.
pub(crate) struct DelegateTool {
    spec: ToolSpec,
    subagents: Handle,
}

impl DelegateTool {
    pub fn new(subagents: Handle) -> Self {
        let text = |description: &str| json!({"type": "string", "description": description});
        let spec = ToolSpec {
            name: delegation::TOOL,
            description: "Hand a self-contained task to another agent that knows more about it. Also lists, stops and waits for what you handed over.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "agent": text("The key of the agent, for action delegate."),
                    "task": text("What is to be done, with everything that is needed to do it: the agent does not see this conversation."),
                    "action": text("delegate (default), list, cancel or wait."),
                    "mode": text("sync (default): wait for the result here. async: it comes to you later by itself."),
                    "label": text("A short name for the task. Default: its beginning."),
                    "id": text("Which task: its id; for cancel also last or all; for wait nothing means all."),
                    "timeout": {"type": "integer", "description": "How long to wait at most, in seconds. Default 300."},
                },
                "required": ["agent", "task"],
            }),
            effect: ToolEffect::Changes,
        };
        Self { spec, subagents }
    }

    async fn answer(&self, context: &ToolContext, arguments: &JsonObject) -> Result<ToolResult, Refused> {
        let subagents = self.subagents.upgrade().ok_or(GONE)?;
        let (run, parent) = subagents.parent_of(context).await?;
        let (action, id) = (errands::text(arguments, "action")?, errands::text(arguments, "id")?);
        if let Some(done) = subagents.look_after(&run, Errand { action: &action, id: &id, timeout: errands::timeout(arguments) }).await {
            return done.map(ToolResult::silent);
        }
        if !matches!(action.as_str(), "" | "delegate") {
            return Err(format!("action must be delegate, list, cancel or wait, not {action}"));
        }
        let (agent, task) = (errands::text(arguments, "agent")?, errands::text(arguments, "task")?);
        if agent.is_empty() || task.is_empty() {
            return Err("agent and task are required".into());
        }
        let (label, waited) = (errands::text(arguments, "label")?, errands::waits(arguments, true)?);
        subagents.delegate(&run, parent, &agent, task, label, waited).await
    }
}

#[async_trait]
impl Tool for DelegateTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult {
        self.answer(context, &arguments).await.unwrap_or_else(ToolResult::error)
    }
}

impl Subagents {
    async fn delegate(self: &Arc<Self>, run: &ActiveRun, parent: Agent, to: &str, task: String, label: String, waited: bool) -> Result<ToolResult, Refused> {
        let asked = &run.asked;
        let depth = asked.lineage.delegations;
        if depth >= DEPTH {
            return Err(format!("delegation depth limit reached ({depth}/{DEPTH}): do the task yourself"));
        }
        let delegates = delegation::targets(&*self.engine.links, &asked.caller, parent.id).await.map_err(|error| super::told(&error))?;
        let delegate = named(&delegates, to)?;
        let agent = self.agents.resolve(&asked.caller, &delegate.agent_id.to_string()).await.map_err(|error| super::told(&error))?;
        let settings = self.engine.settings.of(asked.caller.tenant).await.map_err(|error| super::told(&error))?;
        // Below another run nobody would hear a later result.
        let waited = waited || !asked.lineage.session_key.is_empty();
        let order = Order {
            kind: TaskKind::Delegation,
            limits: Limits::of(&settings, &agent),
            parent,
            agent,
            task,
            label,
            model: String::new(),
            waited,
            link: Some(delegate.link),
            caps: TaskCaps { over_link: Some(delegate.max_concurrent.into()), to_agent: Some(TO_ONE_AGENT), ..TaskCaps::default() },
        };
        let handed = self.hand_over(run, order).await?;
        if waited {
            return self.awaited(handed).await.map(|task| spawn::result(&task));
        }
        let Handed { task, .. } = handed;
        let answer = json!({
            "status": "accepted",
            "id": handle(task.id),
            "agent": task.agent_key,
            "note": "The agent works on it. Its result comes to you by itself when it is there; do not ask for it again and again. Go on, or tell the user that it is under way.",
        });
        Ok(ToolResult::silent(answer.to_string()))
    }
}

fn named<'a>(delegates: &'a [Delegate], key: &str) -> Result<&'a Delegate, Refused> {
    let found = delegates.iter().find(|delegate| delegate.agent_key == key || delegate.agent_id.to_string() == key);
    found.ok_or_else(|| match delegates {
        [] => "You have no link to any agent.".into(),
        _ => {
            let keys: Vec<&str> = delegates.iter().map(|delegate| delegate.agent_key.as_str()).collect();
            format!("You have no link to \"{key}\". You may hand work to: {}", keys.join(", "))
        }
    })
}
