//! Tasks that a run handed over to another.

mod row;

use crate::{
    error::{Failure, missing},
    json::{object, text},
    pool::{Postgres, enter, within},
    schema::subagent_tasks as tasks,
    statement::{Fixed, from_now},
};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::{
    dsl::sql_query,
    prelude::*,
    sql_types::{BigInt, Nullable, Text, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, RunQueryDsl};
use goclaw_ports::{
    Result, SubagentTaskId, TenantId,
    subagents::{CapReached, RunningTasks, SubagentStore, SubagentTask, TaskCaps, TaskEnd, TaskLease, TaskStatus},
};
use row::TaskRow;
use uuid::Uuid;

const RUNNING: &str = TaskStatus::Running.as_str();

/// Whoever begins a task of the tenant waits here for the others who do.
const TURN: &str = "select pg_advisory_xact_lock(hashtextextended('subagent_tasks ' || $1, 0))";

const COUNT: &str = "\
    select count(*) filter (where kind = 'subagent') as in_tenant, \
        count(*) filter (where kind = 'subagent' and session_key = $2) as of_session, \
        count(*) filter (where link_id = $3) as over_link, \
        count(*) filter (where kind = 'delegation' and agent_id = $4) as to_agent \
    from subagent_tasks where tenant_id = $1 and status = 'running'";

#[derive(QueryableByName)]
struct Counts {
    #[diesel(sql_type = BigInt)]
    in_tenant: i64,
    #[diesel(sql_type = BigInt)]
    of_session: i64,
    #[diesel(sql_type = BigInt)]
    over_link: i64,
    #[diesel(sql_type = BigInt)]
    to_agent: i64,
}

#[async_trait]
impl SubagentStore for Postgres {
    async fn begin(&self, tenant: TenantId, task: &SubagentTask, caps: &TaskCaps, lease: TaskLease) -> Result<Option<CapReached>> {
        let mut connection = self.tenant(tenant).await?;
        let beginning = connection.raw().transaction(async |connection| -> Result<Option<CapReached>, Failure> {
            enter(connection, tenant).await?;
            Fixed(sql_query(TURN).bind::<Text, _>(tenant.to_string())).execute(connection).await?;
            let counts = sql_query(COUNT)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<Text, _>(text(&task.session_key))
                .bind::<Nullable<SqlUuid>, _>(task.link_id.map(|id| id.0))
                .bind::<SqlUuid, _>(task.agent_id.0);
            let Counts { in_tenant, of_session, over_link, to_agent } = Fixed(counts).get_result(connection).await?;
            let reached = caps.reached(&RunningTasks { in_tenant, of_session, over_link, to_agent });
            if reached.is_none() {
                let held = (tasks::lease_owner.eq(lease.owner), tasks::lease_until.eq(from_now(lease.lasts)));
                diesel::insert_into(tasks::table).values((TaskRow::new(tenant, task), held)).execute(connection).await?;
            }
            Ok(reached)
        });
        within(beginning).await.map_err(missing("agent", task.parent_agent_id))
    }

    async fn finish(&self, tenant: TenantId, id: SubagentTaskId, end: &TaskEnd) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let own = tasks::table.filter(tasks::tenant_id.eq(tenant.0).and(tasks::id.eq(id.0)).and(tasks::status.eq(RUNNING)));
        let ended = (
            tasks::status.eq(end.status.as_str()),
            tasks::result.eq(text(&end.result)),
            tasks::model.eq(text(&end.model)),
            tasks::provider.eq(text(&end.provider)),
            tasks::iterations.eq(end.iterations),
            tasks::input_tokens.eq(end.input_tokens),
            tasks::output_tokens.eq(end.output_tokens),
            tasks::metadata.eq(object(&end.metadata)),
            tasks::completed_at.eq(end.at),
            tasks::archive_at.eq(end.archive_at),
            tasks::updated_at.eq(end.at),
        );
        let ended = if end.told {
            let query = diesel::update(own).set((ended, tasks::told_at.eq(end.at)));
            connection.run(query.execute(&mut connection.pipe())).await?
        } else {
            let query = diesel::update(own).set(ended);
            connection.run(query.execute(&mut connection.pipe())).await?
        };
        Ok(ended > 0)
    }

    async fn of_session(&self, tenant: TenantId, session_key: &str, limit: i64) -> Result<Vec<SubagentTask>> {
        let connection = self.tenant(tenant).await?;
        let query = tasks::table
            .filter(tasks::tenant_id.eq(tenant.0).and(tasks::session_key.eq(text(session_key))).and(tasks::archived_at.is_null()))
            .order((tasks::created_at.desc(), tasks::id.desc()))
            .limit(limit.max(0))
            .select(TaskRow::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(TaskRow::task).collect()
    }

    async fn find(&self, tenant: TenantId, id: SubagentTaskId) -> Result<Option<SubagentTask>> {
        let connection = self.tenant(tenant).await?;
        let query = tasks::table.find(id.0).filter(tasks::tenant_id.eq(tenant.0)).select(TaskRow::as_select());
        connection.run_optional(query.first(&mut connection.pipe())).await?.map(TaskRow::task).transpose()
    }

    async fn untold(&self, tenant: TenantId, session_key: &str, owner: Uuid, limit: i64) -> Result<Vec<SubagentTask>> {
        let connection = self.tenant(tenant).await?;
        let query = tasks::table
            .filter(tasks::tenant_id.eq(tenant.0).and(tasks::session_key.eq(text(session_key))).and(tasks::lease_owner.eq(owner)))
            .filter(tasks::status.ne(RUNNING).and(tasks::told_at.is_null()))
            .order((tasks::completed_at, tasks::id))
            .limit(limit.max(0))
            .select(TaskRow::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(TaskRow::task).collect()
    }

    async fn mark_told(&self, tenant: TenantId, ids: &[SubagentTaskId], now: DateTime<Utc>) -> Result<Vec<SubagentTaskId>> {
        let connection = self.tenant(tenant).await?;
        let wanted = tasks::table.filter(tasks::tenant_id.eq(tenant.0).and(tasks::id.eq_any(ids.iter().map(|id| id.0))).and(tasks::told_at.is_null()));
        let query = diesel::update(wanted).set((tasks::told_at.eq(now), tasks::updated_at.eq(now))).returning(tasks::id);
        let told: Vec<Uuid> = connection.run(query.get_results(&mut connection.pipe())).await?;
        Ok(told.into_iter().map(SubagentTaskId).collect())
    }

    async fn all_tenants_renew(&self, lease: TaskLease) -> Result<Vec<SubagentTaskId>> {
        let connection = self.engine().await?;
        let own = tasks::table.filter(tasks::lease_owner.eq(lease.owner).and(tasks::status.eq(RUNNING).or(tasks::told_at.is_null())));
        let query = diesel::update(own).set(tasks::lease_until.eq(from_now(lease.lasts))).returning((tasks::id, tasks::status));
        let held: Vec<(Uuid, String)> = connection.run(query.get_results(&mut connection.pipe())).await?;
        Ok(held.into_iter().filter(|(_, status)| status == RUNNING).map(|(id, _)| SubagentTaskId(id)).collect())
    }

    async fn all_tenants_adopt(&self, ahead: TimeDelta, lease: TaskLease, limit: i64) -> Result<Vec<(TenantId, SubagentTask)>> {
        let mut connection = self.engine().await?;
        let adopting = connection.raw().transaction(async |connection| -> Result<Vec<TaskRow>, Failure> {
            // Tasks that another replica is taking over are passed over.
            let lost: Vec<Uuid> = tasks::table
                .filter(
                    tasks::lease_until.lt(from_now(ahead)).and(tasks::lease_owner.ne(lease.owner)).and(tasks::status.eq(RUNNING).or(tasks::told_at.is_null())),
                )
                .order(tasks::lease_until)
                .limit(limit.max(0))
                .select(tasks::id)
                .for_update()
                .skip_locked()
                .load(connection)
                .await?;
            if lost.is_empty() {
                return Ok(vec![]);
            }
            let running = tasks::table.filter(tasks::id.eq_any(&lost).and(tasks::status.eq(RUNNING)));
            diesel::update(running).set(tasks::told_at.eq(None::<DateTime<Utc>>)).execute(connection).await?;
            let held = (tasks::lease_owner.eq(lease.owner), tasks::lease_until.eq(from_now(lease.lasts)));
            Ok(diesel::update(tasks::table.filter(tasks::id.eq_any(&lost))).set(held).returning(TaskRow::as_returning()).get_results(connection).await?)
        });
        within(adopting).await?.into_iter().map(TaskRow::with_tenant).collect()
    }

    async fn all_tenants_archive(&self, now: DateTime<Utc>, forget: DateTime<Utc>, limit: i64) -> Result<Vec<(TenantId, SubagentTask)>> {
        let mut connection = self.engine().await?;
        let archiving = connection.raw().transaction(async |connection| -> Result<Vec<TaskRow>, Failure> {
            diesel::delete(tasks::table.filter(tasks::archived_at.lt(forget))).execute(connection).await?;
            let due: Vec<Uuid> = tasks::table
                .filter(tasks::archived_at.is_null().and(tasks::archive_at.le(now)).and(tasks::told_at.is_not_null()))
                .order(tasks::archive_at)
                .limit(limit.max(0))
                .select(tasks::id)
                .for_update()
                .skip_locked()
                .load(connection)
                .await?;
            let archived = diesel::update(tasks::table.filter(tasks::id.eq_any(due))).set((tasks::archived_at.eq(now), tasks::updated_at.eq(now)));
            Ok(archived.returning(TaskRow::as_returning()).get_results(connection).await?)
        });
        within(archiving).await?.into_iter().map(TaskRow::with_tenant).collect()
    }
}
