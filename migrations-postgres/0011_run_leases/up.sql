-- Until when a run's process vouches for it. Runs that began before this step are given up after six hours, as they were until now.
alter table traces add column lease_until timestamptz not null default now() + interval '6 hours';
drop index traces_running;
create index traces_by_lease on traces (lease_until) where status = 'running';
