//! Heartbeats and their logs as they are stored.

use crate::{
    error::corrupt,
    json::{decode, object, text},
    schema::{agent_heartbeats as beats, heartbeat_run_logs as logs},
};
use chrono::{DateTime, Utc};
use diesel::{
    prelude::*,
    sql_types::{Nullable, Text},
};
use goclaw_ports::{
    AgentId, HeartbeatId, ProviderId, Result, TenantId,
    heartbeats::{ClaimedHeartbeat, Heartbeat, HeartbeatLog, HeartbeatStatus, SkipReason},
};
use serde_json::Value;
use uuid::Uuid;

#[derive(Queryable, Selectable, QueryableByName)]
#[diesel(table_name = beats)]
pub(super) struct Row {
    id: Uuid,
    tenant_id: Uuid,
    agent_id: Uuid,
    enabled: bool,
    interval_sec: i64,
    prompt: Option<String>,
    provider_id: Option<Uuid>,
    provider_name: Option<String>,
    model: Option<String>,
    isolated_session: bool,
    light_context: bool,
    ack_max_chars: i64,
    max_retries: i32,
    active_hours_start: Option<String>,
    active_hours_end: Option<String>,
    timezone: Option<String>,
    channel: Option<String>,
    chat_id: Option<String>,
    next_run_at: Option<DateTime<Utc>>,
    last_run_at: Option<DateTime<Utc>>,
    last_status: Option<String>,
    last_error: Option<String>,
    run_count: i64,
    suppress_count: i64,
    metadata: Option<Value>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    /// The heartbeat; `provider` is the name of its stored provider.
    pub(super) fn heartbeat(self, provider: Option<String>) -> Result<Heartbeat> {
        let status = |name: String| HeartbeatStatus::parse(&name).ok_or_else(|| corrupt("agent_heartbeats.last_status", &name));
        Ok(Heartbeat {
            id: HeartbeatId(self.id),
            agent_id: AgentId(self.agent_id),
            enabled: self.enabled,
            interval_sec: self.interval_sec,
            prompt: self.prompt,
            provider_id: self.provider_id.map(ProviderId),
            provider_name: provider.or(self.provider_name),
            model: self.model,
            isolated_session: self.isolated_session,
            light_context: self.light_context,
            ack_max_chars: self.ack_max_chars,
            max_retries: self.max_retries,
            active_hours_start: self.active_hours_start,
            active_hours_end: self.active_hours_end,
            timezone: self.timezone,
            channel: self.channel,
            chat_id: self.chat_id,
            next_run_at: self.next_run_at,
            last_run_at: self.last_run_at,
            last_status: self.last_status.map(status).transpose()?,
            last_error: self.last_error,
            run_count: self.run_count,
            suppress_count: self.suppress_count,
            metadata: self.metadata.map(decode).transpose()?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// A row that was claimed.
#[derive(QueryableByName)]
pub(super) struct Claimed {
    #[diesel(embed)]
    beat: Row,
    #[diesel(sql_type = Nullable<Text>)]
    provider: Option<String>,
}

impl Claimed {
    pub(super) fn heartbeat(self) -> Result<ClaimedHeartbeat> {
        Ok(ClaimedHeartbeat { tenant: TenantId(self.beat.tenant_id), heartbeat: self.beat.heartbeat(self.provider)? })
    }
}

/// What is set of a heartbeat.
#[derive(Clone, Insertable, AsChangeset)]
#[diesel(table_name = beats, treat_none_as_null = true)]
pub(super) struct Settings {
    enabled: bool,
    interval_sec: i64,
    prompt: Option<String>,
    provider_id: Option<Uuid>,
    provider_name: Option<String>,
    model: Option<String>,
    isolated_session: bool,
    light_context: bool,
    ack_max_chars: i64,
    max_retries: i32,
    active_hours_start: Option<String>,
    active_hours_end: Option<String>,
    timezone: Option<String>,
    channel: Option<String>,
    chat_id: Option<String>,
    next_run_at: Option<DateTime<Utc>>,
    metadata: Option<Value>,
    updated_at: DateTime<Utc>,
}

impl Settings {
    pub(super) fn new(beat: &Heartbeat) -> Self {
        let clean = |value: &Option<String>| value.as_deref().map(text);
        Self {
            enabled: beat.enabled,
            interval_sec: beat.interval_sec,
            prompt: clean(&beat.prompt),
            provider_id: beat.provider_id.map(|id| id.0),
            provider_name: clean(&beat.provider_name).filter(|_| beat.provider_id.is_none()),
            model: clean(&beat.model),
            isolated_session: beat.isolated_session,
            light_context: beat.light_context,
            ack_max_chars: beat.ack_max_chars,
            max_retries: beat.max_retries,
            active_hours_start: clean(&beat.active_hours_start),
            active_hours_end: clean(&beat.active_hours_end),
            timezone: clean(&beat.timezone),
            channel: clean(&beat.channel),
            chat_id: clean(&beat.chat_id),
            next_run_at: beat.next_run_at,
            metadata: beat.metadata.as_ref().map(object),
            updated_at: beat.updated_at,
        }
    }
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = logs)]
pub(super) struct LogRow {
    id: Uuid,
    tenant_id: Uuid,
    heartbeat_id: Uuid,
    agent_id: Uuid,
    status: String,
    summary: Option<String>,
    error: Option<String>,
    duration_ms: Option<i64>,
    input_tokens: i64,
    output_tokens: i64,
    skip_reason: Option<String>,
    metadata: Option<Value>,
    ran_at: DateTime<Utc>,
    created_at: DateTime<Utc>,
}

impl LogRow {
    pub(super) fn new(tenant: TenantId, log: &HeartbeatLog) -> Self {
        Self {
            id: log.id,
            tenant_id: tenant.0,
            heartbeat_id: log.heartbeat_id.0,
            agent_id: log.agent_id.0,
            status: log.status.as_str().to_owned(),
            summary: log.summary.as_deref().map(text),
            error: log.error.as_deref().map(text),
            duration_ms: log.duration_ms,
            input_tokens: log.input_tokens,
            output_tokens: log.output_tokens,
            skip_reason: log.skip_reason.map(|reason| reason.as_str().to_owned()),
            metadata: log.metadata.as_ref().map(object),
            ran_at: log.ran_at,
            created_at: log.created_at,
        }
    }

    pub(super) fn log(self) -> Result<HeartbeatLog> {
        let reason = |name: String| SkipReason::parse(&name).ok_or_else(|| corrupt("heartbeat_run_logs.skip_reason", &name));
        Ok(HeartbeatLog {
            id: self.id,
            heartbeat_id: HeartbeatId(self.heartbeat_id),
            agent_id: AgentId(self.agent_id),
            status: HeartbeatStatus::parse(&self.status).ok_or_else(|| corrupt("heartbeat_run_logs.status", &self.status))?,
            summary: self.summary,
            error: self.error,
            duration_ms: self.duration_ms,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            skip_reason: self.skip_reason.map(reason).transpose()?,
            metadata: self.metadata.map(decode).transpose()?,
            ran_at: self.ran_at,
            created_at: self.created_at,
        })
    }
}
