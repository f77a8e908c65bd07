//! Conversations and their messages.

use crate::{
    error::{Failure, missing},
    json::{decode, encode, text},
    pool::{Postgres, enter, within},
    schema::{session_messages, sessions},
    statement::Fixed,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::{
    dsl::{AsSelect, SqlTypeOf, sql, sql_query},
    pg::Pg,
    prelude::*,
    sql_types::{Array, BigInt, Bool, Jsonb, Nullable, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, RunQueryDsl};
use futures_util::future;
use goclaw_ports::{
    AgentId, Error, InboundId, Result, SessionId, TenantId,
    sessions::{ChatMessage, Compaction, NewSession, Session, SessionDelta, SessionFilter, SessionStore, StoredMessage, Turn},
};
use serde_json::Value;
use uuid::Uuid;

/// From which place on a page may be nearer to the list's end than to its beginning, so that it is worth a round trip to know.
const DEEP: i64 = 1_000;

/// Locking the session's row gives each call a run of numbers of its own, so calls neither collide nor mix.
macro_rules! append {
    ($($more:literal)?) => {
        concat!("\
    with session as ( \
        update sessions set next_seq = next_seq + cardinality($3), message_count = message_count + cardinality($3), message_bytes = message_bytes + $4, \
            input_tokens = input_tokens + $5, output_tokens = output_tokens + $6, model = coalesce($7, model), provider = coalesce($8, provider), \
            metadata = metadata || $9, updated_at = $10, label = coalesce($11, label) \
        where tenant_id = $1 and session_key = $2 \
        returning id, tenant_id, next_seq - cardinality($3) as first \
    ), added as ( \
        insert into session_messages (session_id, tenant_id, seq, message, created_at) \
        select session.id, session.tenant_id, session.first + spoken.number - 1, spoken.message, $10 \
        from session, unnest($3) with ordinality as spoken (message, number) \
    ) ", $($more,)? "select id from session")
    };
}

const APPEND: &str = append!();

/// The same, and what it means for messages that are owed an answer.
const APPEND_INBOUND: &str = append!(
    ", answered as ( \
        delete from inbound_messages using session where inbound_messages.tenant_id = $1 and inbound_messages.id = any($12) \
    ), waited as ( \
        update inbound_messages set said = session.first from session where inbound_messages.tenant_id = $1 and inbound_messages.id = $13 \
    ) "
);

/// Nothing is owed to a session's user any more.
const FORGET: &str = "delete from inbound_messages where tenant_id = $1 and session_key = $2";

const DELETE: &str = "\
    with owed as (delete from inbound_messages where tenant_id = $1 and session_key = $2) \
    delete from sessions where tenant_id = $1 and session_key = $2";

/// Every part sees what was there before the statement: the past is what was said before, and a session that this very statement
/// opens is not updated. There is no row if the session is another user's, or was opened by another call meanwhile.
const BEGIN_TURN: &str = "\
    with opened as ( \
        insert into sessions (id, tenant_id, session_key, agent_id, user_id, channel, created_at, updated_at, next_seq, message_count, message_bytes) \
        values ($1, $2, $3, $4, $5, $6, $7, $7, cardinality($8), cardinality($8), $9) \
        on conflict (tenant_id, session_key) do nothing \
        returning * \
    ), known as ( \
        update sessions set next_seq = next_seq + cardinality($8), message_count = message_count + cardinality($8), \
            message_bytes = message_bytes + $9, updated_at = case when cardinality($8) > 0 then $7 else updated_at end \
        where tenant_id = $2 and session_key = $3 and user_id = $5 \
        returning * \
    ), session as ( \
        select * from opened union all select * from known \
    ), added as ( \
        insert into session_messages (session_id, tenant_id, seq, message, created_at) \
        select session.id, session.tenant_id, session.next_seq - cardinality($8) + spoken.number - 1, spoken.message, $7 \
        from session, unnest($8) with ordinality as spoken (message, number) \
    ), waited as ( \
        update inbound_messages set said = session.next_seq - cardinality($8) from session \
        where inbound_messages.tenant_id = $2 and inbound_messages.id = $11 \
    ) \
    select session.*, ( \
        select array_agg(newest.message order by newest.seq) from ( \
            select seq, message from session_messages where tenant_id = $2 and session_id = session.id order by seq desc limit $10 \
        ) as newest \
    ) as past \
    from session";

const COMPACT: &str = "\
    update sessions set summary = $3, compaction_count = compaction_count + 1, message_count = kept.number, message_bytes = kept.bytes \
    from ( \
        select count(*) as number, coalesce(sum(octet_length(message::text)), 0)::bigint as bytes \
        from session_messages where tenant_id = $1 and session_id = $2 \
    ) as kept \
    where tenant_id = $1 and id = $2";

#[derive(QueryableByName)]
struct Appended {
    #[diesel(sql_type = SqlUuid)]
    #[expect(dead_code, reason = "that there is a row says that the session is there")]
    id: Uuid,
}

#[derive(QueryableByName)]
struct TurnRow {
    #[diesel(embed)]
    session: Row,
    #[diesel(sql_type = Nullable<Array<Jsonb>>)]
    past: Option<Vec<Value>>,
}

#[derive(Queryable, QueryableByName, Selectable)]
#[diesel(table_name = sessions)]
struct Row {
    id: Uuid,
    session_key: String,
    agent_id: Option<Uuid>,
    user_id: String,
    summary: String,
    model: String,
    provider: String,
    channel: String,
    label: String,
    input_tokens: i64,
    output_tokens: i64,
    compaction_count: i32,
    metadata: Value,
    message_count: i64,
    message_bytes: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn session(self) -> Result<Session> {
        Ok(Session {
            id: SessionId(self.id),
            key: self.session_key,
            agent_id: self.agent_id.map(AgentId),
            user_id: self.user_id,
            summary: self.summary,
            model: self.model,
            provider: self.provider,
            channel: self.channel,
            label: self.label,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            compaction_count: self.compaction_count,
            metadata: decode(self.metadata)?,
            message_count: self.message_count,
            message_bytes: self.message_bytes,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

/// Ids of sessions.
type Ids = sessions::BoxedQuery<'static, Pg, SqlUuid>;

fn matching(tenant: TenantId, filter: &SessionFilter) -> sessions::BoxedQuery<'static, Pg> {
    let mut query = sessions::table.filter(sessions::tenant_id.eq(tenant.0)).into_boxed();
    if let Some(agent_key) = &filter.agent_key {
        // A range and not LIKE: it uses the index of the keys whatever the planner knows. ';' is the character after ':'.
        let agent_key = text(agent_key);
        query = query.filter(sessions::session_key.ge(format!("agent:{agent_key}:")).and(sessions::session_key.lt(format!("agent:{agent_key};"))));
    }
    if let Some(channel) = &filter.channel {
        // The first is word for word what the planner has statistics of; of LIKE it would expect that next to nothing matches.
        query = query
            .filter(sql::<Text>("split_part(session_key, ':', 3)").eq(text(channel)))
            .filter(sql::<Bool>("split_part(session_key, ':', 4) <> '' and session_key ^@ 'agent:'"));
    }
    if let Some(user) = &filter.user_id {
        query = query.filter(sessions::user_id.eq(text(user)));
    }
    if let Some(label) = &filter.label {
        query = query.filter(sessions::label.eq(text(label)));
    }
    if let Some(since) = filter.updated_since {
        query = query.filter(sessions::updated_at.ge(since));
    }
    query
}

/// The ids of what matches, in the order of lists.
fn newest_first(tenant: TenantId, filter: &SessionFilter) -> Ids {
    matching(tenant, filter).select(sessions::id).order((sessions::updated_at.desc(), sessions::id.desc()))
}

/// The same from the other end.
fn oldest_first(tenant: TenantId, filter: &SessionFilter) -> Ids {
    matching(tenant, filter).select(sessions::id).order((sessions::updated_at, sessions::id))
}

/// The sessions with these ids, in the order of lists. What a page passes over is passed over in the index alone.
fn page(tenant: TenantId, ids: Ids) -> sessions::BoxedQuery<'static, Pg, SqlTypeOf<AsSelect<Row, Pg>>> {
    sessions::table
        .filter(sessions::tenant_id.eq(tenant.0).and(sessions::id.eq_any(ids)))
        .order((sessions::updated_at.desc(), sessions::id.desc()))
        .select(Row::as_select())
        .into_boxed()
}

/// The messages of a session.
fn messages_of(tenant: TenantId, key: &str) -> session_messages::BoxedQuery<'static, Pg> {
    let session = sessions::table.filter(sessions::tenant_id.eq(tenant.0).and(sessions::session_key.eq(text(key)))).select(sessions::id);
    session_messages::table
        .filter(session_messages::tenant_id.eq(tenant.0))
        .filter(session_messages::session_id.nullable().eq(session.single_value()))
        .into_boxed()
}

/// The messages as they are kept, those without a date with this one, and how many bytes they are.
fn dated(messages: &[ChatMessage], now: DateTime<Utc>) -> Result<(Vec<Value>, i64)> {
    let mut bytes = 0;
    let mut kept = Vec::with_capacity(messages.len());
    for message in messages {
        let dated = ChatMessage { created_at: message.created_at.or(Some(now)), ..message.clone() };
        bytes += i64::try_from(serde_json::to_vec(&dated).map_err(Error::internal)?.len()).map_err(Error::internal)?;
        kept.push(encode(&dated)?);
    }
    Ok((kept, bytes))
}

fn stored((seq, message): (i64, Value)) -> Result<StoredMessage> {
    Ok(StoredMessage { seq, message: decode(message)? })
}

#[async_trait]
impl SessionStore for Postgres {
    async fn open(&self, tenant: TenantId, new: &NewSession, now: DateTime<Utc>) -> Result<Session> {
        if let Some(session) = SessionStore::find(self, tenant, &new.key).await? {
            return Ok(session);
        }
        let connection = self.tenant(tenant).await?;
        let query = diesel::insert_into(sessions::table)
            .values((
                sessions::id.eq(new.id.0),
                sessions::tenant_id.eq(tenant.0),
                sessions::session_key.eq(text(&new.key)),
                sessions::agent_id.eq(new.agent_id.0),
                sessions::user_id.eq(text(&new.user_id)),
                sessions::channel.eq(text(&new.channel)),
                sessions::created_at.eq(now),
                sessions::updated_at.eq(now),
            ))
            // Another call may have opened it since; an update that changes nothing gives its row.
            .on_conflict((sessions::tenant_id, sessions::session_key))
            .do_update()
            .set(sessions::session_key.eq(text(&new.key)))
            .returning(Row::as_returning());
        let row = connection.run(query.get_result(&mut connection.pipe())).await;
        self.has_written(1);
        row.map_err(missing("agent", new.agent_id))?.session()
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
        let (said, bytes) = dated(said, now)?;
        loop {
            let connection = self.tenant(tenant).await?;
            let query = Fixed(
                sql_query(BEGIN_TURN)
                    .bind::<SqlUuid, _>(new.id.0)
                    .bind::<SqlUuid, _>(tenant.0)
                    .bind::<Text, _>(text(&new.key))
                    .bind::<SqlUuid, _>(new.agent_id.0)
                    .bind::<Text, _>(text(&new.user_id))
                    .bind::<Text, _>(text(&new.channel))
                    .bind::<Timestamptz, _>(now)
                    .bind::<Array<Jsonb>, _>(said.clone())
                    .bind::<BigInt, _>(bytes)
                    .bind::<BigInt, _>(limit.max(0))
                    .bind::<Nullable<SqlUuid>, _>(waited.map(|id| id.0)),
            );
            let turn: Option<TurnRow> = connection.run_optional(query.get_result(&mut connection.pipe())).await.map_err(missing("agent", new.agent_id))?;
            drop(connection);
            self.has_written(said.len());
            if let Some(TurnRow { session, past }) = turn {
                let past = past.unwrap_or_default().into_iter().map(decode).collect::<Result<_>>()?;
                return Ok(Turn { session: session.session()?, past });
            }
            // If it is the user's own, it was opened a moment ago, and the next attempt finds it.
            if let Some(session) = SessionStore::find(self, tenant, &new.key).await?
                && session.user_id != text(&new.user_id)
            {
                return Err(Error::forbidden("this session belongs to another user"));
            }
        }
    }

    async fn find(&self, tenant: TenantId, key: &str) -> Result<Option<Session>> {
        let connection = self.tenant(tenant).await?;
        let query = sessions::table.filter(sessions::tenant_id.eq(tenant.0).and(sessions::session_key.eq(text(key)))).select(Row::as_select());
        connection.run_optional(query.first(&mut connection.pipe())).await?.map(Row::session).transpose()
    }

    async fn list(&self, tenant: TenantId, filter: &SessionFilter) -> Result<(Vec<Session>, i64)> {
        let connection = self.tenant(tenant).await?;
        let (limit, offset) = (filter.limit.max(0), filter.offset.max(0));
        let counting = matching(tenant, filter).count();
        let (rows, total): (Vec<Row>, i64) = if offset < DEEP {
            let page = page(tenant, newest_first(tenant, filter).limit(limit).offset(offset));
            let (mut first, mut second) = (connection.pipe(), connection.pipe());
            connection.run(future::try_join(page.load(&mut first), counting.get_result(&mut second))).await?
        } else {
            let total: i64 = connection.run(counting.get_result(&mut connection.pipe())).await?;
            let limit = limit.min(total.saturating_sub(offset));
            if limit <= 0 {
                return Ok((vec![], total));
            }
            let behind = total - offset - limit;
            let ids = if behind < offset {
                oldest_first(tenant, filter).limit(limit).offset(behind)
            } else {
                newest_first(tenant, filter).limit(limit).offset(offset)
            };
            (connection.run(page(tenant, ids).load(&mut connection.pipe())).await?, total)
        };
        Ok((rows.into_iter().map(Row::session).collect::<Result<_>>()?, total))
    }

    async fn count(&self, tenant: TenantId) -> Result<i64> {
        let connection = self.tenant(tenant).await?;
        let query = sessions::table.filter(sessions::tenant_id.eq(tenant.0)).count();
        Ok(connection.run(query.get_result(&mut connection.pipe())).await?)
    }

    async fn append(&self, tenant: TenantId, key: &str, messages: &[ChatMessage], delta: &SessionDelta, now: DateTime<Utc>) -> Result<()> {
        let (messages, bytes) = dated(messages, now)?;
        let connection = self.tenant(tenant).await?;
        let inbound = delta.said.is_some() || !delta.answered.is_empty();
        let query = sql_query(if inbound { APPEND_INBOUND } else { APPEND })
            .bind::<SqlUuid, _>(tenant.0)
            .bind::<Text, _>(text(key))
            .bind::<Array<Jsonb>, _>(messages)
            .bind::<BigInt, _>(bytes)
            .bind::<BigInt, _>(delta.input_tokens)
            .bind::<BigInt, _>(delta.output_tokens)
            .bind::<Nullable<Text>, _>(delta.model.as_deref().map(text))
            .bind::<Nullable<Text>, _>(delta.provider.as_deref().map(text))
            .bind::<Jsonb, _>(encode(&delta.metadata)?)
            .bind::<Timestamptz, _>(now)
            .bind::<Nullable<Text>, _>(delta.label.as_deref().map(text));
        let session: Option<Appended> = if inbound {
            let query = query
                .bind::<Array<SqlUuid>, _>(delta.answered.iter().map(|id| id.0).collect::<Vec<_>>())
                .bind::<Nullable<SqlUuid>, _>(delta.said.map(|id| id.0));
            connection.run_optional(Fixed(query).get_result(&mut connection.pipe())).await?
        } else {
            connection.run_optional(Fixed(query).get_result(&mut connection.pipe())).await?
        };
        session.map(drop).ok_or_else(|| Error::not_found("session", key))
    }

    async fn messages_before(&self, tenant: TenantId, key: &str, before: Option<i64>, limit: i64) -> Result<Vec<StoredMessage>> {
        let connection = self.tenant(tenant).await?;
        let query = messages_of(tenant, key)
            .filter(session_messages::seq.lt(before.unwrap_or(i64::MAX)))
            .order(session_messages::seq.desc())
            .limit(limit.max(0))
            .select((session_messages::seq, session_messages::message));
        let newest_first: Vec<(i64, Value)> = connection.run(query.load(&mut connection.pipe())).await?;
        newest_first.into_iter().rev().map(stored).collect()
    }

    async fn messages_after(&self, tenant: TenantId, key: &str, after: i64, limit: i64) -> Result<Vec<StoredMessage>> {
        let connection = self.tenant(tenant).await?;
        let query = messages_of(tenant, key)
            .filter(session_messages::seq.gt(after))
            .order(session_messages::seq)
            .limit(limit.max(0))
            .select((session_messages::seq, session_messages::message));
        let messages: Vec<(i64, Value)> = connection.run(query.load(&mut connection.pipe())).await?;
        messages.into_iter().map(stored).collect()
    }

    async fn compact(&self, tenant: TenantId, compaction: &Compaction) -> Result<bool> {
        let id = compaction.session.0;
        let mut connection = self.tenant(tenant).await?;
        let compacting = connection.raw().transaction(async |connection| -> Result<bool, Failure> {
            enter(connection, tenant).await?;
            // The row's lock keeps appends out until the counts are right again.
            let own = sessions::table.filter(sessions::tenant_id.eq(tenant.0).and(sessions::id.eq(id)).and(sessions::compaction_count.eq(compaction.after)));
            let session: Option<Uuid> = own.select(sessions::id).for_update().first(connection).await.optional()?;
            let old = session_messages::table
                .filter(session_messages::tenant_id.eq(tenant.0).and(session_messages::session_id.eq(id)).and(session_messages::seq.le(compaction.through)));
            if session.is_none() || diesel::delete(old).execute(connection).await? == 0 {
                return Ok(false);
            }
            let counting = sql_query(COMPACT).bind::<SqlUuid, _>(tenant.0).bind::<SqlUuid, _>(id).bind::<Text, _>(text(&compaction.summary));
            Fixed(counting).execute(connection).await?;
            Ok(true)
        });
        Ok(within(compacting).await?)
    }

    async fn entitle(&self, tenant: TenantId, key: &str, label: &str) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let own = sessions::table.filter(sessions::tenant_id.eq(tenant.0).and(sessions::session_key.eq(text(key))).and(sessions::label.eq("")));
        let query = diesel::update(own).set(sessions::label.eq(text(label)));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn reset(&self, tenant: TenantId, key: &str, now: DateTime<Utc>) -> Result<bool> {
        let mut connection = self.tenant(tenant).await?;
        let resetting = connection.raw().transaction(async |connection| -> Result<bool, Failure> {
            enter(connection, tenant).await?;
            let own = sessions::table.filter(sessions::tenant_id.eq(tenant.0).and(sessions::session_key.eq(text(key))));
            // The row's lock keeps appends out until the messages are gone.
            let session: Option<Uuid> = diesel::update(own)
                .set((sessions::summary.eq(""), sessions::message_count.eq(0), sessions::message_bytes.eq(0), sessions::updated_at.eq(now)))
                .returning(sessions::id)
                .get_result(connection)
                .await
                .optional()?;
            let Some(session) = session else { return Ok(false) };
            let messages = session_messages::table.filter(session_messages::tenant_id.eq(tenant.0).and(session_messages::session_id.eq(session)));
            diesel::delete(messages).execute(connection).await?;
            Fixed(sql_query(FORGET).bind::<SqlUuid, _>(tenant.0).bind::<Text, _>(text(key))).execute(connection).await?;
            Ok(true)
        });
        Ok(within(resetting).await?)
    }

    async fn delete(&self, tenant: TenantId, key: &str) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(sql_query(DELETE).bind::<SqlUuid, _>(tenant.0).bind::<Text, _>(text(key)));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }
}
