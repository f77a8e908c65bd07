//! The rows of traces and spans.

use crate::values::{Columns, Json, Lasts, NOW, Text, Time};
use goclaw_ports::{
    TenantId,
    traces::{LEASE, LlmCall, LostRun, Span, Trace, TraceStatus},
};
use rusqlite::{Connection, Row, named_params};

pub(super) fn trace(row: &Row<'_>) -> rusqlite::Result<Trace> {
    Ok(Trace {
        id: row.id("id")?,
        parent_trace_id: row.optional_id("parent_trace_id")?,
        agent_id: row.optional_id("agent_id")?,
        user_id: row.get("user_id")?,
        session_key: row.get("session_key")?,
        run_id: row.get("run_id")?,
        start_time: row.time("start_time")?,
        end_time: row.optional_time("end_time")?,
        duration_ms: row.get("duration_ms")?,
        name: row.get("name")?,
        channel: row.get("channel")?,
        input_preview: row.get("input_preview")?,
        output_preview: row.get("output_preview")?,
        total_input_tokens: row.get("total_input_tokens")?,
        total_output_tokens: row.get("total_output_tokens")?,
        total_cost: row.get("total_cost")?,
        span_count: row.get("span_count")?,
        llm_call_count: row.get("llm_call_count")?,
        tool_call_count: row.get("tool_call_count")?,
        status: row.named("status", TraceStatus::parse)?,
        error: row.get("error")?,
        metadata: row.json("metadata")?,
        tags: row.json("tags")?,
        team_id: row.optional_id("team_id")?,
        created_at: row.time("created_at")?,
    })
}

pub(super) fn lost(row: &Row<'_>) -> rusqlite::Result<LostRun> {
    Ok(LostRun {
        tenant: row.id("tenant_id")?,
        run_id: row.get("run_id")?,
        agent_key: row.get("agent_key")?,
        user_id: row.get("user_id")?,
        session_key: row.get("session_key")?,
        channel: row.get("channel")?,
    })
}

pub(super) fn span(row: &Row<'_>) -> rusqlite::Result<Span> {
    Ok(Span {
        id: row.id("id")?,
        trace_id: row.id("trace_id")?,
        parent_span_id: row.optional_id("parent_span_id")?,
        agent_id: row.optional_id("agent_id")?,
        span_type: row.get("span_type")?,
        name: row.get("name")?,
        start_time: row.time("start_time")?,
        end_time: row.optional_time("end_time")?,
        duration_ms: row.get("duration_ms")?,
        status: row.named("status", TraceStatus::parse)?,
        error: row.get("error")?,
        level: row.get("level")?,
        model: row.get("model")?,
        provider: row.get("provider")?,
        input_tokens: row.get("input_tokens")?,
        output_tokens: row.get("output_tokens")?,
        total_cost: row.get("total_cost")?,
        finish_reason: row.get("finish_reason")?,
        tool_name: row.get("tool_name")?,
        tool_call_id: row.get("tool_call_id")?,
        input_preview: row.get("input_preview")?,
        output_preview: row.get("output_preview")?,
        metadata: row.json("metadata")?,
        tenant_id: row.id("tenant_id")?,
        created_at: row.time("created_at")?,
    })
}

pub(super) fn llm_call(row: &Row<'_>) -> rusqlite::Result<LlmCall> {
    Ok(LlmCall {
        span_id: row.id("id")?,
        trace_id: row.id("trace_id")?,
        agent_id: row.optional_id("agent_id")?,
        start_time: row.time("start_time")?,
        status: row.named("status", TraceStatus::parse)?,
        duration_ms: row.get("duration_ms")?,
        provider: row.get("provider")?,
        model: row.get("model")?,
        routing: row.optional_json("routing")?,
    })
}

pub(super) fn insert_trace(connection: &Connection, tenant: TenantId, trace: &Trace) -> rusqlite::Result<()> {
    connection
        .prepare_cached(&format!(
            "insert into traces (id, tenant_id, parent_trace_id, agent_id, user_id, session_key, run_id, start_time, end_time, duration_ms, name,
                channel, input_preview, output_preview, total_input_tokens, total_output_tokens, total_cost, span_count, llm_call_count,
                tool_call_count, status, error, metadata, tags, team_id, created_at, lease_until)
             values (:id, :tenant, :parent, :agent, :user, :session_key, :run, :start, :end, :duration, :name,
                :channel, :input_preview, :output_preview, :input_tokens, :output_tokens, :cost, :spans, :llm_calls,
                :tool_calls, :status, :error, :metadata, :tags, :team, :created_at, {NOW} + :lease)",
        ))?
        .execute(named_params! {
            ":id": Text(trace.id),
            ":tenant": Text(tenant),
            ":parent": trace.parent_trace_id.map(Text),
            ":agent": trace.agent_id.map(Text),
            ":user": trace.user_id,
            ":session_key": trace.session_key,
            ":run": trace.run_id,
            ":start": Time(trace.start_time),
            ":end": trace.end_time.map(Time),
            ":duration": trace.duration_ms,
            ":name": trace.name,
            ":channel": trace.channel,
            ":input_preview": trace.input_preview,
            ":output_preview": trace.output_preview,
            ":input_tokens": trace.total_input_tokens,
            ":output_tokens": trace.total_output_tokens,
            ":cost": trace.total_cost,
            ":spans": trace.span_count,
            ":llm_calls": trace.llm_call_count,
            ":tool_calls": trace.tool_call_count,
            ":status": trace.status.as_str(),
            ":error": trace.error,
            ":metadata": Json(&trace.metadata),
            ":tags": Json(&trace.tags),
            ":team": trace.team_id.map(Text),
            ":created_at": Time(trace.created_at),
            ":lease": Lasts(LEASE),
        })
        .map(drop)
}

/// Stores a span, or replaces the one with its id, which keeps an input that is not said again.
pub(super) fn put_span(connection: &Connection, tenant: TenantId, span: &Span) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert into spans (id, tenant_id, trace_id, parent_span_id, agent_id, span_type, name, start_time, end_time, duration_ms,
                status, error, level, model, provider, input_tokens, output_tokens, total_cost, finish_reason, tool_name, tool_call_id,
                input_preview, output_preview, metadata, created_at)
             values (:id, :tenant, :trace, :parent, :agent, :type, :name, :start, :end, :duration,
                :status, :error, :level, :model, :provider, :input_tokens, :output_tokens, :cost, :finish_reason, :tool_name, :tool_call,
                :input_preview, :output_preview, :metadata, :created_at)
             on conflict (id) do update set
                trace_id = excluded.trace_id, parent_span_id = excluded.parent_span_id, agent_id = excluded.agent_id,
                span_type = excluded.span_type, name = excluded.name, start_time = excluded.start_time, end_time = excluded.end_time,
                duration_ms = excluded.duration_ms, status = excluded.status, error = excluded.error, level = excluded.level,
                model = excluded.model, provider = excluded.provider, input_tokens = excluded.input_tokens,
                output_tokens = excluded.output_tokens, total_cost = excluded.total_cost, finish_reason = excluded.finish_reason,
                tool_name = excluded.tool_name, tool_call_id = excluded.tool_call_id, output_preview = excluded.output_preview,
                metadata = excluded.metadata, created_at = excluded.created_at,
                input_preview = iif(excluded.input_preview = '', spans.input_preview, excluded.input_preview)",
        )?
        .execute(named_params! {
            ":id": Text(span.id),
            ":tenant": Text(tenant),
            ":trace": Text(span.trace_id),
            ":parent": span.parent_span_id.map(Text),
            ":agent": span.agent_id.map(Text),
            ":type": span.span_type,
            ":name": span.name,
            ":start": Time(span.start_time),
            ":end": span.end_time.map(Time),
            ":duration": span.duration_ms,
            ":status": span.status.as_str(),
            ":error": span.error,
            ":level": span.level,
            ":model": span.model,
            ":provider": span.provider,
            ":input_tokens": span.input_tokens,
            ":output_tokens": span.output_tokens,
            ":cost": span.total_cost,
            ":finish_reason": span.finish_reason,
            ":tool_name": span.tool_name,
            ":tool_call": span.tool_call_id,
            ":input_preview": span.input_preview,
            ":output_preview": span.output_preview,
            ":metadata": Json(&span.metadata),
            ":created_at": Time(span.created_at),
        })
        .map(drop)
}
