-- A share gets an id.
alter table agent_shares add column id uuid not null default gen_random_uuid();

-- Who is at work on an agent is asked over all tenants.
create index agents_summoning on agents (updated_at) where status = 'summoning';
