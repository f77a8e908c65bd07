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
    tenants::{Member, MemberRole, Tenant, TenantPatch, TenantStatus, TenantStore},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

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

fn member(row: &Row<'_>) -> rusqlite::Result<Member> {
    Ok(Member {
        id: row.id("id")?,
        tenant_id: row.id("tenant_id")?,
        user_id: row.get("user_id")?,
        display_name: row.get("display_name")?,
        role: row.named("role", MemberRole::parse)?,
        metadata: row.json("metadata")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn role(connection: &Connection, id: TenantId, user: &str) -> rusqlite::Result<Option<MemberRole>> {
    connection
        .prepare_cached("select role from tenant_users where tenant_id = ?1 and user_id = ?2")?
        .query_row(params![Text(id), user], |row| row.named("role", MemberRole::parse))
        .optional()
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

    async fn all_tenants_memberships(&self, user: &str) -> Result<Vec<(Tenant, MemberRole)>> {
        let user = user.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "select t.*, m.role from tenant_users m join tenants t on t.id = m.tenant_id where m.user_id = ?1 order by t.created_at, t.id",
            )?;
            let membership = |row: &Row<'_>| Ok((tenant(row)?, row.named("role", MemberRole::parse)?));
            Ok(statement.query_map([user], membership)?.collect::<rusqlite::Result<_>>()?)
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

    async fn update(&self, id: TenantId, patch: &TenantPatch, now: DateTime<Utc>) -> Result<Option<Tenant>> {
        let TenantPatch { name, status, settings } = patch.clone();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "update tenants set name = coalesce(?2, name), status = coalesce(?3, status), settings = coalesce(?4, settings), updated_at = ?5
                 where id = ?1 returning *",
            )?;
            let parameters = params![Text(id), name, status.map(TenantStatus::as_str), settings.map(Json), Time(now)];
            let mut changed = statement.query_map(parameters, tenant)?;
            Ok(changed.next().transpose()?)
        })
        .await
    }

    async fn member_role(&self, id: TenantId, user: &str) -> Result<Option<MemberRole>> {
        let user = user.to_owned();
        self.read(move |connection| Ok(role(connection, id, &user)?)).await
    }

    async fn members(&self, id: TenantId) -> Result<Vec<Member>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select * from tenant_users where tenant_id = ?1 order by created_at, id")?;
            Ok(statement.query_map([Text(id)], member)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn search_members(&self, id: TenantId, text: &str, limit: i64) -> Result<Vec<Member>> {
        // As `lower` does: letters outside ASCII stay as they are.
        let text = text.to_ascii_lowercase();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "select * from tenant_users
                 where tenant_id = ?1 and (instr(lower(user_id), ?2) > 0 or instr(lower(coalesce(display_name, '')), ?2) > 0)
                 order by created_at, id limit ?3",
            )?;
            Ok(statement.query_map(params![Text(id), text, limit.max(0)], member)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn put_member(&self, id: TenantId, new: &Member) -> Result<Option<MemberRole>> {
        let new = new.clone();
        self.write(move |connection| {
            let before = role(connection, id, &new.user_id)?;
            connection
                .prepare_cached(
                    "insert into tenant_users (id, tenant_id, user_id, display_name, role, metadata, created_at, updated_at)
                     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                     on conflict (tenant_id, user_id) do update set role = excluded.role, updated_at = excluded.updated_at",
                )?
                .execute(params![
                    Text(new.id),
                    Text(id),
                    new.user_id,
                    new.display_name,
                    new.role.as_str(),
                    Json(&new.metadata),
                    Time(new.created_at),
                    Time(new.updated_at)
                ])
                .unless_exists("member", new.id)
                .unless_missing("tenant", id)?;
            Ok(before)
        })
        .await
    }

    async fn remove_member(&self, id: TenantId, user: &str) -> Result<Option<MemberRole>> {
        let user = user.to_owned();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("delete from tenant_users where tenant_id = ?1 and user_id = ?2 returning role")?;
            let mut removed = statement.query_map(params![Text(id), user], |row| row.named("role", MemberRole::parse))?;
            Ok(removed.next().transpose()?)
        })
        .await
    }
}
