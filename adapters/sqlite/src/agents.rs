//! Agents, their files, and who may use them.

mod belongings;
mod row;

use crate::{
    database::Sqlite,
    failure::Failure,
    filter::Filter,
    values::{Columns, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, Error, ErrorKind, JsonObject, Result, TenantId,
    agents::{Agent, AgentFilter, AgentPatch, AgentShare, AgentStatus, AgentStore, ContextFile, Rewrite, UserInstance, UserProfile},
    message,
};
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter, types::Value};

const VISIBLE: &str = "(owner_id = ? or is_default = 1 or exists (select 1 from agent_shares
    where agent_shares.agent_id = agents.id and agent_shares.tenant_id = agents.tenant_id and agent_shares.user_id = ?))";

fn file(row: &Row<'_>) -> rusqlite::Result<ContextFile> {
    Ok(ContextFile { name: row.get("file_name")?, content: row.get("content")? })
}

/// Fails unless the tenant has the agent. An upsert by the agent's id alone would reach into another tenant.
pub(crate) fn require(connection: &Connection, tenant: TenantId, id: AgentId) -> Result<(), Failure> {
    let known = connection.prepare_cached("select 1 from agents where tenant_id = ?1 and id = ?2")?.exists(params![Text(tenant), Text(id)])?;
    if known { Ok(()) } else { Err(Error::not_found("agent", id).into()) }
}

pub(crate) fn put_files(connection: &Connection, tenant: TenantId, id: AgentId, files: &[ContextFile], now: DateTime<Utc>) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "insert into agent_context_files (agent_id, tenant_id, file_name, content, updated_at) values (?1, ?2, ?3, ?4, ?5)
         on conflict do update set content = excluded.content, updated_at = excluded.updated_at",
    )?;
    for file in files {
        statement.execute(params![Text(id), Text(tenant), file.name, file.content, Time(now)])?;
    }
    Ok(())
}

pub(crate) fn put_user_files(
    connection: &Connection,
    tenant: TenantId,
    id: AgentId,
    user: &str,
    files: &[ContextFile],
    now: DateTime<Utc>,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "insert into user_context_files (agent_id, tenant_id, user_id, file_name, content, updated_at) values (?1, ?2, ?3, ?4, ?5, ?6)
         on conflict do update set content = excluded.content, updated_at = excluded.updated_at",
    )?;
    for file in files {
        statement.execute(params![Text(id), Text(tenant), user, file.name, file.content, Time(now)])?;
    }
    Ok(())
}

fn touch_profile(connection: &Connection, tenant: TenantId, id: AgentId, user: &str, workspace: &str, now: DateTime<Utc>) -> rusqlite::Result<UserProfile> {
    connection
        .prepare_cached(
            "insert into user_agent_profiles (agent_id, tenant_id, user_id, workspace, first_seen_at, last_seen_at) values (?1, ?2, ?3, ?4, ?5, ?5)
             on conflict do update set last_seen_at = max(last_seen_at, excluded.last_seen_at), workspace = iif(workspace = '', excluded.workspace, workspace)
             returning workspace, first_seen_at, last_seen_at",
        )?
        .query_row(params![Text(id), Text(tenant), user, workspace, Time(now)], |row| {
            Ok(UserProfile { workspace: row.get("workspace")?, first_seen_at: row.time("first_seen_at")?, last_seen_at: row.time("last_seen_at")? })
        })
}

/// Stores a new agent with its first files, unless the tenant has `limit` already; 0 is no limit.
pub(crate) fn insert(connection: &Connection, tenant: TenantId, agent: &Agent, files: &[ContextFile], limit: i64) -> Result<(), Failure> {
    if limit > 0 && count(connection, tenant)? >= limit {
        return Err(Error::new(ErrorKind::Precondition, message::edition_limit("agents", limit)).into());
    }
    if agent.is_default {
        row::clear_default(connection, tenant, agent.id, agent.updated_at)?;
    }
    row::write(connection, tenant, agent, true)?;
    Ok(put_files(connection, tenant, agent.id, files, agent.updated_at)?)
}

fn count(connection: &Connection, tenant: TenantId) -> rusqlite::Result<i64> {
    connection.prepare_cached("select count(*) from agents where tenant_id = ?1")?.query_row([Text(tenant)], |row| row.get(0))
}

#[async_trait]
impl AgentStore for Sqlite {
    async fn find(&self, tenant: TenantId, id_or_key: &str) -> Result<Option<Agent>> {
        let id_or_key = id_or_key.to_owned();
        self.read(move |connection| {
            let by_id = match id_or_key.parse() {
                Ok(id) => row::find(connection, tenant, id)?,
                Err(_) => None,
            };
            match by_id {
                Some(agent) => Ok(Some(agent)),
                None => Ok(row::find_by_key(connection, tenant, &id_or_key)?),
            }
        })
        .await
    }

    async fn find_default(&self, tenant: TenantId) -> Result<Option<Agent>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "select * from agents where tenant_id = ?1 and (is_default = 1 or status = ?2) order by is_default desc, created_at, id limit 1",
            )?;
            Ok(statement.query_row(params![Text(tenant), AgentStatus::Active.as_str()], row::agent).optional()?)
        })
        .await
    }

    async fn list(&self, tenant: TenantId, wanted: &AgentFilter) -> Result<Vec<Agent>> {
        let mut filter = Filter::tenant(tenant);
        filter.and_equal("status", wanted.status.map(AgentStatus::as_str));
        if let Some(user) = &wanted.visible_to {
            filter.and(VISIBLE, [Value::from(user.clone()), Value::from(user.clone())]);
        }
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!("select * from agents where {} order by created_at desc, id desc", filter.sql()))?;
            Ok(statement.query_map(params_from_iter(filter.parameters()), row::agent)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn count(&self, tenant: TenantId) -> Result<i64> {
        self.read(move |connection| Ok(count(connection, tenant)?)).await
    }

    async fn insert_within(&self, tenant: TenantId, agent: &Agent, files: &[ContextFile], limit: i64) -> Result<()> {
        let (agent, files) = (agent.clone(), files.to_vec());
        self.write(move |connection| insert(connection, tenant, &agent, &files, limit)).await
    }

    async fn update(&self, tenant: TenantId, id: AgentId, patch: &AgentPatch, files: &[ContextFile], now: DateTime<Utc>) -> Result<Option<Agent>> {
        let (patch, files) = (patch.clone(), files.to_vec());
        self.write(move |connection| {
            let Some(agent) = row::find(connection, tenant, id)? else { return Ok(None) };
            let agent = row::patched(agent, patch, now);
            if agent.is_default {
                row::clear_default(connection, tenant, id, now)?;
            }
            row::write(connection, tenant, &agent, false)?;
            put_files(connection, tenant, id, &files, now)?;
            // Read again: what is answered is what is kept.
            Ok(row::find(connection, tenant, id)?)
        })
        .await
    }

    async fn switch_status(&self, tenant: TenantId, id: AgentId, from: &[AgentStatus], to: AgentStatus, now: DateTime<Utc>) -> Result<bool> {
        let from = serde_json::to_string(from).map_err(Error::internal)?;
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "update agents set status = ?3, updated_at = ?4 where tenant_id = ?1 and id = ?2 and status in (select value from json_each(?5))",
            )?;
            Ok(statement.execute(params![Text(tenant), Text(id), to.as_str(), Time(now), from])? > 0)
        })
        .await
    }

    async fn all_tenants_fail_summoning(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<i64> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("update agents set status = ?1, updated_at = ?2 where status = ?3 and updated_at < ?4")?;
            let failed = statement.execute(params![AgentStatus::SummonFailed.as_str(), Time(now), AgentStatus::Summoning.as_str(), Time(before)])?;
            Ok(i64::try_from(failed).map_err(Error::internal)?)
        })
        .await
    }

    async fn delete(&self, tenant: TenantId, id: AgentId) -> Result<bool> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("delete from agents where tenant_id = ?1 and id = ?2")?;
            Ok(statement.execute(params![Text(tenant), Text(id)])? > 0)
        })
        .await
    }

    async fn share_role(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<Option<String>> {
        let user = user.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached("select role from agent_shares where tenant_id = ?1 and agent_id = ?2 and user_id = ?3")?;
            Ok(statement.query_row(params![Text(tenant), Text(id), user], |row| row.get(0)).optional()?)
        })
        .await
    }

    async fn shares(&self, tenant: TenantId, id: AgentId) -> Result<Vec<AgentShare>> {
        self.read(move |connection| belongings::shares(connection, tenant, id)).await
    }

    async fn put_share(&self, tenant: TenantId, share: &AgentShare) -> Result<()> {
        let share = share.clone();
        self.write(move |connection| {
            require(connection, tenant, share.agent_id)?;
            belongings::put_share(connection, tenant, &share)
        })
        .await
    }

    async fn delete_share(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<bool> {
        let user = user.to_owned();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("delete from agent_shares where tenant_id = ?1 and agent_id = ?2 and user_id = ?3")?;
            Ok(statement.execute(params![Text(tenant), Text(id), user])? > 0)
        })
        .await
    }

    async fn files(&self, tenant: TenantId, id: AgentId) -> Result<Vec<ContextFile>> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("select file_name, content from agent_context_files where tenant_id = ?1 and agent_id = ?2 order by file_name")?;
            Ok(statement.query_map(params![Text(tenant), Text(id)], file)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn put_file(&self, tenant: TenantId, id: AgentId, file: &ContextFile, now: DateTime<Utc>) -> Result<()> {
        let file = file.clone();
        self.write(move |connection| {
            require(connection, tenant, id)?;
            Ok(put_files(connection, tenant, id, &[file], now)?)
        })
        .await
    }

    async fn user_files(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<Vec<ContextFile>> {
        let user = user.to_owned();
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(
                "select file_name, content from user_context_files where tenant_id = ?1 and agent_id = ?2 and user_id = ?3 order by file_name",
            )?;
            Ok(statement.query_map(params![Text(tenant), Text(id), user], file)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn put_user_file(&self, tenant: TenantId, id: AgentId, user: &str, file: &ContextFile, now: DateTime<Utc>) -> Result<()> {
        let (user, file) = (user.to_owned(), file.clone());
        self.write(move |connection| {
            require(connection, tenant, id)?;
            Ok(put_user_files(connection, tenant, id, &user, &[file], now)?)
        })
        .await
    }

    async fn delete_user_file(&self, tenant: TenantId, id: AgentId, user: &str, name: &str) -> Result<bool> {
        let (user, name) = (user.to_owned(), name.to_owned());
        self.write(move |connection| {
            let mut statement =
                connection.prepare_cached("delete from user_context_files where tenant_id = ?1 and agent_id = ?2 and user_id = ?3 and file_name = ?4")?;
            Ok(statement.execute(params![Text(tenant), Text(id), user, name])? > 0)
        })
        .await
    }

    async fn touch_profile(&self, tenant: TenantId, id: AgentId, user: &str, workspace: &str, seed: &[ContextFile], now: DateTime<Utc>) -> Result<UserProfile> {
        let (user, workspace, seed) = (user.to_owned(), workspace.to_owned(), seed.to_vec());
        self.write(move |connection| {
            require(connection, tenant, id)?;
            let profile = touch_profile(connection, tenant, id, &user, &workspace, now)?;
            let has_files =
                connection.prepare_cached("select 1 from user_context_files where agent_id = ?1 and user_id = ?2")?.exists(params![Text(id), user])?;
            if !has_files {
                put_user_files(connection, tenant, id, &user, &seed, now)?;
            }
            Ok(profile)
        })
        .await
    }

    async fn instances(&self, tenant: TenantId, id: AgentId) -> Result<Vec<UserInstance>> {
        self.read(move |connection| belongings::instances(connection, tenant, id)).await
    }

    async fn put_instance_file(&self, tenant: TenantId, id: AgentId, user: &str, file: &ContextFile, now: DateTime<Utc>) -> Result<()> {
        let (user, file) = (user.to_owned(), file.clone());
        self.write(move |connection| {
            require(connection, tenant, id)?;
            belongings::ensure_profile(connection, tenant, id, &user, now)?;
            Ok(put_user_files(connection, tenant, id, &user, &[file], now)?)
        })
        .await
    }

    async fn merge_metadata(&self, tenant: TenantId, id: AgentId, user: &str, metadata: &JsonObject) -> Result<bool> {
        let (user, metadata) = (user.to_owned(), metadata.clone());
        self.write(move |connection| belongings::merge_metadata(connection, tenant, id, &user, metadata)).await
    }

    async fn rewrite_user_files(&self, tenant: TenantId, id: AgentId, name: &str, rewrite: Rewrite, now: DateTime<Utc>) -> Result<i64> {
        let name = name.to_owned();
        self.write(move |connection| belongings::rewrite(connection, tenant, id, &name, &*rewrite, now)).await
    }
}
