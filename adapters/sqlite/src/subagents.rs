//! Tasks that a run handed over to another.

mod row;

use crate::{
    database::Sqlite,
    failure::Explain,
    values::{Json, Lasts, NOW, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    Result, SubagentTaskId, TenantId,
    subagents::{CapReached, RunningTasks, SubagentStore, SubagentTask, TaskCaps, TaskEnd, TaskLease},
};
use row::{task, task_with_tenant};
use rusqlite::{Connection, OptionalExtension, Statement, params};
use uuid::Uuid;

/// What a process holds on to.
const HELD: &str = "(status = 'running' or told_at is null)";

fn running(connection: &Connection, tenant: TenantId, task: &SubagentTask) -> rusqlite::Result<RunningTasks> {
    connection
        .prepare_cached(
            "select count(*) filter (where kind = 'subagent') as in_tenant,
                count(*) filter (where kind = 'subagent' and session_key = ?2) as of_session,
                count(*) filter (where link_id = ?3) as over_link,
                count(*) filter (where kind = 'delegation' and agent_id = ?4) as to_agent
             from subagent_tasks where tenant_id = ?1 and status = 'running'",
        )?
        .query_row(params![Text(tenant), task.session_key, task.link_id.map(Text), Text(task.agent_id)], |row| {
            Ok(RunningTasks {
                in_tenant: row.get("in_tenant")?,
                of_session: row.get("of_session")?,
                over_link: row.get("over_link")?,
                to_agent: row.get("to_agent")?,
            })
        })
}

fn tasks(statement: &mut Statement<'_>, parameters: impl rusqlite::Params) -> rusqlite::Result<Vec<SubagentTask>> {
    statement.query_map(parameters, task)?.collect()
}

#[async_trait]
impl SubagentStore for Sqlite {
    async fn begin(&self, tenant: TenantId, new: &SubagentTask, caps: &TaskCaps, lease: TaskLease) -> Result<Option<CapReached>> {
        let (new, caps) = (new.clone(), *caps);
        self.write(move |connection| {
            if let Some(reached) = caps.reached(&running(connection, tenant, &new)?) {
                return Ok(Some(reached));
            }
            row::insert(connection, tenant, &new, lease).unless_missing("agent", new.parent_agent_id)?;
            Ok(None)
        })
        .await
    }

    async fn finish(&self, tenant: TenantId, id: SubagentTaskId, end: &TaskEnd) -> Result<bool> {
        let end = end.clone();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "update subagent_tasks set status = ?3, result = ?4, model = ?5, provider = ?6, iterations = ?7, input_tokens = ?8, output_tokens = ?9,
                    metadata = ?10, told_at = iif(?11, coalesce(told_at, ?12), told_at), completed_at = ?12, updated_at = ?12, archive_at = ?13
                 where tenant_id = ?1 and id = ?2 and status = 'running'",
            )?;
            let ended = statement.execute(params![
                Text(tenant),
                Text(id),
                end.status.as_str(),
                end.result,
                end.model,
                end.provider,
                end.iterations,
                end.input_tokens,
                end.output_tokens,
                Json(&end.metadata),
                end.told,
                Time(end.at),
                Time(end.archive_at)
            ])?;
            Ok(ended > 0)
        })
        .await
    }

    async fn of_session(&self, tenant: TenantId, session_key: &str, limit: i64) -> Result<Vec<SubagentTask>> {
        let key = session_key.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "select * from subagent_tasks where tenant_id = ?1 and session_key = ?2 and archived_at is null order by created_at desc, id desc limit ?3",
            )?;
            Ok(tasks(&mut statement, params![Text(tenant), key, limit.max(0)])?)
        })
        .await
    }

    async fn find(&self, tenant: TenantId, id: SubagentTaskId) -> Result<Option<SubagentTask>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select * from subagent_tasks where tenant_id = ?1 and id = ?2")?;
            Ok(statement.query_row(params![Text(tenant), Text(id)], task).optional()?)
        })
        .await
    }

    async fn untold(&self, tenant: TenantId, session_key: &str, owner: Uuid, limit: i64) -> Result<Vec<SubagentTask>> {
        let key = session_key.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "select * from subagent_tasks where tenant_id = ?1 and session_key = ?2 and lease_owner = ?3 and status <> 'running' and told_at is null
                 order by completed_at, id limit ?4",
            )?;
            Ok(tasks(&mut statement, params![Text(tenant), key, Text(owner), limit.max(0)])?)
        })
        .await
    }

    async fn mark_told(&self, tenant: TenantId, ids: &[SubagentTaskId], now: DateTime<Utc>) -> Result<Vec<SubagentTaskId>> {
        let ids = ids.to_vec();
        self.write(move |connection| {
            let mut statement =
                connection.prepare_cached("update subagent_tasks set told_at = ?3, updated_at = ?3 where tenant_id = ?1 and id = ?2 and told_at is null")?;
            let mut told = vec![];
            for id in ids {
                if statement.execute(params![Text(tenant), Text(id), Time(now)])? > 0 {
                    told.push(id);
                }
            }
            Ok(told)
        })
        .await
    }

    async fn all_tenants_renew(&self, lease: TaskLease) -> Result<Vec<SubagentTaskId>> {
        self.write(move |connection| {
            connection
                .prepare_cached(&format!("update subagent_tasks set lease_until = {NOW} + ?2 where lease_owner = ?1 and {HELD}"))?
                .execute(params![Text(lease.owner), Lasts(lease.lasts)])?;
            let mut running = connection.prepare_cached("select id from subagent_tasks where lease_owner = ?1 and status = 'running'")?;
            let running = running.query_map([Text(lease.owner)], |row| row.get::<_, Text<SubagentTaskId>>(0))?;
            Ok(running.map(|id| id.map(|id| id.0)).collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn all_tenants_adopt(&self, ahead: TimeDelta, lease: TaskLease, limit: i64) -> Result<Vec<(TenantId, SubagentTask)>> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "update subagent_tasks set lease_owner = ?2, lease_until = {NOW} + ?3, told_at = iif(status = 'running', null, told_at)
                 where id in (select id from subagent_tasks where lease_until < {NOW} + ?1 and lease_owner <> ?2 and {HELD} order by lease_until limit ?4)
                 returning *"
            ))?;
            let parameters = params![Lasts(ahead), Text(lease.owner), Lasts(lease.lasts), limit.max(0)];
            let adopted = statement.query_map(parameters, task_with_tenant)?.collect::<rusqlite::Result<_>>()?;
            Ok(adopted)
        })
        .await
    }

    async fn all_tenants_archive(&self, now: DateTime<Utc>, forget: DateTime<Utc>, limit: i64) -> Result<Vec<(TenantId, SubagentTask)>> {
        self.write(move |connection| {
            connection.prepare_cached("delete from subagent_tasks where archived_at is not null and archived_at < ?1")?.execute([Time(forget)])?;
            let mut statement = connection.prepare_cached(
                "update subagent_tasks set archived_at = ?1, updated_at = ?1 where id in
                    (select id from subagent_tasks where archived_at is null and archive_at <= ?1 and told_at is not null order by archive_at limit ?2)
                 returning *",
            )?;
            let archived = statement.query_map(params![Time(now), limit.max(0)], task_with_tenant)?.collect::<rusqlite::Result<_>>()?;
            Ok(archived)
        })
        .await
    }
}
