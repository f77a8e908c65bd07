drop table agent_config_permissions;
drop table paired_devices;
drop table pairing_requests;

create table tenant_members (
    tenant_id text not null references tenants (id) on delete cascade,
    user_id text not null,
    role text not null,
    created_at integer not null,
    updated_at integer not null,
    primary key (tenant_id, user_id)
) strict, without rowid;

insert into tenant_members (tenant_id, user_id, role, created_at, updated_at)
select tenant_id, user_id, role, created_at, updated_at from tenant_users;

drop table tenant_users;
alter table tenant_members rename to tenant_users;
