//! Sealed configuration values.

use crate::{
    database::Sqlite,
    failure::Explain,
    values::{Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{Result, TenantId, sealer::Sealed, secrets::SecretStore};
use rusqlite::{OptionalExtension, params};

#[async_trait]
impl SecretStore for Sqlite {
    async fn list(&self, tenant: TenantId) -> Result<Vec<(String, Sealed)>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select name, value from config_secrets where tenant_id = ?1 order by name")?;
            Ok(statement.query_map([Text(tenant)], |row| Ok((row.get(0)?, Sealed(row.get(1)?))))?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn get(&self, tenant: TenantId, name: &str) -> Result<Option<Sealed>> {
        let name = name.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select value from config_secrets where tenant_id = ?1 and name = ?2")?;
            Ok(statement.query_row(params![Text(tenant), name], |row| Ok(Sealed(row.get(0)?))).optional()?)
        })
        .await
    }

    async fn put(&self, tenant: TenantId, name: &str, value: &Sealed, now: DateTime<Utc>) -> Result<()> {
        let (name, value) = (name.to_owned(), value.clone());
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "insert into config_secrets (tenant_id, name, value, updated_at) values (?1, ?2, ?3, ?4)
                     on conflict do update set value = excluded.value, updated_at = excluded.updated_at",
                )?
                .execute(params![Text(tenant), name, value.0, Time(now)])
                .unless_missing("tenant", tenant)?;
            Ok(())
        })
        .await
    }

    async fn delete(&self, tenant: TenantId, name: &str) -> Result<bool> {
        let name = name.to_owned();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("delete from config_secrets where tenant_id = ?1 and name = ?2")?;
            Ok(statement.execute(params![Text(tenant), name])? > 0)
        })
        .await
    }
}
