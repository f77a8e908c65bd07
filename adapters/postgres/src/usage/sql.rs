//! The statements of usage.

macro_rules! measures {
    () => {
        "input_tokens, output_tokens, cache_read_tokens, cache_create_tokens, thinking_tokens, total_cost, llm_call_count, request_count, \
            tool_call_count, error_count, unique_users, duration_ms, memory_docs, memory_chunks, kg_entities, kg_relations"
    };
}

/// The sums of rows that count calls, with nothing for the rest.
macro_rules! call_sums {
    () => {
        "sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens, \
            sum(cache_read_tokens)::bigint as cache_read_tokens, sum(cache_create_tokens)::bigint as cache_create_tokens, \
            sum(thinking_tokens)::bigint as thinking_tokens, sum(total_cost) as total_cost, sum(llm_call_count)::bigint as llm_call_count, \
            0::bigint as request_count, 0::bigint as tool_call_count, 0::bigint as error_count, 0::bigint as unique_users, 0::bigint as duration_ms, \
            0::bigint as memory_docs, 0::bigint as memory_chunks, 0::bigint as kg_entities, 0::bigint as kg_relations"
    };
}

/// The sums of rows that count requests, with nothing for the rest.
macro_rules! request_sums {
    () => {
        concat!("0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::bigint, 0::double precision, 0::bigint, ", requests!())
    };
}

macro_rules! requests {
    () => {
        "sum(request_count)::bigint as request_count, sum(tool_call_count)::bigint as tool_call_count, sum(error_count)::bigint as error_count, \
            sum(unique_users)::bigint as unique_users, sum(duration_ms)::bigint as duration_ms, sum(memory_docs)::bigint as memory_docs, \
            sum(memory_chunks)::bigint as memory_chunks, sum(kg_entities)::bigint as kg_entities, sum(kg_relations)::bigint as kg_relations"
    };
}

/// All sums.
macro_rules! sums {
    () => {
        concat!(
            "sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens, \
            sum(cache_read_tokens)::bigint as cache_read_tokens, sum(cache_create_tokens)::bigint as cache_create_tokens, \
            sum(thinking_tokens)::bigint as thinking_tokens, sum(total_cost) as total_cost, sum(llm_call_count)::bigint as llm_call_count, ",
            requests!()
        )
    };
}

/// A count of tokens in the metadata of spans, summed.
macro_rules! noted {
    ($name:literal) => {
        concat!("coalesce(sum(case when jsonb_typeof(metadata -> '", $name, "') = 'number' then (metadata ->> '", $name, "')::numeric end), 0)::bigint")
    };
}

/// `counted`: the rows of snapshots, from traces that `$which` picks. Calls whose provider is not known have one all the same: rows without
/// provider are those of requests.
macro_rules! counted {
    ($which:literal) => {
        concat!(
            "begun as ( \
                select traces.id, traces.tenant_id, parent_trace_id, channel, user_id, traces.status, tool_call_count, duration_ms, \
                    coalesce(agent_id, '00000000-0000-0000-0000-000000000000'::uuid) as agent_id, date_trunc('hour', start_time, 'UTC') as bucket_hour \
                from ",
            $which,
            "), counted as ( \
                select tenant_id, bucket_hour, '' as provider, '' as model, channel, agent_id, 0::bigint as input_tokens, 0::bigint as output_tokens, \
                    0::bigint as cache_read_tokens, 0::bigint as cache_create_tokens, 0::bigint as thinking_tokens, 0::double precision as total_cost, \
                    count(*)::integer as request_count, 0 as llm_call_count, coalesce(sum(tool_call_count), 0)::integer as tool_call_count, \
                    (count(*) filter (where status = 'error'))::integer as error_count, count(distinct nullif(user_id, ''))::integer as unique_users, \
                    coalesce(sum(duration_ms), 0)::bigint as duration_ms, 0 as memory_docs, 0 as memory_chunks, 0 as kg_entities, 0 as kg_relations \
                from begun where parent_trace_id is null group by tenant_id, bucket_hour, channel, agent_id \
                union all \
                select begun.tenant_id, bucket_hour, coalesce(nullif(spans.provider, ''), 'unknown'), spans.model, channel, begun.agent_id, \
                    coalesce(sum(input_tokens), 0)::bigint, coalesce(sum(output_tokens), 0)::bigint, ",
            noted!("cache_read_tokens"),
            ", ",
            noted!("cache_creation_tokens"),
            ", ",
            noted!("thinking_tokens"),
            ", coalesce(sum(total_cost), 0), 0, count(*)::integer, 0, 0, 0, 0::bigint, 0, 0, 0, 0 \
                from begun join spans on spans.tenant_id = begun.tenant_id and spans.trace_id = begun.id and span_type = 'llm_call' \
                group by begun.tenant_id, bucket_hour, 3, spans.model, channel, begun.agent_id \
            )"
        )
    };
}

macro_rules! matching {
    ($which:literal) => {
        concat!(
            " ($4::uuid is null or agent_id = $4) and ($5::text is null or provider = $5) and ($6::text is null or model = $6) \
                and ($7::text is null or channel = $7) and ",
            $which,
            " group by 1 "
        )
    };
}

/// `done`: until when hours are counted for good.
macro_rules! done {
    () => {
        "done as ( \
            select coalesce((select min(bucket_hour) from usage_hours where open), (select max(bucket_hour) + interval '1 hour' from usage_hours), \
                '-infinity'::timestamptz) as until \
        )"
    };
}

macro_rules! head {
    () => {
        concat!("with ", done!(), ", ", counted!("traces where tenant_id = $1 and start_time >= greatest($2, (select until from done)) and start_time < $3"))
    };
}

macro_rules! kept {
    ($table:literal) => {
        concat!(" from ", $table, " where tenant_id = $1 and bucket_hour >= $2 and bucket_hour < least($3, (select until from done)) ")
    };
}

/// What is not done yet, and then the sums of all that was found.
macro_rules! with_traces {
    ($key:literal, $name:literal, $which:literal, $order:literal) => {
        concat!(
            "union all select ",
            $key,
            ", ",
            sums!(),
            " from counted where",
            matching!($which),
            ") select key as ",
            $name,
            ", ",
            sums!(),
            " from found group by key order by ",
            $order
        )
    };
}

/// The hours of the whole tenant: from the totals as far as they go, from then on from traces. Takes no conditions.
pub(super) const HOURS: &str =
    concat!(head!(), ", found as ( select bucket_hour as key, ", measures!(), kept!("usage_totals"), with_traces!("bucket_hour", "bucket_hour", "true", "key"));

/// The hours of what matches. Rows of snapshots count either calls or requests, so each kind is summed up by itself.
pub(super) const MATCHING_HOURS: &str = concat!(
    head!(),
    ", found as ( select bucket_hour as key, ",
    call_sums!(),
    kept!("usage_snapshots"),
    "and provider <> '' and",
    matching!("true"),
    "union all select bucket_hour, ",
    request_sums!(),
    kept!("usage_snapshots"),
    "and provider = '' and",
    matching!("true"),
    with_traces!("bucket_hour", "bucket_hour", "true", "key")
);

/// The sums of what matches by `$key`: whole days, the hours before and after them, and traces of hours that are not done.
macro_rules! by {
    ($key:literal, $which:literal, $order:literal) => {
        concat!(
            head!(),
            ", whole as ( \
                select date_trunc('day', $2 + interval '23 hours', 'UTC') as first, date_trunc('day', least($3, until), 'UTC') as last, \
                    least($3, until) as ends \
                from done \
            ), edges as ( \
                select $2 as begins, least(first, ends) as ends from whole union all select greatest(first, last), ends from whole \
            ), found as ( select ",
            $key,
            " as key, ",
            sums!(),
            " from usage_days where tenant_id = $1 and bucket_day >= (select first from whole) and bucket_day < (select last from whole) and",
            matching!($which),
            "union all select ",
            $key,
            ", ",
            sums!(),
            " from edges cross join lateral ( \
                select * from usage_snapshots where tenant_id = $1 and bucket_hour >= begins and bucket_hour < ends offset 0 \
            ) as around where",
            matching!($which),
            with_traces!($key, "key", $which, $order)
        )
    };
}

pub(super) const BY_PROVIDER: &str = by!("provider", "provider <> '' and model <> ''", "input_tokens desc, found.key collate \"C\"");
pub(super) const BY_MODEL: &str = by!("model", "provider <> '' and model <> ''", "input_tokens desc, found.key collate \"C\"");
pub(super) const BY_CHANNEL: &str = by!("channel", "channel <> ''", "request_count desc, found.key collate \"C\"");
pub(super) const BY_AGENT: &str =
    by!("coalesce(nullif(agent_id, '00000000-0000-0000-0000-000000000000'::uuid)::text, '')", "true", "input_tokens desc, found.key collate \"C\"");

pub(super) const COUNTED_UNTIL: &str = concat!("with ", done!(), " select nullif(until, '-infinity') as hour from done");

/// The requests of the last hour, day and week before `$2`, of all users who are known or of `$3`.
pub(super) const REQUESTS: &str = "\
    select user_id, count(*) filter (where created_at > $2 - interval '1 hour') as hour, \
        count(*) filter (where created_at > $2 - interval '24 hours') as day, count(*) as week \
    from traces \
    where tenant_id = $1 and parent_trace_id is null and created_at > $2 - interval '168 hours' and (case when $3::text is null then user_id <> '' else user_id = $3 end) \
    group by user_id order by week desc, user_id collate \"C\" limit $4";

pub(super) const USERS_SINCE: &str = "\
    select count(distinct user_id) as number from traces \
    where tenant_id = $1 and parent_trace_id is null and user_id <> '' and created_at >= $2";

macro_rules! used_sessions {
    ($columns:literal) => {
        concat!(
            "select ",
            $columns,
            " from sessions \
            where tenant_id = $1 and (input_tokens > 0 or output_tokens > 0) and ($2::text is null or user_id = $2) \
                and ($3::text is null or session_key >= $3) and ($4::text is null or session_key < $4)"
        )
    };
}

pub(super) const SESSIONS: &str = concat!(
    used_sessions!("session_key, model, provider, input_tokens, output_tokens, updated_at"),
    " order by updated_at desc, session_key limit $5 offset $6"
);
pub(super) const SESSION_COUNT: &str = used_sessions!("count(*) as number");

pub(super) const SESSIONS_BY_AGENT: &str = "\
    select coalesce(substring(session_key from '^agent:([^:]*):'), session_key) as agent_key, \
        sum(input_tokens)::bigint as input_tokens, sum(output_tokens)::bigint as output_tokens, count(*) as sessions \
    from sessions where tenant_id = $1 and (input_tokens > 0 or output_tokens > 0) and ($2::text is null or user_id = $2) \
    group by 1 order by 1";

/// Replicas count one after the other ("gcusage" in ASCII), until the end of the transaction.
pub(super) const TAKE_TURN: &str = "select pg_advisory_xact_lock(29101278699284325)";

/// The hour that is to be counted, as of `$1`; hours that ended after `$2` wait.
pub(super) const DUE: &str = "\
    with fresh as ( \
        select coalesce((select max(bucket_hour) + interval '1 hour' from usage_hours), '-infinity'::timestamptz) as begins, \
            date_trunc('hour', $2, 'UTC') as ends \
    ) \
    select coalesce( \
        (select min(bucket_hour) from usage_hours where open and counted_at < $1), \
        (select date_trunc('hour', min(first), 'UTC') from ( \
            select (select min(start_time) from traces where tenant_id = tenants.id and start_time >= fresh.begins and start_time < fresh.ends) as first \
            from tenants, fresh) as firsts), \
        (select ends - interval '1 hour' from fresh where ends - interval '1 hour' >= begins) \
    ) as hour";

/// Whether runs that began in the hour go on, or ended so lately (`$2`) that the last of them may not be written.
pub(super) const OPEN: &str = "\
    select exists ( \
        select from tenants join traces on traces.tenant_id = tenants.id and start_time >= $1 and start_time < $1 + interval '1 hour' \
        where traces.status = 'running' or end_time > $2 \
    ) as open";

pub(super) const FORGET: &str = "delete from usage_snapshots using tenants where tenant_id = tenants.id and bucket_hour = $1";

pub(super) const COUNT: &str = concat!(
    "with ",
    counted!("tenants join traces on traces.tenant_id = tenants.id and start_time >= $1 and start_time < $1 + interval '1 hour'"),
    " insert into usage_snapshots (tenant_id, bucket_hour, provider, model, channel, agent_id, ",
    measures!(),
    ") select tenant_id, bucket_hour, provider, model, channel, agent_id, ",
    measures!(),
    " from counted"
);

/// The totals of the hour, after its snapshots.
pub(super) const FORGET_TOTALS: &str = "delete from usage_totals using tenants where tenant_id = tenants.id and bucket_hour = $1";
pub(super) const COUNT_TOTALS: &str = concat!(
    "insert into usage_totals (tenant_id, bucket_hour, ",
    measures!(),
    ") select tenant_id, bucket_hour, ",
    sums!(),
    " from tenants join usage_snapshots on tenant_id = tenants.id and bucket_hour = $1 group by tenant_id, bucket_hour"
);

/// The day of the hour, from all its snapshots: a sum that is made anew is exact.
pub(super) const FORGET_DAY: &str = "delete from usage_days using tenants where tenant_id = tenants.id and bucket_day = date_trunc('day', $1, 'UTC')";
pub(super) const COUNT_DAY: &str = concat!(
    "insert into usage_days (tenant_id, bucket_day, provider, model, channel, agent_id, ",
    measures!(),
    ") select tenant_id, date_trunc('day', $1, 'UTC'), provider, model, channel, agent_id, ",
    sums!(),
    " from tenants join usage_snapshots on tenant_id = tenants.id \
        and bucket_hour >= date_trunc('day', $1, 'UTC') and bucket_hour < date_trunc('day', $1, 'UTC') + interval '24 hours' \
    group by tenant_id, provider, model, channel, agent_id"
);

pub(super) const NOTE: &str = "\
    insert into usage_hours (bucket_hour, open, counted_at) values ($1, $2, $3) \
    on conflict (bucket_hour) do update set open = excluded.open, counted_at = excluded.counted_at";
