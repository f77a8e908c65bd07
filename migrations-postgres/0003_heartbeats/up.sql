-- When and how agents look after their checklists, and what came of it. The engine claims what is due over all tenants.
create table agent_heartbeats (
    id uuid not null,
    tenant_id uuid not null,
    agent_id uuid not null,
    enabled boolean not null,
    interval_sec bigint not null,
    prompt text,
    -- A provider of the tenant; one that it has not stored itself is known by its name.
    provider_id uuid references llm_providers (id) on delete set null,
    provider_name text,
    model text,
    isolated_session boolean not null,
    light_context boolean not null,
    ack_max_chars bigint not null,
    max_retries integer not null,
    active_hours_start text,
    active_hours_end text,
    timezone text,
    channel text,
    chat_id text,
    next_run_at timestamptz,
    last_run_at timestamptz,
    last_status text,
    last_error text,
    run_count bigint not null default 0,
    suppress_count bigint not null default 0,
    metadata jsonb,
    -- Set while it is to run at once.
    woken_at timestamptz,
    claim uuid,
    claimed_until timestamptz,
    -- The due time of which the log says already that it was put off.
    put_off_from timestamptz,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    primary key (tenant_id, id),
    unique (tenant_id, agent_id),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
);
create index agent_heartbeats_due on agent_heartbeats (next_run_at) where enabled;
create index agent_heartbeats_woken on agent_heartbeats (woken_at) where woken_at is not null;
create index agent_heartbeats_by_provider on agent_heartbeats (provider_id) where provider_id is not null;
select goclaw_protect('agent_heartbeats');

create table heartbeat_run_logs (
    id uuid not null,
    tenant_id uuid not null,
    heartbeat_id uuid not null,
    agent_id uuid not null,
    status text not null,
    summary text,
    error text,
    duration_ms bigint,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    skip_reason text,
    metadata jsonb,
    ran_at timestamptz not null,
    created_at timestamptz not null,
    primary key (tenant_id, id),
    foreign key (tenant_id, heartbeat_id) references agent_heartbeats (tenant_id, id) on delete cascade
);
create index heartbeat_run_logs_by_age on heartbeat_run_logs (tenant_id, heartbeat_id, ran_at desc, id desc);
select goclaw_protect('heartbeat_run_logs');
