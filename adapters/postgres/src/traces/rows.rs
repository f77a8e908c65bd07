//! Traces and spans as they are stored.

use crate::{
    error::corrupt,
    json::{decode, encode, object, text},
    schema::{spans, traces},
    statement::Fixed,
};
use chrono::{DateTime, Utc};
use diesel::{
    dsl::sql_query,
    prelude::*,
    sql_types::{Array, BigInt, Double, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use goclaw_ports::{
    AgentId, Result, SpanId, TenantId, TraceId,
    traces::{LlmCall, Span, Trace, TraceStatus},
};
use serde_json::Value;
use uuid::Uuid;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = traces)]
pub(super) struct TraceRow {
    id: Uuid,
    tenant_id: Uuid,
    parent_trace_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    user_id: String,
    session_key: String,
    run_id: String,
    start_time: DateTime<Utc>,
    end_time: Option<DateTime<Utc>>,
    duration_ms: Option<i64>,
    name: String,
    channel: String,
    input_preview: String,
    output_preview: String,
    total_input_tokens: i64,
    total_output_tokens: i64,
    total_cost: f64,
    span_count: i32,
    llm_call_count: i32,
    tool_call_count: i32,
    status: String,
    error: String,
    metadata: Value,
    tags: Value,
    team_id: Option<Uuid>,
    created_at: DateTime<Utc>,
}

impl TraceRow {
    pub(super) fn new(tenant: TenantId, trace: &Trace) -> Result<Self> {
        Ok(Self {
            id: trace.id.0,
            tenant_id: tenant.0,
            parent_trace_id: trace.parent_trace_id.map(|id| id.0),
            agent_id: trace.agent_id.map(|id| id.0),
            user_id: text(&trace.user_id),
            session_key: text(&trace.session_key),
            run_id: text(&trace.run_id),
            start_time: trace.start_time,
            end_time: trace.end_time,
            duration_ms: trace.duration_ms,
            name: text(&trace.name),
            channel: text(&trace.channel),
            input_preview: text(&trace.input_preview),
            output_preview: text(&trace.output_preview),
            total_input_tokens: trace.total_input_tokens,
            total_output_tokens: trace.total_output_tokens,
            total_cost: trace.total_cost,
            span_count: trace.span_count,
            llm_call_count: trace.llm_call_count,
            tool_call_count: trace.tool_call_count,
            status: trace.status.as_str().to_owned(),
            error: text(&trace.error),
            metadata: object(&trace.metadata),
            tags: encode(&trace.tags)?,
            team_id: trace.team_id,
            created_at: trace.created_at,
        })
    }

    pub(super) fn trace(self) -> Result<Trace> {
        Ok(Trace {
            id: TraceId(self.id),
            parent_trace_id: self.parent_trace_id.map(TraceId),
            agent_id: self.agent_id.map(AgentId),
            user_id: self.user_id,
            session_key: self.session_key,
            run_id: self.run_id,
            start_time: self.start_time,
            end_time: self.end_time,
            duration_ms: self.duration_ms,
            name: self.name,
            channel: self.channel,
            input_preview: self.input_preview,
            output_preview: self.output_preview,
            total_input_tokens: self.total_input_tokens,
            total_output_tokens: self.total_output_tokens,
            total_cost: self.total_cost,
            span_count: self.span_count,
            llm_call_count: self.llm_call_count,
            tool_call_count: self.tool_call_count,
            status: TraceStatus::parse(&self.status).ok_or_else(|| corrupt("traces.status", &self.status))?,
            error: self.error,
            metadata: decode(self.metadata)?,
            tags: decode(self.tags)?,
            team_id: self.team_id,
            created_at: self.created_at,
        })
    }
}

/// The first row of an id is stored, later ones replace it but for an input that they do not say again. Spans of traces that are not
/// there are left out.
const PUT_SPANS: &str = "\
    insert into spans (tenant_id, \
        id, trace_id, parent_span_id, agent_id, span_type, name, start_time, end_time, duration_ms, status, error, level, model, provider, \
        input_tokens, output_tokens, total_cost, finish_reason, tool_name, tool_call_id, input_preview, output_preview, metadata, created_at \
    ) \
    select $1, new.* from unnest( \
        $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::timestamptz[], $9::timestamptz[], $10::bigint[], \
        $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::bigint[], $17::bigint[], $18::double precision[], \
        $19::text[], $20::text[], $21::text[], $22::text[], $23::text[], $24::jsonb[], $25::timestamptz[] \
    ) as new ( \
        id, trace_id, parent_span_id, agent_id, span_type, name, start_time, end_time, duration_ms, status, error, level, model, provider, \
        input_tokens, output_tokens, total_cost, finish_reason, tool_name, tool_call_id, input_preview, output_preview, metadata, created_at \
    ) \
    where exists (select from traces where traces.tenant_id = $1 and traces.id = new.trace_id) \
    order by new.id \
    on conflict (tenant_id, id) do update set ( \
        trace_id, parent_span_id, agent_id, span_type, name, start_time, end_time, duration_ms, status, error, level, model, provider, \
        input_tokens, output_tokens, total_cost, finish_reason, tool_name, tool_call_id, input_preview, output_preview, metadata, created_at \
    ) = ( \
        excluded.trace_id, excluded.parent_span_id, excluded.agent_id, excluded.span_type, excluded.name, excluded.start_time, \
        excluded.end_time, excluded.duration_ms, excluded.status, excluded.error, excluded.level, excluded.model, excluded.provider, \
        excluded.input_tokens, excluded.output_tokens, excluded.total_cost, excluded.finish_reason, excluded.tool_name, \
        excluded.tool_call_id, case when excluded.input_preview = '' then spans.input_preview else excluded.input_preview end, excluded.output_preview, excluded.metadata, excluded.created_at \
    )";

#[derive(Queryable, Selectable)]
#[diesel(table_name = spans)]
pub(super) struct SpanRow {
    pub(super) id: Uuid,
    tenant_id: Uuid,
    trace_id: Uuid,
    parent_span_id: Option<Uuid>,
    agent_id: Option<Uuid>,
    span_type: String,
    name: String,
    start_time: DateTime<Utc>,
    end_time: Option<DateTime<Utc>>,
    duration_ms: Option<i64>,
    status: String,
    error: String,
    level: String,
    model: String,
    provider: String,
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    total_cost: Option<f64>,
    finish_reason: String,
    tool_name: String,
    tool_call_id: String,
    input_preview: String,
    output_preview: String,
    metadata: Value,
    created_at: DateTime<Utc>,
}

impl SpanRow {
    pub(super) fn new(tenant: TenantId, span: &Span) -> Self {
        Self {
            id: span.id.0,
            tenant_id: tenant.0,
            trace_id: span.trace_id.0,
            parent_span_id: span.parent_span_id.map(|id| id.0),
            agent_id: span.agent_id.map(|id| id.0),
            span_type: text(&span.span_type),
            name: text(&span.name),
            start_time: span.start_time,
            end_time: span.end_time,
            duration_ms: span.duration_ms,
            status: span.status.as_str().to_owned(),
            error: text(&span.error),
            level: text(&span.level),
            model: text(&span.model),
            provider: text(&span.provider),
            input_tokens: span.input_tokens,
            output_tokens: span.output_tokens,
            total_cost: span.total_cost,
            finish_reason: text(&span.finish_reason),
            tool_name: text(&span.tool_name),
            tool_call_id: text(&span.tool_call_id),
            input_preview: text(&span.input_preview),
            output_preview: text(&span.output_preview),
            metadata: object(&span.metadata),
            created_at: span.created_at,
        }
    }

    /// Stores rows of one tenant, with different ids.
    pub(super) async fn put(tenant: TenantId, rows: &[Self], connection: &mut AsyncPgConnection) -> QueryResult<usize> {
        Fixed(
            sql_query(PUT_SPANS)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<Array<SqlUuid>, _>(column(rows, |row| row.id))
                .bind::<Array<SqlUuid>, _>(column(rows, |row| row.trace_id))
                .bind::<Array<Nullable<SqlUuid>>, _>(column(rows, |row| row.parent_span_id))
                .bind::<Array<Nullable<SqlUuid>>, _>(column(rows, |row| row.agent_id))
                .bind::<Array<Text>, _>(column(rows, |row| row.span_type.as_str()))
                .bind::<Array<Text>, _>(column(rows, |row| row.name.as_str()))
                .bind::<Array<Timestamptz>, _>(column(rows, |row| row.start_time))
                .bind::<Array<Nullable<Timestamptz>>, _>(column(rows, |row| row.end_time))
                .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.duration_ms))
                .bind::<Array<Text>, _>(column(rows, |row| row.status.as_str()))
                .bind::<Array<Text>, _>(column(rows, |row| row.error.as_str()))
                .bind::<Array<Text>, _>(column(rows, |row| row.level.as_str()))
                .bind::<Array<Text>, _>(column(rows, |row| row.model.as_str()))
                .bind::<Array<Text>, _>(column(rows, |row| row.provider.as_str()))
                .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.input_tokens))
                .bind::<Array<Nullable<BigInt>>, _>(column(rows, |row| row.output_tokens))
                .bind::<Array<Nullable<Double>>, _>(column(rows, |row| row.total_cost))
                .bind::<Array<Text>, _>(column(rows, |row| row.finish_reason.as_str()))
                .bind::<Array<Text>, _>(column(rows, |row| row.tool_name.as_str()))
                .bind::<Array<Text>, _>(column(rows, |row| row.tool_call_id.as_str()))
                .bind::<Array<Text>, _>(column(rows, |row| row.input_preview.as_str()))
                .bind::<Array<Text>, _>(column(rows, |row| row.output_preview.as_str()))
                .bind::<Array<Jsonb>, _>(column(rows, |row| &row.metadata))
                .bind::<Array<Timestamptz>, _>(column(rows, |row| row.created_at)),
        )
        .execute(connection)
        .await
    }

    pub(super) fn span(self) -> Result<Span> {
        Ok(Span {
            id: SpanId(self.id),
            trace_id: TraceId(self.trace_id),
            parent_span_id: self.parent_span_id.map(SpanId),
            agent_id: self.agent_id.map(AgentId),
            span_type: self.span_type,
            name: self.name,
            start_time: self.start_time,
            end_time: self.end_time,
            duration_ms: self.duration_ms,
            status: TraceStatus::parse(&self.status).ok_or_else(|| corrupt("spans.status", &self.status))?,
            error: self.error,
            level: self.level,
            model: self.model,
            provider: self.provider,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            total_cost: self.total_cost,
            finish_reason: self.finish_reason,
            tool_name: self.tool_name,
            tool_call_id: self.tool_call_id,
            input_preview: self.input_preview.into(),
            output_preview: self.output_preview,
            metadata: decode(self.metadata)?,
            tenant_id: TenantId(self.tenant_id),
            created_at: self.created_at,
        })
    }
}

#[derive(QueryableByName)]
pub(super) struct LlmCallRow {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    trace_id: Uuid,
    #[diesel(sql_type = Nullable<SqlUuid>)]
    agent_id: Option<Uuid>,
    #[diesel(sql_type = Timestamptz)]
    start_time: DateTime<Utc>,
    #[diesel(sql_type = Text)]
    status: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    duration_ms: Option<i64>,
    #[diesel(sql_type = Text)]
    provider: String,
    #[diesel(sql_type = Text)]
    model: String,
    #[diesel(sql_type = Nullable<Jsonb>)]
    routing: Option<Value>,
}

impl LlmCallRow {
    pub(super) fn call(self) -> Result<LlmCall> {
        Ok(LlmCall {
            span_id: SpanId(self.id),
            trace_id: TraceId(self.trace_id),
            agent_id: self.agent_id.map(AgentId),
            start_time: self.start_time,
            status: TraceStatus::parse(&self.status).ok_or_else(|| corrupt("spans.status", &self.status))?,
            duration_ms: self.duration_ms,
            provider: self.provider,
            model: self.model,
            routing: self.routing.map(decode).transpose()?,
        })
    }
}

/// One column of rows.
fn column<'a, T>(rows: &'a [SpanRow], of: impl Fn(&'a SpanRow) -> T) -> Vec<T> {
    rows.iter().map(of).collect()
}
