drop index traces_by_lease;
alter table traces drop column lease_until;
create index traces_running on traces (start_time) where status = 'running';
