drop table heartbeat_run_logs;
drop table agent_heartbeats;
