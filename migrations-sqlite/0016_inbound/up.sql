-- Messages that were accepted and are not answered yet. A process holds its own until lease_until.
create table inbound_messages (
    id text not null primary key,
    tenant_id text not null,
    session_key text not null,
    agent_id text not null,
    text text not null,
    origin_channel text not null,
    origin_chat_id text not null,
    origin_peer_kind text not null,
    origin_user_id text not null,
    origin_role text not null,
    metadata text not null default '{}',
    -- The message's number in its conversation, once it is in there.
    said integer,
    attempts integer not null default 0,
    lease_owner text not null,
    lease_until integer not null,
    created_at integer not null,
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
) strict;
create index inbound_messages_by_session on inbound_messages (tenant_id, session_key);
create index inbound_messages_by_agent on inbound_messages (tenant_id, agent_id);
create index inbound_messages_by_lease on inbound_messages (lease_until);
