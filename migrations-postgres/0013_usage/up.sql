-- What runs took, hour by hour, kept longer than their traces. Rows without provider and model count the runs that users
-- started, the others the model calls of all runs. The nil id stands for no agent; usage outlives agents.
create table usage_snapshots (
    tenant_id uuid not null references tenants (id) on delete cascade,
    bucket_hour timestamptz not null,
    provider text not null,
    model text not null,
    channel text not null,
    agent_id uuid not null,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    cache_read_tokens bigint not null default 0,
    cache_create_tokens bigint not null default 0,
    thinking_tokens bigint not null default 0,
    total_cost double precision not null default 0,
    request_count integer not null default 0,
    llm_call_count integer not null default 0,
    tool_call_count integer not null default 0,
    error_count integer not null default 0,
    unique_users integer not null default 0,
    -- Of all requests together.
    duration_ms bigint not null default 0,
    memory_docs integer not null default 0,
    memory_chunks integer not null default 0,
    kg_entities integer not null default 0,
    kg_relations integer not null default 0,
    primary key (tenant_id, bucket_hour, provider, model, channel, agent_id)
);
create index usage_snapshots_by_agent on usage_snapshots (tenant_id, agent_id, bucket_hour);
select goclaw_protect('usage_snapshots');

-- The hours that were counted, for all tenants. An open one had runs under way, and is counted again.
create table usage_hours (
    bucket_hour timestamptz primary key,
    open boolean not null,
    counted_at timestamptz not null
);
create index usage_hours_open on usage_hours (bucket_hour) where open;
revoke insert, update, delete on usage_hours from goclaw_tenant;

create index traces_by_start on traces (tenant_id, start_time);
