-- When and how agents look after their checklists, and what came of it. The engine claims what is due over all tenants.
create table agent_heartbeats (
    id text not null primary key,
    tenant_id text not null,
    agent_id text not null,
    enabled integer not null,
    interval_sec integer not null,
    prompt text,
    -- A provider of the tenant; one that it has not stored itself is known by its name.
    provider_id text references llm_providers (id) on delete set null,
    provider_name text,
    model text,
    isolated_session integer not null,
    light_context integer not null,
    ack_max_chars integer not null,
    max_retries integer not null,
    active_hours_start text,
    active_hours_end text,
    timezone text,
    channel text,
    chat_id text,
    next_run_at integer,
    last_run_at integer,
    last_status text,
    last_error text,
    run_count integer not null default 0,
    suppress_count integer not null default 0,
    metadata text,
    -- Set while it is to run at once.
    woken_at integer,
    claim text,
    claimed_until integer,
    -- The due time of which the log says already that it was put off.
    put_off_from integer,
    created_at integer not null,
    updated_at integer not null,
    unique (tenant_id, id),
    unique (tenant_id, agent_id),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
) strict;
create index agent_heartbeats_due on agent_heartbeats (next_run_at) where enabled = 1;
create index agent_heartbeats_woken on agent_heartbeats (woken_at) where woken_at is not null;
create index agent_heartbeats_by_provider on agent_heartbeats (provider_id) where provider_id is not null;

create table heartbeat_run_logs (
    id text not null primary key,
    tenant_id text not null,
    heartbeat_id text not null,
    agent_id text not null,
    status text not null,
    summary text,
    error text,
    duration_ms integer,
    input_tokens integer not null default 0,
    output_tokens integer not null default 0,
    skip_reason text,
    metadata text,
    ran_at integer not null,
    created_at integer not null,
    foreign key (tenant_id, heartbeat_id) references agent_heartbeats (tenant_id, id) on delete cascade
) strict;
create index heartbeat_run_logs_by_age on heartbeat_run_logs (tenant_id, heartbeat_id, ran_at desc, id desc);
