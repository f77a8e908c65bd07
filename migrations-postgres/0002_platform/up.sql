-- A membership has an id of its own, and may say more about the member.
alter table tenant_users
    add column id uuid not null default gen_random_uuid(),
    add column display_name text,
    add column metadata jsonb not null default '{}';
create index tenant_users_by_user on tenant_users (user_id);

-- Who asks to be let in. A code is enough to be asked about, so it is unique over all tenants.
create table pairing_requests (
    code text collate "C" primary key,
    tenant_id uuid not null references tenants (id) on delete cascade,
    sender text collate "C" not null,
    channel text collate "C" not null,
    chat_id text not null default '',
    account_id text not null default '',
    user_id text collate "C" not null default '',
    counted_as text collate "C" not null default '',
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    unique (tenant_id, channel, sender)
);
create index pairing_requests_by_sender on pairing_requests (channel, sender);
select goclaw_protect('pairing_requests');

create table paired_devices (
    tenant_id uuid not null references tenants (id) on delete cascade,
    sender text collate "C" not null,
    channel text collate "C" not null,
    chat_id text not null default '',
    user_id text collate "C" not null default '',
    paired_by text not null default '',
    metadata jsonb not null default '{}',
    paired_at timestamptz not null default now(),
    expires_at timestamptz not null,
    primary key (tenant_id, channel, sender)
);
create index paired_devices_by_sender on paired_devices (channel, sender);
select goclaw_protect('paired_devices');

create table agent_config_permissions (
    id uuid not null,
    tenant_id uuid not null,
    agent_id uuid not null,
    scope text collate "C" not null,
    config_type text collate "C" not null,
    user_id text collate "C" not null,
    permission text not null,
    granted_by text not null default '',
    metadata jsonb not null default '{}',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, agent_id, scope, config_type, user_id),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
);
select goclaw_protect('agent_config_permissions');

-- What the replicas tell each other. It matters for minutes only, so it is kept out of the write-ahead log. Events of
-- all tenants travel in one row: only the engine reads it.
create unlogged table bus_events (
    origin uuid not null,
    seq bigint not null,
    events text not null,
    created_at timestamptz not null default now(),
    primary key (origin, seq)
);
create index bus_events_by_age on bus_events (created_at);
revoke all on bus_events from goclaw_tenant;

-- When each bucket of the rate limits is full again; one that is full is the same as none. Rows change all the time and
-- stay where they are, if their pages have room.
create unlogged table rate_limits (
    key text collate "C" primary key,
    full_at timestamptz not null,
    -- Whether the last one who asked got a token.
    taken boolean not null
) with (fillfactor = 50);
revoke all on rate_limits from goclaw_tenant;
