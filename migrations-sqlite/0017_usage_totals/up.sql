-- What whole tenants took by hour, and what usage_snapshots says by day, kept with the snapshots so that long times need few rows.
create table usage_totals (
    tenant_id text not null references tenants (id) on delete cascade,
    bucket_hour integer not null,
    input_tokens integer not null,
    output_tokens integer not null,
    cache_read_tokens integer not null,
    cache_create_tokens integer not null,
    thinking_tokens integer not null,
    total_cost real not null,
    request_count integer not null,
    llm_call_count integer not null,
    tool_call_count integer not null,
    error_count integer not null,
    unique_users integer not null,
    duration_ms integer not null,
    memory_docs integer not null,
    memory_chunks integer not null,
    kg_entities integer not null,
    kg_relations integer not null,
    primary key (tenant_id, bucket_hour)
) strict, without rowid;

create table usage_days (
    tenant_id text not null references tenants (id) on delete cascade,
    bucket_day integer not null,
    provider text not null,
    model text not null,
    channel text not null,
    agent_id text not null,
    input_tokens integer not null,
    output_tokens integer not null,
    cache_read_tokens integer not null,
    cache_create_tokens integer not null,
    thinking_tokens integer not null,
    total_cost real not null,
    request_count integer not null,
    llm_call_count integer not null,
    tool_call_count integer not null,
    error_count integer not null,
    unique_users integer not null,
    duration_ms integer not null,
    memory_docs integer not null,
    memory_chunks integer not null,
    kg_entities integer not null,
    kg_relations integer not null,
    primary key (tenant_id, bucket_day, provider, model, channel, agent_id)
) strict, without rowid;
create index usage_days_by_agent on usage_days (tenant_id, agent_id, bucket_day);

insert into usage_totals
    select tenant_id, bucket_hour, sum(input_tokens), sum(output_tokens), sum(cache_read_tokens), sum(cache_create_tokens), sum(thinking_tokens),
        total(total_cost), sum(request_count), sum(llm_call_count), sum(tool_call_count), sum(error_count), sum(unique_users), sum(duration_ms),
        sum(memory_docs), sum(memory_chunks), sum(kg_entities), sum(kg_relations)
    from usage_snapshots group by tenant_id, bucket_hour;
insert into usage_days
    select tenant_id, bucket_hour - bucket_hour % 86400000000, provider, model, channel, agent_id, sum(input_tokens), sum(output_tokens),
        sum(cache_read_tokens), sum(cache_create_tokens), sum(thinking_tokens), total(total_cost), sum(request_count), sum(llm_call_count),
        sum(tool_call_count), sum(error_count), sum(unique_users), sum(duration_ms), sum(memory_docs), sum(memory_chunks), sum(kg_entities),
        sum(kg_relations)
    from usage_snapshots group by tenant_id, bucket_hour - bucket_hour % 86400000000, provider, model, channel, agent_id;

-- Traces made before this may be gone, for all tenants; what they cost is known from the snapshots.
create table trace_retention (
    only_row integer not null primary key default 1 check (only_row = 1),
    kept_from integer not null
) strict;
