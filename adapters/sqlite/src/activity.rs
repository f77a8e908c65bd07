//! The audit log.

use crate::{
    database::Sqlite,
    failure::Explain,
    filter::Filter,
    values::{Columns, Json, Text, Time},
};
use async_trait::async_trait;
use goclaw_ports::{
    Result, TenantId,
    activity::{Activity, ActivityFilter, ActivityStore},
};
use rusqlite::{Row, params, params_from_iter};

fn activity(row: &Row<'_>) -> rusqlite::Result<Activity> {
    Ok(Activity {
        id: row.id("id")?,
        actor_type: row.get("actor_type")?,
        actor_id: row.get("actor_id")?,
        action: row.get("action")?,
        entity_type: row.get("entity_type")?,
        entity_id: row.get("entity_id")?,
        details: row.optional_json("details")?,
        ip_address: row.get("ip_address")?,
        created_at: row.time("created_at")?,
    })
}

#[async_trait]
impl ActivityStore for Sqlite {
    async fn append(&self, tenant: TenantId, entries: &[Activity]) -> Result<()> {
        let entries = entries.to_vec();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "insert into activity_logs (id, tenant_id, actor_type, actor_id, action, entity_type, entity_id, details, ip_address, created_at)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?;
            for entry in entries {
                statement
                    .execute(params![
                        Text(entry.id),
                        Text(tenant),
                        entry.actor_type,
                        entry.actor_id,
                        entry.action,
                        entry.entity_type,
                        entry.entity_id,
                        entry.details.map(Json),
                        entry.ip_address,
                        Time(entry.created_at)
                    ])
                    .unless_exists("activity", entry.id)
                    .unless_missing("tenant", tenant)?;
            }
            Ok(())
        })
        .await
    }

    async fn list(&self, tenant: TenantId, wanted: &ActivityFilter) -> Result<(Vec<Activity>, i64)> {
        let mut filter = Filter::tenant(tenant);
        filter.and_equal("actor_type", wanted.actor_type.as_ref());
        filter.and_equal("actor_id", wanted.actor_id.as_ref());
        filter.and_equal("action", wanted.action.as_ref());
        filter.and_equal("entity_type", wanted.entity_type.as_ref());
        filter.and_equal("entity_id", wanted.entity_id.as_ref());
        let (limit, offset) = (wanted.limit, wanted.offset);
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let conditions = filter.sql();
            let total = snapshot
                .prepare_cached(&format!("select count(*) from activity_logs where {conditions}"))?
                .query_row(params_from_iter(filter.parameters()), |row| row.get(0))?;
            let entries = snapshot
                .prepare_cached(&format!("select * from activity_logs where {conditions} order by created_at desc, id desc limit ? offset ?"))?
                .query_map(params_from_iter(filter.paged(limit, offset)), activity)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((entries, total))
        })
        .await
    }
}
