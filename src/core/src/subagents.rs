//! Handing tasks over to other runs: to copies of the same agent, or to agents that it is linked to.

mod announce;
mod care;
mod delegate;
mod errands;
mod limits;
mod spawn;
mod tell;

pub(crate) use delegate::DelegateTool;
pub(crate) use spawn::SpawnTool;

use crate::{
    agents::Agents,
    runs::{
        ActiveRun,
        engine::{End, Engine},
        lanes::Lane,
        queue::Queueing,
        request::{Lineage, Origin, Request, RunOptions},
    },
};
use announce::Announcing;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    Error, ErrorKind, JsonObject, LinkId, SubagentTaskId, TenantId,
    agents::Agent,
    clock::Clock,
    message,
    subagents::{CapReached, SubagentStore, SubagentTask, TaskCap, TaskCaps, TaskEnd, TaskKind, TaskLease, TaskOrigin, TaskStatus},
    tenants::TenantStore,
    tools::{MediaResult, ToolContext},
};
use limits::Limits;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::oneshot;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

/// How long a process holds its tasks without saying that it lives.
const LEASE: TimeDelta = TimeDelta::seconds(10);
/// How long a sub-agent's answer may be, in tokens, how freely it chooses words, and how often it asks the model.
const MAX_TOKENS: u32 = 4_096;
const TEMPERATURE: f64 = 0.5;
const MAX_ITERATIONS: i32 = 20;
/// The longest task, in characters.
const MAX_TASK: usize = 32_000;
/// How much of a task is its label, if none is given, in characters.
const LABEL: usize = 50;
/// What stands where a task ended without a text.
const NO_TEXT: &str = "(The task is done; it ended without a text.)";

/// Hands tasks over, looks after them, and tells conversations what came of them.
pub(crate) struct Subagents {
    engine: Arc<Engine>,
    store: Arc<dyn SubagentStore>,
    agents: Arc<Agents>,
    tenants: Arc<dyn TenantStore>,
    /// This process, as tasks name it.
    owner: Uuid,
    /// The tasks of this process that run.
    running: Mutex<HashMap<SubagentTaskId, Underway>>,
    announcing: Announcing,
    work: TaskTracker,
    stop: CancellationToken,
}

/// A task that is to be handed over.
struct Order {
    kind: TaskKind,
    /// Who hands it over.
    parent: Agent,
    /// Who is to work on it.
    agent: Agent,
    task: String,
    label: String,
    /// Another model than would be taken; "" for none.
    model: String,
    /// Whether somebody waits for the result on the spot.
    waited: bool,
    link: Option<LinkId>,
    caps: TaskCaps,
    limits: Limits,
}

/// A task that was handed over.
struct Handed {
    task: SubagentTask,
    run: Arc<ActiveRun>,
    /// The task as it is when it has ended.
    ended: oneshot::Receiver<SubagentTask>,
}

/// A task that runs.
struct Underway {
    tenant: TenantId,
    /// The task, without what is to be done.
    task: SubagentTask,
    /// What stops it.
    cancel: CancellationToken,
}

/// What is kept with a task for the run that announces its result.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Kept {
    trace_id: Option<goclaw_ports::TraceId>,
    #[serde(skip_serializing_if = "String::is_empty")]
    channel_type: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    allow_tools: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    media: Vec<MediaResult>,
    /// What the agents are called, for those who watch.
    #[serde(skip_serializing_if = "String::is_empty")]
    source_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    target_name: String,
}

impl Kept {
    fn of(task: &SubagentTask) -> Self {
        serde_json::from_value(Value::Object(task.metadata.clone())).unwrap_or_default()
    }

    fn metadata(&self) -> JsonObject {
        match serde_json::to_value(self) {
            Ok(Value::Object(object)) => object,
            _ => JsonObject::new(),
        }
    }
}

/// Why a task was not handed over, in words for the model.
type Refused = String;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subagents {
    /// Nothing is handed over yet.
    pub fn new(engine: Arc<Engine>, store: Arc<dyn SubagentStore>, agents: Arc<Agents>, tenants: Arc<dyn TenantStore>) -> Self {
        let owner = engine.ids.random();
        Self {
            engine,
            store,
            agents,
            tenants,
            owner,
            running: Mutex::default(),
            announcing: Announcing::default(),
            work: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// What runs agents.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    fn clock(&self) -> &dyn Clock {
        &*self.engine.clock
    }

    fn lease(&self) -> TaskLease {
        TaskLease { owner: self.owner, lasts: LEASE }
    }

    /// The run that a tool is called in, and its agent as it is now.
    async fn parent_of(&self, context: &ToolContext) -> Result<(Arc<ActiveRun>, Agent), Refused> {
        let run = context.run.and_then(|run| self.engine.runs.find(context.tenant, &context.session_key, &run.to_string()).pop());
        let run = run.ok_or("Tasks can only be handed over in a conversation.")?;
        let agent = self.agents.resolve(&run.asked.caller, &run.agent_key).await.map_err(|error| told(&error))?;
        Ok((run, agent))
    }

    /// Hands a task over. It goes on by itself, whatever becomes of the run that hands it over.
    async fn hand_over(self: &Arc<Self>, above: &ActiveRun, order: Order) -> Result<Handed, Refused> {
        if order.task.chars().count() > MAX_TASK {
            return Err(format!("The task is too long: at most {MAX_TASK} characters. Put material into files, and name them."));
        }
        let id = SubagentTaskId(self.engine.ids.row());
        let task = self.task_of(id, above, &order);
        let tenant = above.asked.caller.tenant;
        // Known before it is stored: a task of this process that nobody here knows counts as lost.
        let cancel = CancellationToken::new();
        let underway = Underway { tenant, task: SubagentTask { description: String::new(), ..task.clone() }, cancel: cancel.clone() };
        lock(&self.running).insert(id, underway);
        let begun = self.begin(tenant, &task, &order, above, cancel).await;
        let started = begun.inspect_err(|_| drop(lock(&self.running).remove(&id)))?;
        self.tell(tenant, &task, if order.waited { "sync" } else { "async" });
        let (done, ended) = oneshot::channel();
        let (subagents, archive, waited, begun) = (self.clone(), order.limits.archive_after, order.waited, task.clone());
        let watching = async move {
            let end = started.end.await.unwrap_or_else(|_| End::Failed(Error::internal("the run ended without an end")));
            let task = subagents.ended(tenant, begun, end, archive, waited).await;
            let _ = done.send(task);
        };
        self.work.spawn_on(watching, &self.engine.runtime);
        Ok(Handed { task, run: started.run, ended })
    }

    async fn begin(
        &self,
        tenant: TenantId,
        task: &SubagentTask,
        order: &Order,
        above: &ActiveRun,
        cancel: CancellationToken,
    ) -> Result<crate::runs::engine::Started, Refused> {
        let now = self.clock().now();
        match self.store.begin(tenant, task, &order.caps, self.lease()).await {
            Ok(None) => {}
            Ok(Some(reached)) => return Err(explained(reached, order)),
            Err(error) => return Err(told(&error)),
        }
        let request = self.request_of(task, order, above, cancel);
        match self.engine.start(request) {
            Ok(started) => Ok(started),
            Err(error) => {
                let end = end_of(TaskStatus::Failed, error.message.to_string(), task, now, order.limits.archive_after);
                if let Err(error) = self.store.finish(tenant, task.id, &TaskEnd { told: true, ..end }).await {
                    tracing::warn!(%error, "a task that did not begin could not be marked");
                }
                Err(told(&error))
            }
        }
    }

    fn task_of(&self, id: SubagentTaskId, above: &ActiveRun, order: &Order) -> SubagentTask {
        let (asked, now) = (&above.asked, self.clock().now());
        let depth = asked.lineage.spawns + asked.lineage.delegations + 1;
        let kept = Kept {
            trace_id: Some(asked.trace),
            channel_type: asked.origin.channel_type.clone(),
            allow_tools: asked.allow_tools.clone(),
            media: vec![],
            source_name: order.parent.display_name.clone(),
            target_name: order.agent.display_name.clone(),
        };
        SubagentTask {
            id,
            kind: order.kind,
            parent_agent_id: order.parent.id,
            parent_agent_key: order.parent.agent_key.clone(),
            session_key: above.session_key.clone(),
            agent_id: order.agent.id,
            agent_key: order.agent.agent_key.clone(),
            link_id: order.link,
            subject: label_of(&order.label, &order.task),
            description: order.task.clone(),
            status: TaskStatus::Running,
            result: String::new(),
            depth,
            model: order.model.clone(),
            provider: asked.provider.clone(),
            iterations: 0,
            input_tokens: 0,
            output_tokens: 0,
            origin: TaskOrigin {
                channel: asked.origin.channel.clone(),
                chat_id: asked.origin.chat_id.clone(),
                peer_kind: asked.origin.peer_kind.clone(),
                user_id: asked.caller.user.to_string(),
                role: asked.caller.role,
            },
            spawned_by: above.id.to_string(),
            told_at: order.waited.then_some(now),
            completed_at: None,
            archive_at: None,
            metadata: kept.metadata(),
            created_at: now,
            updated_at: now,
        }
    }

    fn request_of(&self, task: &SubagentTask, order: &Order, above: &ActiveRun, cancel: CancellationToken) -> Request {
        let asked = &above.asked;
        let mut lineage = Lineage {
            spawns: asked.lineage.spawns,
            delegations: asked.lineage.delegations,
            session_key: above.session_key.clone(),
            agent_key: above.agent_key.clone(),
            delegation: String::new(),
        };
        let common = RunOptions {
            allow_tools: asked.allow_tools.clone(),
            parent_trace: Some(asked.trace),
            tags: vec![task.kind.as_str().into()],
            cancel: Some(cancel),
            // What is waited for goes on in the place of the run that waits.
            queueing: (!order.waited).then(|| Queueing { lane: Some(lane_of(task.kind)), ..Queueing::default() }),
            ..RunOptions::default()
        };
        let options = match task.kind {
            TaskKind::Subagent => {
                lineage.spawns += 1;
                let prompt = include_str!("../prompts/subagent.md");
                let model = [&order.model, &order.limits.model, &asked.model].into_iter().find(|model| !model.is_empty());
                RunOptions {
                    kind: "subagent",
                    extra_prompt: prompt.replace("{label}", &task.subject).replace("{depth}", &lineage.spawns.to_string()),
                    light_context: true,
                    max_iterations: Some(MAX_ITERATIONS),
                    max_tokens: Some(MAX_TOKENS),
                    temperature: Some(TEMPERATURE),
                    retries: order.limits.retries,
                    provider: asked.provider.clone(),
                    model: model.cloned().unwrap_or_default(),
                    trace_name: format!("subagent:{}", task.subject),
                    ..common
                }
            }
            TaskKind::Delegation => {
                lineage.delegations += 1;
                lineage.delegation = task.id.to_string();
                RunOptions {
                    kind: "delegation",
                    extra_prompt: include_str!("../prompts/delegation.md").replace("{parent}", &task.parent_agent_key),
                    trace_name: format!("delegation {}", task.agent_key),
                    ..common
                }
            }
        };
        let deny_tools = order.limits.denied(lineage.spawns);
        let options = RunOptions { lineage, deny_tools, ..options };
        let (caller, agent, origin) = (asked.caller.clone(), order.agent.clone(), asked.origin.clone());
        Request { alone: true, options, ..Request::new(caller, agent, conversation_of(task), task.description.clone(), origin) }
    }

    /// Writes down how a task ended, and sees to it that its conversation learns it.
    async fn ended(self: &Arc<Self>, tenant: TenantId, task: SubagentTask, end: End, archive: TimeDelta, waited: bool) -> SubagentTask {
        let draining = self.engine.runs.draining();
        let now = self.clock().now();
        let end = match end {
            End::Completed(outcome) => {
                let mut kept = Kept::of(&task);
                kept.media = outcome.media;
                let status = if outcome.exhausted { TaskStatus::Failed } else { TaskStatus::Completed };
                let text = if outcome.content.trim().is_empty() { NO_TEXT.into() } else { outcome.content };
                let [model, provider] = outcome.model;
                let usage = outcome.usage.unwrap_or_default();
                TaskEnd {
                    model,
                    provider,
                    iterations: outcome.iterations,
                    input_tokens: usage.prompt_tokens,
                    output_tokens: usage.completion_tokens,
                    metadata: kept.metadata(),
                    ..end_of(status, text, &task, now, archive)
                }
            }
            End::Failed(error) => end_of(TaskStatus::Failed, error.message.to_string(), &task, now, archive),
            // The gateway stops; whoever asks next is to know that nobody else stopped the task.
            End::Cancelled if draining => end_of(TaskStatus::Failed, message::run_interrupted().to_string(), &task, now, archive),
            End::Cancelled => end_of(TaskStatus::Cancelled, "The task was stopped.".into(), &task, now, archive),
        };
        let task = self.store_end(tenant, task, end).await;
        lock(&self.running).remove(&task.id);
        self.tell(tenant, &task, if waited { "sync" } else { "async" });
        if task.told_at.is_none() {
            self.tell_accumulated(tenant, &task).await;
            self.announce_soon(tenant, &task.session_key);
        }
        task
    }

    /// Writes down how a task ended, more than once if need be. Answers with the task as it is then: somebody may have ended
    /// it before.
    async fn store_end(&self, tenant: TenantId, task: SubagentTask, end: TaskEnd) -> SubagentTask {
        let ended = with_end(task, &end);
        for pause in [1, 2, 4] {
            match self.store.finish(tenant, ended.id, &end).await {
                Ok(true) => return ended,
                Ok(false) => return self.store.find(tenant, ended.id).await.ok().flatten().unwrap_or(SubagentTask { told_at: Some(end.at), ..ended }),
                Err(error) => tracing::warn!(%error, task = %ended.id, "the end of a task could not be stored"),
            }
            tokio::time::sleep(Duration::from_secs(pause)).await;
        }
        ended
    }
}

fn lane_of(kind: TaskKind) -> Lane {
    match kind {
        TaskKind::Subagent => Lane::Subagent,
        TaskKind::Delegation => Lane::Team,
    }
}

/// The name that models know a task by.
fn handle(id: SubagentTaskId) -> String {
    // The last half of the id is random.
    format!("sub-{}", &id.0.simple().to_string()[16..])
}

/// The conversation that a task is worked on in.
fn conversation_of(task: &SubagentTask) -> String {
    let kind = match task.kind {
        TaskKind::Subagent => "subagent",
        TaskKind::Delegation => "delegate",
    };
    format!("agent:{}:{kind}:{}", task.agent_key, task.id)
}

fn label_of(label: &str, task: &str) -> String {
    let label = label.trim();
    let text = if label.is_empty() { task.trim() } else { label };
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(if label.is_empty() { LABEL } else { 2 * LABEL }).collect()
}

fn end_of(status: TaskStatus, result: String, task: &SubagentTask, now: DateTime<Utc>, archive: TimeDelta) -> TaskEnd {
    TaskEnd {
        status,
        result,
        model: task.model.clone(),
        provider: task.provider.clone(),
        iterations: 0,
        input_tokens: 0,
        output_tokens: 0,
        metadata: task.metadata.clone(),
        told: false,
        at: now,
        archive_at: now + archive,
    }
}

fn with_end(task: SubagentTask, end: &TaskEnd) -> SubagentTask {
    SubagentTask {
        status: end.status,
        result: end.result.clone(),
        model: end.model.clone(),
        provider: end.provider.clone(),
        iterations: end.iterations,
        input_tokens: end.input_tokens,
        output_tokens: end.output_tokens,
        metadata: end.metadata.clone(),
        told_at: task.told_at.or_else(|| end.told.then_some(end.at)),
        completed_at: Some(end.at),
        archive_at: Some(end.archive_at),
        updated_at: end.at,
        ..task
    }
}

/// An error in words for the model. What a fault of ours says is for the log.
fn told(error: &Error) -> Refused {
    if error.kind == ErrorKind::Internal {
        tracing::error!(%error, "a task could not be handed over");
        return "The task could not be handed over: an internal error.".into();
    }
    error.message.to_string()
}

fn explained(reached: CapReached, order: &Order) -> Refused {
    let CapReached { cap, running, limit } = reached;
    match cap {
        TaskCap::InTenant => format!("max concurrent subagents reached ({running}/{limit}). Wait until one has ended."),
        TaskCap::OfSession => format!("max children per agent reached ({running}/{limit}). Wait until one has ended."),
        TaskCap::OverLink => format!("max concurrent delegations to {} reached ({running}/{limit}). Wait until one has ended.", order.agent.agent_key),
        TaskCap::ToAgent => format!("{} is busy: it has {running} of {limit} delegations. Try again later.", order.agent.agent_key),
    }
}

/// The tools' way to what they need, which holds the tools itself.
pub(crate) type Handle = Weak<Subagents>;

/// What a tool answers while the gateway stops.
const GONE: &str = "The gateway is shutting down.";

/// The origin that a task's result belongs to.
fn origin_of(task: &SubagentTask, kept: &Kept) -> Origin {
    let TaskOrigin { channel, chat_id, peer_kind, .. } = task.origin.clone();
    Origin { channel, channel_type: kept.channel_type.clone(), chat_id, peer_kind }
}
