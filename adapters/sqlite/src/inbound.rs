//! Messages that are owed an answer.

use crate::{
    database::Sqlite,
    failure::{Explain, Failure},
    sessions::append,
    values::{Columns, Json, Lasts, NOW, Text, Time},
};
use async_trait::async_trait;
use chrono::TimeDelta;
use goclaw_ports::{
    Error, InboundId, Result, TenantId,
    inbound::{InboundMessage, InboundStore},
    media::MediaRef,
    roles::Role,
    sessions::{ChatMessage, MessageRole, SessionDelta},
    subagents::{TaskLease, TaskOrigin},
};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};

fn message(row: &Row<'_>) -> rusqlite::Result<(TenantId, InboundMessage)> {
    let message = InboundMessage {
        id: row.id("id")?,
        session_key: row.get("session_key")?,
        agent_id: row.id("agent_id")?,
        text: row.get("text")?,
        origin: TaskOrigin {
            channel: row.get("origin_channel")?,
            chat_id: row.get("origin_chat_id")?,
            peer_kind: row.get("origin_peer_kind")?,
            user_id: row.get("origin_user_id")?,
            role: row.named("origin_role", Role::parse)?,
        },
        metadata: row.json("metadata")?,
        said: row.get("said")?,
        attempts: row.get("attempts")?,
        created_at: row.time("created_at")?,
    };
    Ok((row.id("tenant_id")?, message))
}

fn insert(connection: &Connection, tenant: TenantId, new: &InboundMessage, lease: TaskLease) -> Result<(), Failure> {
    connection
        .prepare_cached(&format!(
            "insert into inbound_messages (id, tenant_id, session_key, agent_id, text, origin_channel, origin_chat_id, origin_peer_kind, origin_user_id,
                origin_role, metadata, said, attempts, lease_owner, lease_until, created_at)
             values (:id, :tenant, :session, :agent, :text, :channel, :chat, :peer, :user, :role, :metadata, :said, :attempts, :owner, {NOW} + :lasts, :created)",
        ))?
        .execute(named_params! {
            ":id": Text(new.id),
            ":tenant": Text(tenant),
            ":session": new.session_key,
            ":agent": Text(new.agent_id),
            ":text": new.text,
            ":channel": new.origin.channel,
            ":chat": new.origin.chat_id,
            ":peer": new.origin.peer_kind,
            ":user": new.origin.user_id,
            ":role": new.origin.role.as_str(),
            ":metadata": Json(&new.metadata),
            ":said": new.said,
            ":attempts": new.attempts,
            ":owner": Text(lease.owner),
            ":lasts": Lasts(lease.lasts),
            ":created": Time(new.created_at),
        })
        .unless_missing("agent", new.agent_id)?;
    Ok(())
}

fn delete(connection: &Connection, tenant: TenantId, id: InboundId) -> rusqlite::Result<Option<(String, Option<i64>)>> {
    connection
        .prepare_cached("delete from inbound_messages where tenant_id = ?1 and id = ?2 returning session_key, said")?
        .query_row(params![Text(tenant), Text(id)], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

#[async_trait]
impl InboundStore for Sqlite {
    async fn keep(&self, tenant: TenantId, new: &InboundMessage, lease: TaskLease) -> Result<()> {
        let new = new.clone();
        self.write(move |connection| insert(connection, tenant, &new, lease)).await
    }

    async fn say(&self, tenant: TenantId, new: &InboundMessage, media_refs: &[MediaRef], lease: TaskLease) -> Result<bool> {
        let new = new.clone();
        let media_refs = media_refs.to_vec();
        let said = ChatMessage { created_at: Some(new.created_at), media_refs, ..ChatMessage::new(MessageRole::User, new.text.clone()) };
        let json = serde_json::to_string(&said).map_err(Error::internal)?;
        self.write(move |connection| {
            let mut known = connection.prepare_cached("select exists (select 1 from sessions where tenant_id = ?1 and session_key = ?2)")?;
            if !known.query_row(params![Text(tenant), new.session_key], |row| row.get::<_, bool>(0))? {
                return Ok(false);
            }
            insert(connection, tenant, &new, lease)?;
            let delta = SessionDelta { said: Some(new.id), ..SessionDelta::default() };
            append(connection, tenant, &new.session_key, &[(json, new.created_at)], &delta, new.created_at)?;
            Ok(true)
        })
        .await
    }

    async fn settle(&self, tenant: TenantId, ids: &[InboundId]) -> Result<()> {
        let ids = ids.to_vec();
        self.write(move |connection| {
            for id in &ids {
                delete(connection, tenant, *id)?;
            }
            Ok(())
        })
        .await
    }

    async fn retract(&self, tenant: TenantId, ids: &[InboundId]) -> Result<()> {
        let ids = ids.to_vec();
        self.write(move |connection| {
            for id in &ids {
                let Some((key, Some(said))) = delete(connection, tenant, *id)? else { continue };
                let gone: Option<(String, i64)> = connection
                    .prepare_cached(
                        "delete from session_messages
                         where session_id = (select id from sessions where tenant_id = ?1 and session_key = ?2) and tenant_id = ?1 and seq = ?3
                         returning session_id, octet_length(message)",
                    )?
                    .query_row(params![Text(tenant), key, said], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                if let Some((session, bytes)) = gone {
                    connection
                        .prepare_cached(
                            "update sessions set message_count = max(message_count - 1, 0), message_bytes = max(message_bytes - ?2, 0) where id = ?1",
                        )?
                        .execute(params![session, bytes])?;
                }
            }
            Ok(())
        })
        .await
    }

    async fn release(&self, tenant: TenantId, ids: &[InboundId]) -> Result<()> {
        let ids = ids.to_vec();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "update inbound_messages set lease_owner = '00000000-0000-0000-0000-000000000000', lease_until = 0 where tenant_id = ?1 and id = ?2",
            )?;
            for id in &ids {
                statement.execute(params![Text(tenant), Text(id)])?;
            }
            Ok(())
        })
        .await
    }

    async fn all_tenants_renew(&self, ids: &[InboundId], lease: TaskLease) -> Result<Vec<InboundId>> {
        let ids = ids.to_vec();
        self.write(move |connection| {
            let mut statement =
                connection.prepare_cached(&format!("update inbound_messages set lease_until = {NOW} + ?3 where id = ?1 and lease_owner = ?2"))?;
            let mut held = vec![];
            for id in ids {
                if statement.execute(params![Text(id), Text(lease.owner), Lasts(lease.lasts)])? > 0 {
                    held.push(id);
                }
            }
            Ok(held)
        })
        .await
    }

    async fn all_tenants_adopt(&self, ahead: TimeDelta, lease: TaskLease, limit: i64) -> Result<Vec<(TenantId, InboundMessage)>> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(&format!(
                "update inbound_messages set lease_owner = ?2, lease_until = {NOW} + ?3, attempts = attempts + 1
                 where id in (select id from inbound_messages where lease_until < {NOW} + ?1 order by created_at, id limit ?4)
                 returning *",
            ))?;
            let adopted = statement.query_map(params![Lasts(ahead), Text(lease.owner), Lasts(lease.lasts), limit.max(0)], message)?;
            let mut adopted: Vec<_> = adopted.collect::<rusqlite::Result<_>>()?;
            adopted.sort_by_key(|(_, message)| (message.created_at, message.id));
            Ok(adopted)
        })
        .await
    }
}
