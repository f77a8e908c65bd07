//! Heartbeats, who runs them, and what came of it.

mod rows;

use crate::{
    error::{Failure, missing},
    json::{object, text},
    pool::{Postgres, enter, within},
    schema::{agent_heartbeats as beats, agents, heartbeat_run_logs as logs, llm_providers},
    statement::Fixed,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::{
    QueryResult,
    dsl::sql_query,
    prelude::*,
    sql_types::{BigInt, Bool, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use futures_util::future;
use goclaw_ports::{
    AgentId, Error, HeartbeatId, JsonObject, Result, TenantId,
    heartbeats::{ClaimedHeartbeat, Heartbeat, HeartbeatEdit, HeartbeatLog, HeartbeatStatus, HeartbeatStore, KEPT_LOGS},
};
use rows::{Claimed, LogRow, Row, Settings};
use uuid::Uuid;

/// Rows that another replica is claiming are passed over.
const CLAIM: &str = "\
    with due as ( \
        select beats.tenant_id, beats.id, beats.provider_id from agent_heartbeats as beats \
        join agents on agents.tenant_id = beats.tenant_id and agents.id = beats.agent_id and agents.status = 'active' \
        join tenants on tenants.id = beats.tenant_id and tenants.status = 'active' \
        where (beats.woken_at is not null or (beats.enabled and beats.next_run_at <= $2)) \
            and (beats.claimed_until is null or beats.claimed_until <= $2) \
        order by coalesce(beats.woken_at, beats.next_run_at), beats.id limit $4 \
        for update of beats skip locked \
    ) \
    update agent_heartbeats as beats set claim = $1, claimed_until = $3 \
    from due left join llm_providers as providers on providers.tenant_id = due.tenant_id and providers.id = due.provider_id \
    where beats.tenant_id = due.tenant_id and beats.id = due.id \
    returning beats.*, providers.name as provider";

const PUT_OFF: &str = "\
    with claimed as ( \
        select tenant_id, id, put_off_from is distinct from coalesce(woken_at, next_run_at) as first from agent_heartbeats \
        where tenant_id = $1 and id = $2 and claim = $3 for update \
    ) \
    update agent_heartbeats as beats set claim = null, claimed_until = null, put_off_from = coalesce(beats.woken_at, beats.next_run_at) \
    from claimed where beats.tenant_id = claimed.tenant_id and beats.id = claimed.id \
    returning claimed.first";

const FINISH: &str = "\
    update agent_heartbeats set claim = null, claimed_until = null, put_off_from = null, next_run_at = $4 + interval_sec * interval '1 second', \
        woken_at = case when woken_at > $5 then woken_at end, \
        last_run_at = case when $6 then $5 else last_run_at end, last_status = case when $6 then $8 else last_status end, \
        last_error = case when $6 then $9 else last_error end, \
        run_count = run_count + $6::integer, suppress_count = suppress_count + $7::integer \
    where tenant_id = $1 and id = $2 and claim = $3";

const PRUNE_LOGS: &str = "\
    delete from heartbeat_run_logs where tenant_id = $1 and id in ( \
        select id from heartbeat_run_logs where tenant_id = $1 and heartbeat_id = $2 order by ran_at desc, id desc offset $3)";

#[derive(QueryableByName)]
struct PutOff {
    #[diesel(sql_type = Bool)]
    first: bool,
}

/// The tenant's heartbeats with the names of their stored providers.
macro_rules! with_providers {
    ($tenant:expr) => {
        beats::table
            .left_join(llm_providers::table.on(llm_providers::tenant_id.eq(beats::tenant_id).and(beats::provider_id.eq(llm_providers::id.nullable()))))
            .filter(beats::tenant_id.eq($tenant.0))
            .select((Row::as_select(), llm_providers::name.nullable()))
    };
}

type Found = (Row, Option<String>);

fn heartbeat((row, provider): Found) -> Result<Heartbeat> {
    row.heartbeat(provider)
}

/// Changes the heartbeat within a transaction.
async fn change(connection: &mut AsyncPgConnection, tenant: TenantId, agent: AgentId, edit: &HeartbeatEdit) -> Result<Result<Heartbeat>, Failure> {
    // Whoever changes the same agent's heartbeat waits here, also if there is none yet.
    let own = agents::table.find(agent.0).filter(agents::tenant_id.eq(tenant.0));
    if own.select(agents::id).for_no_key_update().first::<Uuid>(connection).await.optional()?.is_none() {
        return Ok(Err(Error::not_found("agent", agent)));
    }
    let row = beats::table.filter(beats::tenant_id.eq(tenant.0).and(beats::agent_id.eq(agent.0)));
    // A run that ends waits for the change, and a change for a run that ends.
    row.select(beats::id).for_update().first::<Uuid>(connection).await.optional()?;
    let before: Option<Found> = with_providers!(tenant).filter(beats::agent_id.eq(agent.0)).first(connection).await.optional()?;
    let beat = match before.map(heartbeat).transpose().and_then(|before| edit(before)) {
        Ok(beat) => beat,
        Err(error) => return Ok(Err(error)),
    };
    if let Some(provider) = beat.provider_id {
        let own = llm_providers::table.find(provider.0).filter(llm_providers::tenant_id.eq(tenant.0)).select(llm_providers::id);
        if own.first::<Uuid>(connection).await.optional()?.is_none() {
            return Ok(Err(Error::not_found("provider", provider)));
        }
    }
    let settings = Settings::new(&beat);
    diesel::insert_into(beats::table)
        .values((beats::id.eq(beat.id.0), beats::tenant_id.eq(tenant.0), beats::agent_id.eq(agent.0), beats::created_at.eq(beat.created_at), settings.clone()))
        .on_conflict((beats::tenant_id, beats::agent_id))
        .do_update()
        .set(settings)
        .execute(connection)
        .await?;
    Ok(heartbeat(with_providers!(tenant).filter(beats::agent_id.eq(agent.0)).first(connection).await?))
}

async fn write_log(connection: &mut AsyncPgConnection, tenant: TenantId, log: &HeartbeatLog) -> QueryResult<()> {
    diesel::insert_into(logs::table).values(LogRow::new(tenant, log)).execute(connection).await?;
    let prune = sql_query(PRUNE_LOGS).bind::<SqlUuid, _>(tenant.0).bind::<SqlUuid, _>(log.heartbeat_id.0).bind::<BigInt, _>(KEPT_LOGS);
    Fixed(prune).execute(connection).await.map(drop)
}

#[async_trait]
impl HeartbeatStore for Postgres {
    async fn find(&self, tenant: TenantId, agent: AgentId) -> Result<Option<Heartbeat>> {
        let connection = self.tenant(tenant).await?;
        let query = with_providers!(tenant).filter(beats::agent_id.eq(agent.0));
        connection.run_optional(query.first::<Found>(&mut connection.pipe())).await?.map(heartbeat).transpose()
    }

    async fn change(&self, tenant: TenantId, agent: AgentId, edit: HeartbeatEdit) -> Result<Heartbeat> {
        let mut connection = self.tenant(tenant).await?;
        let changing = connection.raw().transaction(async |connection| -> Result<Result<Heartbeat>, Failure> {
            enter(connection, tenant).await?;
            change(connection, tenant, agent, &edit).await
        });
        within(changing).await.map_err(missing("provider", "of the heartbeat"))?
    }

    async fn wake(&self, tenant: TenantId, agent: AgentId, now: DateTime<Utc>) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let own = beats::table.filter(beats::tenant_id.eq(tenant.0).and(beats::agent_id.eq(agent.0)));
        let query = diesel::update(own).set(beats::woken_at.eq(now));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn all_tenants_claim(&self, claim: Uuid, now: DateTime<Utc>, until: DateTime<Utc>, limit: i64) -> Result<Vec<ClaimedHeartbeat>> {
        let connection = self.engine().await?;
        let query = sql_query(CLAIM).bind::<SqlUuid, _>(claim).bind::<Timestamptz, _>(now);
        let query = Fixed(query.bind::<Timestamptz, _>(until).bind::<BigInt, _>(limit.max(0)));
        let rows: Vec<Claimed> = connection.run(query.load(&mut connection.pipe())).await?;
        rows.into_iter().map(Claimed::heartbeat).collect()
    }

    async fn renew(&self, tenant: TenantId, id: HeartbeatId, claim: Uuid, until: DateTime<Utc>) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::update(beats::table.find((tenant.0, id.0)).filter(beats::claim.eq(claim))).set(beats::claimed_until.eq(until));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn release(&self, tenant: TenantId, id: HeartbeatId, claim: Uuid) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let free = (beats::claim.eq(None::<Uuid>), beats::claimed_until.eq(None::<DateTime<Utc>>));
        let query = diesel::update(beats::table.find((tenant.0, id.0)).filter(beats::claim.eq(claim))).set(free);
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn all_tenants_release(&self) -> Result<i64> {
        let connection = self.engine().await?;
        let free = (beats::claim.eq(None::<Uuid>), beats::claimed_until.eq(None::<DateTime<Utc>>));
        let query = diesel::update(beats::table.filter(beats::claim.is_not_null())).set(free);
        let released = connection.run(query.execute(&mut connection.pipe())).await?;
        Ok(i64::try_from(released).unwrap_or(i64::MAX))
    }

    async fn put_off(&self, tenant: TenantId, claim: Uuid, log: &HeartbeatLog) -> Result<bool> {
        let mut connection = self.tenant(tenant).await?;
        let putting_off = connection.raw().transaction(async |connection| -> Result<bool, Failure> {
            enter(connection, tenant).await?;
            let query = sql_query(PUT_OFF).bind::<SqlUuid, _>(tenant.0).bind::<SqlUuid, _>(log.heartbeat_id.0).bind::<SqlUuid, _>(claim);
            let put_off: Option<PutOff> = Fixed(query).get_result(connection).await.optional()?;
            let first = put_off.is_some_and(|put_off| put_off.first);
            if first {
                write_log(connection, tenant, log).await?;
            }
            Ok(first)
        });
        Ok(within(putting_off).await?)
    }

    async fn finish(&self, tenant: TenantId, claim: Uuid, log: &HeartbeatLog) -> Result<bool> {
        let mut connection = self.tenant(tenant).await?;
        let finishing = connection.raw().transaction(async |connection| -> Result<bool, Failure> {
            enter(connection, tenant).await?;
            let query = sql_query(FINISH)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<SqlUuid, _>(log.heartbeat_id.0)
                .bind::<SqlUuid, _>(claim)
                .bind::<Timestamptz, _>(log.created_at)
                .bind::<Timestamptz, _>(log.ran_at)
                .bind::<Bool, _>(log.status != HeartbeatStatus::Skipped)
                .bind::<Bool, _>(log.status == HeartbeatStatus::Suppressed)
                .bind::<Text, _>(log.status.as_str())
                .bind::<Nullable<Text>, _>(log.error.as_deref().map(text));
            if Fixed(query).execute(connection).await? == 0 {
                return Ok(false);
            }
            write_log(connection, tenant, log).await?;
            Ok(true)
        });
        Ok(within(finishing).await?)
    }

    async fn amend_log(&self, tenant: TenantId, id: Uuid, error: Option<&str>, metadata: &JsonObject) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let amended = (logs::error.eq(error.map(text)), logs::metadata.eq(Some(object(metadata))));
        let query = diesel::update(logs::table.find((tenant.0, id))).set(amended);
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn logs(&self, tenant: TenantId, agent: AgentId, limit: i64, offset: i64) -> Result<(Vec<HeartbeatLog>, i64)> {
        let connection = self.tenant(tenant).await?;
        let of_agent = || {
            let beat = beats::table.filter(beats::tenant_id.eq(tenant.0).and(beats::agent_id.eq(agent.0))).select(beats::id);
            logs::table.filter(logs::tenant_id.eq(tenant.0)).filter(logs::heartbeat_id.eq_any(beat))
        };
        let page = of_agent().order((logs::ran_at.desc(), logs::id.desc())).limit(limit.max(0)).offset(offset.max(0)).select(LogRow::as_select());
        let total = of_agent().count();
        let (mut first, mut second) = (connection.pipe(), connection.pipe());
        let (rows, total): (Vec<LogRow>, i64) = connection.run(future::try_join(page.load(&mut first), total.get_result(&mut second))).await?;
        Ok((rows.into_iter().map(LogRow::log).collect::<Result<_>>()?, total))
    }
}
