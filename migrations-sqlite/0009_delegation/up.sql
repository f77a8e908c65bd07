-- Which agent may hand work to which.
create table agent_links (
    id text not null primary key,
    tenant_id text not null,
    source_agent_id text not null,
    target_agent_id text not null,
    direction text not null,
    description text not null default '',
    max_concurrent integer not null,
    settings text,
    status text not null,
    created_by text not null default '',
    created_at integer not null,
    updated_at integer not null,
    unique (tenant_id, source_agent_id, target_agent_id),
    check (source_agent_id <> target_agent_id),
    foreign key (tenant_id, source_agent_id) references agents (tenant_id, id) on delete cascade,
    foreign key (tenant_id, target_agent_id) references agents (tenant_id, id) on delete cascade
) strict, without rowid;
create index agent_links_by_target on agent_links (tenant_id, target_agent_id);
