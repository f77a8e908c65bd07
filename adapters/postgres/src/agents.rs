//! Agents, their files, and who may use them.

mod rows;

use crate::{
    error::{Failure, missing, taken, taken_or_missing},
    json::{object, text},
    pool::{Postgres, enter, within},
    schema::{agent_context_files, agent_shares, agents, user_context_files},
    statement::Fixed,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::{
    dsl::{exists, sql_query},
    pg::Pg,
    prelude::*,
    query_builder::{QueryFragment, QueryId},
    sql_types::{Array, BigInt, Jsonb, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use goclaw_ports::{
    AgentId, Error, ErrorKind, JsonObject, Result, TenantId,
    agents::{Agent, AgentFilter, AgentPatch, AgentShare, AgentStatus, AgentStore, ContextFile, Rewrite, UserInstance, UserProfile},
    message,
};
use rows::{Changes, Instance, Profile, Row, Share, columns, context_file};
use uuid::Uuid;

const PUT_FILES: &str = "\
    insert into agent_context_files (agent_id, tenant_id, file_name, content, updated_at) \
    select $1, $2, file.name, file.content, $3 from unnest($4, $5) as file (name, content) \
    on conflict (tenant_id, agent_id, file_name) do update set content = excluded.content, updated_at = excluded.updated_at";

const TOUCH_PROFILE: &str = "\
    with profile as ( \
        insert into user_agent_profiles as known (agent_id, tenant_id, user_id, workspace, first_seen_at, last_seen_at) values ($1, $2, $3, $4, $5, $5) \
        on conflict (tenant_id, agent_id, user_id) do update set last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at), \
            workspace = case known.workspace when '' then excluded.workspace else known.workspace end \
        returning workspace, first_seen_at, last_seen_at \
    ), seeded as ( \
        insert into user_context_files (agent_id, tenant_id, user_id, file_name, content, updated_at) \
        select $1, $2, $3, seed.name, seed.content, $5 from unnest($6, $7) as seed (name, content) \
        where not exists (select from user_context_files where tenant_id = $2 and agent_id = $1 and user_id = $3) \
        on conflict do nothing \
    ) \
    select workspace, first_seen_at, last_seen_at from profile";

const INSTANCES: &str = "\
    select user_id, first_seen_at, last_seen_at, metadata, ( \
        select count(*) from user_context_files as file \
        where file.tenant_id = profile.tenant_id and file.agent_id = profile.agent_id and file.user_id = profile.user_id \
    ) as file_count \
    from user_agent_profiles as profile where tenant_id = $1 and agent_id = $2 order by last_seen_at desc, user_id";

/// A profile that is there stays as it is; its workspace is set at the first contact.
const PUT_INSTANCE_FILE: &str = "\
    with profile as ( \
        insert into user_agent_profiles (agent_id, tenant_id, user_id, workspace, first_seen_at, last_seen_at) values ($1, $2, $3, '', $4, $4) \
        on conflict do nothing \
    ) \
    insert into user_context_files (agent_id, tenant_id, user_id, file_name, content, updated_at) values ($1, $2, $3, $5, $6, $4) \
    on conflict (tenant_id, agent_id, user_id, file_name) do update set content = excluded.content, updated_at = excluded.updated_at";

const MERGE_METADATA: &str = "\
    update user_agent_profiles set metadata = metadata || $4 where tenant_id = $1 and agent_id = $2 and user_id = $3";

const REWRITE: &str = "\
    update user_context_files as file set content = rewritten.content, updated_at = $4 from unnest($5, $6) as rewritten (user_id, content) \
    where file.tenant_id = $1 and file.agent_id = $2 and file.file_name = $3 and file.user_id = rewritten.user_id";

/// Stores an agent's own files, replacing those of the same names.
pub(crate) fn put_files(tenant: TenantId, agent: AgentId, files: &[ContextFile], now: DateTime<Utc>) -> impl QueryFragment<Pg> + QueryId + Send + use<> {
    let (names, contents) = columns(files);
    let query = sql_query(PUT_FILES).bind::<SqlUuid, _>(agent.0).bind::<SqlUuid, _>(tenant.0).bind::<Timestamptz, _>(now);
    Fixed(query.bind::<Array<Text>, _>(names).bind::<Array<Text>, _>(contents))
}

/// Lets one caller at a time change which agent of the tenant is the default, or how many there are. Taken before any row is locked, so that
/// two callers cannot wait for each other.
async fn lock_agents(connection: &mut AsyncPgConnection, tenant: TenantId) -> QueryResult<()> {
    let (high, low) = tenant.0.as_u64_pair();
    let key = i64::from_ne_bytes((high ^ low).to_ne_bytes());
    Fixed(sql_query("select pg_advisory_xact_lock($1)").bind::<BigInt, _>(key)).execute(connection).await.map(drop)
}

/// Takes the default flag from the tenant's agents other than `keep`.
async fn yield_default(connection: &mut AsyncPgConnection, tenant: TenantId, keep: AgentId, now: DateTime<Utc>) -> QueryResult<()> {
    let others = agents::table.filter(agents::tenant_id.eq(tenant.0)).filter(agents::is_default).filter(agents::id.ne(keep.0));
    diesel::update(others).set((agents::is_default.eq(false), agents::updated_at.eq(now))).execute(connection).await.map(drop)
}

/// Stores a new agent with its first files, unless the tenant has `limit` already; 0 is no limit. `false` if it has.
pub(crate) async fn insert_within(connection: &mut AsyncPgConnection, tenant: TenantId, agent: &Agent, files: &[ContextFile], limit: i64) -> QueryResult<bool> {
    if agent.is_default || limit > 0 {
        lock_agents(connection, tenant).await?;
    }
    if limit > 0 && agents::table.filter(agents::tenant_id.eq(tenant.0)).count().get_result::<i64>(connection).await? >= limit {
        return Ok(false);
    }
    if agent.is_default {
        yield_default(connection, tenant, agent.id, agent.updated_at).await?;
    }
    diesel::insert_into(agents::table).values(&Row::new(tenant, agent)).execute(connection).await?;
    put_files(tenant, agent.id, files, agent.created_at).execute(connection).await?;
    Ok(true)
}

#[async_trait]
impl AgentStore for Postgres {
    async fn find(&self, tenant: TenantId, id_or_key: &str) -> Result<Option<Agent>> {
        let connection = self.tenant(tenant).await?;
        let own = agents::table.filter(agents::tenant_id.eq(tenant.0)).select(Row::as_select());
        let by_key = agents::agent_key.eq(text(id_or_key));
        let row = match Uuid::parse_str(id_or_key) {
            Ok(id) => {
                let query = own.filter(agents::id.eq(id).or(by_key)).order(agents::id.eq(id).desc());
                connection.run_optional(query.first(&mut connection.pipe())).await?
            }
            Err(_) => connection.run_optional(own.filter(by_key).first(&mut connection.pipe())).await?,
        };
        row.map(Row::agent).transpose()
    }

    async fn find_default(&self, tenant: TenantId) -> Result<Option<Agent>> {
        let connection = self.tenant(tenant).await?;
        let query = agents::table
            .filter(agents::tenant_id.eq(tenant.0))
            .filter(agents::is_default.or(agents::status.eq(AgentStatus::Active.as_str())))
            .order((agents::is_default.desc(), agents::created_at, agents::id))
            .select(Row::as_select());
        connection.run_optional(query.first(&mut connection.pipe())).await?.map(Row::agent).transpose()
    }

    async fn list(&self, tenant: TenantId, filter: &AgentFilter) -> Result<Vec<Agent>> {
        let connection = self.tenant(tenant).await?;
        let mut query = agents::table
            .filter(agents::tenant_id.eq(tenant.0))
            .order((agents::created_at.desc(), agents::id.desc()))
            .select(Row::as_select())
            .into_boxed::<Pg>();
        if let Some(user) = &filter.visible_to {
            let share = agent_shares::table
                .filter(agent_shares::tenant_id.eq(agents::tenant_id).and(agent_shares::agent_id.eq(agents::id)))
                .filter(agent_shares::user_id.eq(text(user)));
            query = query.filter(agents::owner_id.eq(text(user)).or(agents::is_default).or(exists(share)));
        }
        if let Some(status) = filter.status {
            query = query.filter(agents::status.eq(status.as_str()));
        }
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(Row::agent).collect()
    }

    async fn count(&self, tenant: TenantId) -> Result<i64> {
        let connection = self.tenant(tenant).await?;
        let query = agents::table.filter(agents::tenant_id.eq(tenant.0)).count();
        Ok(connection.run(query.get_result(&mut connection.pipe())).await?)
    }

    async fn insert_within(&self, tenant: TenantId, agent: &Agent, files: &[ContextFile], limit: i64) -> Result<()> {
        let mut connection = self.tenant(tenant).await?;
        let inserting = connection.raw().transaction(async |connection| -> Result<bool, Failure> {
            enter(connection, tenant).await?;
            Ok(insert_within(connection, tenant, agent, files, limit).await?)
        });
        let inserted = within(inserting).await.map_err(taken_or_missing("agent", &agent.agent_key, "tenant", tenant))?;
        if inserted { Ok(()) } else { Err(Error::new(ErrorKind::Precondition, message::edition_limit("agents", limit))) }
    }

    async fn update(&self, tenant: TenantId, id: AgentId, patch: &AgentPatch, files: &[ContextFile], now: DateTime<Utc>) -> Result<Option<Agent>> {
        let changes = Changes::new(patch, now);
        let mut connection = self.tenant(tenant).await?;
        let updating = connection.raw().transaction(async |connection| -> Result<Option<Row>, Failure> {
            enter(connection, tenant).await?;
            let own = agents::table.find(id.0).filter(agents::tenant_id.eq(tenant.0));
            if patch.is_default == Some(true) {
                lock_agents(connection, tenant).await?;
                let known: Option<Uuid> = own.select(agents::id).for_update().first(connection).await.optional()?;
                if known.is_none() {
                    return Ok(None);
                }
                yield_default(connection, tenant, id, now).await?;
            }
            let row = diesel::update(own).set(&changes).returning(Row::as_returning()).get_result(connection).await.optional()?;
            if row.is_some() && !files.is_empty() {
                put_files(tenant, id, files, now).execute(connection).await?;
            }
            Ok(row)
        });
        let key = patch.agent_key.as_deref().unwrap_or_default();
        within(updating).await.map_err(taken("agent", key))?.map(Row::agent).transpose()
    }

    async fn switch_status(&self, tenant: TenantId, id: AgentId, from: &[AgentStatus], to: AgentStatus, now: DateTime<Utc>) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let from: Vec<&str> = from.iter().map(|status| status.as_str()).collect();
        let own = agents::table.find(id.0).filter(agents::tenant_id.eq(tenant.0)).filter(agents::status.eq_any(from));
        let query = diesel::update(own).set((agents::status.eq(to.as_str()), agents::updated_at.eq(now)));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn all_tenants_fail_summoning(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<i64> {
        let connection = self.engine().await?;
        let stale = agents::table.filter(agents::status.eq(AgentStatus::Summoning.as_str())).filter(agents::updated_at.lt(before));
        let query = diesel::update(stale).set((agents::status.eq(AgentStatus::SummonFailed.as_str()), agents::updated_at.eq(now)));
        let failed = connection.run(query.execute(&mut connection.pipe())).await?;
        Ok(i64::try_from(failed).unwrap_or(i64::MAX))
    }

    async fn delete(&self, tenant: TenantId, id: AgentId) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(agents::table.find(id.0).filter(agents::tenant_id.eq(tenant.0)));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn share_role(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<Option<String>> {
        let connection = self.tenant(tenant).await?;
        let query = agent_shares::table.find((tenant.0, id.0, text(user))).select(agent_shares::role);
        Ok(connection.run_optional(query.first(&mut connection.pipe())).await?)
    }

    async fn shares(&self, tenant: TenantId, id: AgentId) -> Result<Vec<AgentShare>> {
        let connection = self.tenant(tenant).await?;
        let query = agent_shares::table
            .filter(agent_shares::tenant_id.eq(tenant.0).and(agent_shares::agent_id.eq(id.0)))
            .order((agent_shares::created_at, agent_shares::id))
            .select(Share::as_select());
        Ok(connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(Share::share).collect())
    }

    async fn put_share(&self, tenant: TenantId, share: &AgentShare) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let granted =
            (agent_shares::role.eq(text(&share.role)), agent_shares::granted_by.eq(text(&share.granted_by)), agent_shares::updated_at.eq(share.updated_at));
        let query = diesel::insert_into(agent_shares::table)
            .values((
                agent_shares::id.eq(share.id),
                agent_shares::agent_id.eq(share.agent_id.0),
                agent_shares::tenant_id.eq(tenant.0),
                agent_shares::user_id.eq(text(&share.user_id)),
                agent_shares::created_at.eq(share.created_at),
                granted.clone(),
            ))
            .on_conflict((agent_shares::tenant_id, agent_shares::agent_id, agent_shares::user_id))
            .do_update()
            .set(granted);
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(missing("agent", share.agent_id))
    }

    async fn delete_share(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(agent_shares::table.find((tenant.0, id.0, text(user))));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn files(&self, tenant: TenantId, id: AgentId) -> Result<Vec<ContextFile>> {
        let connection = self.tenant(tenant).await?;
        let query = agent_context_files::table
            .filter(agent_context_files::tenant_id.eq(tenant.0).and(agent_context_files::agent_id.eq(id.0)))
            .order(agent_context_files::file_name)
            .select((agent_context_files::file_name, agent_context_files::content));
        Ok(connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(context_file).collect())
    }

    async fn put_file(&self, tenant: TenantId, id: AgentId, file: &ContextFile, now: DateTime<Utc>) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let query = put_files(tenant, id, std::slice::from_ref(file), now);
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(missing("agent", id))
    }

    async fn user_files(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<Vec<ContextFile>> {
        let connection = self.tenant(tenant).await?;
        let query = user_context_files::table
            .filter(user_context_files::tenant_id.eq(tenant.0).and(user_context_files::agent_id.eq(id.0)))
            .filter(user_context_files::user_id.eq(text(user)))
            .order(user_context_files::file_name)
            .select((user_context_files::file_name, user_context_files::content));
        Ok(connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(context_file).collect())
    }

    async fn put_user_file(&self, tenant: TenantId, id: AgentId, user: &str, file: &ContextFile, now: DateTime<Utc>) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let written = (user_context_files::content.eq(text(&file.content)), user_context_files::updated_at.eq(now));
        let query = diesel::insert_into(user_context_files::table)
            .values((
                user_context_files::agent_id.eq(id.0),
                user_context_files::tenant_id.eq(tenant.0),
                user_context_files::user_id.eq(text(user)),
                user_context_files::file_name.eq(text(&file.name)),
                written.clone(),
            ))
            .on_conflict((user_context_files::tenant_id, user_context_files::agent_id, user_context_files::user_id, user_context_files::file_name))
            .do_update()
            .set(written);
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(missing("agent", id))
    }

    async fn delete_user_file(&self, tenant: TenantId, id: AgentId, user: &str, name: &str) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(user_context_files::table.find((tenant.0, id.0, text(user), text(name))));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn touch_profile(&self, tenant: TenantId, id: AgentId, user: &str, workspace: &str, seed: &[ContextFile], now: DateTime<Utc>) -> Result<UserProfile> {
        let connection = self.tenant(tenant).await?;
        let (names, contents) = columns(seed);
        let query = Fixed(
            sql_query(TOUCH_PROFILE)
                .bind::<SqlUuid, _>(id.0)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<Text, _>(text(user))
                .bind::<Text, _>(text(workspace))
                .bind::<Timestamptz, _>(now)
                .bind::<Array<Text>, _>(names)
                .bind::<Array<Text>, _>(contents),
        );
        let profile = connection.run(query.get_result(&mut connection.pipe())).await.map_err(missing("agent", id))?;
        Ok(Profile::profile(profile))
    }

    async fn instances(&self, tenant: TenantId, id: AgentId) -> Result<Vec<UserInstance>> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(sql_query(INSTANCES).bind::<SqlUuid, _>(tenant.0).bind::<SqlUuid, _>(id.0));
        let rows: Vec<Instance> = connection.run(query.load(&mut connection.pipe())).await?;
        rows.into_iter().map(Instance::instance).collect()
    }

    async fn put_instance_file(&self, tenant: TenantId, id: AgentId, user: &str, file: &ContextFile, now: DateTime<Utc>) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(
            sql_query(PUT_INSTANCE_FILE)
                .bind::<SqlUuid, _>(id.0)
                .bind::<SqlUuid, _>(tenant.0)
                .bind::<Text, _>(text(user))
                .bind::<Timestamptz, _>(now)
                .bind::<Text, _>(text(&file.name))
                .bind::<Text, _>(text(&file.content)),
        );
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(missing("agent", id))
    }

    async fn merge_metadata(&self, tenant: TenantId, id: AgentId, user: &str, metadata: &JsonObject) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = Fixed(
            sql_query(MERGE_METADATA).bind::<SqlUuid, _>(tenant.0).bind::<SqlUuid, _>(id.0).bind::<Text, _>(text(user)).bind::<Jsonb, _>(object(metadata)),
        );
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn rewrite_user_files(&self, tenant: TenantId, id: AgentId, name: &str, rewrite: Rewrite, now: DateTime<Utc>) -> Result<i64> {
        let mut connection = self.tenant(tenant).await?;
        let rewriting = connection.raw().transaction(async |connection| -> Result<usize, Failure> {
            enter(connection, tenant).await?;
            let files: Vec<(String, String)> = user_context_files::table
                .filter(user_context_files::tenant_id.eq(tenant.0).and(user_context_files::agent_id.eq(id.0)))
                .filter(user_context_files::file_name.eq(text(name)))
                .order(user_context_files::user_id)
                .select((user_context_files::user_id, user_context_files::content))
                .for_update()
                .load(connection)
                .await?;
            let (users, contents): (Vec<_>, Vec<_>) = files.into_iter().map(|(user, content)| (user, text(&rewrite(&content)))).unzip();
            let query = sql_query(REWRITE).bind::<SqlUuid, _>(tenant.0).bind::<SqlUuid, _>(id.0).bind::<Text, _>(text(name));
            let query = query.bind::<Timestamptz, _>(now).bind::<Array<Text>, _>(users).bind::<Array<Text>, _>(contents);
            Ok(Fixed(query).execute(connection).await?)
        });
        Ok(i64::try_from(within(rewriting).await?).unwrap_or(i64::MAX))
    }
}
