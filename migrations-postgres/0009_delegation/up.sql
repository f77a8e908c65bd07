-- Which agent may hand work to which.
create table agent_links (
    id uuid not null,
    tenant_id uuid not null,
    source_agent_id uuid not null,
    target_agent_id uuid not null,
    direction text not null,
    description text not null default '',
    max_concurrent integer not null,
    settings jsonb,
    status text not null,
    created_by text not null default '',
    created_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (tenant_id, id),
    unique (tenant_id, source_agent_id, target_agent_id),
    check (source_agent_id <> target_agent_id),
    foreign key (tenant_id, source_agent_id) references agents (tenant_id, id) on delete cascade,
    foreign key (tenant_id, target_agent_id) references agents (tenant_id, id) on delete cascade
);
create index agent_links_by_target on agent_links (tenant_id, target_agent_id);
select goclaw_protect('agent_links');
