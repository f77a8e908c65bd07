//! Traces: what each run did, how long it took and what it cost.

use crate::{AgentId, JsonObject, Result, SpanId, TenantId, TraceId, llm::Routing};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use uuid::Uuid;

/// How a run or a step of it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TraceStatus {
    /// It goes on.
    Running,
    /// It ended well.
    Completed,
    /// It failed.
    Error,
    /// It was stopped (runs only).
    Cancelled,
}

impl TraceStatus {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
    /// The status with this wire name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Running, Self::Completed, Self::Error, Self::Cancelled].into_iter().find(|status| status.as_str() == text)
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it, and dashboards know them")]
pub struct Trace {
    pub id: TraceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_trace_id: Option<TraceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub run_id: String,
    pub start_time: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub input_preview: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output_preview: String,
    pub total_input_tokens: i64,
    pub total_output_tokens: i64,
    /// US dollars.
    pub total_cost: f64,
    pub span_count: i32,
    pub llm_call_count: i32,
    pub tool_call_count: i32,
    pub status: TraceStatus,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    pub metadata: JsonObject,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub team_id: Option<Uuid>,
    pub created_at: DateTime<Utc>,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[expect(missing_docs, reason = "the names say it, and dashboards know them")]
pub struct Span {
    pub id: SpanId,
    pub trace_id: TraceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<SpanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// `llm_call`, `tool_call`, `agent`, `embedding` or `event`; at most 20 characters.
    pub span_type: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub start_time: DateTime<Utc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_time: Option<DateTime<Utc>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    pub status: TraceStatus,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
    /// Always `DEFAULT`.
    pub level: String,
    /// At most 200 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// At most 50 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<i64>,
    /// US dollars.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_cost: Option<f64>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub finish_reason: String,
    /// At most 200 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tool_name: String,
    /// At most 100 characters.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tool_call_id: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub input_preview: Arc<str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output_preview: String,
    pub metadata: JsonObject,
    pub tenant_id: TenantId,
    pub created_at: DateTime<Utc>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceEnd {
    /// When.
    pub end_time: DateTime<Utc>,
    /// How.
    pub status: TraceStatus,
    /// Why it failed; "" if it did not.
    pub error: String,
    /// The end of the answer.
    pub output_preview: String,
}

/// Which traces a list holds. All given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of Trace")]
pub struct TraceFilter {
    pub agent_id: Option<AgentId>,
    pub user_id: Option<String>,
    pub session_key: Option<String>,
    pub status: Option<TraceStatus>,
    pub channel: Option<String>,
    /// The run that started them.
    pub parent_trace_id: Option<TraceId>,
    /// At most this many.
    pub limit: i64,
    /// After this many.
    pub offset: i64,
}

/// Which traces a sum of costs counts. All given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CostFilter {
    /// Of this agent.
    pub agent_id: Option<AgentId>,
    /// Of this user.
    pub user_id: Option<String>,
    /// Made then or later.
    pub from: Option<DateTime<Utc>>,
    /// Made earlier.
    pub to: Option<DateTime<Utc>>,
}

/// What the runs of one agent cost.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CostRow {
    /// Whose runs; absent for those that belong to no agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
    /// US dollars.
    pub total_cost: f64,
    /// Read by models.
    pub total_input_tokens: i64,
    /// Written by models.
    pub total_output_tokens: i64,
    /// How many runs users started.
    pub trace_count: i64,
}

/// Which calls of models are looked at. All given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LlmCallFilter {
    /// Through one of these providers: one of them was asked first, or answered.
    pub providers: Vec<String>,
    /// By this agent.
    pub agent_id: Option<AgentId>,
    /// Begun then or later.
    pub since: Option<DateTime<Utc>>,
    /// At most this many.
    pub limit: i64,
}

/// A call of a model, without what was said.
#[derive(Debug, Clone, PartialEq)]
pub struct LlmCall {
    /// Its span.
    pub span_id: SpanId,
    /// The run's trace.
    pub trace_id: TraceId,
    /// Whose run.
    pub agent_id: Option<AgentId>,
    /// When it began.
    pub start_time: DateTime<Utc>,
    /// How it stands.
    pub status: TraceStatus,
    /// How long it took.
    pub duration_ms: Option<i64>,
    /// The provider that answered, or was to.
    pub provider: String,
    /// The model.
    pub model: String,
    /// How it found its account, if it had several.
    pub routing: Option<Routing>,
}

/// Where a span's metadata says how the call found its account.
pub const ROUTING: &str = "chatgpt_oauth_routing";

/// How long a process vouches for its runs at a time. It does so again well before that is over; a run whose lease is over has lost
/// its process. Leases are measured by the clock of the store: that of a gateway may be wrong, and must not end the runs of others.
pub const LEASE: TimeDelta = TimeDelta::seconds(45);

/// A run that lost its process, so that those who wait for it can be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostRun {
    /// Whose it was.
    pub tenant: TenantId,
    /// Its id; "" for work that is no run.
    pub run_id: String,
    /// The agent's key; "" if the agent is gone.
    pub agent_key: String,
    /// For whom it was; "" if for nobody.
    pub user_id: String,
    /// Its conversation.
    pub session_key: String,
    /// Where that takes place.
    pub channel: String,
}

/// Keeps traces. Every method but `all_tenants_…` sees only rows of `tenant`.
#[async_trait]
pub trait TraceStore: Send + Sync {
    /// Stores a new trace. Its lease ends [`LEASE`] from now.
    async fn insert(&self, tenant: TenantId, trace: &Trace) -> Result<()>;

    /// Stores spans, replacing those with the same id, whose `input_preview` stays if the new one is empty, and recomputes the totals of the
    /// traces they belong to:
    /// `span_count`, `llm_call_count` and `tool_call_count` by type, tokens over `llm_call` spans, cost over all.
    /// Spans of a trace that the tenant does not have are left out.
    async fn put_spans(&self, tenant: TenantId, spans: &[Span]) -> Result<()>;

    /// Ends a trace: writes `end`, and `duration_ms` from its start. `false` if the tenant has no such trace.
    async fn finish(&self, tenant: TenantId, id: TraceId, end: &TraceEnd) -> Result<bool>;

    /// A trace with its spans, by start.
    async fn find(&self, tenant: TenantId, id: TraceId) -> Result<Option<(Trace, Vec<Span>)>>;

    /// The traces that match, newest first, and how many there are in all.
    async fn list(&self, tenant: TenantId, filter: &TraceFilter) -> Result<(Vec<Trace>, i64)>;

    /// What the runs that match cost, by agent, the dearest first. Runs that another run started cost as well, but are not counted.
    async fn costs(&self, tenant: TenantId, filter: &CostFilter) -> Result<Vec<CostRow>>;

    /// The newest calls of models that match, the newest first. Those of runs that another run started are left out.
    async fn llm_calls(&self, tenant: TenantId, filter: &LlmCallFilter) -> Result<Vec<LlmCall>>;

    /// The traces of runs that go on, and whose lease holds, each with its agent, whose lease was renewed last first: of all agents, or of
    /// this one; 10,000 at most. Other work than runs is left out, and what has no agent any more.
    async fn running(&self, tenant: TenantId, agent: Option<AgentId>) -> Result<Vec<(TraceId, AgentId)>>;

    /// Has these traces' leases last so long from now, and answers with those that run still: the others have ended, or were given up.
    async fn all_tenants_renew_leases(&self, ids: &[TraceId], lasts: TimeDelta) -> Result<Vec<TraceId>>;

    /// Traces made before then may be gone. `None` if all are there.
    async fn all_tenants_kept_from(&self) -> Result<Option<DateTime<Utc>>>;

    /// Marks every running trace as failed whose lease ends less than `ahead` from now, or is over, with this text, and its running spans
    /// with it; for `None` every one, whatever its lease. They ended at `now`. Answers with the runs. Of several callers at once, one gets each.
    async fn all_tenants_fail_running(&self, ahead: Option<TimeDelta>, now: DateTime<Utc>, error: &str) -> Result<Vec<LostRun>>;

    /// Deletes at most `limit` traces made before `before` (a whole hour that [`crate::usage::UsageStore::all_tenants_counted_until`] does not
    /// lie before), with their spans, and notes that the older ones may be gone. Answers with how many it deleted.
    async fn all_tenants_prune(&self, before: DateTime<Utc>, limit: i64) -> Result<i64>;
}

impl Span {
    /// A step that begins now, of which nothing else is known yet.
    #[must_use]
    pub fn begun(id: SpanId, tenant: TenantId, trace: TraceId, span_type: &str, name: &str, now: DateTime<Utc>) -> Self {
        Self {
            id,
            trace_id: trace,
            parent_span_id: None,
            agent_id: None,
            span_type: span_type.to_owned(),
            name: name.to_owned(),
            start_time: now,
            end_time: None,
            duration_ms: None,
            status: TraceStatus::Running,
            error: String::new(),
            level: "DEFAULT".to_owned(),
            model: String::new(),
            provider: String::new(),
            input_tokens: None,
            output_tokens: None,
            total_cost: None,
            finish_reason: String::new(),
            tool_name: String::new(),
            tool_call_id: String::new(),
            input_preview: Arc::default(),
            output_preview: String::new(),
            metadata: JsonObject::new(),
            tenant_id: tenant,
            created_at: now,
        }
    }

    /// The same after what it was before: an input that is not said again is that of before.
    #[must_use]
    pub fn after(self, before: Option<&Self>) -> Self {
        match before {
            Some(before) if self.input_preview.is_empty() => Self { input_preview: before.input_preview.clone(), ..self },
            _ => self,
        }
    }
}

/// Sends finished traces to another system as well.
pub trait TraceExporter: Send + Sync {
    /// Takes a trace that has ended, with all its spans. Never waits: what cannot be taken is dropped and counted.
    fn export(&self, trace: &Trace, spans: &[Span]);
}
