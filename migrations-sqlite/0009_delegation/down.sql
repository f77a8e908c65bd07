drop table agent_links;
