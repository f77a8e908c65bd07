//! Traces and their spans.

mod row;

use crate::{
    database::Sqlite,
    failure::{Explain, Failure},
    filter::Filter,
    values::{Columns, Lasts, NOW, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    AgentId, Error, Result, TenantId, TraceId,
    traces::{CostFilter, CostRow, LlmCall, LlmCallFilter, LostRun, Span, Trace, TraceEnd, TraceFilter, TraceStatus, TraceStore},
};
use rusqlite::{Connection, OptionalExtension, params, params_from_iter, types::Value};
use std::collections::BTreeSet;

/// Sums up a trace's spans in its row.
const RECOMPUTE: &str = "update traces
    set (span_count, llm_call_count, tool_call_count, total_input_tokens, total_output_tokens, total_cost) = (
        select count(*), count(*) filter (where span_type = 'llm_call'), count(*) filter (where span_type = 'tool_call'),
            coalesce(sum(input_tokens) filter (where span_type = 'llm_call'), 0),
            coalesce(sum(output_tokens) filter (where span_type = 'llm_call'), 0),
            total(total_cost)
        from spans where trace_id = traces.id)
    where id = ?1";

/// Calls of runs that no other run started, by the provider that was asked first or answered.
const LLM_CALLS: &str = "select s.id, s.trace_id, s.agent_id, s.start_time, s.status, s.duration_ms, s.provider, s.model,
        json_extract(s.metadata, '$.chatgpt_oauth_routing') as routing
    from traces t join spans s on s.trace_id = t.id
    where t.tenant_id = ?1 and t.parent_trace_id is null and s.span_type = 'llm_call'
        and (?3 is null or t.agent_id = ?3) and (?4 is null or t.created_at >= ?4)
        and (s.provider in (select value from json_each(?2))
            or json_extract(s.metadata, '$.chatgpt_oauth_routing.selected_provider') in (select value from json_each(?2))
            or json_extract(s.metadata, '$.chatgpt_oauth_routing.serving_provider') in (select value from json_each(?2)))
    order by s.start_time desc, s.id desc limit ?5";

fn has_trace(connection: &Connection, tenant: TenantId, id: TraceId) -> rusqlite::Result<bool> {
    connection.prepare_cached("select 1 from traces where tenant_id = ?1 and id = ?2")?.exists(params![Text(tenant), Text(id)])
}

fn put_spans(connection: &Connection, tenant: TenantId, spans: &[Span]) -> Result<(), Failure> {
    let mut traces = BTreeSet::new();
    for id in spans.iter().map(|span| span.trace_id).collect::<BTreeSet<_>>() {
        if has_trace(connection, tenant, id)? {
            traces.insert(id);
        }
    }
    let mut changed = BTreeSet::new();
    for span in spans.iter().filter(|span| traces.contains(&span.trace_id)) {
        let before = connection
            .prepare_cached("select tenant_id, trace_id from spans where id = ?1")?
            .query_row([Text(span.id)], |row| Ok((row.id::<TenantId>("tenant_id")?, row.id::<TraceId>("trace_id")?)))
            .optional()?;
        match before {
            // Only a forged id can be another tenant's; its span is not ours to replace.
            Some((owner, _)) if owner != tenant => return Err(Error::already_exists("span", span.id).into()),
            Some((_, trace)) => _ = changed.insert(trace),
            None => {}
        }
        row::put_span(connection, tenant, span)?;
        changed.insert(span.trace_id);
    }
    for id in changed {
        connection.prepare_cached(RECOMPUTE)?.execute([Text(id)])?;
    }
    Ok(())
}

#[async_trait]
impl TraceStore for Sqlite {
    async fn insert(&self, tenant: TenantId, trace: &Trace) -> Result<()> {
        let trace = trace.clone();
        self.write_relaxed(move |connection| row::insert_trace(connection, tenant, &trace).unless_exists("trace", trace.id).unless_missing("tenant", tenant))
            .await
    }

    async fn put_spans(&self, tenant: TenantId, spans: &[Span]) -> Result<()> {
        let spans = spans.to_vec();
        self.write_relaxed(move |connection| put_spans(connection, tenant, &spans)).await
    }

    async fn finish(&self, tenant: TenantId, id: TraceId, end: &TraceEnd) -> Result<bool> {
        let end = end.clone();
        self.write_relaxed(move |connection| {
            let mut statement = connection.prepare_cached(
                "update traces set end_time = ?3, duration_ms = max(0, (?3 - start_time) / 1000), status = ?4, error = ?5, output_preview = ?6
                 where tenant_id = ?1 and id = ?2",
            )?;
            let changed = statement.execute(params![Text(tenant), Text(id), Time(end.end_time), end.status.as_str(), end.error, end.output_preview])?;
            Ok(changed > 0)
        })
        .await
    }

    async fn find(&self, tenant: TenantId, id: TraceId) -> Result<Option<(Trace, Vec<Span>)>> {
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let trace = snapshot
                .prepare_cached("select * from traces where tenant_id = ?1 and id = ?2")?
                .query_row(params![Text(tenant), Text(id)], row::trace)
                .optional()?;
            let Some(trace) = trace else { return Ok(None) };
            let spans = snapshot
                .prepare_cached("select * from spans where trace_id = ?1 order by start_time, created_at, id")?
                .query_map([Text(id)], row::span)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(Some((trace, spans)))
        })
        .await
    }

    async fn list(&self, tenant: TenantId, wanted: &TraceFilter) -> Result<(Vec<Trace>, i64)> {
        let mut filter = Filter::tenant(tenant);
        filter.and_equal("agent_id", wanted.agent_id);
        filter.and_equal("user_id", wanted.user_id.as_ref());
        filter.and_equal("session_key", wanted.session_key.as_ref());
        filter.and_equal("status", wanted.status.map(TraceStatus::as_str));
        filter.and_equal("channel", wanted.channel.as_ref());
        filter.and_equal("parent_trace_id", wanted.parent_trace_id);
        let (limit, offset) = (wanted.limit, wanted.offset);
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let conditions = filter.sql();
            let total = snapshot
                .prepare_cached(&format!("select count(*) from traces where {conditions}"))?
                .query_row(params_from_iter(filter.parameters()), |row| row.get(0))?;
            let traces = snapshot
                .prepare_cached(&format!("select * from traces where {conditions} order by created_at desc, id desc limit ? offset ?"))?
                .query_map(params_from_iter(filter.paged(limit, offset)), row::trace)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((traces, total))
        })
        .await
    }

    async fn costs(&self, tenant: TenantId, wanted: &CostFilter) -> Result<Vec<CostRow>> {
        let mut filter = Filter::tenant(tenant);
        filter.and_equal("agent_id", wanted.agent_id);
        filter.and_equal("user_id", wanted.user_id.as_ref());
        let micros = |time: DateTime<Utc>| Value::from(time.timestamp_micros());
        if let Some(from) = wanted.from {
            filter.and("created_at >= ?", [micros(from)]);
        }
        if let Some(to) = wanted.to {
            filter.and("created_at < ?", [micros(to)]);
        }
        self.read(move |connection| {
            let rows = connection
                .prepare_cached(&format!(
                    "select agent_id, total(total_cost) as cost, sum(total_input_tokens) as input, sum(total_output_tokens) as output,
                        count(*) filter (where parent_trace_id is null) as traces
                     from traces where {} group by agent_id order by cost desc, agent_id",
                    filter.sql()
                ))?
                .query_map(params_from_iter(filter.parameters()), |row| {
                    Ok(CostRow {
                        agent_id: row.optional_id("agent_id")?,
                        total_cost: row.get("cost")?,
                        total_input_tokens: row.get("input")?,
                        total_output_tokens: row.get("output")?,
                        trace_count: row.get("traces")?,
                    })
                })?
                .collect::<rusqlite::Result<_>>()?;
            Ok(rows)
        })
        .await
    }

    async fn llm_calls(&self, tenant: TenantId, wanted: &LlmCallFilter) -> Result<Vec<LlmCall>> {
        let providers = serde_json::to_string(&wanted.providers).map_err(Error::internal)?;
        let (agent, since, limit) = (wanted.agent_id.map(Text), wanted.since.map(Time), wanted.limit.max(0));
        self.read(move |connection| {
            let calls = connection
                .prepare_cached(LLM_CALLS)?
                .query_map(params![Text(tenant), providers, agent, since, limit], row::llm_call)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(calls)
        })
        .await
    }

    async fn running(&self, tenant: TenantId, agent: Option<AgentId>) -> Result<Vec<(TraceId, AgentId)>> {
        self.read(move |connection| {
            // Few traces run at once, so the index of those is the way to them.
            let mut statement = connection.prepare_cached(&format!(
                "select id, agent_id from traces indexed by traces_by_lease
                 where status = 'running' and lease_until > {NOW} and tenant_id = ?1 and agent_id = coalesce(?2, agent_id) and run_id <> ''
                 order by lease_until desc limit 10000",
            ))?;
            let running = statement.query_map(params![Text(tenant), agent.map(Text)], |row| Ok((row.id("id")?, row.id("agent_id")?)))?;
            Ok(running.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn all_tenants_renew_leases(&self, ids: &[TraceId], lasts: TimeDelta) -> Result<Vec<TraceId>> {
        let ids = ids.to_vec();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&format!("update traces set lease_until = {NOW} + ?2 where id = ?1 and status = 'running'"))?;
            let mut running = Vec::with_capacity(ids.len());
            for id in ids {
                if statement.execute(params![Text(id), Lasts(lasts)])? > 0 {
                    running.push(id);
                }
            }
            Ok(running)
        })
        .await
    }

    async fn all_tenants_kept_from(&self) -> Result<Option<DateTime<Utc>>> {
        self.read(|connection| {
            let kept = connection.prepare_cached("select max(kept_from) from trace_retention")?.query_row([], |row| row.get::<_, Option<Time>>(0))?;
            Ok(kept.map(|Time(from)| from))
        })
        .await
    }

    async fn all_tenants_fail_running(&self, ahead: Option<TimeDelta>, now: DateTime<Utc>, error: &str) -> Result<Vec<LostRun>> {
        let error = error.to_owned();
        self.write(move |connection| {
            // Both statements judge by the same moment.
            let before = ahead.map(|ahead| connection.prepare_cached(&format!("select {NOW} + ?1"))?.query_row([Lasts(ahead)], |row| row.get::<_, Time>(0)));
            let before = before.transpose()?;
            connection
                .prepare_cached(
                    "update spans set status = 'error', error = ?3, end_time = ?2, duration_ms = max(0, (?2 - start_time) / 1000)
                     where status = 'running'
                        and (?1 is null or trace_id in (select id from traces where status = 'running' and lease_until < ?1))",
                )?
                .execute(params![before, Time(now), error])?;
            let lost = connection
                .prepare_cached(
                    "update traces set status = 'error', error = ?3, end_time = ?2, duration_ms = max(0, (?2 - start_time) / 1000)
                     where status = 'running' and (?1 is null or lease_until < ?1)
                     returning tenant_id, run_id, user_id, session_key, channel,
                        coalesce((select agent_key from agents where agents.id = traces.agent_id and agents.tenant_id = traces.tenant_id), '') as agent_key",
                )?
                .query_map(params![before, Time(now), error], row::lost)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(lost)
        })
        .await
    }

    async fn all_tenants_prune(&self, before: DateTime<Utc>, limit: i64) -> Result<i64> {
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "insert into trace_retention (only_row, kept_from) values (1, ?1)
                     on conflict (only_row) do update set kept_from = excluded.kept_from where trace_retention.kept_from < excluded.kept_from",
                )?
                .execute([Time(before)])?;
            let deleted = connection
                .prepare_cached("delete from traces where rowid in (select rowid from traces where created_at < ?1 order by created_at limit ?2)")?
                .execute(params![Time(before), limit.max(0)])?;
            Ok(i64::try_from(deleted).map_err(Error::internal)?)
        })
        .await
    }
}
