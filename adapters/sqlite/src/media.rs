//! Which file came in which conversation.

use crate::{
    database::Sqlite,
    failure::Explain,
    values::{Columns, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    MediaId, Result, TenantId,
    media::{Media, MediaStore},
};
use rusqlite::{OptionalExtension, Row, params};

fn media(row: &Row<'_>) -> rusqlite::Result<Media> {
    Ok(Media {
        id: row.id("id")?,
        session_key: row.get("session_key")?,
        path: row.get("path")?,
        mime_type: row.get("mime_type")?,
        created_at: row.time("created_at")?,
    })
}

#[async_trait]
impl MediaStore for Sqlite {
    async fn insert(&self, tenant: TenantId, new: &Media) -> Result<()> {
        let new = new.clone();
        self.write(move |connection| {
            connection
                .prepare_cached("insert into media (id, tenant_id, session_key, path, mime_type, created_at) values (?1, ?2, ?3, ?4, ?5, ?6)")?
                .execute(params![Text(new.id), Text(tenant), new.session_key, new.path, new.mime_type, Time(new.created_at)])
                .unless_exists("media", new.id)?;
            Ok(())
        })
        .await
    }

    async fn find(&self, tenant: TenantId, id: MediaId) -> Result<Option<Media>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select * from media where tenant_id = ?1 and id = ?2")?;
            Ok(statement.query_row(params![Text(tenant), Text(id)], media).optional()?)
        })
        .await
    }

    async fn of_session(&self, tenant: TenantId, session_key: &str) -> Result<Vec<Media>> {
        let key = session_key.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select * from media where tenant_id = ?1 and session_key = ?2 order by created_at, id")?;
            Ok(statement.query_map(params![Text(tenant), key], media)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn of_tenant(&self, tenant: TenantId, after: Option<MediaId>, limit: i64) -> Result<Vec<Media>> {
        let after = after.unwrap_or(MediaId(Default::default()));
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select * from media where tenant_id = ?1 and id > ?2 order by id limit ?3")?;
            Ok(statement.query_map(params![Text(tenant), Text(after), limit.max(0)], media)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn remove(&self, tenant: TenantId, id: MediaId) -> Result<bool> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("delete from media where tenant_id = ?1 and id = ?2")?;
            Ok(statement.execute(params![Text(tenant), Text(id)])? > 0)
        })
        .await
    }

    async fn all_tenants_find(&self, id: MediaId) -> Result<Option<Media>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select * from media where id = ?1")?;
            Ok(statement.query_row([Text(id)], media).optional()?)
        })
        .await
    }

    async fn all_tenants_orphans(&self, then: DateTime<Utc>, limit: i64) -> Result<Vec<(TenantId, Media)>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "select * from media where created_at < ?1 and not exists
                    (select 1 from sessions where sessions.tenant_id = media.tenant_id and sessions.session_key = media.session_key)
                 order by created_at, id limit ?2",
            )?;
            let rows = statement.query_map(params![Time(then), limit.max(0)], |row| Ok((row.id("tenant_id")?, media(row)?)))?;
            Ok(rows.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }
}
