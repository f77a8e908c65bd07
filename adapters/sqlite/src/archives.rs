//! What goes into archives of agents, and comes out of them.

use crate::{
    agents::{insert, put_files, put_user_files, require},
    database::Sqlite,
    failure::Failure,
    values::{Columns, Json, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use goclaw_ports::{
    AgentId, Error, JsonObject, Result, TenantId,
    agents::ContextFile,
    archives::{ArchiveCounts, ArchiveStore, ArchivedProfile, ImportCounts, ImportRow, ImportRows, ImportTarget},
};
use rusqlite::{Connection, Row, params};
use tokio::runtime::Handle;

fn counts(row: &Row<'_>) -> rusqlite::Result<ArchiveCounts> {
    Ok(ArchiveCounts { context_files: row.get(0)?, users_with_files: row.get(1)?, profiles: row.get(2)? })
}

fn user_file(row: &Row<'_>) -> rusqlite::Result<(String, ContextFile)> {
    Ok((row.get("user_id")?, ContextFile { name: row.get("file_name")?, content: row.get("content")? }))
}

fn profile(row: &Row<'_>) -> rusqlite::Result<ArchivedProfile> {
    let workspace: String = row.get("workspace")?;
    let metadata: JsonObject = row.json("metadata")?;
    Ok(ArchivedProfile {
        user_id: row.get("user_id")?,
        workspace: Some(workspace).filter(|workspace| !workspace.is_empty()),
        metadata: Some(metadata).filter(|metadata| !metadata.is_empty()),
    })
}

/// Makes a profile if there is none. Its workspace is set at the first contact.
fn put_profile(connection: &Connection, tenant: TenantId, agent: AgentId, profile: &ArchivedProfile, now: DateTime<Utc>) -> rusqlite::Result<usize> {
    let metadata = profile.metadata.clone().unwrap_or_default();
    connection
        .prepare_cached(
            "insert into user_agent_profiles (agent_id, tenant_id, user_id, workspace, first_seen_at, last_seen_at, metadata)
             values (?1, ?2, ?3, '', ?4, ?4, ?5) on conflict do nothing",
        )?
        .execute(params![Text(agent), Text(tenant), profile.user_id, Time(now), Json(metadata)])
}

fn store(connection: &Connection, tenant: TenantId, agent: AgentId, row: ImportRow, now: DateTime<Utc>, counts: &mut ImportCounts) -> rusqlite::Result<()> {
    match row {
        ImportRow::ContextFile(file) => {
            put_files(connection, tenant, agent, &[file], now)?;
            counts.context_files += 1;
        }
        ImportRow::UserFile(user, file) => {
            put_user_files(connection, tenant, agent, &user, &[file], now)?;
            counts.user_files += 1;
        }
        ImportRow::Profile(profile) => counts.profiles += put_profile(connection, tenant, agent, &profile, now)? as u64,
    }
    Ok(())
}

#[async_trait]
impl ArchiveStore for Sqlite {
    async fn archive_counts(&self, tenant: TenantId, agent: AgentId) -> Result<ArchiveCounts> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "select (select count(*) from agent_context_files where tenant_id = ?1 and agent_id = ?2),
                     (select count(distinct user_id) from user_context_files where tenant_id = ?1 and agent_id = ?2),
                     (select count(*) from user_agent_profiles where tenant_id = ?1 and agent_id = ?2)",
            )?;
            Ok(statement.query_row(params![Text(tenant), Text(agent)], counts)?)
        })
        .await
    }

    async fn user_files_after(&self, tenant: TenantId, agent: AgentId, after: Option<(&str, &str)>, limit: i64) -> Result<Vec<(String, ContextFile)>> {
        // No user is "", so nothing comes before.
        let (user, name) = after.map_or_else(Default::default, |(user, name)| (user.to_owned(), name.to_owned()));
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "select user_id, file_name, content from user_context_files
                 where tenant_id = ?1 and agent_id = ?2 and (user_id, file_name) > (?3, ?4) order by user_id, file_name limit ?5",
            )?;
            Ok(statement.query_map(params![Text(tenant), Text(agent), user, name, limit], user_file)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn profiles_after(&self, tenant: TenantId, agent: AgentId, after: Option<&str>, limit: i64) -> Result<Vec<ArchivedProfile>> {
        let after = after.unwrap_or_default().to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "select user_id, workspace, metadata from user_agent_profiles
                 where tenant_id = ?1 and agent_id = ?2 and user_id > ?3 order by user_id limit ?4",
            )?;
            Ok(statement.query_map(params![Text(tenant), Text(agent), after, limit], profile)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn import(&self, tenant: TenantId, target: ImportTarget, mut rows: ImportRows, now: DateTime<Utc>) -> Result<ImportCounts> {
        // The rows are read from a file as fast as they are taken: the writing thread waits for nobody else.
        let runtime = Handle::try_current().map_err(Error::internal)?;
        self.write(move |connection| {
            let agent = match &target {
                ImportTarget::New(agent, limit) => {
                    insert(connection, tenant, agent, &[], *limit)?;
                    agent.id
                }
                ImportTarget::Existing(agent) => {
                    require(connection, tenant, *agent)?;
                    *agent
                }
            };
            let mut counts = ImportCounts::default();
            while let Some(batch) = runtime.block_on(rows.next()) {
                for row in batch? {
                    store(connection, tenant, agent, row, now, &mut counts)?;
                }
            }
            Ok::<_, Failure>(counts)
        })
        .await
    }
}
