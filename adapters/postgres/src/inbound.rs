//! Messages that are owed an answer.

use crate::{
    error::{Failure, corrupt, missing},
    json::{decode, encode, object, text},
    pool::{Postgres, enter, within},
    schema::{inbound_messages as messages, session_messages, sessions},
    statement::{Fixed, from_now},
};
use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use diesel::{
    dsl::sql_query,
    prelude::*,
    sql_types::{BigInt, Jsonb, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, RunQueryDsl};
use goclaw_ports::{
    AgentId, Error, InboundId, Result, TenantId,
    inbound::{InboundMessage, InboundStore},
    media::MediaRef,
    roles::Role,
    sessions::{ChatMessage, MessageRole},
    subagents::{TaskLease, TaskOrigin},
};
use serde_json::Value;
use uuid::Uuid;

/// Puts one message into a conversation, and answers with its number.
const SAY: &str = "\
    with session as ( \
        update sessions set next_seq = next_seq + 1, message_count = message_count + 1, message_bytes = message_bytes + $4, updated_at = $5 \
        where tenant_id = $1 and session_key = $2 \
        returning id, tenant_id, next_seq - 1 as seq \
    ) \
    insert into session_messages (session_id, tenant_id, seq, message, created_at) select id, tenant_id, seq, $3, $5 from session returning seq";

/// A session after one of its messages has left.
const RECOUNT: &str = "\
    update sessions set message_count = kept.number, message_bytes = kept.bytes \
    from ( \
        select count(*) as number, coalesce(sum(octet_length(message::text)), 0)::bigint as bytes \
        from session_messages where tenant_id = $1 and session_id = $2 \
    ) as kept \
    where tenant_id = $1 and id = $2";

#[derive(QueryableByName)]
struct Said {
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = messages)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    session_key: String,
    agent_id: Uuid,
    text: String,
    origin_channel: String,
    origin_chat_id: String,
    origin_peer_kind: String,
    origin_user_id: String,
    origin_role: String,
    metadata: Value,
    said: Option<i64>,
    attempts: i32,
    created_at: DateTime<Utc>,
}

impl Row {
    fn new(tenant: TenantId, message: &InboundMessage) -> Self {
        Self {
            id: message.id.0,
            tenant_id: tenant.0,
            session_key: text(&message.session_key),
            agent_id: message.agent_id.0,
            text: text(&message.text),
            origin_channel: text(&message.origin.channel),
            origin_chat_id: text(&message.origin.chat_id),
            origin_peer_kind: text(&message.origin.peer_kind),
            origin_user_id: text(&message.origin.user_id),
            origin_role: message.origin.role.as_str().to_owned(),
            metadata: object(&message.metadata),
            said: message.said,
            attempts: message.attempts,
            created_at: message.created_at,
        }
    }

    fn with_tenant(self) -> Result<(TenantId, InboundMessage)> {
        let message = InboundMessage {
            id: InboundId(self.id),
            session_key: self.session_key,
            agent_id: AgentId(self.agent_id),
            text: self.text,
            origin: TaskOrigin {
                channel: self.origin_channel,
                chat_id: self.origin_chat_id,
                peer_kind: self.origin_peer_kind,
                user_id: self.origin_user_id,
                role: Role::parse(&self.origin_role).ok_or_else(|| corrupt("inbound_messages.origin_role", &self.origin_role))?,
            },
            metadata: decode(self.metadata)?,
            said: self.said,
            attempts: self.attempts,
            created_at: self.created_at,
        };
        Ok((TenantId(self.tenant_id), message))
    }
}

fn raw(ids: &[InboundId]) -> Vec<Uuid> {
    ids.iter().map(|id| id.0).collect()
}

#[async_trait]
impl InboundStore for Postgres {
    async fn keep(&self, tenant: TenantId, new: &InboundMessage, lease: TaskLease) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let held = (messages::lease_owner.eq(lease.owner), messages::lease_until.eq(from_now(lease.lasts)));
        let query = Fixed(diesel::insert_into(messages::table).values((Row::new(tenant, new), held)));
        connection.run(query.execute(&mut connection.pipe())).await.map_err(missing("agent", new.agent_id))?;
        Ok(())
    }

    async fn say(&self, tenant: TenantId, new: &InboundMessage, media_refs: &[MediaRef], lease: TaskLease) -> Result<bool> {
        let media_refs = media_refs.to_vec();
        let said = ChatMessage { created_at: Some(new.created_at), media_refs, ..ChatMessage::new(MessageRole::User, new.text.clone()) };
        let bytes = i64::try_from(serde_json::to_vec(&said).map_err(Error::internal)?.len()).map_err(Error::internal)?;
        let said = encode(&said)?;
        let mut connection = self.tenant(tenant).await?;
        let saying = connection.raw().transaction(async |connection| -> Result<bool, Failure> {
            enter(connection, tenant).await?;
            let say = sql_query(SAY)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<Text, _>(text(&new.session_key))
                .bind::<Jsonb, _>(&said)
                .bind::<BigInt, _>(bytes)
                .bind::<Timestamptz, _>(new.created_at);
            let Some(Said { seq }) = Fixed(say).get_result(connection).await.optional()? else { return Ok(false) };
            let row = Row { said: Some(seq), ..Row::new(tenant, new) };
            let held = (messages::lease_owner.eq(lease.owner), messages::lease_until.eq(from_now(lease.lasts)));
            diesel::insert_into(messages::table).values((row, held)).execute(connection).await?;
            Ok(true)
        });
        within(saying).await.map_err(missing("agent", new.agent_id))
    }

    async fn settle(&self, tenant: TenantId, ids: &[InboundId]) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(messages::table.filter(messages::tenant_id.eq(tenant.0).and(messages::id.eq_any(raw(ids)))));
        connection.run(query.execute(&mut connection.pipe())).await?;
        Ok(())
    }

    async fn retract(&self, tenant: TenantId, ids: &[InboundId]) -> Result<()> {
        let mut connection = self.tenant(tenant).await?;
        let retracting = connection.raw().transaction(async |connection| -> Result<(), Failure> {
            enter(connection, tenant).await?;
            let gone: Vec<(String, Option<i64>)> = diesel::delete(messages::table.filter(messages::tenant_id.eq(tenant.0).and(messages::id.eq_any(raw(ids)))))
                .returning((messages::session_key, messages::said))
                .get_results(connection)
                .await?;
            for (key, said) in gone {
                let Some(said) = said else { continue };
                let own = sessions::table.filter(sessions::tenant_id.eq(tenant.0).and(sessions::session_key.eq(key)));
                // The row's lock keeps appends out until the counts are right again.
                let session: Option<Uuid> = own.select(sessions::id).for_update().first(connection).await.optional()?;
                let Some(session) = session else { continue };
                let message = session_messages::table
                    .filter(session_messages::tenant_id.eq(tenant.0).and(session_messages::session_id.eq(session)).and(session_messages::seq.eq(said)));
                diesel::delete(message).execute(connection).await?;
                Fixed(sql_query(RECOUNT).bind::<SqlUuid, _>(tenant.0).bind::<SqlUuid, _>(session)).execute(connection).await?;
            }
            Ok(())
        });
        Ok(within(retracting).await?)
    }

    async fn release(&self, tenant: TenantId, ids: &[InboundId]) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let own = messages::table.filter(messages::tenant_id.eq(tenant.0).and(messages::id.eq_any(raw(ids))));
        let query = diesel::update(own).set((messages::lease_owner.eq(Uuid::nil()), messages::lease_until.eq(DateTime::UNIX_EPOCH)));
        connection.run(query.execute(&mut connection.pipe())).await?;
        Ok(())
    }

    async fn all_tenants_renew(&self, ids: &[InboundId], lease: TaskLease) -> Result<Vec<InboundId>> {
        let connection = self.engine().await?;
        let own = messages::table.filter(messages::id.eq_any(raw(ids)).and(messages::lease_owner.eq(lease.owner)));
        let query = diesel::update(own).set(messages::lease_until.eq(from_now(lease.lasts))).returning(messages::id);
        let held: Vec<Uuid> = connection.run(query.get_results(&mut connection.pipe())).await?;
        Ok(held.into_iter().map(InboundId).collect())
    }

    async fn all_tenants_adopt(&self, ahead: TimeDelta, lease: TaskLease, limit: i64) -> Result<Vec<(TenantId, InboundMessage)>> {
        let mut connection = self.engine().await?;
        let adopting = connection.raw().transaction(async |connection| -> Result<Vec<Row>, Failure> {
            // Messages that another replica is taking over are passed over.
            let lost: Vec<Uuid> = messages::table
                .filter(messages::lease_until.lt(from_now(ahead)))
                .order((messages::created_at, messages::id))
                .limit(limit.max(0))
                .select(messages::id)
                .for_update()
                .skip_locked()
                .load(connection)
                .await?;
            if lost.is_empty() {
                return Ok(vec![]);
            }
            let held = (messages::lease_owner.eq(lease.owner), messages::lease_until.eq(from_now(lease.lasts)), messages::attempts.eq(messages::attempts + 1));
            Ok(diesel::update(messages::table.filter(messages::id.eq_any(&lost))).set(held).returning(Row::as_returning()).get_results(connection).await?)
        });
        let mut rows = within(adopting).await?;
        rows.sort_by_key(|row| (row.created_at, row.id));
        rows.into_iter().map(Row::with_tenant).collect()
    }
}
