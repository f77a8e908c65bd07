-- A share gets an id. Those that are there get random ids (UUID version 4).
alter table agent_shares add column id text not null default '';

update agent_shares set id =
    lower(hex(randomblob(4))) || '-' || lower(hex(randomblob(2))) || '-4' || substr(lower(hex(randomblob(2))), 2) || '-'
        || substr('89ab', 1 + (random() & 3), 1) || substr(lower(hex(randomblob(2))), 2) || '-' || lower(hex(randomblob(6)));

create unique index agent_shares_by_id on agent_shares (id);

-- Who is at work on an agent is asked over all tenants.
create index agents_summoning on agents (updated_at) where status = 'summoning';
