//! Who asks to be let in, and who was.

use crate::{
    error::{Failure, taken_or_missing},
    json::{decode, encode, text},
    pool::{Postgres, within},
    schema::{paired_devices, pairing_requests},
    statement::Fixed,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::{
    dsl::exists,
    prelude::*,
    sql_query,
    sql_types::{BigInt, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId, message,
    pairing::{PairedDevice, PairingRequest, PairingStore, PendingLimits},
};
use serde_json::Value;
use uuid::Uuid;

/// The request goes whether it is still good or not; only a good one becomes a device. The row of a request is there for
/// one of two approvals only.
const APPROVE: &str = "\
    with request as ( \
        delete from pairing_requests where tenant_id = $1 and code = $2 returning * \
    ) \
    insert into paired_devices (tenant_id, sender, channel, chat_id, user_id, paired_by, metadata, paired_at, expires_at) \
    select tenant_id, sender, channel, chat_id, user_id, $3, metadata, $4, $5 from request where expires_at > $4 \
    on conflict (tenant_id, channel, sender) do update set chat_id = excluded.chat_id, user_id = excluded.user_id, \
        paired_by = excluded.paired_by, metadata = excluded.metadata, paired_at = excluded.paired_at, expires_at = excluded.expires_at \
    returning *";

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = pairing_requests)]
struct RequestRow {
    code: String,
    tenant_id: Uuid,
    sender: String,
    channel: String,
    chat_id: String,
    account_id: String,
    user_id: String,
    counted_as: String,
    metadata: Value,
    created_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl RequestRow {
    fn new(tenant: TenantId, request: &PairingRequest) -> Result<Self> {
        Ok(Self {
            code: text(&request.code),
            tenant_id: tenant.0,
            sender: text(&request.sender),
            channel: text(&request.channel),
            chat_id: text(&request.chat_id),
            account_id: text(&request.account_id),
            user_id: text(&request.user_id),
            counted_as: text(&request.counted_as),
            metadata: encode(&request.metadata)?,
            created_at: request.created_at,
            expires_at: request.expires_at,
        })
    }

    fn request(self) -> Result<PairingRequest> {
        Ok(PairingRequest {
            code: self.code,
            sender: self.sender,
            channel: self.channel,
            chat_id: self.chat_id,
            account_id: self.account_id,
            user_id: self.user_id,
            counted_as: self.counted_as,
            metadata: decode(self.metadata)?,
            created_at: self.created_at,
            expires_at: self.expires_at,
        })
    }
}

#[derive(Queryable, Selectable, QueryableByName)]
#[diesel(table_name = paired_devices)]
struct DeviceRow {
    sender: String,
    channel: String,
    chat_id: String,
    user_id: String,
    paired_by: String,
    metadata: Value,
    paired_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl DeviceRow {
    fn device(self) -> Result<PairedDevice> {
        Ok(PairedDevice {
            sender: self.sender,
            channel: self.channel,
            chat_id: self.chat_id,
            user_id: self.user_id,
            paired_by: self.paired_by,
            metadata: decode(self.metadata)?,
            paired_at: self.paired_at,
            expires_at: self.expires_at,
        })
    }
}

/// Lets one request of a tenant at a time be counted and stored.
async fn lock_requests(connection: &mut AsyncPgConnection, tenant: TenantId) -> QueryResult<()> {
    let lock = sql_query("select pg_advisory_xact_lock(hashtextextended($1, 0))").bind::<Text, _>(format!("pairing {tenant}"));
    Fixed(lock).execute(connection).await.map(drop)
}

/// Removes what has expired: the tenant's requests and devices, and whoever's request had this code.
async fn remove_expired(connection: &mut AsyncPgConnection, tenant: TenantId, code: &str, now: DateTime<Utc>) -> QueryResult<()> {
    let own = pairing_requests::tenant_id.eq(tenant.0).or(pairing_requests::code.eq(code));
    diesel::delete(pairing_requests::table.filter(pairing_requests::expires_at.le(now)).filter(own)).execute(connection).await?;
    let devices = paired_devices::table.filter(paired_devices::tenant_id.eq(tenant.0).and(paired_devices::expires_at.le(now)));
    diesel::delete(devices).execute(connection).await?;
    Ok(())
}

/// How many requests wait in the row's channel: of those that count together with it, and in all.
async fn waiting(connection: &mut AsyncPgConnection, row: &RequestRow) -> QueryResult<(i64, i64)> {
    #[derive(QueryableByName)]
    struct Counts {
        #[diesel(sql_type = BigInt)]
        together: i64,
        #[diesel(sql_type = BigInt)]
        channel: i64,
    }
    let counting = sql_query(
        "select count(*) filter (where counted_as = $3) as together, count(*) as channel from pairing_requests where tenant_id = $1 and channel = $2",
    )
    .bind::<SqlUuid, _>(row.tenant_id)
    .bind::<Text, _>(&row.channel)
    .bind::<Text, _>(&row.counted_as);
    let counts: Counts = Fixed(counting).get_result(connection).await?;
    Ok((counts.together, counts.channel))
}

#[async_trait]
impl PairingStore for Postgres {
    async fn request(&self, tenant: TenantId, request: &PairingRequest, limits: PendingLimits, now: DateTime<Utc>) -> Result<PairingRequest> {
        let row = RequestRow::new(tenant, request)?;
        // Codes are unique over all tenants, so one that expired elsewhere must be seen.
        let mut connection = self.engine().await?;
        let requesting = connection.raw().transaction(async |connection| -> Result<Option<RequestRow>, Failure> {
            lock_requests(connection, tenant).await?;
            remove_expired(connection, tenant, &row.code, now).await?;
            let same = pairing_requests::table
                .filter(pairing_requests::tenant_id.eq(tenant.0))
                .filter(pairing_requests::channel.eq(&row.channel).and(pairing_requests::sender.eq(&row.sender)));
            let known = same.select(RequestRow::as_select()).first(connection).await.optional()?;
            if known.is_some() {
                return Ok(known);
            }
            let (together, channel) = waiting(connection, &row).await?;
            if together >= limits.together || channel >= limits.channel {
                return Ok(None);
            }
            let query = diesel::insert_into(pairing_requests::table).values(&row).returning(RequestRow::as_returning());
            Ok(Some(query.get_result(connection).await?))
        });
        let stored = within(requesting).await.map_err(taken_or_missing("pairing code", "-", "tenant", tenant))?;
        stored.ok_or_else(|| Error::new(ErrorKind::RateLimited, message::too_many_pairings()))?.request()
    }

    async fn pending(&self, tenant: TenantId, now: DateTime<Utc>) -> Result<Vec<PairingRequest>> {
        let connection = self.tenant(tenant).await?;
        let query = pairing_requests::table
            .filter(pairing_requests::tenant_id.eq(tenant.0).and(pairing_requests::expires_at.gt(now)))
            .order((pairing_requests::created_at.desc(), pairing_requests::code))
            .select(RequestRow::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(RequestRow::request).collect()
    }

    async fn paired(&self, tenant: TenantId, now: DateTime<Utc>) -> Result<Vec<PairedDevice>> {
        let connection = self.tenant(tenant).await?;
        let query = paired_devices::table
            .filter(paired_devices::tenant_id.eq(tenant.0).and(paired_devices::expires_at.gt(now)))
            .order((paired_devices::paired_at.desc(), paired_devices::channel, paired_devices::sender))
            .select(DeviceRow::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(DeviceRow::device).collect()
    }

    async fn approve(&self, tenant: TenantId, code: &str, paired_by: &str, now: DateTime<Utc>, expires_at: DateTime<Utc>) -> Result<Option<PairedDevice>> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(
            sql_query(APPROVE)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<Text, _>(text(code))
                .bind::<Text, _>(text(paired_by))
                .bind::<Timestamptz, _>(now)
                .bind::<Timestamptz, _>(expires_at),
        );
        connection.run_optional(query.get_result(&mut connection.pipe())).await?.map(DeviceRow::device).transpose()
    }

    async fn deny(&self, tenant: TenantId, code: &str, now: DateTime<Utc>) -> Result<Option<PairingRequest>> {
        let connection = self.tenant(tenant).await?;
        let own = pairing_requests::table.filter(pairing_requests::tenant_id.eq(tenant.0).and(pairing_requests::code.eq(text(code))));
        let query = diesel::delete(own).returning(RequestRow::as_returning());
        let row = connection.run_optional(query.get_result(&mut connection.pipe())).await?;
        row.filter(|row: &RequestRow| row.expires_at > now).map(RequestRow::request).transpose()
    }

    async fn revoke(&self, tenant: TenantId, channel: &str, sender: &str, now: DateTime<Utc>) -> Result<Option<PairedDevice>> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(paired_devices::table.find((tenant.0, text(channel), text(sender)))).returning(DeviceRow::as_returning());
        let row = connection.run_optional(query.get_result(&mut connection.pipe())).await?;
        row.filter(|row: &DeviceRow| row.expires_at > now).map(DeviceRow::device).transpose()
    }

    async fn all_tenants_of_code(&self, code: &str, now: DateTime<Utc>) -> Result<Option<TenantId>> {
        let connection = self.engine().await?;
        let query = pairing_requests::table.find(text(code)).filter(pairing_requests::expires_at.gt(now)).select(pairing_requests::tenant_id);
        Ok(connection.run_optional(query.first(&mut connection.pipe())).await?.map(TenantId))
    }

    async fn all_tenants_find_paired(&self, channel: &str, sender: &str, now: DateTime<Utc>) -> Result<Option<(TenantId, PairedDevice)>> {
        let connection = self.engine().await?;
        // Of several tenants that let the same sender in, the last one has it.
        let query = paired_devices::table
            .filter(paired_devices::channel.eq(text(channel)).and(paired_devices::sender.eq(text(sender))))
            .filter(paired_devices::expires_at.gt(now))
            .order((paired_devices::paired_at.desc(), paired_devices::tenant_id))
            .select((paired_devices::tenant_id, DeviceRow::as_select()));
        let found: Option<(Uuid, DeviceRow)> = connection.run_optional(query.first(&mut connection.pipe())).await?;
        found.map(|(tenant, row)| Ok((TenantId(tenant), row.device()?))).transpose()
    }

    async fn all_tenants_is_pending(&self, channel: &str, sender: &str, now: DateTime<Utc>) -> Result<bool> {
        let connection = self.engine().await?;
        let waiting = pairing_requests::table
            .filter(pairing_requests::channel.eq(text(channel)).and(pairing_requests::sender.eq(text(sender))))
            .filter(pairing_requests::expires_at.gt(now));
        Ok(connection.run(diesel::select(exists(waiting)).get_result(&mut connection.pipe())).await?)
    }
}
