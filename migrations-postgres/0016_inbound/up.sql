-- Messages that were accepted and are not answered yet. A process holds its own until lease_until.
create table inbound_messages (
    id uuid primary key,
    tenant_id uuid not null,
    session_key text collate "C" not null,
    agent_id uuid not null,
    text text not null,
    origin_channel text not null,
    origin_chat_id text not null,
    origin_peer_kind text not null,
    origin_user_id text not null,
    origin_role text not null,
    metadata jsonb not null default '{}',
    -- The message's number in its conversation, once it is in there.
    said bigint,
    attempts integer not null default 0,
    lease_owner uuid not null,
    lease_until timestamptz not null,
    created_at timestamptz not null,
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
);
create index inbound_messages_by_session on inbound_messages (tenant_id, session_key);
create index inbound_messages_by_agent on inbound_messages (tenant_id, agent_id);
create index inbound_messages_by_lease on inbound_messages (lease_until);
select goclaw_protect('inbound_messages');
