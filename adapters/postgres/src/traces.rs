//! Traces and their spans.

mod rows;

use crate::{
    error::{Failure, taken_or_missing},
    json::text,
    pool::{Postgres, enter, within},
    schema::{spans, traces},
    statement::{Fixed, Relaxed, from_now},
};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::{
    dsl::sql_query,
    pg::Pg,
    prelude::*,
    sql_types::{Array, BigInt, Double, Interval, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::future;
use goclaw_ports::{
    AgentId, Result, TenantId, TraceId,
    traces::{CostFilter, CostRow, LEASE, LlmCall, LlmCallFilter, LostRun, Span, Trace, TraceEnd, TraceFilter, TraceStore},
};
use rows::{LlmCallRow, SpanRow, TraceRow};
use std::collections::{BTreeMap, HashSet};
use uuid::Uuid;

const TOTALS: &str = "\
    update traces set span_count = sums.spans, llm_call_count = sums.llm_calls, tool_call_count = sums.tool_calls, \
        total_input_tokens = sums.input_tokens, total_output_tokens = sums.output_tokens, total_cost = sums.cost \
    from ( \
        select trace_id, count(*)::integer as spans, \
            count(*) filter (where span_type = 'llm_call')::integer as llm_calls, \
            count(*) filter (where span_type = 'tool_call')::integer as tool_calls, \
            coalesce(sum(input_tokens) filter (where span_type = 'llm_call'), 0)::bigint as input_tokens, \
            coalesce(sum(output_tokens) filter (where span_type = 'llm_call'), 0)::bigint as output_tokens, \
            coalesce(sum(total_cost), 0) as cost \
        from spans where tenant_id = $1 and trace_id = any($2) group by trace_id \
    ) as sums \
    where traces.tenant_id = $1 and traces.id = sums.trace_id";

/// It does not wait for the disk, as [`Relaxed`].
const FINISH: &str = "\
    with ended as ( \
        update traces set end_time = $3, status = $4, error = $5, output_preview = $6, \
            duration_ms = greatest(0, floor(extract(epoch from $3 - start_time) * 1000))::bigint \
        where tenant_id = $1 and id = $2 returning id \
    ) \
    select set_config('synchronous_commit', 'off', true) from ended";

const RUNNING: &str = "\
    select id, agent_id from traces \
    where status = 'running' and lease_until > now() and tenant_id = $1 and agent_id = coalesce($2, agent_id) and run_id <> '' \
    order by lease_until desc limit 10000";

const RENEW: &str = "update traces set lease_until = now() + $2 where id = any($1) and status = 'running' returning id";

/// A row that another replica is failing is waited for, and then found to run no more.
const FAIL_RUNNING: &str = "\
    with failed as ( \
        update traces set status = 'error', error = $3, end_time = $2, \
            duration_ms = greatest(0, floor(extract(epoch from $2 - start_time) * 1000))::bigint \
        where status = 'running' and ($1 is null or lease_until < now() + $1) \
        returning id, tenant_id, agent_id, run_id, user_id, session_key, channel \
    ), failed_spans as ( \
        update spans set status = 'error', error = $3, end_time = $2, \
            duration_ms = greatest(0, floor(extract(epoch from $2 - start_time) * 1000))::bigint \
        where status = 'running' and ($1 is null or (tenant_id, trace_id) in (select tenant_id, id from failed)) \
    ) \
    select failed.tenant_id, failed.run_id, failed.user_id, failed.session_key, failed.channel, coalesce(agents.agent_key, '') as agent_key \
    from failed left join agents on agents.tenant_id = failed.tenant_id and agents.id = failed.agent_id";

/// Rows that another replica is pruning are passed over.
const PRUNE: &str = "\
    delete from traces where id in (select id from traces where created_at < $1 order by created_at limit $2 for update skip locked)";

const NOTE_PRUNING: &str = "\
    insert into trace_retention (kept_from) values ($1) \
    on conflict (only_row) do update set kept_from = excluded.kept_from where trace_retention.kept_from < excluded.kept_from";

const KEPT_FROM: &str = "select max(kept_from) as kept_from from trace_retention";

const COSTS: &str = "\
    select agent_id, sum(total_cost) as cost, sum(total_input_tokens)::bigint as input, sum(total_output_tokens)::bigint as output, \
        count(*) filter (where parent_trace_id is null) as traces \
    from traces \
    where tenant_id = $1 and ($2::uuid is null or agent_id = $2) and ($3::text is null or user_id = $3) \
        and ($4::timestamptz is null or created_at >= $4) and ($5::timestamptz is null or created_at < $5) \
    group by agent_id order by cost desc, agent_id";

/// Calls of runs that no other run started, by the provider that was asked first or answered.
const LLM_CALLS: &str = "\
    select s.id, s.trace_id, s.agent_id, s.start_time, s.status, s.duration_ms, s.provider, s.model, s.metadata->'chatgpt_oauth_routing' as routing \
    from traces t join spans s on s.tenant_id = t.tenant_id and s.trace_id = t.id \
    where t.tenant_id = $1 and t.parent_trace_id is null and s.span_type = 'llm_call' \
        and ($3::uuid is null or t.agent_id = $3) and ($4::timestamptz is null or t.created_at >= $4) \
        and (s.provider = any($2) or s.metadata#>>'{chatgpt_oauth_routing,selected_provider}' = any($2) \
            or s.metadata#>>'{chatgpt_oauth_routing,serving_provider}' = any($2)) \
    order by s.start_time desc, s.id desc limit $5";

#[derive(QueryableByName)]
struct Kept {
    #[diesel(sql_type = Nullable<Timestamptz>)]
    kept_from: Option<DateTime<Utc>>,
}

#[derive(QueryableByName)]
struct Renewed {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
}

#[derive(QueryableByName)]
struct Running {
    #[diesel(sql_type = SqlUuid)]
    id: Uuid,
    #[diesel(sql_type = SqlUuid)]
    agent_id: Uuid,
}

#[derive(QueryableByName)]
struct Lost {
    #[diesel(sql_type = SqlUuid)]
    tenant_id: Uuid,
    #[diesel(sql_type = Text)]
    run_id: String,
    #[diesel(sql_type = Text)]
    agent_key: String,
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Text)]
    session_key: String,
    #[diesel(sql_type = Text)]
    channel: String,
}

impl From<Lost> for LostRun {
    fn from(lost: Lost) -> Self {
        let Lost { tenant_id, run_id, agent_key, user_id, session_key, channel } = lost;
        Self { tenant: TenantId(tenant_id), run_id, agent_key, user_id, session_key, channel }
    }
}

#[derive(QueryableByName)]
struct Costs {
    #[diesel(sql_type = Nullable<SqlUuid>)]
    agent_id: Option<Uuid>,
    #[diesel(sql_type = Double)]
    cost: f64,
    #[diesel(sql_type = BigInt)]
    input: i64,
    #[diesel(sql_type = BigInt)]
    output: i64,
    #[diesel(sql_type = BigInt)]
    traces: i64,
}

impl From<Costs> for CostRow {
    fn from(row: Costs) -> Self {
        Self {
            agent_id: row.agent_id.map(AgentId),
            total_cost: row.cost,
            total_input_tokens: row.input,
            total_output_tokens: row.output,
            trace_count: row.traces,
        }
    }
}

fn matching(tenant: TenantId, filter: &TraceFilter) -> traces::BoxedQuery<'static, Pg> {
    let mut query = traces::table.filter(traces::tenant_id.eq(tenant.0)).into_boxed();
    if let Some(agent) = filter.agent_id {
        query = query.filter(traces::agent_id.eq(agent.0));
    }
    if let Some(user) = &filter.user_id {
        query = query.filter(traces::user_id.eq(text(user)));
    }
    if let Some(session) = &filter.session_key {
        query = query.filter(traces::session_key.eq(text(session)));
    }
    if let Some(status) = filter.status {
        query = query.filter(traces::status.eq(status.as_str()));
    }
    if let Some(channel) = &filter.channel {
        query = query.filter(traces::channel.eq(text(channel)));
    }
    if let Some(parent) = filter.parent_trace_id {
        query = query.filter(traces::parent_trace_id.eq(parent.0));
    }
    query
}

#[async_trait]
impl TraceStore for Postgres {
    async fn insert(&self, tenant: TenantId, trace: &Trace) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let row = (TraceRow::new(tenant, trace)?, traces::lease_until.eq(from_now(LEASE)));
        let query = Fixed(Relaxed(diesel::insert_into(traces::table).values(row)));
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(taken_or_missing("trace", trace.id, "tenant", tenant))
    }

    async fn put_spans(&self, tenant: TenantId, spans: &[Span]) -> Result<()> {
        if spans.is_empty() {
            return Ok(());
        }
        // Of spans with one id the last one counts.
        let mut last: BTreeMap<Uuid, Span> = BTreeMap::new();
        for span in spans {
            let span = span.clone().after(last.get(&span.id.0));
            last.insert(span.id.0, span);
        }
        let spans = last;
        let named: HashSet<Uuid> = spans.values().map(|span| span.trace_id.0).collect();
        let rows: Vec<SpanRow> = spans.values().map(|span| SpanRow::new(tenant, span)).collect();
        let mut connection = self.tenant(tenant).await?;
        let putting = connection.raw().transaction(async |connection| -> Result<(), Failure> {
            enter(connection, tenant).await?;
            SpanRow::put(tenant, &rows, connection).await?;
            // Locked in one order, so that two callers neither wait for each other nor count without each other's spans; and only now, so
            // that runs which end meanwhile hardly wait for it.
            let known: Vec<Uuid> = traces::table
                .filter(traces::tenant_id.eq(tenant.0).and(traces::id.eq_any(&named)))
                .order(traces::id)
                .select(traces::id)
                .for_no_key_update()
                .load(connection)
                .await?;
            Fixed(sql_query(TOTALS).bind::<SqlUuid, _>(tenant.0).bind::<Array<SqlUuid>, _>(known)).execute(connection).await?;
            Ok(())
        });
        within(putting).await?;
        self.has_written(spans.len());
        Ok(())
    }

    async fn finish(&self, tenant: TenantId, id: TraceId, end: &TraceEnd) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(
            sql_query(FINISH)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<SqlUuid, _>(id.0)
                .bind::<Timestamptz, _>(end.end_time)
                .bind::<Text, _>(end.status.as_str())
                .bind::<Text, _>(text(&end.error))
                .bind::<Text, _>(text(&end.output_preview)),
        );
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn find(&self, tenant: TenantId, id: TraceId) -> Result<Option<(Trace, Vec<Span>)>> {
        let connection = self.tenant(tenant).await?;
        let trace = traces::table.find(id.0).filter(traces::tenant_id.eq(tenant.0)).select(TraceRow::as_select());
        let spans =
            spans::table.filter(spans::tenant_id.eq(tenant.0).and(spans::trace_id.eq(id.0))).order((spans::start_time, spans::id)).select(SpanRow::as_select());
        let (mut first, mut second) = (connection.pipe(), connection.pipe());
        let (traces, spans): (Vec<TraceRow>, Vec<SpanRow>) = connection.run(future::try_join(trace.load(&mut first), spans.load(&mut second))).await?;
        let Some(trace) = traces.into_iter().next() else { return Ok(None) };
        Ok(Some((trace.trace()?, spans.into_iter().map(SpanRow::span).collect::<Result<_>>()?)))
    }

    async fn list(&self, tenant: TenantId, filter: &TraceFilter) -> Result<(Vec<Trace>, i64)> {
        let connection = self.tenant(tenant).await?;
        let page = matching(tenant, filter)
            .order((traces::created_at.desc(), traces::id.desc()))
            .limit(filter.limit.max(0))
            .offset(filter.offset.max(0))
            .select(TraceRow::as_select());
        let total = matching(tenant, filter).count();
        let (mut first, mut second) = (connection.pipe(), connection.pipe());
        let (rows, total): (Vec<TraceRow>, i64) = connection.run(future::try_join(page.load(&mut first), total.get_result(&mut second))).await?;
        Ok((rows.into_iter().map(TraceRow::trace).collect::<Result<_>>()?, total))
    }

    async fn costs(&self, tenant: TenantId, filter: &CostFilter) -> Result<Vec<CostRow>> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(
            sql_query(COSTS)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<Nullable<SqlUuid>, _>(filter.agent_id.map(|id| id.0))
                .bind::<Nullable<Text>, _>(filter.user_id.as_deref().map(text))
                .bind::<Nullable<Timestamptz>, _>(filter.from)
                .bind::<Nullable<Timestamptz>, _>(filter.to),
        );
        let rows: Vec<Costs> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(rows.into_iter().map(CostRow::from).collect())
    }

    async fn llm_calls(&self, tenant: TenantId, filter: &LlmCallFilter) -> Result<Vec<LlmCall>> {
        let connection = self.tenant(tenant).await?;
        let providers: Vec<String> = filter.providers.iter().map(|provider| text(provider)).collect();
        let query = Fixed(
            sql_query(LLM_CALLS)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<Array<Text>, _>(providers)
                .bind::<Nullable<SqlUuid>, _>(filter.agent_id.map(|id| id.0))
                .bind::<Nullable<Timestamptz>, _>(filter.since)
                .bind::<BigInt, _>(filter.limit.max(0)),
        );
        let rows: Vec<LlmCallRow> = connection.run(query.load(&mut connection.pipe())).await?;
        rows.into_iter().map(LlmCallRow::call).collect()
    }

    async fn running(&self, tenant: TenantId, agent: Option<AgentId>) -> Result<Vec<(TraceId, AgentId)>> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(sql_query(RUNNING).bind::<SqlUuid, _>(tenant.0).bind::<Nullable<SqlUuid>, _>(agent.map(|agent| agent.0)));
        let running: Vec<Running> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(running.into_iter().map(|running| (TraceId(running.id), AgentId(running.agent_id))).collect())
    }

    async fn all_tenants_renew_leases(&self, ids: &[TraceId], lasts: TimeDelta) -> Result<Vec<TraceId>> {
        let connection = self.engine().await?;
        let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let query = Fixed(sql_query(RENEW).bind::<Array<SqlUuid>, _>(ids).bind::<Interval, _>(lasts));
        let running: Vec<Renewed> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(running.into_iter().map(|running| TraceId(running.id)).collect())
    }

    async fn all_tenants_kept_from(&self) -> Result<Option<DateTime<Utc>>> {
        let connection = self.engine().await?;
        let query = Fixed(sql_query(KEPT_FROM));
        let kept: Kept = connection.run(query.get_result(&mut connection.pipe())).await?;
        Ok(kept.kept_from)
    }

    async fn all_tenants_fail_running(&self, ahead: Option<TimeDelta>, now: DateTime<Utc>, error: &str) -> Result<Vec<LostRun>> {
        let connection = self.engine().await?;
        let query = Fixed(sql_query(FAIL_RUNNING).bind::<Nullable<Interval>, _>(ahead).bind::<Timestamptz, _>(now).bind::<Text, _>(text(error)));
        let lost: Vec<Lost> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(lost.into_iter().map(LostRun::from).collect())
    }

    async fn all_tenants_prune(&self, before: DateTime<Utc>, limit: i64) -> Result<i64> {
        let mut connection = self.engine().await?;
        let pruning = connection.raw().transaction(async |connection| -> Result<usize, Failure> {
            Fixed(sql_query(NOTE_PRUNING).bind::<Timestamptz, _>(before)).execute(connection).await?;
            Ok(Fixed(sql_query(PRUNE).bind::<Timestamptz, _>(before).bind::<BigInt, _>(limit.max(0))).execute(connection).await?)
        });
        let pruned = within(pruning).await?;
        Ok(i64::try_from(pruned).unwrap_or(i64::MAX))
    }
}
