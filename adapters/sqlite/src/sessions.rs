//! Sessions and their messages.

use crate::{
    database::Sqlite,
    failure::{Explain, Failure},
    filter::Filter,
    values::{Columns, Json, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, InboundId, Result, SessionId, TenantId,
    sessions::{ChatMessage, Compaction, NewSession, Session, SessionDelta, SessionFilter, SessionStore, StoredMessage, Turn},
};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter, types::Value};

/// A key's third segment with the colon behind it, compared exactly: `agent:{any}:{this}:…`.
const IN_CHANNEL: &str = "substr(session_key, 1, 6) = 'agent:'
    and substr(session_key, 7 + instr(substr(session_key, 7), ':'), length(?)) = ?";

/// Up to so many sessions of one agent are sorted; of more, the newest are looked for among all of the tenant's.
const SORTABLE: i64 = 2000;

fn session(row: &Row<'_>) -> rusqlite::Result<Session> {
    Ok(Session {
        id: row.id("id")?,
        key: row.get("session_key")?,
        agent_id: row.optional_id("agent_id")?,
        user_id: row.get("user_id")?,
        summary: row.get("summary")?,
        model: row.get("model")?,
        provider: row.get("provider")?,
        channel: row.get("channel")?,
        label: row.get("label")?,
        input_tokens: row.get("input_tokens")?,
        output_tokens: row.get("output_tokens")?,
        compaction_count: row.get("compaction_count")?,
        metadata: row.json("metadata")?,
        message_count: row.get("message_count")?,
        message_bytes: row.get("message_bytes")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    Ok(StoredMessage { seq: row.get("seq")?, message: row.json("message")? })
}

fn find(connection: &Connection, tenant: TenantId, key: &str) -> rusqlite::Result<Option<Session>> {
    connection.prepare_cached("select * from sessions where tenant_id = ?1 and session_key = ?2")?.query_row(params![Text(tenant), key], session).optional()
}

/// What a list is read with: its conditions, the index that has its order, and whether the key's range narrows it.
fn conditions(tenant: TenantId, wanted: &SessionFilter) -> (Filter, &'static str, bool) {
    let mut filter = Filter::tenant(tenant);
    filter.and_equal("user_id", wanted.user_id.as_ref());
    filter.and_equal("label", wanted.label.as_ref());
    if let Some(since) = wanted.updated_since {
        filter.and("updated_at >= ?", [Value::from(since.timestamp_micros())]);
    }
    if let Some(agent) = &wanted.agent_key {
        // A range and not LIKE: it can use the index, it is exact about case, and nothing has to be escaped.
        // ';' is the character after ':', so it ends the range of all that starts with the prefix.
        let range = [Value::from(format!("agent:{agent}:")), Value::from(format!("agent:{agent};"))];
        filter.and("session_key >= ? and session_key < ?", range);
    }
    if let Some(channel) = &wanted.channel {
        let segment = Value::from(format!("{channel}:"));
        filter.and(IN_CHANNEL, [segment.clone(), segment]);
    }
    let index = if wanted.user_id.is_some() { "sessions_by_user" } else { "sessions_by_update" };
    (filter, index, wanted.agent_key.is_some() && wanted.user_id.is_none())
}

/// The last messages before the one with this number, oldest first.
fn before(connection: &Connection, tenant: TenantId, key: &str, before: i64, limit: i64) -> rusqlite::Result<Vec<StoredMessage>> {
    let mut statement = connection.prepare_cached(
        "select seq, message from session_messages
         where session_id = (select id from sessions where tenant_id = ?1 and session_key = ?2) and seq < ?3
         order by seq desc limit ?4",
    )?;
    let mut messages: Vec<_> = statement.query_map(params![Text(tenant), key, before, limit], stored)?.collect::<rusqlite::Result<_>>()?;
    messages.reverse();
    Ok(messages)
}

/// The session with this key, opened if it is not there.
fn opened(connection: &Connection, tenant: TenantId, new: &NewSession, now: DateTime<Utc>) -> Result<Session, Failure> {
    if let Some(known) = find(connection, tenant, &new.key)? {
        return Ok(known);
    }
    connection
        .prepare_cached(
            "insert into sessions (id, tenant_id, session_key, agent_id, user_id, channel, created_at, updated_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)",
        )?
        .execute(params![Text(new.id), Text(tenant), new.key, Text(new.agent_id), new.user_id, new.channel, Time(now)])
        .unless_exists("session", new.id)
        .unless_missing("agent", new.agent_id)?;
    find(connection, tenant, &new.key)?.ok_or_else(|| Error::not_found("session", &new.key).into())
}

/// The session with this key and its last messages of before `seq`, if it is this user's.
fn turn(connection: &Connection, tenant: TenantId, new: &NewSession, seq: i64, limit: i64) -> Result<Option<Turn>, Failure> {
    let snapshot = connection.unchecked_transaction()?;
    let Some(session) = find(&snapshot, tenant, &new.key)? else { return Ok(None) };
    owned(&session, new)?;
    let past = if session.message_count == 0 { vec![] } else { before(&snapshot, tenant, &new.key, seq, limit)? };
    Ok(Some(Turn { session, past: past.into_iter().map(|stored| stored.message).collect() }))
}

fn owned(session: &Session, new: &NewSession) -> Result<()> {
    if session.user_id == new.user_id { Ok(()) } else { Err(Error::forbidden("this session belongs to another user")) }
}

/// Removes all messages of a session.
fn clear(connection: &Connection, id: SessionId) -> rusqlite::Result<()> {
    connection.prepare_cached("delete from session_messages where session_id = ?1")?.execute([Text(id)]).map(drop)
}

/// Nothing is owed to the session's user any more.
fn forget(connection: &Connection, tenant: TenantId, key: &str) -> rusqlite::Result<()> {
    connection.prepare_cached("delete from inbound_messages where tenant_id = ?1 and session_key = ?2")?.execute(params![Text(tenant), key]).map(drop)
}

/// Messages as they are kept, those without a date with this one. Made on the caller's thread: the writer's time belongs to all.
fn texts(messages: &[ChatMessage], now: DateTime<Utc>) -> Result<Vec<(String, DateTime<Utc>)>> {
    let text = |message: &ChatMessage| {
        let created_at = message.created_at.unwrap_or(now);
        let dated = ChatMessage { created_at: Some(created_at), raw: None, ..message.clone() };
        Ok((serde_json::to_string(&dated)?, created_at))
    };
    messages.iter().map(text).collect::<Result<_, serde_json::Error>>().map_err(Error::internal)
}

/// Adds messages to a session, and answers with the number of the first.
pub(crate) fn append(
    connection: &Connection,
    tenant: TenantId,
    key: &str,
    messages: &[(String, DateTime<Utc>)],
    delta: &SessionDelta,
    now: DateTime<Utc>,
) -> Result<i64, Failure> {
    let count = i64::try_from(messages.len()).map_err(Error::internal)?;
    let bytes = i64::try_from(messages.iter().map(|(json, _)| json.len()).sum::<usize>()).map_err(Error::internal)?;
    let (id, next): (String, i64) = connection
        .prepare_cached(
            "update sessions set next_seq = next_seq + ?3, message_count = message_count + ?3, message_bytes = message_bytes + ?4,
                input_tokens = input_tokens + ?5, output_tokens = output_tokens + ?6,
                model = coalesce(?7, model), provider = coalesce(?8, provider),
                metadata = iif(?9 = '{}', metadata, json_patch(metadata, ?9)), updated_at = ?10, label = coalesce(?11, label)
             where tenant_id = ?1 and session_key = ?2
             returning id, next_seq",
        )?
        .query_row(
            params![
                Text(tenant),
                key,
                count,
                bytes,
                delta.input_tokens,
                delta.output_tokens,
                delta.model,
                delta.provider,
                Json(&delta.metadata),
                Time(now),
                delta.label
            ],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .optional()?
        .ok_or_else(|| Error::not_found("session", key))?;
    let tenant = tenant.to_string();
    let mut insert = connection.prepare_cached("insert into session_messages (session_id, tenant_id, seq, message, created_at) values (?1, ?2, ?3, ?4, ?5)")?;
    for (seq, (json, created_at)) in (next - count..).zip(messages) {
        insert.execute(params![id, tenant, seq, json, Time(*created_at)])?;
    }
    if let Some(said) = delta.said {
        connection.prepare_cached("update inbound_messages set said = ?3 where tenant_id = ?1 and id = ?2")?.execute(params![
            tenant,
            Text(said),
            next - count
        ])?;
    }
    for answered in &delta.answered {
        connection.prepare_cached("delete from inbound_messages where tenant_id = ?1 and id = ?2")?.execute(params![tenant, Text(answered)])?;
    }
    Ok(next - count)
}

#[async_trait]
impl SessionStore for Sqlite {
    async fn open(&self, tenant: TenantId, new: &NewSession, now: DateTime<Utc>) -> Result<Session> {
        // Most sessions are there already, and looking does not need the writer.
        if let Some(known) = SessionStore::find(self, tenant, &new.key).await? {
            return Ok(known);
        }
        let new = new.clone();
        self.write(move |connection| opened(connection, tenant, &new, now)).await
    }

    async fn begin_turn(
        &self,
        tenant: TenantId,
        new: &NewSession,
        said: &[ChatMessage],
        waited: Option<InboundId>,
        limit: i64,
        now: DateTime<Utc>,
    ) -> Result<Turn> {
        let said = texts(said, now)?;
        let limit = limit.max(0);
        if said.is_empty() {
            let new = new.clone();
            if let Some(known) = self.read(move |connection| turn(connection, tenant, &new, i64::MAX, limit)).await? {
                return Ok(known);
            }
        }
        let wanted = new.clone();
        let (session, past_before) = self
            .write(move |connection| {
                let session = opened(connection, tenant, &wanted, now)?;
                owned(&session, &wanted)?;
                if said.is_empty() {
                    return Ok((session, Some(i64::MAX)));
                }
                let first = append(connection, tenant, &wanted.key, &said, &SessionDelta { said: waited, ..SessionDelta::default() }, now)?;
                let bytes = i64::try_from(said.iter().map(|(json, _)| json.len()).sum::<usize>()).map_err(Error::internal)?;
                let count = i64::try_from(said.len()).map_err(Error::internal)?;
                let past_before = (session.message_count > 0).then_some(first);
                let session =
                    Session { message_count: session.message_count + count, message_bytes: session.message_bytes + bytes, updated_at: now, ..session };
                Ok((session, past_before))
            })
            .await?;
        // What was said before is read when all is written: the writer's time belongs to all, and a new conversation has no past.
        let Some(seq) = past_before else { return Ok(Turn { session, past: vec![] }) };
        let new = new.clone();
        let known = self.read(move |connection| turn(connection, tenant, &new, seq, limit)).await?;
        Ok(known.unwrap_or(Turn { session, past: vec![] }))
    }

    async fn find(&self, tenant: TenantId, key: &str) -> Result<Option<Session>> {
        let key = key.to_owned();
        self.read(move |connection| Ok(find(connection, tenant, &key)?)).await
    }

    async fn list(&self, tenant: TenantId, wanted: &SessionFilter) -> Result<(Vec<Session>, i64)> {
        let (filter, index, narrow) = conditions(tenant, wanted);
        let (limit, offset) = (wanted.limit, wanted.offset);
        self.read(move |connection| {
            let snapshot = connection.unchecked_transaction()?;
            let conditions = filter.sql();
            // Without a hint the key's own index is used, which has only the range to look at.
            let hint = if narrow { String::new() } else { format!("indexed by {index}") };
            let total: i64 = snapshot
                .prepare_cached(&format!("select count(*) from sessions {hint} where {conditions}"))?
                .query_row(params_from_iter(filter.parameters()), |row| row.get(0))?;
            if total <= offset {
                return Ok((Vec::new(), total));
            }
            let page = if narrow && total <= SORTABLE {
                format!("select rowid as page_row from sessions where {conditions} order by +updated_at desc, +session_key limit ? offset ?")
            } else {
                format!("select rowid as page_row from sessions indexed by {index} where {conditions} order by updated_at desc, session_key limit ? offset ?")
            };
            let sessions = snapshot
                .prepare_cached(&format!(
                    "select sessions.* from ({page}) cross join sessions on sessions.rowid = page_row order by updated_at desc, session_key"
                ))?
                .query_map(params_from_iter(filter.paged(limit, offset)), session)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((sessions, total))
        })
        .await
    }

    async fn count(&self, tenant: TenantId) -> Result<i64> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select count(*) from sessions where tenant_id = ?1")?;
            Ok(statement.query_row([Text(tenant)], |row| row.get(0))?)
        })
        .await
    }

    async fn append(&self, tenant: TenantId, key: &str, messages: &[ChatMessage], delta: &SessionDelta, now: DateTime<Utc>) -> Result<()> {
        let messages = texts(messages, now)?;
        let (key, delta) = (key.to_owned(), delta.clone());
        let relaxed = delta.relaxed;
        let work = move |connection: &Connection| append(connection, tenant, &key, &messages, &delta, now).map(drop);
        if relaxed { self.write_relaxed(work).await } else { self.write(work).await }
    }

    async fn messages_before(&self, tenant: TenantId, key: &str, before: Option<i64>, limit: i64) -> Result<Vec<StoredMessage>> {
        let (key, limit) = (key.to_owned(), limit.max(0));
        let seq = before.unwrap_or(i64::MAX);
        self.read(move |connection| Ok(self::before(connection, tenant, &key, seq, limit)?)).await
    }

    async fn messages_after(&self, tenant: TenantId, key: &str, after: i64, limit: i64) -> Result<Vec<StoredMessage>> {
        let (key, limit) = (key.to_owned(), limit.max(0));
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "select seq, message from session_messages
                 where session_id = (select id from sessions where tenant_id = ?1 and session_key = ?2) and seq > ?3
                 order by seq limit ?4",
            )?;
            Ok(statement.query_map(params![Text(tenant), key, after, limit], stored)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn compact(&self, tenant: TenantId, compaction: &Compaction) -> Result<bool> {
        let compaction = compaction.clone();
        self.write(move |connection| {
            let Compaction { session, through, summary, after } = &compaction;
            let unchanged: bool = connection
                .prepare_cached("select exists (select 1 from sessions where id = ?1 and tenant_id = ?2 and compaction_count = ?3)")?
                .query_row(params![Text(session), Text(tenant), after], |row| row.get(0))?;
            if !unchanged {
                return Ok(false);
            }
            let gone = connection.prepare_cached("delete from session_messages where session_id = ?1 and tenant_id = ?2 and seq <= ?3")?.execute(params![
                Text(session),
                Text(tenant),
                through
            ])?;
            if gone == 0 {
                return Ok(false);
            }
            connection
                .prepare_cached(
                    "update sessions set summary = ?2, compaction_count = compaction_count + 1, (message_count, message_bytes) =
                        (select count(*), coalesce(sum(octet_length(message)), 0) from session_messages where session_id = ?1)
                     where id = ?1",
                )?
                .execute(params![Text(session), summary])?;
            Ok(true)
        })
        .await
    }

    async fn entitle(&self, tenant: TenantId, key: &str, label: &str) -> Result<bool> {
        let (key, label) = (key.to_owned(), label.to_owned());
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("update sessions set label = ?3 where tenant_id = ?1 and session_key = ?2 and label = ''")?;
            Ok(statement.execute(params![Text(tenant), key, label])? > 0)
        })
        .await
    }

    async fn reset(&self, tenant: TenantId, key: &str, now: DateTime<Utc>) -> Result<bool> {
        let key = key.to_owned();
        self.write(move |connection| {
            let Some(session) = find(connection, tenant, &key)? else { return Ok(false) };
            clear(connection, session.id)?;
            forget(connection, tenant, &key)?;
            connection
                .prepare_cached("update sessions set summary = '', message_count = 0, message_bytes = 0, updated_at = ?2 where id = ?1")?
                .execute(params![Text(session.id), Time(now)])?;
            Ok(true)
        })
        .await
    }

    async fn delete(&self, tenant: TenantId, key: &str) -> Result<bool> {
        let key = key.to_owned();
        self.write(move |connection| {
            forget(connection, tenant, &key)?;
            let mut statement = connection.prepare_cached("delete from sessions where tenant_id = ?1 and session_key = ?2")?;
            Ok(statement.execute(params![Text(tenant), key])? > 0)
        })
        .await
    }
}
