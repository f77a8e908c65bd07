//! Plain configuration values per tenant.

use crate::{error::missing, json::text, pool::Postgres, schema::system_configs};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use goclaw_ports::{Result, TenantId, system_configs::SystemConfigStore};

#[async_trait]
impl SystemConfigStore for Postgres {
    async fn list(&self, tenant: TenantId) -> Result<Vec<(String, String)>> {
        let connection = self.tenant(tenant).await?;
        let query = system_configs::table
            .filter(system_configs::tenant_id.eq(tenant.0))
            .order(system_configs::key)
            .select((system_configs::key, system_configs::value));
        Ok(connection.run(query.load(&mut connection.pipe())).await?)
    }

    async fn get(&self, tenant: TenantId, key: &str) -> Result<Option<String>> {
        let connection = self.tenant(tenant).await?;
        let query = system_configs::table.find((tenant.0, text(key))).select(system_configs::value);
        Ok(connection.run_optional(query.first(&mut connection.pipe())).await?)
    }

    async fn put(&self, tenant: TenantId, key: &str, value: &str, now: DateTime<Utc>) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::insert_into(system_configs::table)
            .values((
                system_configs::tenant_id.eq(tenant.0),
                system_configs::key.eq(text(key)),
                system_configs::value.eq(text(value)),
                system_configs::updated_at.eq(now),
            ))
            .on_conflict((system_configs::tenant_id, system_configs::key))
            .do_update()
            .set((system_configs::value.eq(text(value)), system_configs::updated_at.eq(now)));
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(missing("tenant", tenant))
    }

    async fn delete(&self, tenant: TenantId, key: &str) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(system_configs::table.find((tenant.0, text(key))));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }
}
