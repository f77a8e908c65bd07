//! Stored LLM providers.

use crate::{
    error::{taken, taken_or_missing},
    json::{decode, object, text},
    pool::Postgres,
    schema::llm_providers,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use goclaw_ports::{
    ProviderId, Result, TenantId,
    providers::{ProviderPatch, ProviderRow, ProviderStore},
    sealer::Sealed,
};
use serde_json::Value;
use uuid::Uuid;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = llm_providers)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    name: String,
    display_name: String,
    provider_type: String,
    api_base: String,
    api_key: Option<String>,
    enabled: bool,
    settings: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn provider(self) -> Result<ProviderRow> {
        Ok(ProviderRow {
            id: ProviderId(self.id),
            tenant_id: TenantId(self.tenant_id),
            name: self.name,
            display_name: self.display_name,
            provider_type: self.provider_type,
            api_base: self.api_base,
            api_key: self.api_key.map(Sealed),
            enabled: self.enabled,
            settings: decode(self.settings)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

#[derive(AsChangeset)]
#[diesel(table_name = llm_providers)]
struct Changes {
    name: Option<String>,
    display_name: Option<String>,
    api_base: Option<String>,
    api_key: Option<String>,
    enabled: Option<bool>,
    settings: Option<Value>,
    updated_at: DateTime<Utc>,
}

#[async_trait]
impl ProviderStore for Postgres {
    async fn list(&self, tenant: TenantId) -> Result<Vec<ProviderRow>> {
        let connection = self.tenant(tenant).await?;
        let query = llm_providers::table.filter(llm_providers::tenant_id.eq(tenant.0)).order(llm_providers::name).select(Row::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(Row::provider).collect()
    }

    async fn find(&self, tenant: TenantId, id: ProviderId) -> Result<Option<ProviderRow>> {
        let connection = self.tenant(tenant).await?;
        let query = llm_providers::table.find(id.0).filter(llm_providers::tenant_id.eq(tenant.0)).select(Row::as_select());
        connection.run_optional(query.first(&mut connection.pipe())).await?.map(Row::provider).transpose()
    }

    async fn find_by_name(&self, tenant: TenantId, name: &str) -> Result<Option<ProviderRow>> {
        let connection = self.tenant(tenant).await?;
        let query = llm_providers::table.filter(llm_providers::tenant_id.eq(tenant.0).and(llm_providers::name.eq(text(name)))).select(Row::as_select());
        connection.run_optional(query.first(&mut connection.pipe())).await?.map(Row::provider).transpose()
    }

    async fn insert(&self, tenant: TenantId, row: &ProviderRow) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let stored = Row {
            id: row.id.0,
            tenant_id: tenant.0,
            name: text(&row.name),
            display_name: text(&row.display_name),
            provider_type: text(&row.provider_type),
            api_base: text(&row.api_base),
            api_key: row.api_key.as_ref().map(|key| text(&key.0)),
            enabled: row.enabled,
            settings: object(&row.settings),
            created_at: row.created_at,
            updated_at: row.updated_at,
        };
        let query = diesel::insert_into(llm_providers::table).values(stored);
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(taken_or_missing("provider", &row.name, "tenant", tenant))
    }

    async fn update(&self, tenant: TenantId, id: ProviderId, patch: &ProviderPatch, now: DateTime<Utc>) -> Result<Option<ProviderRow>> {
        let connection = self.tenant(tenant).await?;
        let changes = Changes {
            name: patch.name.as_deref().map(text),
            display_name: patch.display_name.as_deref().map(text),
            api_base: patch.api_base.as_deref().map(text),
            api_key: patch.api_key.as_ref().map(|key| text(&key.0)),
            enabled: patch.enabled,
            settings: patch.settings.as_ref().map(|settings| {
                let mut settings = settings.clone();
                settings.extend(patch.set.clone());
                object(&settings)
            }),
            updated_at: now,
        };
        let own = llm_providers::table.find(id.0).filter(llm_providers::tenant_id.eq(tenant.0));
        let row = if patch.settings.is_none() && !patch.set.is_empty() {
            let merged = llm_providers::settings.eq(llm_providers::settings.concat(object(&patch.set)));
            let query = diesel::update(own).set((changes, merged)).returning(Row::as_returning());
            connection.run_optional(query.get_result(&mut connection.pipe())).await
        } else {
            let query = diesel::update(own).set(changes).returning(Row::as_returning());
            connection.run_optional(query.get_result(&mut connection.pipe())).await
        };
        row.map_err(taken("provider", patch.name.as_deref().unwrap_or_default()))?.map(Row::provider).transpose()
    }

    async fn delete(&self, tenant: TenantId, id: ProviderId) -> Result<Option<ProviderRow>> {
        let connection = self.tenant(tenant).await?;
        let own = llm_providers::table.find(id.0).filter(llm_providers::tenant_id.eq(tenant.0));
        let query = diesel::delete(own).returning(Row::as_returning());
        connection.run_optional(query.get_result(&mut connection.pipe())).await?.map(Row::provider).transpose()
    }

    async fn all_tenants_have(&self, provider_type: &str) -> Result<bool> {
        let connection = self.engine().await?;
        let query = diesel::select(diesel::dsl::exists(llm_providers::table.filter(llm_providers::provider_type.eq(text(provider_type)))));
        Ok(connection.run(query.get_result(&mut connection.pipe())).await?)
    }

    async fn all_tenants_enabled(&self) -> Result<Vec<ProviderRow>> {
        let connection = self.engine().await?;
        let query = llm_providers::table.filter(llm_providers::enabled).order((llm_providers::tenant_id, llm_providers::name)).select(Row::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(Row::provider).collect()
    }
}
