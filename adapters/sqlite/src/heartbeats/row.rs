//! Heartbeats and their logs as they are stored.

use crate::{
    failure::{Explain, Failure},
    values::{Columns, Json, Text, Time},
};
use goclaw_ports::{
    AgentId, TenantId,
    heartbeats::{Heartbeat, HeartbeatLog, HeartbeatStatus, KEPT_LOGS, SkipReason},
};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params, types::ValueRef};

/// Heartbeats with the names of their providers, for a `where`.
pub(super) const SELECT: &str = "select beats.*, coalesce(providers.name, beats.provider_name) as provider from agent_heartbeats as beats
    left join llm_providers as providers on providers.tenant_id = beats.tenant_id and providers.id = beats.provider_id";

fn optional_name<T>(row: &Row<'_>, name: &str, parse: fn(&str) -> Option<T>) -> rusqlite::Result<Option<T>> {
    if row.get_ref(name)? == ValueRef::Null { Ok(None) } else { row.named(name, parse).map(Some) }
}

pub(super) fn heartbeat(row: &Row<'_>) -> rusqlite::Result<Heartbeat> {
    Ok(Heartbeat {
        id: row.id("id")?,
        agent_id: row.id("agent_id")?,
        enabled: row.get("enabled")?,
        interval_sec: row.get("interval_sec")?,
        prompt: row.get("prompt")?,
        provider_id: row.optional_id("provider_id")?,
        provider_name: row.get("provider")?,
        model: row.get("model")?,
        isolated_session: row.get("isolated_session")?,
        light_context: row.get("light_context")?,
        ack_max_chars: row.get("ack_max_chars")?,
        max_retries: row.get("max_retries")?,
        active_hours_start: row.get("active_hours_start")?,
        active_hours_end: row.get("active_hours_end")?,
        timezone: row.get("timezone")?,
        channel: row.get("channel")?,
        chat_id: row.get("chat_id")?,
        next_run_at: row.optional_time("next_run_at")?,
        last_run_at: row.optional_time("last_run_at")?,
        last_status: optional_name(row, "last_status", HeartbeatStatus::parse)?,
        last_error: row.get("last_error")?,
        run_count: row.get("run_count")?,
        suppress_count: row.get("suppress_count")?,
        metadata: row.optional_json("metadata")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub(super) fn log(row: &Row<'_>) -> rusqlite::Result<HeartbeatLog> {
    Ok(HeartbeatLog {
        id: row.id("id")?,
        heartbeat_id: row.id("heartbeat_id")?,
        agent_id: row.id("agent_id")?,
        status: row.named("status", HeartbeatStatus::parse)?,
        summary: row.get("summary")?,
        error: row.get("error")?,
        duration_ms: row.get("duration_ms")?,
        input_tokens: row.get("input_tokens")?,
        output_tokens: row.get("output_tokens")?,
        skip_reason: optional_name(row, "skip_reason", SkipReason::parse)?,
        metadata: row.optional_json("metadata")?,
        ran_at: row.time("ran_at")?,
        created_at: row.time("created_at")?,
    })
}

pub(super) fn find(connection: &Connection, tenant: TenantId, agent: AgentId) -> rusqlite::Result<Option<Heartbeat>> {
    let mut statement = connection.prepare_cached(&format!("{SELECT} where beats.tenant_id = ?1 and beats.agent_id = ?2"))?;
    statement.query_row(params![Text(tenant), Text(agent)], heartbeat).optional()
}

/// Writes what is set of a heartbeat; a new row has no past.
pub(super) fn write(connection: &Connection, tenant: TenantId, agent: AgentId, beat: &Heartbeat) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "insert into agent_heartbeats (id, tenant_id, agent_id, enabled, interval_sec, prompt, provider_id, provider_name, model, isolated_session,
                light_context, ack_max_chars, max_retries, active_hours_start, active_hours_end, timezone, channel, chat_id, next_run_at, metadata,
                created_at, updated_at)
             values (:id, :tenant, :agent, :enabled, :interval, :prompt, :provider_id, :provider_name, :model, :isolated,
                :light, :ack, :retries, :start, :end, :timezone, :channel, :chat, :next, :metadata, :created_at, :updated_at)
             on conflict (tenant_id, agent_id) do update set enabled = excluded.enabled, interval_sec = excluded.interval_sec, prompt = excluded.prompt,
                provider_id = excluded.provider_id, provider_name = excluded.provider_name, model = excluded.model,
                isolated_session = excluded.isolated_session, light_context = excluded.light_context, ack_max_chars = excluded.ack_max_chars,
                max_retries = excluded.max_retries, active_hours_start = excluded.active_hours_start, active_hours_end = excluded.active_hours_end,
                timezone = excluded.timezone, channel = excluded.channel, chat_id = excluded.chat_id, next_run_at = excluded.next_run_at,
                metadata = excluded.metadata, updated_at = excluded.updated_at",
        )?
        .execute(named_params! {
            ":id": Text(beat.id),
            ":tenant": Text(tenant),
            ":agent": Text(agent),
            ":enabled": beat.enabled,
            ":interval": beat.interval_sec,
            ":prompt": beat.prompt,
            ":provider_id": beat.provider_id.map(Text),
            ":provider_name": beat.provider_name.as_ref().filter(|_| beat.provider_id.is_none()),
            ":model": beat.model,
            ":isolated": beat.isolated_session,
            ":light": beat.light_context,
            ":ack": beat.ack_max_chars,
            ":retries": beat.max_retries,
            ":start": beat.active_hours_start,
            ":end": beat.active_hours_end,
            ":timezone": beat.timezone,
            ":channel": beat.channel,
            ":chat": beat.chat_id,
            ":next": beat.next_run_at.map(Time),
            ":metadata": beat.metadata.as_ref().map(Json),
            ":created_at": Time(beat.created_at),
            ":updated_at": Time(beat.updated_at),
        })
        .unless_exists("heartbeat", beat.id)?;
    Ok(())
}

/// Writes an entry of the log, and lets the oldest ones go.
pub(super) fn write_log(connection: &Connection, tenant: TenantId, log: &HeartbeatLog) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert into heartbeat_run_logs (id, tenant_id, heartbeat_id, agent_id, status, summary, error, duration_ms, input_tokens, output_tokens,
                skip_reason, metadata, ran_at, created_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
        )?
        .execute(params![
            Text(log.id),
            Text(tenant),
            Text(log.heartbeat_id),
            Text(log.agent_id),
            log.status.as_str(),
            log.summary,
            log.error,
            log.duration_ms,
            log.input_tokens,
            log.output_tokens,
            log.skip_reason.map(SkipReason::as_str),
            log.metadata.as_ref().map(Json),
            Time(log.ran_at),
            Time(log.created_at)
        ])?;
    connection
        .prepare_cached(
            "delete from heartbeat_run_logs where id in (
                select id from heartbeat_run_logs where tenant_id = ?1 and heartbeat_id = ?2 order by ran_at desc, id desc limit -1 offset ?3)",
        )?
        .execute(params![Text(tenant), Text(log.heartbeat_id), KEPT_LOGS])?;
    Ok(())
}
