-- Ids are UUIDs as lower-case hyphenated text, times are microseconds since 1970 (UTC), JSON is text, booleans are 0 or 1.

create table tenants (
    id text not null primary key,
    name text not null,
    slug text not null unique,
    status text not null,
    settings text not null default '{}',
    created_at integer not null,
    updated_at integer not null
) strict;

insert into tenants (id, name, slug, status, settings, created_at, updated_at)
select '0193a5b0-7000-7000-8000-000000000001', 'Master', 'master', 'active', '{}', now, now
from (select cast(unixepoch('subsec') * 1000 as integer) * 1000 as now);

create table tenant_users (
    tenant_id text not null references tenants (id) on delete cascade,
    user_id text not null,
    role text not null,
    created_at integer not null,
    updated_at integer not null,
    primary key (tenant_id, user_id)
) strict, without rowid;

create table api_keys (
    id text not null primary key,
    tenant_id text references tenants (id) on delete cascade,
    name text not null,
    prefix text not null,
    key_hash text not null unique,
    scopes text not null,
    owner_id text not null default '',
    expires_at integer,
    last_used_at integer,
    revoked integer not null default 0,
    created_by text not null default '',
    created_at integer not null,
    updated_at integer not null
) strict;
create index api_keys_by_tenant on api_keys (tenant_id, created_at desc, id desc);

create table agents (
    id text not null primary key,
    tenant_id text not null references tenants (id) on delete cascade,
    agent_key text not null,
    display_name text not null default '',
    frontmatter text not null default '',
    owner_id text not null,
    provider text not null default '',
    model text not null default '',
    context_window integer not null,
    max_tool_iterations integer not null,
    workspace text not null default '',
    agent_type text not null,
    is_default integer not null default 0,
    status text not null,
    budget_monthly_cents integer,
    tools_config text not null default '{}',
    sandbox_config text,
    subagents_config text,
    memory_config text,
    compaction_config text,
    context_pruning text,
    other_config text not null default '{}',
    created_at integer not null,
    updated_at integer not null,
    unique (tenant_id, agent_key),
    unique (tenant_id, id)
) strict;
create index agents_by_creation on agents (tenant_id, created_at desc, id desc);
create unique index agents_one_default on agents (tenant_id) where is_default = 1;

-- What belongs to an agent refers to it together with its tenant, so that no row can hang on another tenant's agent.
create table agent_shares (
    agent_id text not null,
    tenant_id text not null,
    user_id text not null,
    role text not null,
    granted_by text not null,
    created_at integer not null,
    updated_at integer not null,
    primary key (agent_id, user_id),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
) strict, without rowid;
create index agent_shares_by_user on agent_shares (tenant_id, user_id);

create table agent_context_files (
    agent_id text not null,
    tenant_id text not null,
    file_name text not null,
    content text not null,
    updated_at integer not null,
    primary key (agent_id, file_name),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
) strict;

create table user_context_files (
    agent_id text not null,
    tenant_id text not null,
    user_id text not null,
    file_name text not null,
    content text not null,
    updated_at integer not null,
    primary key (agent_id, user_id, file_name),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
) strict;

create table user_agent_profiles (
    agent_id text not null,
    tenant_id text not null,
    user_id text not null,
    workspace text not null,
    first_seen_at integer not null,
    last_seen_at integer not null,
    metadata text not null default '{}',
    primary key (agent_id, user_id),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
) strict, without rowid;

create table llm_providers (
    id text not null primary key,
    tenant_id text not null references tenants (id) on delete cascade,
    name text not null,
    display_name text not null default '',
    provider_type text not null,
    api_base text not null default '',
    api_key text,
    enabled integer not null,
    settings text not null default '{}',
    created_at integer not null,
    updated_at integer not null,
    unique (tenant_id, name)
) strict;

create table sessions (
    id text not null primary key,
    tenant_id text not null references tenants (id) on delete cascade,
    session_key text not null,
    agent_id text,
    user_id text not null default '',
    summary text not null default '',
    model text not null default '',
    provider text not null default '',
    channel text not null default '',
    label text not null default '',
    input_tokens integer not null default 0,
    output_tokens integer not null default 0,
    compaction_count integer not null default 0,
    metadata text not null default '{}',
    message_count integer not null default 0,
    message_bytes integer not null default 0,
    next_seq integer not null default 1,
    created_at integer not null,
    updated_at integer not null,
    unique (tenant_id, session_key),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
) strict;
create index sessions_by_agent on sessions (tenant_id, agent_id);
-- The lists are read from these two alone; the table is visited for the rows of one page only.
create index sessions_by_update on sessions (tenant_id, updated_at desc, session_key);
create index sessions_by_user on sessions (tenant_id, user_id, updated_at desc, session_key);

create table session_messages (
    session_id text not null references sessions (id) on delete cascade,
    tenant_id text not null,
    seq integer not null,
    message text not null,
    created_at integer not null,
    primary key (session_id, seq)
) strict;

create table config_secrets (
    tenant_id text not null references tenants (id) on delete cascade,
    name text not null,
    value text not null,
    updated_at integer not null,
    primary key (tenant_id, name)
) strict, without rowid;

create table system_configs (
    tenant_id text not null references tenants (id) on delete cascade,
    key text not null,
    value text not null,
    updated_at integer not null,
    primary key (tenant_id, key)
) strict, without rowid;

-- A trace names its agent without a foreign key: it outlives the agent, for the accounts.
create table traces (
    id text not null primary key,
    tenant_id text not null references tenants (id) on delete cascade,
    parent_trace_id text,
    agent_id text,
    user_id text not null default '',
    session_key text not null default '',
    run_id text not null default '',
    start_time integer not null,
    end_time integer,
    duration_ms integer,
    name text not null default '',
    channel text not null default '',
    input_preview text not null default '',
    output_preview text not null default '',
    total_input_tokens integer not null default 0,
    total_output_tokens integer not null default 0,
    total_cost real not null default 0,
    span_count integer not null default 0,
    llm_call_count integer not null default 0,
    tool_call_count integer not null default 0,
    status text not null,
    error text not null default '',
    metadata text not null default '{}',
    tags text not null default '[]',
    team_id text,
    created_at integer not null
) strict;
create index traces_by_creation on traces (tenant_id, created_at desc, id desc);
create index traces_by_user on traces (tenant_id, user_id, created_at desc, id desc);
create index traces_by_agent on traces (tenant_id, agent_id, created_at desc, id desc);
create index traces_by_session on traces (tenant_id, session_key, created_at desc, id desc);
create index traces_by_age on traces (created_at);
create index traces_running on traces (start_time) where status = 'running';

create table spans (
    id text not null primary key,
    tenant_id text not null references tenants (id) on delete cascade,
    trace_id text not null references traces (id) on delete cascade,
    parent_span_id text,
    agent_id text,
    span_type text not null,
    name text not null default '',
    start_time integer not null,
    end_time integer,
    duration_ms integer,
    status text not null,
    error text not null default '',
    level text not null default 'DEFAULT',
    model text not null default '',
    provider text not null default '',
    input_tokens integer,
    output_tokens integer,
    total_cost real,
    finish_reason text not null default '',
    tool_name text not null default '',
    tool_call_id text not null default '',
    input_preview text not null default '',
    output_preview text not null default '',
    metadata text not null default '{}',
    created_at integer not null
) strict;
create index spans_by_trace on spans (trace_id, start_time);
create index spans_running on spans (start_time) where status = 'running';

create table activity_logs (
    id text not null primary key,
    tenant_id text not null references tenants (id) on delete cascade,
    actor_type text not null,
    actor_id text not null,
    action text not null,
    entity_type text not null default '',
    entity_id text not null default '',
    details text,
    ip_address text not null default '',
    created_at integer not null
) strict;
create index activity_logs_by_creation on activity_logs (tenant_id, created_at desc, id desc);

create table builtin_tools (
    name text not null primary key,
    display_name text not null,
    description text not null,
    category text not null,
    enabled integer not null,
    settings text not null default '{}',
    requires text not null default '[]',
    metadata text not null default '{}',
    created_at integer not null,
    updated_at integer not null
) strict;

create table builtin_tool_tenant_configs (
    tool_name text not null references builtin_tools (name) on delete cascade,
    tenant_id text not null references tenants (id) on delete cascade,
    enabled integer not null,
    updated_at integer not null,
    primary key (tool_name, tenant_id)
) strict, without rowid;
create index builtin_tool_tenant_configs_by_tenant on builtin_tool_tenant_configs (tenant_id, tool_name);
