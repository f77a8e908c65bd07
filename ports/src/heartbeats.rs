//! Heartbeats: agents that look after something by themselves, from time to time.

use crate::{AgentId, HeartbeatId, JsonObject, ProviderId, Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::sync::Arc;
use uuid::Uuid;

/// When and how an agent looks after its checklist (HEARTBEAT.md). An agent has at most one.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Heartbeat {
    /// Its id.
    pub id: HeartbeatId,
    /// The agent.
    pub agent_id: AgentId,
    /// Whether it runs by itself.
    pub enabled: bool,
    /// The time from the end of one run to the beginning of the next, in seconds; at least 300.
    pub interval_sec: i64,
    /// The order that the agent gets; the built-in one if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The tenant's stored provider that is asked instead of the agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_id: Option<ProviderId>,
    /// The name of that provider, or of one that the tenant has not stored itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider_name: Option<String>,
    /// The model that is asked instead of the agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether each run has a conversation of its own, which is deleted afterwards.
    pub isolated_session: bool,
    /// Whether the agent's context files stay out of the prompt.
    pub light_context: bool,
    /// Kept for clients; it has no effect.
    pub ack_max_chars: i64,
    /// How often a run that failed is tried again, 0 to 10.
    pub max_retries: i32,
    /// From when on in a day it runs, as `HH:MM`. The end is set as well, or neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_hours_start: Option<String>,
    /// Until when, exclusive. An end before the start is on the next day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active_hours_end: Option<String>,
    /// The IANA time zone of the hours; UTC if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
    /// Where answers are delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// In which chat there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<String>,
    /// When it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_run_at: Option<DateTime<Utc>>,
    /// When the last run began; skips do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_run_at: Option<DateTime<Utc>>,
    /// How the last run ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_status: Option<HeartbeatStatus>,
    /// Why the last run failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// How many runs there were.
    pub run_count: i64,
    /// How many of them had nothing to report.
    pub suppress_count: i64,
    /// More about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// How a heartbeat went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeartbeatStatus {
    /// The agent had something to report.
    Ok,
    /// It had nothing to report.
    Suppressed,
    /// It failed.
    Error,
    /// The agent was not asked.
    Skipped,
}

/// Why an agent was not asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// It was not the time of day.
    ActiveHours,
    /// The agent was at work.
    QueueBusy,
    /// There was nothing on its checklist.
    EmptyChecklist,
}

macro_rules! wire_names {
    ($name:ident: $($variant:ident = $text:literal),*) => {
        impl $name {
            /// The wire name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),*
                }
            }

            /// The one with this wire name.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                [$(Self::$variant),*].into_iter().find(|known| known.as_str() == text)
            }
        }
    };
}
wire_names!(HeartbeatStatus: Ok = "ok", Suppressed = "suppressed", Error = "error", Skipped = "skipped");
wire_names!(SkipReason: ActiveHours = "active_hours", QueueBusy = "queue_busy", EmptyChecklist = "empty_checklist");

/// What came of a heartbeat at one time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HeartbeatLog {
    /// Its id.
    pub id: Uuid,
    /// The heartbeat.
    pub heartbeat_id: HeartbeatId,
    /// The agent.
    pub agent_id: AgentId,
    /// How it went.
    pub status: HeartbeatStatus,
    /// What the agent reported; at most 500 characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took, in milliseconds, with all attempts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<i64>,
    /// What the model read.
    pub input_tokens: i64,
    /// What it wrote.
    pub output_tokens: i64,
    /// Why the agent was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skip_reason: Option<SkipReason>,
    /// More about it: what became of the delivery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
    /// When it began.
    pub ran_at: DateTime<Utc>,
    /// When it was over.
    pub created_at: DateTime<Utc>,
}

/// A heartbeat that the one who claimed it, and nobody else, is to run.
#[derive(Debug, Clone, PartialEq)]
pub struct ClaimedHeartbeat {
    /// Whose it is.
    pub tenant: TenantId,
    /// The heartbeat.
    pub heartbeat: Heartbeat,
}

/// Makes a heartbeat from the one that is there, or from none. What it answers with is stored, but for what runs left behind.
pub type HeartbeatEdit = Arc<dyn Fn(Option<Heartbeat>) -> Result<Heartbeat> + Send + Sync>;

/// How many entries of a heartbeat's log are kept: the newest.
pub const KEPT_LOGS: i64 = 500;

/// Keeps heartbeats and what came of them. They go with their agent.
///
/// Whoever runs a heartbeat has **claimed** it before: the claim is a random id and holds until a time; it is renewed while the
/// run goes on, and a process that dies gives it back by letting that time pass. What a claim allows is refused (`false`) once
/// it is not the heartbeat's claim any more.
#[async_trait]
pub trait HeartbeatStore: Send + Sync {
    /// The agent's heartbeat.
    async fn find(&self, tenant: TenantId, agent: AgentId) -> Result<Option<Heartbeat>>;

    /// Changes the agent's heartbeat, or makes one, in one step, and answers with what is stored. Ids, the last run, counts and
    /// claims of one that is there stay, whatever `edit` says of them.
    ///
    /// # Errors
    /// What `edit` says, and then nothing changes; `NotFound` if the tenant lacks the agent or the provider.
    async fn change(&self, tenant: TenantId, agent: AgentId, edit: HeartbeatEdit) -> Result<Heartbeat>;

    /// Has a heartbeat run as soon as somebody can, whether it is enabled or not; one that runs now runs once more. `false` if
    /// the agent has none.
    async fn wake(&self, tenant: TenantId, agent: AgentId, now: DateTime<Utc>) -> Result<bool>;

    /// Claims heartbeats until `until`, those first that have waited longest, at most `limit`: woken ones, and enabled ones
    /// that are due. Only of active agents of active tenants, and none that is claimed beyond `now`. Of many callers at once
    /// each gets others.
    async fn all_tenants_claim(&self, claim: Uuid, now: DateTime<Utc>, until: DateTime<Utc>, limit: i64) -> Result<Vec<ClaimedHeartbeat>>;

    /// Lets a claim hold until `until`.
    async fn renew(&self, tenant: TenantId, id: HeartbeatId, claim: Uuid, until: DateTime<Utc>) -> Result<bool>;

    /// Gives a claim back. The heartbeat is as due as before.
    async fn release(&self, tenant: TenantId, id: HeartbeatId, claim: Uuid) -> Result<bool>;

    /// Gives back all claims, for when no other process can be at work. Answers how many there were.
    async fn all_tenants_release(&self) -> Result<i64>;

    /// Gives a claim back and says why in the log, unless that was said before of the time for which the heartbeat is due.
    /// `true` if it was written.
    async fn put_off(&self, tenant: TenantId, claim: Uuid, log: &HeartbeatLog) -> Result<bool>;

    /// Ends what was claimed: writes the log, counts the run unless it was skipped, and gives the claim back. The heartbeat is
    /// due again its interval after `log.created_at`, and at once if it was woken after `log.ran_at`.
    async fn finish(&self, tenant: TenantId, claim: Uuid, log: &HeartbeatLog) -> Result<bool>;

    /// Sets the error and the metadata of an entry of the log. `false` if there is none.
    async fn amend_log(&self, tenant: TenantId, id: Uuid, error: Option<&str>, metadata: &JsonObject) -> Result<bool>;

    /// The log of the agent's heartbeat, newest first, and how many entries there are.
    async fn logs(&self, tenant: TenantId, agent: AgentId, limit: i64, offset: i64) -> Result<(Vec<HeartbeatLog>, i64)>;
}
