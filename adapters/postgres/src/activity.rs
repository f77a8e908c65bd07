//! The audit log.

use crate::{
    error::{Failure, missing},
    json::{clean, text},
    pool::{Postgres, enter, within},
    schema::activity_logs,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::{pg::Pg, prelude::*};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::future;
use goclaw_ports::{
    Result, TenantId,
    activity::{Activity, ActivityFilter, ActivityStore},
};
use serde_json::Value;
use uuid::Uuid;

/// Rows per statement: PostgreSQL takes 65,535 parameters.
const BATCH: usize = 1000;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = activity_logs)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    actor_type: String,
    actor_id: String,
    action: String,
    entity_type: String,
    entity_id: String,
    details: Option<Value>,
    ip_address: String,
    created_at: DateTime<Utc>,
}

impl Row {
    fn new(tenant: TenantId, entry: &Activity) -> Self {
        Self {
            id: entry.id,
            tenant_id: tenant.0,
            actor_type: text(&entry.actor_type),
            actor_id: text(&entry.actor_id),
            action: text(&entry.action),
            entity_type: text(&entry.entity_type),
            entity_id: text(&entry.entity_id),
            details: entry.details.clone().map(clean),
            ip_address: text(&entry.ip_address),
            created_at: entry.created_at,
        }
    }

    fn activity(self) -> Activity {
        Activity {
            id: self.id,
            actor_type: self.actor_type,
            actor_id: self.actor_id,
            action: self.action,
            entity_type: self.entity_type,
            entity_id: self.entity_id,
            details: self.details,
            ip_address: self.ip_address,
            created_at: self.created_at,
        }
    }
}

fn matching(tenant: TenantId, filter: &ActivityFilter) -> activity_logs::BoxedQuery<'static, Pg> {
    let mut query = activity_logs::table.filter(activity_logs::tenant_id.eq(tenant.0)).into_boxed();
    if let Some(actor_type) = &filter.actor_type {
        query = query.filter(activity_logs::actor_type.eq(text(actor_type)));
    }
    if let Some(actor_id) = &filter.actor_id {
        query = query.filter(activity_logs::actor_id.eq(text(actor_id)));
    }
    if let Some(action) = &filter.action {
        query = query.filter(activity_logs::action.eq(text(action)));
    }
    if let Some(entity_type) = &filter.entity_type {
        query = query.filter(activity_logs::entity_type.eq(text(entity_type)));
    }
    if let Some(entity_id) = &filter.entity_id {
        query = query.filter(activity_logs::entity_id.eq(text(entity_id)));
    }
    query
}

#[async_trait]
impl ActivityStore for Postgres {
    async fn append(&self, tenant: TenantId, entries: &[Activity]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let rows: Vec<Row> = entries.iter().map(|entry| Row::new(tenant, entry)).collect();
        let mut connection = self.tenant(tenant).await?;
        let appending = connection.raw().transaction(async |connection| -> Result<(), Failure> {
            enter(connection, tenant).await?;
            for batch in rows.chunks(BATCH) {
                diesel::insert_into(activity_logs::table).values(batch).execute(connection).await?;
            }
            Ok(())
        });
        within(appending).await.map_err(missing("tenant", tenant))
    }

    async fn list(&self, tenant: TenantId, filter: &ActivityFilter) -> Result<(Vec<Activity>, i64)> {
        let connection = self.tenant(tenant).await?;
        let page = matching(tenant, filter)
            .order((activity_logs::created_at.desc(), activity_logs::id.desc()))
            .limit(filter.limit.max(0))
            .offset(filter.offset.max(0))
            .select(Row::as_select());
        let total = matching(tenant, filter).count();
        let (mut first, mut second) = (connection.pipe(), connection.pipe());
        let (rows, total): (Vec<Row>, i64) = connection.run(future::try_join(page.load(&mut first), total.get_result(&mut second))).await?;
        Ok((rows.into_iter().map(Row::activity).collect(), total))
    }
}
