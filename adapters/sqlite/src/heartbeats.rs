//! Heartbeats, who runs them, and what came of it.

mod row;

use crate::{
    database::Sqlite,
    failure::Failure,
    values::{Columns, Json, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, Error, HeartbeatId, JsonObject, Result, TenantId,
    heartbeats::{ClaimedHeartbeat, Heartbeat, HeartbeatEdit, HeartbeatLog, HeartbeatStatus, HeartbeatStore},
};
use rusqlite::{Connection, params};
use uuid::Uuid;

/// Those that may be claimed, with what makes them due.
const DUE: &str = "select beats.tenant_id, beats.id from agent_heartbeats as beats
    join agents on agents.tenant_id = beats.tenant_id and agents.id = beats.agent_id and agents.status = 'active'
    join tenants on tenants.id = beats.tenant_id and tenants.status = 'active'
    where (beats.woken_at is not null or (beats.enabled = 1 and beats.next_run_at <= ?1))
        and (beats.claimed_until is null or beats.claimed_until <= ?1)
    order by coalesce(beats.woken_at, beats.next_run_at), beats.id limit ?2";

fn require(connection: &Connection, tenant: TenantId, agent: AgentId, beat: &Heartbeat) -> Result<(), Failure> {
    if !connection.prepare_cached("select 1 from agents where tenant_id = ?1 and id = ?2")?.exists(params![Text(tenant), Text(agent)])? {
        return Err(Error::not_found("agent", agent).into());
    }
    let Some(provider) = beat.provider_id else { return Ok(()) };
    if !connection.prepare_cached("select 1 from llm_providers where tenant_id = ?1 and id = ?2")?.exists(params![Text(tenant), Text(provider)])? {
        return Err(Error::not_found("provider", provider).into());
    }
    Ok(())
}

#[async_trait]
impl HeartbeatStore for Sqlite {
    async fn find(&self, tenant: TenantId, agent: AgentId) -> Result<Option<Heartbeat>> {
        self.read(move |connection| Ok(row::find(connection, tenant, agent)?)).await
    }

    async fn change(&self, tenant: TenantId, agent: AgentId, edit: HeartbeatEdit) -> Result<Heartbeat> {
        self.write(move |connection| {
            let beat = edit(row::find(connection, tenant, agent)?)?;
            require(connection, tenant, agent, &beat)?;
            row::write(connection, tenant, agent, &beat)?;
            // Read again: what is answered is what is kept.
            Ok(row::find(connection, tenant, agent)?.ok_or_else(|| Error::not_found("agent", agent))?)
        })
        .await
    }

    async fn wake(&self, tenant: TenantId, agent: AgentId, now: DateTime<Utc>) -> Result<bool> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("update agent_heartbeats set woken_at = ?3 where tenant_id = ?1 and agent_id = ?2")?;
            Ok(statement.execute(params![Text(tenant), Text(agent), Time(now)])? > 0)
        })
        .await
    }

    async fn all_tenants_claim(&self, claim: Uuid, now: DateTime<Utc>, until: DateTime<Utc>, limit: i64) -> Result<Vec<ClaimedHeartbeat>> {
        self.write(move |connection| {
            let due: Vec<(TenantId, HeartbeatId)> = connection
                .prepare_cached(DUE)?
                .query_map(params![Time(now), limit.max(0)], |row| Ok((row.id("tenant_id")?, row.id("id")?)))?
                .collect::<rusqlite::Result<_>>()?;
            let mut claimed = Vec::with_capacity(due.len());
            for (tenant, id) in due {
                connection.prepare_cached("update agent_heartbeats set claim = ?3, claimed_until = ?4 where tenant_id = ?1 and id = ?2")?.execute(params![
                    Text(tenant),
                    Text(id),
                    Text(claim),
                    Time(until)
                ])?;
                let mut statement = connection.prepare_cached(&format!("{} where beats.tenant_id = ?1 and beats.id = ?2", row::SELECT))?;
                let heartbeat = statement.query_row(params![Text(tenant), Text(id)], row::heartbeat)?;
                claimed.push(ClaimedHeartbeat { tenant, heartbeat });
            }
            Ok(claimed)
        })
        .await
    }

    async fn renew(&self, tenant: TenantId, id: HeartbeatId, claim: Uuid, until: DateTime<Utc>) -> Result<bool> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("update agent_heartbeats set claimed_until = ?4 where tenant_id = ?1 and id = ?2 and claim = ?3")?;
            Ok(statement.execute(params![Text(tenant), Text(id), Text(claim), Time(until)])? > 0)
        })
        .await
    }

    async fn release(&self, tenant: TenantId, id: HeartbeatId, claim: Uuid) -> Result<bool> {
        self.write(move |connection| {
            let mut statement =
                connection.prepare_cached("update agent_heartbeats set claim = null, claimed_until = null where tenant_id = ?1 and id = ?2 and claim = ?3")?;
            Ok(statement.execute(params![Text(tenant), Text(id), Text(claim)])? > 0)
        })
        .await
    }

    async fn all_tenants_release(&self) -> Result<i64> {
        self.write(|connection| {
            let released = connection.execute("update agent_heartbeats set claim = null, claimed_until = null where claim is not null", [])?;
            Ok(i64::try_from(released).map_err(Error::internal)?)
        })
        .await
    }

    async fn put_off(&self, tenant: TenantId, claim: Uuid, log: &HeartbeatLog) -> Result<bool> {
        let log = log.clone();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "update agent_heartbeats set put_off_from = coalesce(woken_at, next_run_at)
                 where tenant_id = ?1 and id = ?2 and claim = ?3 and put_off_from is not coalesce(woken_at, next_run_at)",
            )?;
            let (key, claim) = ((Text(tenant), Text(log.heartbeat_id)), Text(claim));
            let first = statement.execute(params![key.0, key.1, claim])? > 0;
            connection
                .prepare_cached("update agent_heartbeats set claim = null, claimed_until = null where tenant_id = ?1 and id = ?2 and claim = ?3")?
                .execute(params![key.0, key.1, claim])?;
            if first {
                row::write_log(connection, tenant, &log)?;
            }
            Ok(first)
        })
        .await
    }

    async fn finish(&self, tenant: TenantId, claim: Uuid, log: &HeartbeatLog) -> Result<bool> {
        let log = log.clone();
        self.write(move |connection| {
            let (ran, suppressed) = (log.status != HeartbeatStatus::Skipped, log.status == HeartbeatStatus::Suppressed);
            let mut statement = connection.prepare_cached(
                "update agent_heartbeats set claim = null, claimed_until = null, put_off_from = null, next_run_at = ?4 + interval_sec * 1000000,
                    woken_at = case when woken_at > ?5 then woken_at end,
                    last_run_at = case when ?6 then ?5 else last_run_at end, last_status = case when ?6 then ?8 else last_status end,
                    last_error = case when ?6 then ?9 else last_error end,
                    run_count = run_count + ?6, suppress_count = suppress_count + ?7
                 where tenant_id = ?1 and id = ?2 and claim = ?3",
            )?;
            let finished = statement.execute(params![
                Text(tenant),
                Text(log.heartbeat_id),
                Text(claim),
                Time(log.created_at),
                Time(log.ran_at),
                ran,
                suppressed,
                log.status.as_str(),
                log.error
            ])? > 0;
            if finished {
                row::write_log(connection, tenant, &log)?;
            }
            Ok(finished)
        })
        .await
    }

    async fn amend_log(&self, tenant: TenantId, id: Uuid, error: Option<&str>, metadata: &JsonObject) -> Result<bool> {
        let (error, metadata) = (error.map(str::to_owned), metadata.clone());
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("update heartbeat_run_logs set error = ?3, metadata = ?4 where tenant_id = ?1 and id = ?2")?;
            Ok(statement.execute(params![Text(tenant), Text(id), error, Json(&metadata)])? > 0)
        })
        .await
    }

    async fn logs(&self, tenant: TenantId, agent: AgentId, limit: i64, offset: i64) -> Result<(Vec<HeartbeatLog>, i64)> {
        const OF_AGENT: &str =
            "from heartbeat_run_logs as logs join agent_heartbeats as beats on beats.tenant_id = logs.tenant_id and beats.id = logs.heartbeat_id
            where beats.tenant_id = ?1 and beats.agent_id = ?2";
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let total = snapshot.prepare_cached(&format!("select count(*) {OF_AGENT}"))?.query_row(params![Text(tenant), Text(agent)], |row| row.get(0))?;
            let logs = snapshot
                .prepare_cached(&format!("select logs.* {OF_AGENT} order by logs.ran_at desc, logs.id desc limit ?3 offset ?4"))?
                .query_map(params![Text(tenant), Text(agent), limit.max(0), offset.max(0)], row::log)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((logs, total))
        })
        .await
    }
}
