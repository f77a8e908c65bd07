//! The statements of usage. Times are microseconds, so an hour has 3,600,000,000.

const MEASURES: &str = "input_tokens, output_tokens, cache_read_tokens, cache_create_tokens, thinking_tokens, total_cost, llm_call_count, request_count,
    tool_call_count, error_count, unique_users, duration_ms, memory_docs, memory_chunks, kg_entities, kg_relations";

const KEYS: &str = "tenant_id, bucket_hour, provider, model, channel, agent_id";

const CALLS: [&str; 7] = ["input_tokens", "output_tokens", "cache_read_tokens", "cache_create_tokens", "thinking_tokens", "total_cost", "llm_call_count"];
const REQUESTS: [&str; 9] =
    ["request_count", "tool_call_count", "error_count", "unique_users", "duration_ms", "memory_docs", "memory_chunks", "kg_entities", "kg_relations"];

/// The sums of these columns, and nothing for the others.
fn sums(calls: bool, requests: bool) -> String {
    let sum = |column: &&str, counts: bool| match *column {
        column if !counts => format!("0 as {column}"),
        "total_cost" => "total(total_cost) as total_cost".to_owned(),
        column => format!("sum({column}) as {column}"),
    };
    let columns = CALLS.iter().map(|column| sum(column, calls)).chain(REQUESTS.iter().map(|column| sum(column, requests)));
    columns.collect::<Vec<_>>().join(", ")
}

/// `counted`: the rows of snapshots, from traces that `which` picks. Calls whose provider is not known have one all the same: rows without
/// provider are those of requests.
fn counted(which: &str) -> String {
    format!(
        "begun as (
            select traces.id, traces.tenant_id, parent_trace_id, channel, user_id, traces.status, tool_call_count, duration_ms,
                coalesce(agent_id, '') as agent_id, start_time - start_time % 3600000000 as bucket_hour
            from {which}
        ), counted as (
            select tenant_id, bucket_hour, '' as provider, '' as model, channel, agent_id, 0 as input_tokens, 0 as output_tokens,
                0 as cache_read_tokens, 0 as cache_create_tokens, 0 as thinking_tokens, 0.0 as total_cost, count(*) as request_count, 0 as llm_call_count,
                sum(tool_call_count) as tool_call_count, count(*) filter (where status = 'error') as error_count,
                count(distinct nullif(user_id, '')) as unique_users, coalesce(sum(duration_ms), 0) as duration_ms,
                0 as memory_docs, 0 as memory_chunks, 0 as kg_entities, 0 as kg_relations
            from begun where parent_trace_id is null group by tenant_id, bucket_hour, channel, agent_id
            union all
            select begun.tenant_id, bucket_hour, coalesce(nullif(spans.provider, ''), 'unknown'), spans.model, channel, begun.agent_id,
                coalesce(sum(input_tokens), 0), coalesce(sum(output_tokens), 0), {}, {}, {}, total(total_cost), 0, count(*), 0, 0, 0, 0, 0, 0, 0, 0
            from begun join spans on spans.trace_id = begun.id and spans.tenant_id = begun.tenant_id and span_type = 'llm_call'
            group by begun.tenant_id, bucket_hour, 3, spans.model, channel, begun.agent_id
        )",
        noted("cache_read_tokens"),
        noted("cache_creation_tokens"),
        noted("thinking_tokens"),
    )
}

/// A count of tokens in the metadata of spans, summed.
fn noted(name: &str) -> String {
    format!("cast(total(metadata ->> '{name}') as integer)")
}

/// `done`: until when hours are counted for good.
const DONE: &str = "done as (
        select coalesce((select min(bucket_hour) from usage_hours where open), (select max(bucket_hour) + 3600000000 from usage_hours), 0) as until
    )";

/// The sums by `key` of `kept`, as far as hours are done, and of traces from then on. `?1` is the tenant, `?2` and `?3` the time.
fn summed(key: &str, kept: &str, conditions: &str, order: &str) -> String {
    format!(
        "with {DONE}, {counted}, {kept}
            union all
            select {key} as key, {all} from counted where {conditions} group by 1
        )
        select key, {all} from found group by key order by {order}",
        counted = counted("traces where tenant_id = ?1 and start_time >= max(?2, (select until from done)) and start_time < ?3"),
        all = sums(true, true),
    )
}

/// The hours of the whole tenant.
pub(super) fn hours() -> String {
    let kept = format!(
        "found as (
            select bucket_hour as key, {all} from usage_totals
            where tenant_id = ?1 and bucket_hour >= ?2 and bucket_hour < min(?3, (select until from done)) group by 1",
        all = sums(true, true)
    );
    summed("bucket_hour", &kept, "true", "key")
}

/// The hours of what matches. Rows of snapshots count either calls or requests, so each kind is summed up by itself.
pub(super) fn matching_hours(conditions: &str) -> String {
    let from = "from usage_snapshots where tenant_id = ?1 and bucket_hour >= ?2 and bucket_hour < min(?3, (select until from done))";
    let kept = format!(
        "found as (
            select bucket_hour as key, {calls} {from} and provider <> '' and {conditions} group by 1
            union all
            select bucket_hour as key, {requests} {from} and provider = '' and {conditions} group by 1",
        calls = sums(true, false),
        requests = sums(false, true),
    );
    summed("bucket_hour", &kept, conditions, "key")
}

/// The sums of what matches by `key`: whole days, and the hours before and after them.
pub(super) fn by(key: &str, conditions: &str, order: &str) -> String {
    let kept = format!(
        "whole as (
            select (?2 + 82800000000) - (?2 + 82800000000) % 86400000000 as first, min(?3, until) - min(?3, until) % 86400000000 as last,
                min(?3, until) as ends
            from done
        ), edges as (
            select ?2 as begins, min(first, ends) as ends from whole union all select max(first, last), ends from whole
        ), found as (
            select {key} as key, {all} from usage_days
            where tenant_id = ?1 and bucket_day >= (select first from whole) and bucket_day < (select last from whole) and {conditions} group by 1
            union all
            select {key} as key, {all} from edges cross join usage_snapshots
            where tenant_id = ?1 and bucket_hour >= begins and bucket_hour < ends and {conditions} group by 1",
        all = sums(true, true)
    );
    summed(key, &kept, conditions, order)
}

pub(super) fn counted_until() -> String {
    format!("with {DONE} select nullif(until, 0) from done")
}

/// The requests of the last hour, day and week before `?2`, of all users who are known or of `?3`.
pub(super) const ASKED: &str = "select user_id, count(*) filter (where created_at > ?2 - 3600000000) as hour,
        count(*) filter (where created_at > ?2 - 86400000000) as day, count(*) as week
    from traces
    where tenant_id = ?1 and parent_trace_id is null and created_at > ?2 - 604800000000
        and case when ?3 is null then user_id <> '' else user_id = ?3 end
    group by user_id order by week desc, user_id limit ?4";

pub(super) const USERS_SINCE: &str = "select count(distinct user_id) from traces
    where tenant_id = ?1 and parent_trace_id is null and user_id <> '' and created_at >= ?2";

pub(super) fn sessions_by_agent(conditions: &str) -> String {
    format!(
        "select case when substr(session_key, 1, 6) = 'agent:' and instr(substr(session_key, 7), ':') > 0
                then substr(session_key, 7, instr(substr(session_key, 7), ':') - 1) else session_key end as agent_key,
            sum(input_tokens) as input_tokens, sum(output_tokens) as output_tokens, count(*) as sessions
         from sessions where {conditions} group by 1 order by 1"
    )
}

/// The hour that is to be counted, as of `?1`; hours that ended after `?2` wait.
pub(super) const DUE: &str = "with fresh as (
        select coalesce((select max(bucket_hour) + 3600000000 from usage_hours), 0) as begins, ?2 - ?2 % 3600000000 as ends
    ), begun as (
        select min((select min(start_time) from traces where tenant_id = tenants.id and start_time >= fresh.begins and start_time < fresh.ends)) as first
        from tenants, fresh
    )
    select coalesce(
        (select min(bucket_hour) from usage_hours where open and counted_at < ?1),
        (select first - first % 3600000000 from begun),
        (select ends - 3600000000 from fresh where ends - 3600000000 >= begins)
    )";

/// Whether runs that began in the hour go on, or ended so lately (`?2`) that the last of them may not be written.
pub(super) const OPEN: &str = "select exists (
        select 1 from tenants join traces on traces.tenant_id = tenants.id and start_time >= ?1 and start_time < ?1 + 3600000000
        where traces.status = 'running' or end_time > ?2
    )";

pub(super) const FORGET: &str = "delete from usage_snapshots where tenant_id in (select id from tenants) and bucket_hour = ?1";

/// The snapshots of the hour.
pub(super) fn count() -> String {
    format!(
        "with {} select {KEYS}, {MEASURES} from counted",
        counted("tenants cross join traces on traces.tenant_id = tenants.id and start_time >= ?1 and start_time < ?1 + 3600000000")
    )
}

/// Keeps a snapshot, unless its tenant was deleted since it was counted.
pub(super) fn keep() -> String {
    let columns = format!("{KEYS}, {MEASURES}");
    let values = (1..=columns.split(',').count()).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ");
    format!("insert into usage_snapshots ({columns}) select {values} where exists (select 1 from tenants where id = ?1)")
}

/// The totals of the hour, after its snapshots.
pub(super) const FORGET_TOTALS: &str = "delete from usage_totals where tenant_id in (select id from tenants) and bucket_hour = ?1";

pub(super) fn count_totals() -> String {
    format!(
        "insert into usage_totals (tenant_id, bucket_hour, {MEASURES})
         select tenant_id, bucket_hour, {} from tenants cross join usage_snapshots on tenant_id = tenants.id and bucket_hour = ?1
         group by tenant_id, bucket_hour",
        sums(true, true)
    )
}

/// The day of the hour, from all its snapshots: a sum that is made anew is exact.
pub(super) const FORGET_DAY: &str = "delete from usage_days where tenant_id in (select id from tenants) and bucket_day = ?1 - ?1 % 86400000000";

pub(super) fn count_day() -> String {
    format!(
        "insert into usage_days (tenant_id, bucket_day, provider, model, channel, agent_id, {MEASURES})
         select tenant_id, ?1 - ?1 % 86400000000, provider, model, channel, agent_id, {}
         from tenants cross join usage_snapshots on tenant_id = tenants.id
            and bucket_hour >= ?1 - ?1 % 86400000000 and bucket_hour < ?1 - ?1 % 86400000000 + 86400000000
         group by tenant_id, provider, model, channel, agent_id",
        sums(true, true)
    )
}

pub(super) const NOTE: &str = "insert into usage_hours (bucket_hour, open, counted_at) values (?1, ?2, ?3)
    on conflict (bucket_hour) do update set open = excluded.open, counted_at = excluded.counted_at";
