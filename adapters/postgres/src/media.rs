//! Which file came in which conversation.

use crate::{
    error::taken,
    json::text,
    pool::Postgres,
    schema::{media, sessions},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::{
    dsl::{exists, not},
    prelude::*,
};
use diesel_async::RunQueryDsl;
use goclaw_ports::{
    MediaId, Result, TenantId,
    media::{Media, MediaStore},
};
use uuid::Uuid;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = media)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    session_key: String,
    path: String,
    mime_type: String,
    created_at: DateTime<Utc>,
}

impl From<Row> for Media {
    fn from(row: Row) -> Self {
        Self { id: MediaId(row.id), session_key: row.session_key, path: row.path, mime_type: row.mime_type, created_at: row.created_at }
    }
}

#[async_trait]
impl MediaStore for Postgres {
    async fn insert(&self, tenant: TenantId, new: &Media) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let row = Row {
            id: new.id.0,
            tenant_id: tenant.0,
            session_key: text(&new.session_key),
            path: text(&new.path),
            mime_type: text(&new.mime_type),
            created_at: new.created_at,
        };
        let query = diesel::insert_into(media::table).values(row);
        connection.run(query.execute(&mut connection.pipe())).await.map_err(taken("media", new.id))?;
        Ok(())
    }

    async fn find(&self, tenant: TenantId, id: MediaId) -> Result<Option<Media>> {
        let connection = self.tenant(tenant).await?;
        let query = media::table.filter(media::tenant_id.eq(tenant.0).and(media::id.eq(id.0))).select(Row::as_select());
        Ok(connection.run_optional(query.first(&mut connection.pipe())).await?.map(Media::from))
    }

    async fn of_session(&self, tenant: TenantId, session_key: &str) -> Result<Vec<Media>> {
        let connection = self.tenant(tenant).await?;
        let query = media::table
            .filter(media::tenant_id.eq(tenant.0).and(media::session_key.eq(text(session_key))))
            .order((media::created_at, media::id))
            .select(Row::as_select());
        let rows: Vec<Row> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(rows.into_iter().map(Media::from).collect())
    }

    async fn of_tenant(&self, tenant: TenantId, after: Option<MediaId>, limit: i64) -> Result<Vec<Media>> {
        let connection = self.tenant(tenant).await?;
        let after = after.map(|id| id.0).unwrap_or_default();
        let query = media::table.filter(media::tenant_id.eq(tenant.0).and(media::id.gt(after))).order(media::id).limit(limit.max(0)).select(Row::as_select());
        let rows: Vec<Row> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(rows.into_iter().map(Media::from).collect())
    }

    async fn remove(&self, tenant: TenantId, id: MediaId) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(media::table.filter(media::tenant_id.eq(tenant.0).and(media::id.eq(id.0))));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn all_tenants_find(&self, id: MediaId) -> Result<Option<Media>> {
        let connection = self.engine().await?;
        let query = media::table.filter(media::id.eq(id.0)).select(Row::as_select());
        Ok(connection.run_optional(query.first(&mut connection.pipe())).await?.map(Media::from))
    }

    async fn all_tenants_orphans(&self, then: DateTime<Utc>, limit: i64) -> Result<Vec<(TenantId, Media)>> {
        let connection = self.engine().await?;
        let session = sessions::table.filter(sessions::tenant_id.eq(media::tenant_id).and(sessions::session_key.eq(media::session_key)));
        let query = media::table
            .filter(media::created_at.lt(then).and(not(exists(session))))
            .order((media::created_at, media::id))
            .limit(limit.max(0))
            .select(Row::as_select());
        let rows: Vec<Row> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(rows.into_iter().map(|row| (TenantId(row.tenant_id), row.into())).collect())
    }
}
