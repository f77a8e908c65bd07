//! Tasks that a run hands over to another run: to a copy of its agent (a sub-agent), or to an agent that it is linked to.

use crate::{AgentId, JsonObject, LinkId, Result, SubagentTaskId, TenantId, roles::Role};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// A task that was handed over.
#[derive(Debug, Clone, PartialEq)]
pub struct SubagentTask {
    /// Its id.
    pub id: SubagentTaskId,
    /// Whom it was handed to.
    pub kind: TaskKind,
    /// The agent that handed it over. The task goes with it.
    pub parent_agent_id: AgentId,
    /// Its key.
    pub parent_agent_key: String,
    /// The conversation that it was handed over in, and that its result belongs to.
    pub session_key: String,
    /// The agent that works on it.
    pub agent_id: AgentId,
    /// Its key.
    pub agent_key: String,
    /// The link that allowed a delegation.
    pub link_id: Option<LinkId>,
    /// What it is about, in a few words.
    pub subject: String,
    /// What is to be done.
    pub description: String,
    /// How it stands.
    pub status: TaskStatus,
    /// What came of it, or why nothing did; "" while it runs.
    pub result: String,
    /// How many hand-overs lie above it, itself included.
    pub depth: i32,
    /// The model that works on it.
    pub model: String,
    /// The model's provider.
    pub provider: String,
    /// How often the model was asked.
    pub iterations: i32,
    /// Read by the model.
    pub input_tokens: i64,
    /// Written by the model.
    pub output_tokens: i64,
    /// Where its result belongs.
    pub origin: TaskOrigin,
    /// The run that handed it over.
    pub spawned_by: String,
    /// When its conversation learned what came of it; also set from the beginning where somebody waits for it on the spot.
    pub told_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub completed_at: Option<DateTime<Utc>>,
    /// When it is put away.
    pub archive_at: Option<DateTime<Utc>>,
    /// More about it (`trace_id`, `media`, …).
    pub metadata: JsonObject,
    /// When it was handed over.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// Where a task's result belongs, and on whose behalf the work is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskOrigin {
    /// The channel's name.
    pub channel: String,
    /// The chat there.
    pub chat_id: String,
    /// `direct` or `group`.
    pub peer_kind: String,
    /// The user; "" if none.
    pub user_id: String,
    /// In which role.
    pub role: Role,
}

/// Whom a task is handed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskKind {
    /// A copy of the same agent.
    Subagent,
    /// Another agent, over a link.
    Delegation,
}
wire_names!(TaskKind: Subagent = "subagent", Delegation = "delegation");

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    /// Its run goes on.
    Running,
    /// There is a result.
    Completed,
    /// There is none, for the reason in `result`.
    Failed,
    /// It was stopped.
    Cancelled,
}
wire_names!(TaskStatus: Running = "running", Completed = "completed", Failed = "failed", Cancelled = "cancelled");

/// How a task ends.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskEnd {
    /// `Completed`, `Failed` or `Cancelled`.
    pub status: TaskStatus,
    /// What came of it, or why nothing did.
    pub result: String,
    /// The model that worked on it; "" if it did not come to that.
    pub model: String,
    /// Its provider.
    pub provider: String,
    /// How often the model was asked.
    pub iterations: i32,
    /// Read by the model.
    pub input_tokens: i64,
    /// Written by the model.
    pub output_tokens: i64,
    /// Replaces the task's metadata.
    pub metadata: JsonObject,
    /// Whether its conversation knows already.
    pub told: bool,
    /// When.
    pub at: DateTime<Utc>,
    /// When it is put away.
    pub archive_at: DateTime<Utc>,
}

/// How many tasks may run at once; `None` is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskCaps {
    /// Sub-agents of the tenant.
    pub in_tenant: Option<i64>,
    /// Sub-agents of the conversation.
    pub of_session: Option<i64>,
    /// Delegations over the link.
    pub over_link: Option<i64>,
    /// Delegations to the agent.
    pub to_agent: Option<i64>,
}

/// How many tasks run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of TaskCaps")]
pub struct RunningTasks {
    pub in_tenant: i64,
    pub of_session: i64,
    pub over_link: i64,
    pub to_agent: i64,
}

/// Which cap is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of TaskCaps")]
pub enum TaskCap {
    InTenant,
    OfSession,
    OverLink,
    ToAgent,
}

/// Why a task could not begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapReached {
    /// The cap.
    pub cap: TaskCap,
    /// How many run.
    pub running: i64,
    /// How many may.
    pub limit: i64,
}

impl TaskCaps {
    /// The first cap that does not let one more begin beside those that run.
    #[must_use]
    pub fn reached(&self, running: &RunningTasks) -> Option<CapReached> {
        let caps = [
            (TaskCap::InTenant, running.in_tenant, self.in_tenant),
            (TaskCap::OfSession, running.of_session, self.of_session),
            (TaskCap::OverLink, running.over_link, self.over_link),
            (TaskCap::ToAgent, running.to_agent, self.to_agent),
        ];
        caps.into_iter().find_map(|(cap, running, limit)| limit.filter(|limit| running >= *limit).map(|limit| CapReached { cap, running, limit }))
    }
}

/// A process's hold on its tasks. Who does not renew it in time has died, and another process takes its tasks over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskLease {
    /// The process.
    pub owner: Uuid,
    /// How long it holds from now on, by the clock of the store: that of a gateway may be wrong, and must neither take from others
    /// what they hold nor keep what nobody holds.
    pub lasts: TimeDelta,
}

/// Keeps tasks that were handed over. Every method but `all_tenants_…` sees only rows of `tenant`.
#[async_trait]
pub trait SubagentStore: Send + Sync {
    /// Stores a task that begins now, unless a cap is reached. However many begin at once, no more than the caps allow do.
    ///
    /// # Errors
    /// `NotFound` if the tenant lacks the agent that hands it over.
    async fn begin(&self, tenant: TenantId, task: &SubagentTask, caps: &TaskCaps, lease: TaskLease) -> Result<Option<CapReached>>;

    /// Ends a task that runs. `false` if it does not run any more, or there is none.
    async fn finish(&self, tenant: TenantId, id: SubagentTaskId, end: &TaskEnd) -> Result<bool>;

    /// The tasks of a conversation that are not put away, newest first.
    async fn of_session(&self, tenant: TenantId, session_key: &str, limit: i64) -> Result<Vec<SubagentTask>>;

    /// The task with this id.
    async fn find(&self, tenant: TenantId, id: SubagentTaskId) -> Result<Option<SubagentTask>>;

    /// The tasks of a conversation that have ended without its knowing, and that this process holds; oldest first.
    async fn untold(&self, tenant: TenantId, session_key: &str, owner: Uuid, limit: i64) -> Result<Vec<SubagentTask>>;

    /// The conversation knows what came of these tasks. Answers with those it did not know before.
    async fn mark_told(&self, tenant: TenantId, ids: &[SubagentTaskId], now: DateTime<Utc>) -> Result<Vec<SubagentTaskId>>;

    /// Holds on to the tasks of this process that run, or that their conversation does not know of. Answers with those that
    /// run.
    async fn all_tenants_renew(&self, lease: TaskLease) -> Result<Vec<SubagentTaskId>>;

    /// Takes over at most `limit` tasks that another process holds for less than `ahead` from now, or does not hold any more. Those
    /// that ran still do, in name: whoever takes them over finds out how they ended, and their conversation is still to learn it.
    /// Answers with all of them.
    async fn all_tenants_adopt(&self, ahead: TimeDelta, lease: TaskLease, limit: i64) -> Result<Vec<(TenantId, SubagentTask)>>;

    /// Puts away at most `limit` tasks whose time has come, and answers with them; deletes those put away before `forget`.
    async fn all_tenants_archive(&self, now: DateTime<Utc>, forget: DateTime<Utc>, limit: i64) -> Result<Vec<(TenantId, SubagentTask)>>;
}
