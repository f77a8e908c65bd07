-- Files that came with messages. They outlive their sessions until the disk has let go of them.
create table media (
    id uuid primary key,
    tenant_id uuid not null references tenants (id) on delete cascade,
    session_key text collate "C" not null,
    path text not null,
    mime_type text not null,
    created_at timestamptz not null
);
create index media_by_session on media (tenant_id, session_key, created_at);
create index media_by_age on media (created_at);
select goclaw_protect('media');
