drop table subagent_tasks;
