-- A month's costs are summed for an agent; callers below admin list their own traces.
create index traces_by_agent on traces (tenant_id, agent_id, created_at desc, id desc);
create index traces_by_user on traces (tenant_id, user_id, created_at desc, id desc);
