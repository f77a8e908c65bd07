//! Plain configuration values per tenant.

use crate::{
    database::Sqlite,
    failure::Explain,
    values::{Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{Result, TenantId, system_configs::SystemConfigStore};
use rusqlite::{OptionalExtension, params};

#[async_trait]
impl SystemConfigStore for Sqlite {
    async fn list(&self, tenant: TenantId) -> Result<Vec<(String, String)>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select key, value from system_configs where tenant_id = ?1 order by key")?;
            Ok(statement.query_map([Text(tenant)], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn get(&self, tenant: TenantId, key: &str) -> Result<Option<String>> {
        let key = key.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select value from system_configs where tenant_id = ?1 and key = ?2")?;
            Ok(statement.query_row(params![Text(tenant), key], |row| row.get(0)).optional()?)
        })
        .await
    }

    async fn put(&self, tenant: TenantId, key: &str, value: &str, now: DateTime<Utc>) -> Result<()> {
        let (key, value) = (key.to_owned(), value.to_owned());
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "insert into system_configs (tenant_id, key, value, updated_at) values (?1, ?2, ?3, ?4)
                     on conflict do update set value = excluded.value, updated_at = excluded.updated_at",
                )?
                .execute(params![Text(tenant), key, value, Time(now)])
                .unless_missing("tenant", tenant)?;
            Ok(())
        })
        .await
    }

    async fn delete(&self, tenant: TenantId, key: &str) -> Result<bool> {
        let key = key.to_owned();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("delete from system_configs where tenant_id = ?1 and key = ?2")?;
            Ok(statement.execute(params![Text(tenant), key])? > 0)
        })
        .await
    }
}
