//! Tenants and their members.

use crate::{
    error::{Failure, corrupt, missing, taken},
    json::{decode, object, text},
    pool::{Postgres, enter, within},
    schema::{tenant_users, tenants},
    statement::Fixed,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::{
    prelude::*,
    sql_types::{BigInt, Text, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, RunQueryDsl};
use goclaw_ports::{
    Result, TenantId,
    tenants::{Member, MemberRole, Tenant, TenantPatch, TenantStatus, TenantStore},
};
use serde_json::Value;
use uuid::Uuid;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = tenants)]
struct Row {
    id: Uuid,
    name: String,
    slug: String,
    status: String,
    settings: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn tenant(self) -> Result<Tenant> {
        Ok(Tenant {
            id: TenantId(self.id),
            name: self.name,
            slug: self.slug,
            status: TenantStatus::parse(&self.status).ok_or_else(|| corrupt("tenants.status", &self.status))?,
            settings: decode(self.settings)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

#[derive(AsChangeset)]
#[diesel(table_name = tenants)]
struct Changes {
    name: Option<String>,
    status: Option<&'static str>,
    settings: Option<Value>,
    updated_at: DateTime<Utc>,
}

#[derive(Queryable, Selectable, Insertable, QueryableByName)]
#[diesel(table_name = tenant_users)]
struct MemberRow {
    tenant_id: Uuid,
    user_id: String,
    role: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    id: Uuid,
    display_name: Option<String>,
    metadata: Value,
}

impl MemberRow {
    fn member(self) -> Result<Member> {
        Ok(Member {
            id: self.id,
            tenant_id: TenantId(self.tenant_id),
            user_id: self.user_id,
            display_name: self.display_name,
            role: member_role(&self.role)?,
            metadata: decode(self.metadata)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

fn member_role(text: &str) -> Result<MemberRole> {
    MemberRole::parse(text).ok_or_else(|| corrupt("tenant_users.role", text))
}

/// Compared bytewise, so that the case of ASCII letters alone does not matter, whatever the database's locale.
const SEARCH_MEMBERS: &str = "\
    select * from tenant_users where tenant_id = $1 \
        and (strpos(lower(user_id collate \"C\"), $2) > 0 or strpos(lower(display_name collate \"C\"), $2) > 0) \
    order by created_at, user_id limit $3";

#[async_trait]
impl TenantStore for Postgres {
    async fn find(&self, tenant: TenantId) -> Result<Option<Tenant>> {
        let connection = self.engine().await?;
        let query = tenants::table.find(tenant.0).select(Row::as_select());
        connection.run_optional(query.first(&mut connection.pipe())).await?.map(Row::tenant).transpose()
    }

    async fn all_tenants_find_by_slug(&self, slug: &str) -> Result<Option<Tenant>> {
        let connection = self.engine().await?;
        let query = tenants::table.filter(tenants::slug.eq(text(slug))).select(Row::as_select());
        connection.run_optional(query.first(&mut connection.pipe())).await?.map(Row::tenant).transpose()
    }

    async fn all_tenants_list(&self) -> Result<Vec<Tenant>> {
        let connection = self.engine().await?;
        let query = tenants::table.order((tenants::created_at, tenants::id)).select(Row::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(Row::tenant).collect()
    }

    async fn insert(&self, tenant: &Tenant) -> Result<()> {
        let connection = self.engine().await?;
        let row = Row {
            id: tenant.id.0,
            name: text(&tenant.name),
            slug: text(&tenant.slug),
            status: tenant.status.as_str().to_owned(),
            settings: object(&tenant.settings),
            created_at: tenant.created_at,
            updated_at: tenant.updated_at,
        };
        let query = diesel::insert_into(tenants::table).values(row);
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(taken("tenant", &tenant.slug))
    }

    async fn update(&self, tenant: TenantId, patch: &TenantPatch, now: DateTime<Utc>) -> Result<Option<Tenant>> {
        let connection = self.engine().await?;
        let changes = Changes {
            name: patch.name.as_deref().map(text),
            status: patch.status.map(TenantStatus::as_str),
            settings: patch.settings.as_ref().map(object),
            updated_at: now,
        };
        let query = diesel::update(tenants::table.find(tenant.0)).set(changes).returning(Row::as_returning());
        connection.run_optional(query.get_result(&mut connection.pipe())).await?.map(Row::tenant).transpose()
    }

    async fn all_tenants_memberships(&self, user: &str) -> Result<Vec<(Tenant, MemberRole)>> {
        let connection = self.engine().await?;
        let query = tenants::table
            .inner_join(tenant_users::table.on(tenant_users::tenant_id.eq(tenants::id)))
            .filter(tenant_users::user_id.eq(text(user)))
            .order((tenants::created_at, tenants::id))
            .select((Row::as_select(), tenant_users::role));
        let rows: Vec<(Row, String)> = connection.run(query.load(&mut connection.pipe())).await?;
        rows.into_iter().map(|(row, role)| Ok((row.tenant()?, member_role(&role)?))).collect()
    }

    async fn member_role(&self, tenant: TenantId, user: &str) -> Result<Option<MemberRole>> {
        let connection = self.tenant(tenant).await?;
        let query = tenant_users::table.find((tenant.0, text(user))).select(tenant_users::role);
        let role: Option<String> = connection.run_optional(query.first(&mut connection.pipe())).await?;
        role.as_deref().map(member_role).transpose()
    }

    async fn members(&self, tenant: TenantId) -> Result<Vec<Member>> {
        let connection = self.tenant(tenant).await?;
        let query = tenant_users::table
            .filter(tenant_users::tenant_id.eq(tenant.0))
            .order((tenant_users::created_at, tenant_users::user_id))
            .select(MemberRow::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(MemberRow::member).collect()
    }

    async fn search_members(&self, tenant: TenantId, part: &str, limit: i64) -> Result<Vec<Member>> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(
            diesel::sql_query(SEARCH_MEMBERS).bind::<SqlUuid, _>(tenant.0).bind::<Text, _>(text(part).to_ascii_lowercase()).bind::<BigInt, _>(limit.max(0)),
        );
        let rows: Vec<MemberRow> = connection.run(query.load(&mut connection.pipe())).await?;
        rows.into_iter().map(MemberRow::member).collect()
    }

    async fn put_member(&self, tenant: TenantId, member: &Member) -> Result<Option<MemberRole>> {
        let row = MemberRow {
            tenant_id: tenant.0,
            user_id: text(&member.user_id),
            role: member.role.as_str().to_owned(),
            created_at: member.created_at,
            updated_at: member.updated_at,
            id: member.id,
            display_name: member.display_name.as_deref().map(text),
            metadata: object(&member.metadata),
        };
        let mut connection = self.tenant(tenant).await?;
        let putting = connection.raw().transaction(async |connection| -> Result<Option<String>, Failure> {
            enter(connection, tenant).await?;
            let known = tenant_users::table.find((tenant.0, &row.user_id));
            // Somebody else may begin or end the membership between two statements: then it is looked at once more.
            loop {
                if diesel::insert_into(tenant_users::table).values(&row).on_conflict_do_nothing().execute(connection).await? > 0 {
                    return Ok(None);
                }
                let before: Option<String> = known.select(tenant_users::role).for_update().first(connection).await.optional()?;
                if before.is_some() {
                    let changes = (tenant_users::role.eq(&row.role), tenant_users::updated_at.eq(row.updated_at));
                    diesel::update(known).set(changes).execute(connection).await?;
                    return Ok(before);
                }
            }
        });
        let before = within(putting).await.map_err(missing("tenant", tenant))?;
        before.as_deref().map(member_role).transpose()
    }

    async fn remove_member(&self, tenant: TenantId, user: &str) -> Result<Option<MemberRole>> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(tenant_users::table.find((tenant.0, text(user)))).returning(tenant_users::role);
        let role: Option<String> = connection.run_optional(query.get_result(&mut connection.pipe())).await?;
        role.as_deref().map(member_role).transpose()
    }
}
