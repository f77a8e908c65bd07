drop table trace_retention;
drop table usage_days;
drop table usage_totals;
