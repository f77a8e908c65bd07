//! Usage, hour by hour.

mod sql;

use crate::{
    database::Sqlite,
    failure::Failure,
    filter::Filter,
    values::{Columns, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    Result, TenantId,
    usage::{AgentUsage, SessionUsage, SessionUsageFilter, UsageFilter, UsageKey, UsageStore, UsageSum, UserRequests},
};
use rusqlite::{Connection, Row, params, params_from_iter, types::Value};

/// The runs of an hour that began longer ago than this are not waited for any more.
const WAITED_FOR: TimeDelta = TimeDelta::hours(7);
/// How long after its end the last of a run is written at most.
const WRITTEN_WITHIN: TimeDelta = TimeDelta::minutes(5);

fn sum(row: &Row<'_>) -> rusqlite::Result<UsageSum> {
    Ok(UsageSum {
        input_tokens: row.get("input_tokens")?,
        output_tokens: row.get("output_tokens")?,
        cache_read_tokens: row.get("cache_read_tokens")?,
        cache_create_tokens: row.get("cache_create_tokens")?,
        thinking_tokens: row.get("thinking_tokens")?,
        total_cost: row.get("total_cost")?,
        request_count: row.get("request_count")?,
        llm_call_count: row.get("llm_call_count")?,
        tool_call_count: row.get("tool_call_count")?,
        error_count: row.get("error_count")?,
        unique_users: row.get("unique_users")?,
        duration_ms: row.get("duration_ms")?,
        memory_docs: row.get("memory_docs")?,
        memory_chunks: row.get("memory_chunks")?,
        kg_entities: row.get("kg_entities")?,
        kg_relations: row.get("kg_relations")?,
    })
}

/// The conditions of a statement, and all its parameters.
fn conditions(tenant: TenantId, filter: &UsageFilter) -> (String, Vec<Value>) {
    let mut values = vec![Value::from(tenant.to_string()), Value::from(filter.from.timestamp_micros()), Value::from(filter.to.timestamp_micros())];
    let mut conditions = String::from("true");
    let given = [
        ("agent_id", filter.agent_id.map(|id| id.to_string())),
        ("provider", filter.provider.clone()),
        ("model", filter.model.clone()),
        ("channel", filter.channel.clone()),
    ];
    for (column, value) in given {
        if let Some(value) = value {
            values.push(Value::from(value));
            conditions.push_str(&format!(" and {column} = ?{}", values.len()));
        }
    }
    (conditions, values)
}

/// The conversations that took tokens, of one user and one agent if they are given.
fn used_sessions(tenant: TenantId, user: Option<&String>, agent: Option<&String>) -> Filter {
    let mut filter = Filter::tenant(tenant);
    filter.and("(input_tokens > 0 or output_tokens > 0)", []);
    filter.and_equal("user_id", user);
    if let Some(agent) = agent {
        // What begins so: ';' is the character after ':'.
        filter.and("session_key >= ? and session_key < ?", [Value::from(format!("agent:{agent}:")), Value::from(format!("agent:{agent};"))]);
    }
    filter
}

/// What an hour comes to.
struct Counted {
    hour: DateTime<Utc>,
    /// Whether it has runs that go on, so that it is counted again.
    open: bool,
    /// Its snapshots.
    rows: Vec<Vec<Value>>,
}

/// The hour that is to be counted.
fn due(connection: &Connection, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>, Failure> {
    let settled = now - WRITTEN_WITHIN;
    let hour = connection.prepare_cached(sql::DUE)?.query_row(params![Time(now), Time(settled)], |row| row.get::<_, Option<Time>>(0))?;
    Ok(hour.map(|Time(hour)| hour))
}

/// Reads through all runs of the hour that is due, which takes a while if there are many: nobody who writes waits for it.
fn count_hour(connection: &Connection, now: DateTime<Utc>) -> Result<Option<Counted>, Failure> {
    let Some(hour) = due(connection, now)? else { return Ok(None) };
    let settled = now - WRITTEN_WITHIN;
    let open: bool = connection.prepare_cached(sql::OPEN)?.query_row(params![Time(hour), Time(settled)], |row| row.get(0))?;
    let open = open && hour + WAITED_FOR > now;
    let mut statement = connection.prepare_cached(&sql::count())?;
    let columns = statement.column_count();
    let rows = statement.query_map([Time(hour)], |row| (0..columns).map(|column| row.get(column)).collect())?.collect::<rusqlite::Result<_>>()?;
    Ok(Some(Counted { hour, open, rows }))
}

/// Keeps what an hour comes to, in place of what it came to before, unless somebody else counted it meanwhile.
fn keep_hour(connection: &Connection, counted: &Counted, now: DateTime<Utc>) -> Result<bool, Failure> {
    let hour = counted.hour;
    if due(connection, now)? != Some(hour) {
        return Ok(false);
    }
    connection.prepare_cached(sql::FORGET)?.execute([Time(hour)])?;
    let mut keep = connection.prepare_cached(&sql::keep())?;
    for row in &counted.rows {
        keep.execute(params_from_iter(row))?;
    }
    for statement in [sql::FORGET_TOTALS, &sql::count_totals(), sql::FORGET_DAY, &sql::count_day()] {
        connection.prepare_cached(statement)?.execute([Time(hour)])?;
    }
    connection.prepare_cached(sql::NOTE)?.execute(params![Time(hour), counted.open, Time(now)])?;
    Ok(true)
}

#[async_trait]
impl UsageStore for Sqlite {
    async fn hours(&self, tenant: TenantId, filter: &UsageFilter) -> Result<Vec<(DateTime<Utc>, UsageSum)>> {
        let (conditions, values) = conditions(tenant, filter);
        let statement = if filter.takes_all() { sql::hours() } else { sql::matching_hours(&conditions) };
        self.read(move |connection| {
            let hours = connection
                .prepare_cached(&statement)?
                .query_map(params_from_iter(values), |row| Ok((row.time("key")?, sum(row)?)))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(hours)
        })
        .await
    }

    async fn breakdown(&self, tenant: TenantId, filter: &UsageFilter, by: UsageKey) -> Result<Vec<(String, UsageSum)>> {
        let (conditions, values) = conditions(tenant, filter);
        let (key, which, order) = match by {
            UsageKey::Provider => ("provider", "provider <> '' and model <> ''", "input_tokens"),
            UsageKey::Model => ("model", "provider <> '' and model <> ''", "input_tokens"),
            UsageKey::Channel => ("channel", "channel <> ''", "request_count"),
            UsageKey::Agent => ("agent_id", "true", "input_tokens"),
        };
        self.read(move |connection| {
            let rows = connection
                .prepare_cached(&sql::by(key, &format!("{conditions} and {which}"), &format!("sum({order}) desc, key")))?
                .query_map(params_from_iter(values), |row| Ok((row.get("key")?, sum(row)?)))?
                .collect::<rusqlite::Result<_>>()?;
            Ok(rows)
        })
        .await
    }

    async fn users_since(&self, tenant: TenantId, since: DateTime<Utc>) -> Result<i64> {
        self.read(move |connection| Ok(connection.prepare_cached(sql::USERS_SINCE)?.query_row(params![Text(tenant), Time(since)], |row| row.get(0))?)).await
    }

    async fn requests(&self, tenant: TenantId, user: Option<&str>, now: DateTime<Utc>, limit: i64) -> Result<Vec<UserRequests>> {
        let user = user.map(str::to_owned);
        self.read(move |connection| {
            let requests = connection
                .prepare_cached(sql::ASKED)?
                .query_map(params![Text(tenant), Time(now), user, limit.max(0)], |row| {
                    Ok(UserRequests { user_id: row.get("user_id")?, hour: row.get("hour")?, day: row.get("day")?, week: row.get("week")? })
                })?
                .collect::<rusqlite::Result<_>>()?;
            Ok(requests)
        })
        .await
    }

    async fn sessions(&self, tenant: TenantId, wanted: &SessionUsageFilter) -> Result<(Vec<SessionUsage>, i64)> {
        let filter = used_sessions(tenant, wanted.user_id.as_ref(), wanted.agent_key.as_ref());
        let (limit, offset) = (wanted.limit, wanted.offset);
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let conditions = filter.sql();
            let total = snapshot
                .prepare_cached(&format!("select count(*) from sessions where {conditions}"))?
                .query_row(params_from_iter(filter.parameters()), |row| row.get(0))?;
            let session = |row: &Row<'_>| {
                Ok(SessionUsage {
                    session_key: row.get("session_key")?,
                    model: row.get("model")?,
                    provider: row.get("provider")?,
                    input_tokens: row.get("input_tokens")?,
                    output_tokens: row.get("output_tokens")?,
                    updated_at: row.time("updated_at")?,
                })
            };
            let sessions = snapshot
                .prepare_cached(&format!(
                    "select session_key, model, provider, input_tokens, output_tokens, updated_at
                     from sessions where {conditions} order by updated_at desc, session_key limit ? offset ?"
                ))?
                .query_map(params_from_iter(filter.paged(limit, offset)), session)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((sessions, total))
        })
        .await
    }

    async fn sessions_by_agent(&self, tenant: TenantId, user: Option<&str>) -> Result<Vec<AgentUsage>> {
        let filter = used_sessions(tenant, user.map(str::to_owned).as_ref(), None);
        self.read(move |connection| {
            let agent = |row: &Row<'_>| {
                Ok(AgentUsage {
                    agent_key: row.get("agent_key")?,
                    input_tokens: row.get("input_tokens")?,
                    output_tokens: row.get("output_tokens")?,
                    sessions: row.get("sessions")?,
                })
            };
            let agents = connection
                .prepare_cached(&sql::sessions_by_agent(filter.sql()))?
                .query_map(params_from_iter(filter.parameters()), agent)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(agents)
        })
        .await
    }

    async fn all_tenants_counted_until(&self) -> Result<Option<DateTime<Utc>>> {
        self.read(|connection| {
            let until = connection.prepare_cached(&sql::counted_until())?.query_row([], |row| row.get::<_, Option<Time>>(0))?;
            Ok(until.map(|Time(hour)| hour))
        })
        .await
    }

    async fn all_tenants_count_hour(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
        while let Some(counted) = self.read(move |connection| count_hour(connection, now)).await? {
            let hour = counted.hour;
            if self.write(move |connection| keep_hour(connection, &counted, now)).await? {
                return Ok(Some(hour));
            }
        }
        Ok(None)
    }
}
