//! What goes into archives of agents, and comes out of them.

use crate::{
    agents::{insert_within, put_files},
    error::{Failure, missing, taken_or_missing},
    json::{decode, object, text},
    pool::{Postgres, enter},
    schema::{agent_context_files, agents, user_agent_profiles, user_context_files},
    statement::Fixed,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::{
    dsl::{count, sql_query},
    prelude::*,
    sql_types::{Array, Jsonb, Text, Timestamptz, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use futures_util::StreamExt;
use goclaw_ports::{
    AgentId, Error, ErrorKind, JsonObject, Result, TenantId,
    agents::ContextFile,
    archives::{ArchiveCounts, ArchiveStore, ArchivedProfile, ImportCounts, ImportRow, ImportRows, ImportTarget},
    message,
};
use serde_json::Value;
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// How long an import may take. It is many statements, each of which has its own limit.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(600);

const PUT_USER_FILES: &str = "\
    insert into user_context_files (agent_id, tenant_id, user_id, file_name, content, updated_at) \
    select $1, $2, file.user_id, file.name, file.content, $3 from unnest($4, $5, $6) as file (user_id, name, content) \
    on conflict (tenant_id, agent_id, user_id, file_name) do update set content = excluded.content, updated_at = excluded.updated_at";

/// A profile that is there stays as it is. Its workspace is set at the first contact.
const PUT_PROFILES: &str = "\
    insert into user_agent_profiles (agent_id, tenant_id, user_id, workspace, first_seen_at, last_seen_at, metadata) \
    select $1, $2, profile.user_id, '', $3, $3, profile.metadata from unnest($4, $5) as profile (user_id, metadata) \
    on conflict do nothing";

/// Why an import failed.
enum Why {
    Database(Failure),
    Port(Error),
}

impl From<diesel::result::Error> for Why {
    fn from(error: diesel::result::Error) -> Self {
        Self::Database(error.into())
    }
}

impl From<Error> for Why {
    fn from(error: Error) -> Self {
        Self::Port(error)
    }
}

/// A batch, by table; of rows with one key the last counts.
#[derive(Default)]
struct Batch {
    files: Vec<ContextFile>,
    user_files: BTreeMap<(String, String), String>,
    profiles: BTreeMap<String, Value>,
}

impl Batch {
    fn new(rows: Vec<ImportRow>, counts: &mut ImportCounts) -> Self {
        let mut batch = Self::default();
        for row in rows {
            match row {
                ImportRow::ContextFile(file) => {
                    counts.context_files += 1;
                    batch.files.push(file);
                }
                ImportRow::UserFile(user, file) => {
                    counts.user_files += 1;
                    batch.user_files.insert((text(&user), text(&file.name)), text(&file.content));
                }
                ImportRow::Profile(profile) => {
                    let metadata = object(&profile.metadata.unwrap_or_default());
                    batch.profiles.entry(text(&profile.user_id)).or_insert(metadata);
                }
            }
        }
        batch
    }

    async fn store(
        self,
        connection: &mut AsyncPgConnection,
        tenant: TenantId,
        agent: AgentId,
        now: DateTime<Utc>,
        counts: &mut ImportCounts,
    ) -> QueryResult<()> {
        if !self.files.is_empty() {
            put_files(tenant, agent, &self.files, now).execute(connection).await?;
        }
        if !self.user_files.is_empty() {
            let (keys, contents): (Vec<_>, Vec<_>) = self.user_files.into_iter().unzip();
            let (users, names): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
            let query = sql_query(PUT_USER_FILES).bind::<SqlUuid, _>(agent.0).bind::<SqlUuid, _>(tenant.0).bind::<Timestamptz, _>(now);
            let query = query.bind::<Array<Text>, _>(users).bind::<Array<Text>, _>(names).bind::<Array<Text>, _>(contents);
            Fixed(query).execute(connection).await?;
        }
        if !self.profiles.is_empty() {
            let (users, metadata): (Vec<_>, Vec<_>) = self.profiles.into_iter().unzip();
            let query = sql_query(PUT_PROFILES).bind::<SqlUuid, _>(agent.0).bind::<SqlUuid, _>(tenant.0).bind::<Timestamptz, _>(now);
            counts.profiles += Fixed(query.bind::<Array<Text>, _>(users).bind::<Array<Jsonb>, _>(metadata)).execute(connection).await? as u64;
        }
        Ok(())
    }
}

/// Makes the agent if it is new, and answers with its id.
async fn target_of(connection: &mut AsyncPgConnection, tenant: TenantId, target: &ImportTarget) -> Result<AgentId, Why> {
    match target {
        ImportTarget::New(agent, limit) => {
            if !insert_within(connection, tenant, agent, &[], *limit).await? {
                return Err(Error::new(ErrorKind::Precondition, message::edition_limit("agents", limit)).into());
            }
            Ok(agent.id)
        }
        ImportTarget::Existing(agent) => {
            // Locked, so that the agent is not deleted before the import ends.
            let own = agents::table.find(agent.0).filter(agents::tenant_id.eq(tenant.0));
            let known: Option<Uuid> = own.select(agents::id).for_update().first(connection).await.optional()?;
            known.map(AgentId).ok_or_else(|| Error::not_found("agent", agent).into())
        }
    }
}

fn profile((user_id, workspace, metadata): (String, String, Value)) -> Result<ArchivedProfile> {
    let metadata: JsonObject = decode(metadata)?;
    Ok(ArchivedProfile {
        user_id,
        workspace: Some(workspace).filter(|workspace| !workspace.is_empty()),
        metadata: Some(metadata).filter(|metadata| !metadata.is_empty()),
    })
}

#[async_trait]
impl ArchiveStore for Postgres {
    async fn archive_counts(&self, tenant: TenantId, agent: AgentId) -> Result<ArchiveCounts> {
        let connection = self.tenant(tenant).await?;
        let files = agent_context_files::table
            .filter(agent_context_files::tenant_id.eq(tenant.0).and(agent_context_files::agent_id.eq(agent.0)))
            .count()
            .single_value();
        let users = user_context_files::table
            .filter(user_context_files::tenant_id.eq(tenant.0).and(user_context_files::agent_id.eq(agent.0)))
            .select(count(user_context_files::user_id).aggregate_distinct())
            .single_value();
        let profiles = user_agent_profiles::table
            .filter(user_agent_profiles::tenant_id.eq(tenant.0).and(user_agent_profiles::agent_id.eq(agent.0)))
            .count()
            .single_value();
        let query = diesel::select((files, users, profiles));
        let (files, users, profiles): (Option<i64>, Option<i64>, Option<i64>) = connection.run(query.get_result(&mut connection.pipe())).await?;
        let number = Option::unwrap_or_default;
        Ok(ArchiveCounts { context_files: number(files), users_with_files: number(users), profiles: number(profiles) })
    }

    async fn user_files_after(&self, tenant: TenantId, agent: AgentId, after: Option<(&str, &str)>, limit: i64) -> Result<Vec<(String, ContextFile)>> {
        let connection = self.tenant(tenant).await?;
        let (user, name) = after.unwrap_or_default();
        let later = user_context_files::user_id.gt(text(user)).or(user_context_files::user_id.eq(text(user)).and(user_context_files::file_name.gt(text(name))));
        let query = user_context_files::table
            .filter(user_context_files::tenant_id.eq(tenant.0).and(user_context_files::agent_id.eq(agent.0)))
            // The first condition is what the index is searched with.
            .filter(user_context_files::user_id.ge(text(user)).and(later))
            .order((user_context_files::user_id, user_context_files::file_name))
            .limit(limit)
            .select((user_context_files::user_id, user_context_files::file_name, user_context_files::content));
        let rows: Vec<(String, String, String)> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(rows.into_iter().map(|(user, name, content)| (user, ContextFile { name, content })).collect())
    }

    async fn profiles_after(&self, tenant: TenantId, agent: AgentId, after: Option<&str>, limit: i64) -> Result<Vec<ArchivedProfile>> {
        let connection = self.tenant(tenant).await?;
        let query = user_agent_profiles::table
            .filter(user_agent_profiles::tenant_id.eq(tenant.0).and(user_agent_profiles::agent_id.eq(agent.0)))
            .filter(user_agent_profiles::user_id.gt(text(after.unwrap_or_default())))
            .order(user_agent_profiles::user_id)
            .limit(limit)
            .select((user_agent_profiles::user_id, user_agent_profiles::workspace, user_agent_profiles::metadata));
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(profile).collect()
    }

    async fn import(&self, tenant: TenantId, target: ImportTarget, mut rows: ImportRows, now: DateTime<Utc>) -> Result<ImportCounts> {
        let mut connection = self.tenant(tenant).await?;
        let importing = connection.raw().transaction(async |connection| -> Result<ImportCounts, Why> {
            enter(connection, tenant).await?;
            let agent = target_of(connection, tenant, &target).await?;
            let mut counts = ImportCounts::default();
            while let Some(batch) = rows.next().await {
                Batch::new(batch?, &mut counts).store(connection, tenant, agent, now, &mut counts).await?;
            }
            Ok(counts)
        });
        let outcome = tokio::time::timeout(IMPORT_TIMEOUT, importing).await.unwrap_or(Err(Why::Database(Failure::Timeout)));
        outcome.map_err(|why| match (why, &target) {
            (Why::Port(error), _) => error,
            (Why::Database(failure), ImportTarget::New(agent, _)) => taken_or_missing("agent", &agent.agent_key, "tenant", tenant)(failure),
            (Why::Database(failure), ImportTarget::Existing(agent)) => missing("agent", agent)(failure),
        })
    }
}
