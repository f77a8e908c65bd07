drop index traces_by_start;
drop table usage_hours;
drop table usage_snapshots;
