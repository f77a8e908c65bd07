-- What runs took, hour by hour, kept longer than their traces. Rows without provider and model count the runs that users
-- started, the others the model calls of all runs. '' stands for no agent; usage outlives agents.
create table usage_snapshots (
    tenant_id text not null references tenants (id) on delete cascade,
    bucket_hour integer not null,
    provider text not null,
    model text not null,
    channel text not null,
    agent_id text not null,
    input_tokens integer not null default 0,
    output_tokens integer not null default 0,
    cache_read_tokens integer not null default 0,
    cache_create_tokens integer not null default 0,
    thinking_tokens integer not null default 0,
    total_cost real not null default 0,
    request_count integer not null default 0,
    llm_call_count integer not null default 0,
    tool_call_count integer not null default 0,
    error_count integer not null default 0,
    unique_users integer not null default 0,
    -- Of all requests together.
    duration_ms integer not null default 0,
    memory_docs integer not null default 0,
    memory_chunks integer not null default 0,
    kg_entities integer not null default 0,
    kg_relations integer not null default 0,
    primary key (tenant_id, bucket_hour, provider, model, channel, agent_id)
) strict, without rowid;
create index usage_snapshots_by_agent on usage_snapshots (tenant_id, agent_id, bucket_hour);

-- The hours that were counted, for all tenants. An open one had runs under way, and is counted again.
create table usage_hours (
    bucket_hour integer not null primary key,
    open integer not null,
    counted_at integer not null
) strict;
create index usage_hours_open on usage_hours (bucket_hour) where open;

create index traces_by_start on traces (tenant_id, start_time);
