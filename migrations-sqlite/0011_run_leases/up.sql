-- Until when a run's process vouches for it.
alter table traces add column lease_until integer not null default 0;
drop index traces_running;
create index traces_by_lease on traces (lease_until) where status = 'running';
