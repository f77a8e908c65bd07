-- Two roles that nobody can log in as. The gateway's connections switch to one of them, so that row-level security
-- holds whoever the connecting user is. Roles belong to the whole cluster: another database, or another migrator at
-- this very moment, may have made them already.
do $$
begin
    for attempt in 1..20 loop
        begin
            if not exists (select from pg_roles where rolname = 'goclaw_tenant') then
                create role goclaw_tenant nologin;
            end if;
            if not exists (select from pg_roles where rolname = 'goclaw_engine') then
                create role goclaw_engine nologin;
            end if;
            exit;
        exception when duplicate_object or unique_violation or internal_error then
            perform pg_sleep(0.05);
        when insufficient_privilege then
            raise exception 'the database user "%" may not create the roles goclaw_tenant and goclaw_engine: it needs the right CREATEROLE', current_user
                using errcode = 'insufficient_privilege';
        end;
    end loop;
    for attempt in 1..20 loop
        begin
            execute format('grant goclaw_tenant, goclaw_engine to %I', current_user);
            exit;
        exception when duplicate_object or unique_violation or internal_error then
            perform pg_sleep(0.05);
        when insufficient_privilege then
            -- An administrator may have granted them.
            if pg_has_role(current_user, 'goclaw_tenant', 'member') and pg_has_role(current_user, 'goclaw_engine', 'member') then
                exit;
            end if;
            raise exception 'the database user "%" may not use the roles goclaw_tenant and goclaw_engine: it needs the right CREATEROLE, or membership in both', current_user
                using errcode = 'insufficient_privilege';
        end;
    end loop;
    execute format('grant usage on schema %I to goclaw_tenant, goclaw_engine', current_schema());
    execute format('alter default privileges in schema %I grant select, insert, update, delete on tables to goclaw_tenant, goclaw_engine', current_schema());
    execute format('alter default privileges in schema %I grant usage, select on sequences to goclaw_tenant, goclaw_engine', current_schema());
end
$$;

grant select on __diesel_schema_migrations to goclaw_engine;

-- Walls a table's rows off by tenant. Every table with rows of a tenant is given to it.
create function goclaw_protect(target regclass, tenant_column name default 'tenant_id') returns void language plpgsql as $$
declare
    -- A sub-select, so that it is worked out once per statement instead of once per row.
    own constant text := format('%I = (select nullif(current_setting(''goclaw.tenant'', true), '''')::uuid)', tenant_column);
begin
    execute format('alter table %s enable row level security', target);
    execute format('alter table %s force row level security', target);
    execute format('create policy tenant_rows on %s to goclaw_tenant using (%s) with check (%s)', target, own, own);
    execute format('create policy engine_rows on %s to goclaw_engine using (true) with check (true)', target);
end
$$;
revoke execute on function goclaw_protect(regclass, name) from public;

-- Names that lists are ordered by compare bytewise (collate "C"), as in the other edition; it also lets plain indexes
-- serve prefix searches. Keys of child tables begin with the tenant: a row can neither hang on another tenant's parent
-- nor collide with another tenant's row.

create table tenants (
    id uuid primary key,
    name text not null,
    slug text collate "C" not null unique,
    status text not null default 'active',
    settings jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
insert into tenants (id, name, slug) values ('0193a5b0-7000-7000-8000-000000000001', 'Master', 'master');
select goclaw_protect('tenants', 'id');

create table tenant_users (
    tenant_id uuid not null references tenants (id) on delete cascade,
    user_id text collate "C" not null,
    role text not null,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, user_id)
);
select goclaw_protect('tenant_users');

create table api_keys (
    id uuid primary key,
    tenant_id uuid references tenants (id) on delete cascade,
    name text not null,
    prefix text not null,
    key_hash text collate "C" not null unique,
    scopes jsonb not null default '[]',
    owner_id text not null default '',
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked boolean not null default false,
    created_by text not null default '',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
create index api_keys_by_age on api_keys (tenant_id, created_at desc, id desc);
select goclaw_protect('api_keys');

create table agents (
    id uuid primary key,
    tenant_id uuid not null references tenants (id) on delete cascade,
    agent_key text collate "C" not null,
    display_name text not null default '',
    frontmatter text not null default '',
    owner_id text collate "C" not null,
    provider text not null default '',
    model text not null default '',
    context_window bigint not null,
    max_tool_iterations integer not null,
    workspace text not null default '',
    agent_type text not null,
    is_default boolean not null default false,
    status text not null,
    budget_monthly_cents bigint,
    tools_config jsonb not null default '{}',
    sandbox_config jsonb,
    subagents_config jsonb,
    memory_config jsonb,
    compaction_config jsonb,
    context_pruning jsonb,
    other_config jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (tenant_id, agent_key),
    unique (tenant_id, id)
);
create unique index agents_one_default on agents (tenant_id) where is_default;
create index agents_by_age on agents (tenant_id, created_at desc, id desc);
select goclaw_protect('agents');

create table agent_shares (
    agent_id uuid not null,
    tenant_id uuid not null,
    user_id text collate "C" not null,
    role text not null,
    granted_by text not null default '',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, agent_id, user_id),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
);
create index agent_shares_by_user on agent_shares (tenant_id, user_id);
select goclaw_protect('agent_shares');

create table agent_context_files (
    agent_id uuid not null,
    tenant_id uuid not null,
    file_name text collate "C" not null,
    content text not null,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, agent_id, file_name),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
);
select goclaw_protect('agent_context_files');

create table user_context_files (
    agent_id uuid not null,
    tenant_id uuid not null,
    user_id text collate "C" not null,
    file_name text collate "C" not null,
    content text not null,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, agent_id, user_id, file_name),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
);
select goclaw_protect('user_context_files');

create table user_agent_profiles (
    agent_id uuid not null,
    tenant_id uuid not null,
    user_id text collate "C" not null,
    workspace text not null,
    first_seen_at timestamptz not null,
    last_seen_at timestamptz not null,
    metadata jsonb not null default '{}',
    primary key (tenant_id, agent_id, user_id),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
);
select goclaw_protect('user_agent_profiles');

create table llm_providers (
    id uuid primary key,
    tenant_id uuid not null references tenants (id) on delete cascade,
    name text collate "C" not null,
    display_name text not null default '',
    provider_type text not null,
    api_base text not null default '',
    api_key text,
    enabled boolean not null default true,
    settings jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (tenant_id, name)
);
select goclaw_protect('llm_providers');

create table sessions (
    id uuid primary key,
    tenant_id uuid not null references tenants (id) on delete cascade,
    session_key text collate "C" not null,
    agent_id uuid,
    user_id text collate "C" not null default '',
    summary text not null default '',
    model text not null default '',
    provider text not null default '',
    channel text not null default '',
    label text not null default '',
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    compaction_count integer not null default 0,
    metadata jsonb not null default '{}',
    message_count bigint not null default 0,
    message_bytes bigint not null default 0,
    next_seq bigint not null default 0,
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    unique (tenant_id, session_key),
    unique (tenant_id, id),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
);
create index sessions_by_update on sessions (tenant_id, updated_at desc, id desc);
create index sessions_by_user on sessions (tenant_id, user_id, updated_at desc, id desc);
create index sessions_by_agent on sessions (tenant_id, agent_id);
select goclaw_protect('sessions');

create table session_messages (
    session_id uuid not null,
    tenant_id uuid not null,
    seq bigint not null,
    message jsonb not null,
    created_at timestamptz not null default now(),
    primary key (tenant_id, session_id, seq),
    foreign key (tenant_id, session_id) references sessions (tenant_id, id) on delete cascade
);
select goclaw_protect('session_messages');

create table config_secrets (
    tenant_id uuid not null references tenants (id) on delete cascade,
    name text collate "C" not null,
    value text not null,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, name)
);
select goclaw_protect('config_secrets');

create table system_configs (
    tenant_id uuid not null references tenants (id) on delete cascade,
    key text collate "C" not null,
    value text not null,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, key)
);
select goclaw_protect('system_configs');

-- Traces outlive agents: agent_id refers to nothing.
create table traces (
    id uuid primary key,
    tenant_id uuid not null references tenants (id) on delete cascade,
    parent_trace_id uuid,
    agent_id uuid,
    user_id text not null default '',
    session_key text collate "C" not null default '',
    run_id text not null default '',
    start_time timestamptz not null,
    end_time timestamptz,
    duration_ms bigint,
    name text not null default '',
    channel text not null default '',
    input_preview text not null default '',
    output_preview text not null default '',
    total_input_tokens bigint not null default 0,
    total_output_tokens bigint not null default 0,
    total_cost double precision not null default 0,
    span_count integer not null default 0,
    llm_call_count integer not null default 0,
    tool_call_count integer not null default 0,
    status text not null,
    error text not null default '',
    metadata jsonb not null default '{}',
    tags jsonb not null default '[]',
    team_id uuid,
    created_at timestamptz not null default now(),
    unique (tenant_id, id)
);
create index traces_by_age on traces (tenant_id, created_at desc, id desc);
create index traces_by_session on traces (tenant_id, session_key);
create index traces_running on traces (start_time) where status = 'running';
create index traces_to_prune on traces (created_at);
select goclaw_protect('traces');

create table spans (
    id uuid not null,
    tenant_id uuid not null,
    trace_id uuid not null,
    parent_span_id uuid,
    agent_id uuid,
    span_type text not null,
    name text not null default '',
    start_time timestamptz not null,
    end_time timestamptz,
    duration_ms bigint,
    status text not null,
    error text not null default '',
    level text not null default 'DEFAULT',
    model text not null default '',
    provider text not null default '',
    input_tokens bigint,
    output_tokens bigint,
    total_cost double precision,
    finish_reason text not null default '',
    tool_name text not null default '',
    tool_call_id text not null default '',
    input_preview text not null default '',
    output_preview text not null default '',
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    primary key (tenant_id, id),
    foreign key (tenant_id, trace_id) references traces (tenant_id, id) on delete cascade
);
create index spans_by_trace on spans (tenant_id, trace_id, start_time);
create index spans_running on spans (start_time) where status = 'running';
select goclaw_protect('spans');

create table activity_logs (
    id uuid primary key,
    tenant_id uuid not null references tenants (id) on delete cascade,
    actor_type text not null,
    actor_id text not null,
    action text not null,
    entity_type text not null default '',
    entity_id text not null default '',
    details jsonb,
    ip_address text not null default '',
    created_at timestamptz not null default now()
);
create index activity_logs_by_age on activity_logs (tenant_id, created_at desc, id desc);
select goclaw_protect('activity_logs');

-- The catalogue is one for all tenants: they read it, only the engine writes it.
create table builtin_tools (
    name text collate "C" primary key,
    display_name text not null,
    description text not null,
    category text collate "C" not null,
    enabled boolean not null default true,
    settings jsonb not null default '{}',
    requires jsonb not null default '[]',
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now()
);
revoke insert, update, delete on builtin_tools from goclaw_tenant;

create table builtin_tool_tenant_configs (
    tool_name text collate "C" not null references builtin_tools (name) on delete cascade,
    tenant_id uuid not null references tenants (id) on delete cascade,
    enabled boolean not null,
    updated_at timestamptz not null default now(),
    primary key (tenant_id, tool_name)
);
create index builtin_tool_tenant_configs_by_tool on builtin_tool_tenant_configs (tool_name);
select goclaw_protect('builtin_tool_tenant_configs');
