//! API keys.

use crate::{
    error::taken_or_missing,
    json::{decode, encode, text},
    pool::Postgres,
    schema::api_keys,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use goclaw_ports::{
    ApiKeyId, Result, TenantId,
    api_keys::{ApiKey, ApiKeyStore},
};
use serde_json::Value;
use uuid::Uuid;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = api_keys)]
struct Row {
    id: Uuid,
    tenant_id: Option<Uuid>,
    name: String,
    prefix: String,
    scopes: Value,
    owner_id: String,
    expires_at: Option<DateTime<Utc>>,
    last_used_at: Option<DateTime<Utc>>,
    revoked: bool,
    created_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn key(self) -> Result<ApiKey> {
        Ok(ApiKey {
            id: ApiKeyId(self.id),
            tenant_id: self.tenant_id.map(TenantId),
            name: self.name,
            prefix: self.prefix,
            scopes: decode(self.scopes)?,
            owner_id: self.owner_id,
            expires_at: self.expires_at,
            last_used_at: self.last_used_at,
            revoked: self.revoked,
            created_by: self.created_by,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

#[async_trait]
impl ApiKeyStore for Postgres {
    async fn all_tenants_find_by_hash(&self, hash: &str) -> Result<Option<ApiKey>> {
        let connection = self.engine().await?;
        let query = api_keys::table.filter(api_keys::key_hash.eq(text(hash))).select(Row::as_select());
        connection.run_optional(query.first(&mut connection.pipe())).await?.map(Row::key).transpose()
    }

    async fn insert(&self, key: &ApiKey, hash: &str) -> Result<()> {
        let connection = self.tenant_or_engine(key.tenant_id).await?;
        let row = Row {
            id: key.id.0,
            tenant_id: key.tenant_id.map(|tenant| tenant.0),
            name: text(&key.name),
            prefix: text(&key.prefix),
            scopes: encode(&key.scopes)?,
            owner_id: text(&key.owner_id),
            expires_at: key.expires_at,
            last_used_at: key.last_used_at,
            revoked: key.revoked,
            created_by: text(&key.created_by),
            created_at: key.created_at,
            updated_at: key.updated_at,
        };
        let query = diesel::insert_into(api_keys::table).values((row, api_keys::key_hash.eq(text(hash))));
        let tenant = key.tenant_id.map(|tenant| tenant.to_string()).unwrap_or_default();
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(taken_or_missing("API key", &key.prefix, "tenant", tenant))
    }

    async fn list(&self, tenant: Option<TenantId>) -> Result<Vec<ApiKey>> {
        let connection = self.tenant_or_engine(tenant).await?;
        let query = api_keys::table
            .filter(api_keys::tenant_id.is_not_distinct_from(tenant.map(|tenant| tenant.0)))
            .order((api_keys::created_at.desc(), api_keys::id.desc()))
            .select(Row::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(Row::key).collect()
    }

    async fn revoke(&self, tenant: Option<TenantId>, id: ApiKeyId, now: DateTime<Utc>) -> Result<bool> {
        let connection = self.tenant_or_engine(tenant).await?;
        let own = api_keys::table.find(id.0).filter(api_keys::tenant_id.is_not_distinct_from(tenant.map(|tenant| tenant.0)));
        let query = diesel::update(own).set((api_keys::revoked.eq(true), api_keys::updated_at.eq(now)));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn touch(&self, tenant: Option<TenantId>, id: ApiKeyId, now: DateTime<Utc>) -> Result<()> {
        let connection = self.tenant_or_engine(tenant).await?;
        let own = api_keys::table.find(id.0).filter(api_keys::tenant_id.is_not_distinct_from(tenant.map(|tenant| tenant.0)));
        let query = diesel::update(own).set(api_keys::last_used_at.eq(now));
        Ok(connection.run(query.execute(&mut connection.pipe())).await.map(drop)?)
    }
}
