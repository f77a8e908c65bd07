//! Tenants and their members.

use crate::{
    error::{corrupt, missing, taken},
    json::{decode, object, text},
    pool::Postgres,
    schema::{tenant_users, tenants},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use goclaw_ports::{
    Result, TenantId,
    tenants::{Tenant, TenantStatus, TenantStore},
};
use serde_json::Value;
use uuid::Uuid;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = tenants)]
struct Row {
    id: Uuid,
    name: String,
    slug: String,
    status: String,
    settings: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn tenant(self) -> Result<Tenant> {
        Ok(Tenant {
            id: TenantId(self.id),
            name: self.name,
            slug: self.slug,
            status: TenantStatus::parse(&self.status).ok_or_else(|| corrupt("tenants.status", &self.status))?,
            settings: decode(self.settings)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

#[async_trait]
impl TenantStore for Postgres {
    async fn find(&self, tenant: TenantId) -> Result<Option<Tenant>> {
        let connection = self.engine().await?;
        let query = tenants::table.find(tenant.0).select(Row::as_select());
        connection.run_optional(query.first(&mut connection.pipe())).await?.map(Row::tenant).transpose()
    }

    async fn all_tenants_find_by_slug(&self, slug: &str) -> Result<Option<Tenant>> {
        let connection = self.engine().await?;
        let query = tenants::table.filter(tenants::slug.eq(text(slug))).select(Row::as_select());
        connection.run_optional(query.first(&mut connection.pipe())).await?.map(Row::tenant).transpose()
    }

    async fn all_tenants_list(&self) -> Result<Vec<Tenant>> {
        let connection = self.engine().await?;
        let query = tenants::table.order((tenants::created_at, tenants::id)).select(Row::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(Row::tenant).collect()
    }

    async fn insert(&self, tenant: &Tenant) -> Result<()> {
        let connection = self.engine().await?;
        let row = Row {
            id: tenant.id.0,
            name: text(&tenant.name),
            slug: text(&tenant.slug),
            status: tenant.status.as_str().to_owned(),
            settings: object(&tenant.settings),
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
        };
        let query = diesel::insert_into(tenants::table).values(row);
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(taken("tenant", &tenant.slug))
    }

    async fn set_status(&self, tenant: TenantId, status: TenantStatus, now: DateTime<Utc>) -> Result<bool> {
        let connection = self.engine().await?;
        let query = diesel::update(tenants::table.find(tenant.0)).set((tenants::status.eq(status.as_str()), tenants::updated_at.eq(now)));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn member_role(&self, tenant: TenantId, user: &str) -> Result<Option<String>> {
        let connection = self.tenant(tenant).await?;
        let query = tenant_users::table.find((tenant.0, text(user))).select(tenant_users::role);
        Ok(connection.run_optional(query.first(&mut connection.pipe())).await?)
    }

    async fn put_member(&self, tenant: TenantId, user: &str, role: &str, now: DateTime<Utc>) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::insert_into(tenant_users::table)
            .values((
                tenant_users::tenant_id.eq(tenant.0),
                tenant_users::user_id.eq(text(user)),
                tenant_users::role.eq(text(role)),
                tenant_users::created_at.eq(now),
                tenant_users::updated_at.eq(now),
            ))
            .on_conflict((tenant_users::tenant_id, tenant_users::user_id))
            .do_update()
            .set((tenant_users::role.eq(text(role)), tenant_users::updated_at.eq(now)));
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(missing("tenant", tenant))
    }

    async fn remove_member(&self, tenant: TenantId, user: &str) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(tenant_users::table.find((tenant.0, text(user))));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }
}
