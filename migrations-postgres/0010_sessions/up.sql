-- Lists of sessions are counted and paged in these two alone; the table is visited for the rows of one page only.
drop index sessions_by_update;
create index sessions_by_update on sessions (tenant_id, updated_at desc, id desc) include (session_key);
drop index sessions_by_user;
create index sessions_by_user on sessions (tenant_id, user_id, updated_at desc, id desc) include (session_key);
