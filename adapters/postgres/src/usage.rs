//! Usage, hour by hour.

mod sql;

use crate::{
    error::Failure,
    json::text,
    pool::{Postgres, within},
    statement::Fixed,
};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::{
    dsl::sql_query,
    prelude::*,
    sql_types::{BigInt, Bool, Double, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::future;
use goclaw_ports::{
    Result, TenantId,
    usage::{AgentUsage, SessionUsage, SessionUsageFilter, UsageFilter, UsageKey, UsageStore, UsageSum, UserRequests},
};

/// The runs of an hour that began longer ago than this are not waited for any more.
const WAITED_FOR: TimeDelta = TimeDelta::hours(7);
/// How long after its end the last of a run is written at most.
const WRITTEN_WITHIN: TimeDelta = TimeDelta::minutes(5);

#[derive(QueryableByName)]
struct SumRow {
    #[diesel(sql_type = BigInt)]
    input_tokens: i64,
    #[diesel(sql_type = BigInt)]
    output_tokens: i64,
    #[diesel(sql_type = BigInt)]
    cache_read_tokens: i64,
    #[diesel(sql_type = BigInt)]
    cache_create_tokens: i64,
    #[diesel(sql_type = BigInt)]
    thinking_tokens: i64,
    #[diesel(sql_type = Double)]
    total_cost: f64,
    #[diesel(sql_type = BigInt)]
    request_count: i64,
    #[diesel(sql_type = BigInt)]
    llm_call_count: i64,
    #[diesel(sql_type = BigInt)]
    tool_call_count: i64,
    #[diesel(sql_type = BigInt)]
    error_count: i64,
    #[diesel(sql_type = BigInt)]
    unique_users: i64,
    #[diesel(sql_type = BigInt)]
    duration_ms: i64,
    #[diesel(sql_type = BigInt)]
    memory_docs: i64,
    #[diesel(sql_type = BigInt)]
    memory_chunks: i64,
    #[diesel(sql_type = BigInt)]
    kg_entities: i64,
    #[diesel(sql_type = BigInt)]
    kg_relations: i64,
}

impl From<SumRow> for UsageSum {
    fn from(row: SumRow) -> Self {
        Self {
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            cache_read_tokens: row.cache_read_tokens,
            cache_create_tokens: row.cache_create_tokens,
            thinking_tokens: row.thinking_tokens,
            total_cost: row.total_cost,
            request_count: row.request_count,
            llm_call_count: row.llm_call_count,
            tool_call_count: row.tool_call_count,
            error_count: row.error_count,
            unique_users: row.unique_users,
            duration_ms: row.duration_ms,
            memory_docs: row.memory_docs,
            memory_chunks: row.memory_chunks,
            kg_entities: row.kg_entities,
            kg_relations: row.kg_relations,
        }
    }
}

#[derive(QueryableByName)]
struct HourRow {
    #[diesel(sql_type = Timestamptz)]
    bucket_hour: DateTime<Utc>,
    #[diesel(embed)]
    sum: SumRow,
}

#[derive(QueryableByName)]
struct KeyRow {
    #[diesel(sql_type = Text)]
    key: String,
    #[diesel(embed)]
    sum: SumRow,
}

#[derive(QueryableByName)]
struct SessionRow {
    #[diesel(sql_type = Text)]
    session_key: String,
    #[diesel(sql_type = Text)]
    model: String,
    #[diesel(sql_type = Text)]
    provider: String,
    #[diesel(sql_type = BigInt)]
    input_tokens: i64,
    #[diesel(sql_type = BigInt)]
    output_tokens: i64,
    #[diesel(sql_type = Timestamptz)]
    updated_at: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct RequestsRow {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = BigInt)]
    hour: i64,
    #[diesel(sql_type = BigInt)]
    day: i64,
    #[diesel(sql_type = BigInt)]
    week: i64,
}

#[derive(QueryableByName)]
struct AgentRow {
    #[diesel(sql_type = Text)]
    agent_key: String,
    #[diesel(sql_type = BigInt)]
    input_tokens: i64,
    #[diesel(sql_type = BigInt)]
    output_tokens: i64,
    #[diesel(sql_type = BigInt)]
    sessions: i64,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

#[derive(QueryableByName)]
struct Due {
    #[diesel(sql_type = Nullable<Timestamptz>)]
    hour: Option<DateTime<Utc>>,
}

#[derive(QueryableByName)]
struct Open {
    #[diesel(sql_type = Bool)]
    open: bool,
}

/// A statement of [`sql`] with the parameters that all of them take. It is planned at each call: a plan for any values takes the conditions
/// that are not given for strict ones, expects hardly a row, and is several times slower.
macro_rules! filtered {
    ($statement:expr, $tenant:expr, $filter:expr) => {
        sql_query($statement)
            .bind::<SqlUuid, _>($tenant.0)
            .bind::<Timestamptz, _>($filter.from)
            .bind::<Timestamptz, _>($filter.to)
            .bind::<Nullable<SqlUuid>, _>($filter.agent_id.map(|id| id.0))
            .bind::<Nullable<Text>, _>($filter.provider.as_deref().map(text))
            .bind::<Nullable<Text>, _>($filter.model.as_deref().map(text))
            .bind::<Nullable<Text>, _>($filter.channel.as_deref().map(text))
    };
}

#[async_trait]
impl UsageStore for Postgres {
    async fn hours(&self, tenant: TenantId, filter: &UsageFilter) -> Result<Vec<(DateTime<Utc>, UsageSum)>> {
        let connection = self.tenant(tenant).await?;
        let statement = if filter.takes_all() { sql::HOURS } else { sql::MATCHING_HOURS };
        let query = filtered!(statement, tenant, filter);
        let rows: Vec<HourRow> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(rows.into_iter().map(|row| (row.bucket_hour, row.sum.into())).collect())
    }

    async fn breakdown(&self, tenant: TenantId, filter: &UsageFilter, by: UsageKey) -> Result<Vec<(String, UsageSum)>> {
        let connection = self.tenant(tenant).await?;
        let statement = match by {
            UsageKey::Provider => sql::BY_PROVIDER,
            UsageKey::Model => sql::BY_MODEL,
            UsageKey::Channel => sql::BY_CHANNEL,
            UsageKey::Agent => sql::BY_AGENT,
        };
        let query = filtered!(statement, tenant, filter);
        let rows: Vec<KeyRow> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(rows.into_iter().map(|row| (row.key, row.sum.into())).collect())
    }

    async fn users_since(&self, tenant: TenantId, since: DateTime<Utc>) -> Result<i64> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(sql_query(sql::USERS_SINCE).bind::<SqlUuid, _>(tenant.0).bind::<Timestamptz, _>(since));
        let count: Count = connection.run(query.get_result(&mut connection.pipe())).await?;
        Ok(count.number)
    }

    async fn requests(&self, tenant: TenantId, user: Option<&str>, now: DateTime<Utc>, limit: i64) -> Result<Vec<UserRequests>> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(
            sql_query(sql::REQUESTS)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<Timestamptz, _>(now)
                .bind::<Nullable<Text>, _>(user.map(text))
                .bind::<BigInt, _>(limit.max(0)),
        );
        let rows: Vec<RequestsRow> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(rows.into_iter().map(|row| UserRequests { user_id: row.user_id, hour: row.hour, day: row.day, week: row.week }).collect())
    }

    async fn sessions(&self, tenant: TenantId, filter: &SessionUsageFilter) -> Result<(Vec<SessionUsage>, i64)> {
        let connection = self.tenant(tenant).await?;
        let agent = filter.agent_key.as_deref().map(text);
        // A range that holds what begins so: ';' is the character after ':'.
        let (from, to) = (agent.as_ref().map(|agent| format!("agent:{agent}:")), agent.as_ref().map(|agent| format!("agent:{agent};")));
        let user = filter.user_id.as_deref().map(text);
        let page = Fixed(
            sql_query(sql::SESSIONS)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<Nullable<Text>, _>(user.clone())
                .bind::<Nullable<Text>, _>(from.clone())
                .bind::<Nullable<Text>, _>(to.clone())
                .bind::<BigInt, _>(filter.limit.max(0))
                .bind::<BigInt, _>(filter.offset.max(0)),
        );
        let total = Fixed(
            sql_query(sql::SESSION_COUNT)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<Nullable<Text>, _>(user)
                .bind::<Nullable<Text>, _>(from)
                .bind::<Nullable<Text>, _>(to),
        );
        let (mut first, mut second) = (connection.pipe(), connection.pipe());
        let (rows, total): (Vec<SessionRow>, Count) = connection.run(future::try_join(page.load(&mut first), total.get_result(&mut second))).await?;
        let session = |row: SessionRow| SessionUsage {
            session_key: row.session_key,
            model: row.model,
            provider: row.provider,
            input_tokens: row.input_tokens,
            output_tokens: row.output_tokens,
            updated_at: row.updated_at,
        };
        Ok((rows.into_iter().map(session).collect(), total.number))
    }

    async fn sessions_by_agent(&self, tenant: TenantId, user: Option<&str>) -> Result<Vec<AgentUsage>> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(sql_query(sql::SESSIONS_BY_AGENT).bind::<SqlUuid, _>(tenant.0).bind::<Nullable<Text>, _>(user.map(text)));
        let rows: Vec<AgentRow> = connection.run(query.load(&mut connection.pipe())).await?;
        let agent =
            |row: AgentRow| AgentUsage { agent_key: row.agent_key, input_tokens: row.input_tokens, output_tokens: row.output_tokens, sessions: row.sessions };
        Ok(rows.into_iter().map(agent).collect())
    }

    async fn all_tenants_counted_until(&self) -> Result<Option<DateTime<Utc>>> {
        let connection = self.engine().await?;
        let query = Fixed(sql_query(sql::COUNTED_UNTIL));
        let until: Due = connection.run(query.get_result(&mut connection.pipe())).await?;
        Ok(until.hour)
    }

    async fn all_tenants_count_hour(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
        let mut connection = self.engine().await?;
        let counting = connection.raw().transaction(async |connection| -> Result<Option<DateTime<Utc>>, Failure> {
            Fixed(sql_query(sql::TAKE_TURN)).execute(connection).await?;
            let settled = now - WRITTEN_WITHIN;
            let due: Due = Fixed(sql_query(sql::DUE).bind::<Timestamptz, _>(now).bind::<Timestamptz, _>(settled)).get_result(connection).await?;
            let Some(hour) = due.hour else { return Ok(None) };
            let open: Open = Fixed(sql_query(sql::OPEN).bind::<Timestamptz, _>(hour).bind::<Timestamptz, _>(settled)).get_result(connection).await?;
            let open = open.open && hour + WAITED_FOR > now;
            for statement in [sql::FORGET, sql::COUNT, sql::FORGET_TOTALS, sql::COUNT_TOTALS, sql::FORGET_DAY, sql::COUNT_DAY] {
                Fixed(sql_query(statement).bind::<Timestamptz, _>(hour)).execute(connection).await?;
            }
            let note = sql_query(sql::NOTE).bind::<Timestamptz, _>(hour).bind::<Bool, _>(open).bind::<Timestamptz, _>(now);
            Fixed(note).execute(connection).await?;
            Ok(Some(hour))
        });
        Ok(within(counting).await?)
    }
}
