-- What whole tenants took by hour, and what usage_snapshots says by day, kept with the snapshots so that long times need few rows.
create table usage_totals (
    tenant_id uuid not null references tenants (id) on delete cascade,
    bucket_hour timestamptz not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_create_tokens bigint not null,
    thinking_tokens bigint not null,
    total_cost double precision not null,
    request_count bigint not null,
    llm_call_count bigint not null,
    tool_call_count bigint not null,
    error_count bigint not null,
    unique_users bigint not null,
    duration_ms bigint not null,
    memory_docs bigint not null,
    memory_chunks bigint not null,
    kg_entities bigint not null,
    kg_relations bigint not null,
    primary key (tenant_id, bucket_hour)
);
select goclaw_protect('usage_totals');

create table usage_days (
    tenant_id uuid not null references tenants (id) on delete cascade,
    bucket_day timestamptz not null,
    provider text not null,
    model text not null,
    channel text not null,
    agent_id uuid not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_create_tokens bigint not null,
    thinking_tokens bigint not null,
    total_cost double precision not null,
    request_count bigint not null,
    llm_call_count bigint not null,
    tool_call_count bigint not null,
    error_count bigint not null,
    unique_users bigint not null,
    duration_ms bigint not null,
    memory_docs bigint not null,
    memory_chunks bigint not null,
    kg_entities bigint not null,
    kg_relations bigint not null,
    primary key (tenant_id, bucket_day, provider, model, channel, agent_id)
);
create index usage_days_by_agent on usage_days (tenant_id, agent_id, bucket_day);
select goclaw_protect('usage_days');

insert into usage_totals
    select tenant_id, bucket_hour, sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_create_tokens), sum(thinking_tokens),
        sum(total_cost), sum(request_count), sum(llm_call_count), sum(tool_call_count), sum(error_count), sum(unique_users), sum(duration_ms),
        sum(memory_docs), sum(memory_chunks), sum(kg_entities), sum(kg_relations)
    from usage_snapshots group by tenant_id, bucket_hour;
insert into usage_days
    select tenant_id, date_trunc('day', bucket_hour, 'UTC'), provider, model, channel, agent_id, sum(input_tokens), sum(output_tokens),
        sum(cache_read_tokens), sum(cache_create_tokens), sum(thinking_tokens), sum(total_cost), sum(request_count), sum(llm_call_count),
        sum(tool_call_count), sum(error_count), sum(unique_users), sum(duration_ms), sum(memory_docs), sum(memory_chunks), sum(kg_entities),
        sum(kg_relations)
    from usage_snapshots group by tenant_id, date_trunc('day', bucket_hour, 'UTC'), provider, model, channel, agent_id;

-- Traces made before this may be gone, for all tenants; what they cost is known from the snapshots.
create table trace_retention (
    only_row boolean primary key default true check (only_row),
    kept_from timestamptz not null
);
revoke insert, update, delete on trace_retention from goclaw_tenant;
