-- A membership gets an id, a name for people and free data. Those that are there get random ids (UUID version 4).
create table tenant_members (
    id text not null unique,
    tenant_id text not null references tenants (id) on delete cascade,
    user_id text not null,
    display_name text,
    role text not null,
    metadata text not null default '{}',
    created_at integer not null,
    updated_at integer not null,
    primary key (tenant_id, user_id)
) strict, without rowid;

insert into tenant_members (id, tenant_id, user_id, role, created_at, updated_at)
select
    lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
        || substr('89ab', 1 + (random() & 3), 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6))),
    tenant_id, user_id, role, created_at, updated_at
from tenant_users;

drop table tenant_users;
alter table tenant_members rename to tenant_users;
create index tenant_users_by_user on tenant_users (user_id, tenant_id);

create table pairing_requests (
    code text not null primary key,
    tenant_id text not null references tenants (id) on delete cascade,
    sender text not null,
    channel text not null,
    chat_id text not null default '',
    account_id text not null default 'default',
    user_id text not null default '',
    counted_as text not null,
    metadata text not null default '{}',
    created_at integer not null,
    expires_at integer not null,
    unique (tenant_id, channel, sender)
) strict, without rowid;
create index pairing_requests_by_sender on pairing_requests (channel, sender);
create index pairing_requests_by_age on pairing_requests (expires_at);

create table paired_devices (
    tenant_id text not null references tenants (id) on delete cascade,
    channel text not null,
    sender text not null,
    chat_id text not null default '',
    user_id text not null default '',
    paired_by text not null,
    metadata text not null default '{}',
    paired_at integer not null,
    expires_at integer not null,
    primary key (tenant_id, channel, sender)
) strict, without rowid;
create index paired_devices_by_sender on paired_devices (channel, sender);
create index paired_devices_by_age on paired_devices (expires_at);

create table agent_config_permissions (
    id text not null unique,
    agent_id text not null,
    tenant_id text not null,
    scope text not null,
    config_type text not null,
    user_id text not null,
    permission text not null,
    granted_by text not null default '',
    metadata text not null default '{}',
    created_at integer not null,
    updated_at integer not null,
    primary key (tenant_id, agent_id, scope, config_type, user_id),
    foreign key (tenant_id, agent_id) references agents (tenant_id, id) on delete cascade
) strict, without rowid;
