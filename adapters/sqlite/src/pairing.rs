//! Who asks to be let in, and who was.

use crate::{
    database::Sqlite,
    failure::{Explain, Failure},
    values::{Columns, Json, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId, message,
    pairing::{PairedDevice, PairingRequest, PairingStore, PendingLimits},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

fn request(row: &Row<'_>) -> rusqlite::Result<PairingRequest> {
    Ok(PairingRequest {
        code: row.get("code")?,
        sender: row.get("sender")?,
        channel: row.get("channel")?,
        chat_id: row.get("chat_id")?,
        account_id: row.get("account_id")?,
        user_id: row.get("user_id")?,
        counted_as: row.get("counted_as")?,
        metadata: row.json("metadata")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
    })
}

fn device(row: &Row<'_>) -> rusqlite::Result<PairedDevice> {
    Ok(PairedDevice {
        sender: row.get("sender")?,
        channel: row.get("channel")?,
        chat_id: row.get("chat_id")?,
        user_id: row.get("user_id")?,
        paired_by: row.get("paired_by")?,
        metadata: row.json("metadata")?,
        paired_at: row.time("paired_at")?,
        expires_at: row.time("expires_at")?,
    })
}

/// Removes what is void, of every tenant: it counts as absent already, and so its code is free.
fn forget_void(connection: &Connection, now: DateTime<Utc>) -> rusqlite::Result<()> {
    connection.prepare_cached("delete from pairing_requests where expires_at <= ?1")?.execute([Time(now)])?;
    connection.prepare_cached("delete from paired_devices where expires_at <= ?1")?.execute([Time(now)])?;
    Ok(())
}

fn take_request(connection: &Connection, tenant: TenantId, code: &str) -> rusqlite::Result<Option<PairingRequest>> {
    let mut statement = connection.prepare_cached("delete from pairing_requests where tenant_id = ?1 and code = ?2 returning *")?;
    let mut taken = statement.query_map(params![Text(tenant), code], request)?;
    taken.next().transpose()
}

fn add_request(connection: &Connection, tenant: TenantId, new: &PairingRequest, limits: PendingLimits) -> Result<(), Failure> {
    let (together, channel): (i64, i64) = connection
        .prepare_cached("select count(*) filter (where counted_as = ?3), count(*) from pairing_requests where tenant_id = ?1 and channel = ?2")?
        .query_row(params![Text(tenant), new.channel, new.counted_as], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if together >= limits.together || channel >= limits.channel {
        return Err(Error::new(ErrorKind::RateLimited, message::too_many_pairings()).into());
    }
    connection
        .prepare_cached(
            "insert into pairing_requests
             (code, tenant_id, sender, channel, chat_id, account_id, user_id, counted_as, metadata, created_at, expires_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            new.code,
            Text(tenant),
            new.sender,
            new.channel,
            new.chat_id,
            new.account_id,
            new.user_id,
            new.counted_as,
            Json(&new.metadata),
            Time(new.created_at),
            Time(new.expires_at)
        ])
        .unless_exists("pairing code", &new.code)
        .unless_missing("tenant", tenant)?;
    Ok(())
}

fn put_device(connection: &Connection, tenant: TenantId, new: &PairedDevice) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert or replace into paired_devices (tenant_id, channel, sender, chat_id, user_id, paired_by, metadata, paired_at, expires_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            Text(tenant),
            new.channel,
            new.sender,
            new.chat_id,
            new.user_id,
            new.paired_by,
            Json(&new.metadata),
            Time(new.paired_at),
            Time(new.expires_at)
        ])?;
    Ok(())
}

#[async_trait]
impl PairingStore for Sqlite {
    async fn request(&self, tenant: TenantId, new: &PairingRequest, limits: PendingLimits, now: DateTime<Utc>) -> Result<PairingRequest> {
        let new = new.clone();
        self.write(move |connection| {
            forget_void(connection, now)?;
            let waiting = connection
                .prepare_cached("select * from pairing_requests where tenant_id = ?1 and channel = ?2 and sender = ?3")?
                .query_row(params![Text(tenant), new.channel, new.sender], request)
                .optional()?;
            if let Some(waiting) = waiting {
                return Ok(waiting);
            }
            add_request(connection, tenant, &new, limits)?;
            Ok(new)
        })
        .await
    }

    async fn pending(&self, tenant: TenantId, now: DateTime<Utc>) -> Result<Vec<PairingRequest>> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("select * from pairing_requests where tenant_id = ?1 and expires_at > ?2 order by created_at desc, code")?;
            Ok(statement.query_map(params![Text(tenant), Time(now)], request)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn paired(&self, tenant: TenantId, now: DateTime<Utc>) -> Result<Vec<PairedDevice>> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("select * from paired_devices where tenant_id = ?1 and expires_at > ?2 order by paired_at desc, channel, sender")?;
            Ok(statement.query_map(params![Text(tenant), Time(now)], device)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn approve(&self, tenant: TenantId, code: &str, paired_by: &str, now: DateTime<Utc>, expires_at: DateTime<Utc>) -> Result<Option<PairedDevice>> {
        let (code, paired_by) = (code.to_owned(), paired_by.to_owned());
        self.write(move |connection| {
            forget_void(connection, now)?;
            let Some(PairingRequest { sender, channel, chat_id, user_id, metadata, .. }) = take_request(connection, tenant, &code)? else {
                return Ok(None);
            };
            let device = PairedDevice { sender, channel, chat_id, user_id, paired_by, metadata, paired_at: now, expires_at };
            put_device(connection, tenant, &device)?;
            Ok(Some(device))
        })
        .await
    }

    async fn deny(&self, tenant: TenantId, code: &str, now: DateTime<Utc>) -> Result<Option<PairingRequest>> {
        let code = code.to_owned();
        self.write(move |connection| {
            forget_void(connection, now)?;
            Ok(take_request(connection, tenant, &code)?)
        })
        .await
    }

    async fn revoke(&self, tenant: TenantId, channel: &str, sender: &str, now: DateTime<Utc>) -> Result<Option<PairedDevice>> {
        let (channel, sender) = (channel.to_owned(), sender.to_owned());
        self.write(move |connection| {
            forget_void(connection, now)?;
            let mut statement = connection.prepare_cached("delete from paired_devices where tenant_id = ?1 and channel = ?2 and sender = ?3 returning *")?;
            let mut revoked = statement.query_map(params![Text(tenant), channel, sender], device)?;
            Ok(revoked.next().transpose()?)
        })
        .await
    }

    async fn all_tenants_of_code(&self, code: &str, now: DateTime<Utc>) -> Result<Option<TenantId>> {
        let code = code.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select tenant_id from pairing_requests where code = ?1 and expires_at > ?2")?;
            Ok(statement.query_row(params![code, Time(now)], |row| row.id("tenant_id")).optional()?)
        })
        .await
    }

    async fn all_tenants_find_paired(&self, channel: &str, sender: &str, now: DateTime<Utc>) -> Result<Option<(TenantId, PairedDevice)>> {
        let (channel, sender) = (channel.to_owned(), sender.to_owned());
        self.read(move |connection| {
            // Somebody whom two tenants let in belongs to the one that did so last.
            let mut statement = connection.prepare_cached(
                "select * from paired_devices where channel = ?1 and sender = ?2 and expires_at > ?3 order by paired_at desc, tenant_id desc limit 1",
            )?;
            Ok(statement.query_row(params![channel, sender, Time(now)], |row| Ok((row.id("tenant_id")?, device(row)?))).optional()?)
        })
        .await
    }

    async fn all_tenants_is_pending(&self, channel: &str, sender: &str, now: DateTime<Utc>) -> Result<bool> {
        let (channel, sender) = (channel.to_owned(), sender.to_owned());
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select 1 from pairing_requests where channel = ?1 and sender = ?2 and expires_at > ?3")?;
            Ok(statement.exists(params![channel, sender, Time(now)])?)
        })
        .await
    }
}
