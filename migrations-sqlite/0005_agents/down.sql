drop index agents_summoning;
drop index agent_shares_by_id;
alter table agent_shares drop column id;
