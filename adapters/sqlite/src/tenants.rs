//! Tenants and their members.

use crate::{
    database::Sqlite,
    failure::Explain,
    values::{Columns, Json, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Result, TenantId,
    tenants::{Tenant, TenantStatus, TenantStore},
};
use rusqlite::{OptionalExtension, Row, params};

fn tenant(row: &Row<'_>) -> rusqlite::Result<Tenant> {
    Ok(Tenant {
        id: row.id("id")?,
        name: row.get("name")?,
        slug: row.get("slug")?,
        status: row.named("status", TenantStatus::parse)?,
        settings: row.json("settings")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

#[async_trait]
impl TenantStore for Sqlite {
    async fn find(&self, id: TenantId) -> Result<Option<Tenant>> {
        self.read(move |connection| Ok(connection.prepare_cached("select * from tenants where id = ?1")?.query_row([Text(id)], tenant).optional()?)).await
    }

    async fn all_tenants_find_by_slug(&self, slug: &str) -> Result<Option<Tenant>> {
        let slug = slug.to_owned();
        self.read(move |connection| Ok(connection.prepare_cached("select * from tenants where slug = ?1")?.query_row([slug], tenant).optional()?)).await
    }

    async fn all_tenants_list(&self) -> Result<Vec<Tenant>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("select * from tenants order by created_at, id")?;
            Ok(statement.query_map([], tenant)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn insert(&self, new: &Tenant) -> Result<()> {
        let new = new.clone();
        self.write(move |connection| {
            connection
                .prepare_cached("insert into tenants (id, name, slug, status, settings, created_at, updated_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
                .execute(params![Text(new.id), new.name, new.slug, new.status.as_str(), Json(&new.settings), Time(new.created_at), Time(new.updated_at)])
                .unless_exists("tenant", &new.slug)?;
            Ok(())
        })
        .await
    }

    async fn set_status(&self, id: TenantId, status: TenantStatus, now: DateTime<Utc>) -> Result<bool> {
        self.write(move |connection| {
            let changed = connection.prepare_cached("update tenants set status = ?2, updated_at = ?3 where id = ?1")?.execute(params![
                Text(id),
                status.as_str(),
                Time(now)
            ])?;
            Ok(changed > 0)
        })
        .await
    }

    async fn member_role(&self, id: TenantId, user: &str) -> Result<Option<String>> {
        let user = user.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select role from tenant_users where tenant_id = ?1 and user_id = ?2")?;
            Ok(statement.query_row(params![Text(id), user], |row| row.get(0)).optional()?)
        })
        .await
    }

    async fn put_member(&self, id: TenantId, user: &str, role: &str, now: DateTime<Utc>) -> Result<()> {
        let (user, role) = (user.to_owned(), role.to_owned());
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "insert into tenant_users (tenant_id, user_id, role, created_at, updated_at) values (?1, ?2, ?3, ?4, ?4)
                     on conflict do update set role = excluded.role, updated_at = excluded.updated_at",
                )?
                .execute(params![Text(id), user, role, Time(now)])
                .unless_missing("tenant", id)?;
            Ok(())
        })
        .await
    }

    async fn remove_member(&self, id: TenantId, user: &str) -> Result<bool> {
        let user = user.to_owned();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("delete from tenant_users where tenant_id = ?1 and user_id = ?2")?;
            Ok(statement.execute(params![Text(id), user])? > 0)
        })
        .await
    }
}
