//! Sealed configuration values.

use crate::{error::missing, json::text, pool::Postgres, schema::config_secrets};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use goclaw_ports::{Result, TenantId, sealer::Sealed, secrets::SecretStore};

#[async_trait]
impl SecretStore for Postgres {
    async fn list(&self, tenant: TenantId) -> Result<Vec<(String, Sealed)>> {
        let connection = self.tenant(tenant).await?;
        let query = config_secrets::table
            .filter(config_secrets::tenant_id.eq(tenant.0))
            .order(config_secrets::name)
            .select((config_secrets::name, config_secrets::value));
        let rows: Vec<(String, String)> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(rows.into_iter().map(|(name, value)| (name, Sealed(value))).collect())
    }

    async fn get(&self, tenant: TenantId, name: &str) -> Result<Option<Sealed>> {
        let connection = self.tenant(tenant).await?;
        let query = config_secrets::table.find((tenant.0, text(name))).select(config_secrets::value);
        Ok(connection.run_optional(query.first(&mut connection.pipe())).await?.map(Sealed))
    }

    async fn put(&self, tenant: TenantId, name: &str, value: &Sealed, now: DateTime<Utc>) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::insert_into(config_secrets::table)
            .values((
                config_secrets::tenant_id.eq(tenant.0),
                config_secrets::name.eq(text(name)),
                config_secrets::value.eq(text(&value.0)),
                config_secrets::updated_at.eq(now),
            ))
            .on_conflict((config_secrets::tenant_id, config_secrets::name))
            .do_update()
            .set((config_secrets::value.eq(text(&value.0)), config_secrets::updated_at.eq(now)));
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(missing("tenant", tenant))
    }

    async fn delete(&self, tenant: TenantId, name: &str) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(config_secrets::table.find((tenant.0, text(name))));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }
}
