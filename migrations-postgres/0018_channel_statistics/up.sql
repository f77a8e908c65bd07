-- How many sessions a channel has, for the planner: without it, it expects hardly any, and sorts thousands for a page of twenty.
create statistics sessions_of_channels on split_part(session_key, ':', 3) from sessions;
