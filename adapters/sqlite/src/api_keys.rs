//! API keys.

use crate::{
    database::Sqlite,
    failure::Explain,
    values::{Columns, Json, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    ApiKeyId, Result, TenantId,
    api_keys::{ApiKey, ApiKeyStore},
};
use rusqlite::{OptionalExtension, Row, params};

/// All but the hash: nothing that is read back could sign in.
const COLUMNS: &str = "id, tenant_id, name, prefix, scopes, owner_id, expires_at, last_used_at, revoked, created_by, created_at, updated_at";

fn api_key(row: &Row<'_>) -> rusqlite::Result<ApiKey> {
    Ok(ApiKey {
        id: row.id("id")?,
        tenant_id: row.optional_id("tenant_id")?,
        name: row.get("name")?,
        prefix: row.get("prefix")?,
        scopes: row.json("scopes")?,
        owner_id: row.get("owner_id")?,
        expires_at: row.optional_time("expires_at")?,
        last_used_at: row.optional_time("last_used_at")?,
        revoked: row.get("revoked")?,
        created_by: row.get("created_by")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

#[async_trait]
impl ApiKeyStore for Sqlite {
    async fn all_tenants_find_by_hash(&self, hash: &str) -> Result<Option<ApiKey>> {
        let hash = hash.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!("select {COLUMNS} from api_keys where key_hash = ?1"))?;
            Ok(statement.query_row([hash], api_key).optional()?)
        })
        .await
    }

    async fn insert(&self, key: &ApiKey, hash: &str) -> Result<()> {
        let (key, hash) = (key.clone(), hash.to_owned());
        self.write(move |connection| {
            connection
                .prepare_cached(&format!("insert into api_keys ({COLUMNS}, key_hash) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)"))?
                .execute(params![
                    Text(key.id),
                    key.tenant_id.map(Text),
                    key.name,
                    key.prefix,
                    Json(&key.scopes),
                    key.owner_id,
                    key.expires_at.map(Time),
                    key.last_used_at.map(Time),
                    key.revoked,
                    key.created_by,
                    Time(key.created_at),
                    Time(key.updated_at),
                    hash
                ])
                .unless_exists("API key", key.id)
                .unless_missing("tenant", key.tenant_id.map(|id| id.to_string()).unwrap_or_default())?;
            Ok(())
        })
        .await
    }

    async fn list(&self, tenant: Option<TenantId>) -> Result<Vec<ApiKey>> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached(&format!("select {COLUMNS} from api_keys where tenant_id is ?1 order by created_at desc, id desc"))?;
            Ok(statement.query_map([tenant.map(Text)], api_key)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn revoke(&self, tenant: Option<TenantId>, id: ApiKeyId, now: DateTime<Utc>) -> Result<bool> {
        self.write(move |connection| {
            let mut statement =
                connection.prepare_cached("update api_keys set revoked = 1, updated_at = iif(revoked, updated_at, ?3) where tenant_id is ?1 and id = ?2")?;
            Ok(statement.execute(params![tenant.map(Text), Text(id), Time(now)])? > 0)
        })
        .await
    }

    async fn touch(&self, tenant: Option<TenantId>, id: ApiKeyId, now: DateTime<Utc>) -> Result<()> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("update api_keys set last_used_at = ?3 where tenant_id is ?1 and id = ?2")?;
            statement.execute(params![tenant.map(Text), Text(id), Time(now)])?;
            Ok(())
        })
        .await
    }
}
