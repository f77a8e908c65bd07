//! Stored LLM providers.

use crate::{
    database::Sqlite,
    failure::Explain,
    values::{Columns, Json, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    ProviderId, Result, TenantId,
    providers::{ProviderPatch, ProviderRow, ProviderStore},
    sealer::Sealed,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

fn provider(row: &Row<'_>) -> rusqlite::Result<ProviderRow> {
    Ok(ProviderRow {
        id: row.id("id")?,
        tenant_id: row.id("tenant_id")?,
        name: row.get("name")?,
        display_name: row.get("display_name")?,
        provider_type: row.get("provider_type")?,
        api_base: row.get("api_base")?,
        api_key: row.get::<_, Option<String>>("api_key")?.map(Sealed),
        enabled: row.get("enabled")?,
        settings: row.json("settings")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn find(connection: &Connection, tenant: TenantId, id: ProviderId) -> rusqlite::Result<Option<ProviderRow>> {
    connection.prepare_cached("select * from llm_providers where tenant_id = ?1 and id = ?2")?.query_row(params![Text(tenant), Text(id)], provider).optional()
}

fn apply(row: &mut ProviderRow, patch: ProviderPatch, now: DateTime<Utc>) {
    let ProviderPatch { name, display_name, api_base, api_key, enabled, settings, set } = patch;
    row.name = name.unwrap_or_else(|| std::mem::take(&mut row.name));
    row.display_name = display_name.unwrap_or_else(|| std::mem::take(&mut row.display_name));
    row.api_base = api_base.unwrap_or_else(|| std::mem::take(&mut row.api_base));
    row.api_key = api_key.or(row.api_key.take());
    row.enabled = enabled.unwrap_or(row.enabled);
    row.settings = settings.unwrap_or_else(|| std::mem::take(&mut row.settings));
    row.settings.extend(set);
    row.updated_at = now;
}

#[async_trait]
impl ProviderStore for Sqlite {
    async fn list(&self, tenant: TenantId) -> Result<Vec<ProviderRow>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select * from llm_providers where tenant_id = ?1 order by name")?;
            Ok(statement.query_map([Text(tenant)], provider)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn find(&self, tenant: TenantId, id: ProviderId) -> Result<Option<ProviderRow>> {
        self.read(move |connection| Ok(find(connection, tenant, id)?)).await
    }

    async fn find_by_name(&self, tenant: TenantId, name: &str) -> Result<Option<ProviderRow>> {
        let name = name.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select * from llm_providers where tenant_id = ?1 and name = ?2")?;
            Ok(statement.query_row(params![Text(tenant), name], provider).optional()?)
        })
        .await
    }

    async fn insert(&self, tenant: TenantId, row: &ProviderRow) -> Result<()> {
        let row = row.clone();
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "insert into llm_providers
                     (id, tenant_id, name, display_name, provider_type, api_base, api_key, enabled, settings, created_at, updated_at)
                     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
                )?
                .execute(params![
                    Text(row.id),
                    Text(tenant),
                    row.name,
                    row.display_name,
                    row.provider_type,
                    row.api_base,
                    row.api_key.map(|sealed| sealed.0),
                    row.enabled,
                    Json(&row.settings),
                    Time(row.created_at),
                    Time(row.updated_at)
                ])
                .unless_exists("provider", &row.name)
                .unless_missing("tenant", tenant)?;
            Ok(())
        })
        .await
    }

    async fn update(&self, tenant: TenantId, id: ProviderId, patch: &ProviderPatch, now: DateTime<Utc>) -> Result<Option<ProviderRow>> {
        let patch = patch.clone();
        self.write(move |connection| {
            let Some(mut row) = find(connection, tenant, id)? else { return Ok(None) };
            apply(&mut row, patch, now);
            connection
                .prepare_cached(
                    "update llm_providers set name = ?3, display_name = ?4, api_base = ?5, api_key = ?6, enabled = ?7, settings = ?8, updated_at = ?9
                     where tenant_id = ?1 and id = ?2",
                )?
                .execute(params![
                    Text(tenant),
                    Text(id),
                    row.name,
                    row.display_name,
                    row.api_base,
                    row.api_key.as_ref().map(|sealed| &sealed.0),
                    row.enabled,
                    Json(&row.settings),
                    Time(now)
                ])
                .unless_exists("provider", &row.name)?;
            // Read again: what is answered is what is kept.
            Ok(find(connection, tenant, id)?)
        })
        .await
    }

    async fn delete(&self, tenant: TenantId, id: ProviderId) -> Result<Option<ProviderRow>> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("delete from llm_providers where tenant_id = ?1 and id = ?2 returning *")?;
            let mut deleted = statement.query_map(params![Text(tenant), Text(id)], provider)?;
            Ok(deleted.next().transpose()?)
        })
        .await
    }

    async fn all_tenants_have(&self, provider_type: &str) -> Result<bool> {
        let provider_type = provider_type.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select 1 from llm_providers where provider_type = ?1 limit 1")?;
            Ok(statement.exists([provider_type])?)
        })
        .await
    }

    async fn all_tenants_enabled(&self) -> Result<Vec<ProviderRow>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("select * from llm_providers where enabled = 1 order by tenant_id, name")?;
            Ok(statement.query_map([], provider)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }
}
