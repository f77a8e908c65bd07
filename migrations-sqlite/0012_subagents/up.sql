-- Tasks that a run handed over to another. A process holds its own until lease_until.
create table subagent_tasks (
    id text not null primary key,
    tenant_id text not null,
    kind text not null,
    parent_agent_id text not null,
    parent_agent_key text not null,
    session_key text not null,
    agent_id text not null,
    agent_key text not null,
    link_id text,
    subject text not null default '',
    description text not null default '',
    status text not null,
    result text not null default '',
    depth integer not null,
    model text not null default '',
    provider text not null default '',
    iterations integer not null default 0,
    input_tokens integer not null default 0,
    output_tokens integer not null default 0,
    origin_channel text not null default '',
    origin_chat_id text not null default '',
    origin_peer_kind text not null default '',
    origin_user_id text not null default '',
    origin_role text not null,
    spawned_by text not null default '',
    lease_owner text not null,
    lease_until integer not null,
    told_at integer,
    completed_at integer,
    archive_at integer,
    archived_at integer,
    metadata text not null default '{}',
    created_at integer not null,
    updated_at integer not null,
    foreign key (tenant_id, parent_agent_id) references agents (tenant_id, id) on delete cascade
) strict;
create index subagent_tasks_by_session on subagent_tasks (tenant_id, session_key, created_at);
create index subagent_tasks_by_parent on subagent_tasks (tenant_id, parent_agent_id);
create index subagent_tasks_running on subagent_tasks (tenant_id) where status = 'running';
create index subagent_tasks_held on subagent_tasks (lease_owner, lease_until) where status = 'running' or told_at is null;
create index subagent_tasks_archive on subagent_tasks (archive_at) where archived_at is null;
create index subagent_tasks_archived on subagent_tasks (archived_at) where archived_at is not null;
