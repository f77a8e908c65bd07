-- Tasks that a run handed over to another. A process holds its own until lease_until.
create table subagent_tasks (
    id uuid primary key,
    tenant_id uuid not null,
    kind text not null,
    parent_agent_id uuid not null,
    parent_agent_key text not null,
    session_key text collate "C" not null,
    agent_id uuid not null,
    agent_key text not null,
    link_id uuid,
    subject text not null default '',
    description text not null default '',
    status text not null,
    result text not null default '',
    depth integer not null,
    model text not null default '',
    provider text not null default '',
    iterations integer not null default 0,
    input_tokens bigint not null default 0,
    output_tokens bigint not null default 0,
    origin_channel text not null default '',
    origin_chat_id text not null default '',
    origin_peer_kind text not null default '',
    origin_user_id text not null default '',
    origin_role text not null,
    spawned_by text not null default '',
    lease_owner uuid not null,
    lease_until timestamptz not null,
    told_at timestamptz,
    completed_at timestamptz,
    archive_at timestamptz,
    archived_at timestamptz,
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    foreign key (tenant_id, parent_agent_id) references agents (tenant_id, id) on delete cascade
);
create index subagent_tasks_by_session on subagent_tasks (tenant_id, session_key, created_at);
create index subagent_tasks_by_parent on subagent_tasks (tenant_id, parent_agent_id);
create index subagent_tasks_running on subagent_tasks (tenant_id) where status = 'running';
create index subagent_tasks_held on subagent_tasks (lease_owner, lease_until) where status = 'running' or told_at is null;
create index subagent_tasks_archive on subagent_tasks (archive_at) where archived_at is null;
create index subagent_tasks_archived on subagent_tasks (archived_at) where archived_at is not null;
select goclaw_protect('subagent_tasks');
