//! What belongs to an agent: shares, its users' profiles and files.

use crate::{
    failure::{Explain, Failure},
    values::{Columns, Json, Text, Time},
};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, Error, JsonObject, TenantId,
    agents::{AgentShare, UserInstance},
};
use rusqlite::{Connection, OptionalExtension, Row, params};

fn share(row: &Row<'_>) -> rusqlite::Result<AgentShare> {
    Ok(AgentShare {
        id: row.id("id")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        agent_id: row.id("agent_id")?,
        user_id: row.get("user_id")?,
        role: row.get("role")?,
        granted_by: row.get("granted_by")?,
    })
}

pub(super) fn shares(connection: &Connection, tenant: TenantId, id: AgentId) -> Result<Vec<AgentShare>, Failure> {
    let mut statement = connection.prepare_cached("select * from agent_shares where tenant_id = ?1 and agent_id = ?2 order by created_at, id")?;
    Ok(statement.query_map(params![Text(tenant), Text(id)], share)?.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn put_share(connection: &Connection, tenant: TenantId, share: &AgentShare) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "insert into agent_shares (id, agent_id, tenant_id, user_id, role, granted_by, created_at, updated_at)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
             on conflict (agent_id, user_id) do update set role = excluded.role, granted_by = excluded.granted_by, updated_at = excluded.updated_at",
        )?
        .execute(params![
            Text(share.id),
            Text(share.agent_id),
            Text(tenant),
            share.user_id,
            share.role,
            share.granted_by,
            Time(share.created_at),
            Time(share.updated_at)
        ])
        .unless_missing("agent", share.agent_id)?;
    Ok(())
}

fn instance(row: &Row<'_>) -> rusqlite::Result<UserInstance> {
    Ok(UserInstance {
        user_id: row.get("user_id")?,
        first_seen_at: row.time("first_seen_at")?,
        last_seen_at: row.time("last_seen_at")?,
        file_count: row.get("file_count")?,
        metadata: row.json("metadata")?,
    })
}

pub(super) fn instances(connection: &Connection, tenant: TenantId, id: AgentId) -> Result<Vec<UserInstance>, Failure> {
    let mut statement = connection.prepare_cached(
        "select user_id, first_seen_at, last_seen_at, metadata,
             (select count(*) from user_context_files as file where file.agent_id = profile.agent_id and file.user_id = profile.user_id) as file_count
         from user_agent_profiles as profile where tenant_id = ?1 and agent_id = ?2 order by last_seen_at desc, user_id",
    )?;
    Ok(statement.query_map(params![Text(tenant), Text(id)], instance)?.collect::<rusqlite::Result<_>>()?)
}

/// Makes a profile if there is none; its workspace is set at the first contact.
pub(super) fn ensure_profile(connection: &Connection, tenant: TenantId, id: AgentId, user: &str, now: DateTime<Utc>) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "insert into user_agent_profiles (agent_id, tenant_id, user_id, workspace, first_seen_at, last_seen_at) values (?1, ?2, ?3, '', ?4, ?4)
             on conflict do nothing",
        )?
        .execute(params![Text(id), Text(tenant), user, Time(now)])
        .map(drop)
}

pub(super) fn merge_metadata(connection: &Connection, tenant: TenantId, id: AgentId, user: &str, more: JsonObject) -> Result<bool, Failure> {
    let known: Option<Json<JsonObject>> = connection
        .prepare_cached("select metadata from user_agent_profiles where tenant_id = ?1 and agent_id = ?2 and user_id = ?3")?
        .query_row(params![Text(tenant), Text(id), user], |row| row.get(0))
        .optional()?;
    let Some(Json(mut metadata)) = known else { return Ok(false) };
    metadata.extend(more);
    connection.prepare_cached("update user_agent_profiles set metadata = ?4 where tenant_id = ?1 and agent_id = ?2 and user_id = ?3")?.execute(params![
        Text(tenant),
        Text(id),
        user,
        Json(&metadata)
    ])?;
    Ok(true)
}

pub(super) fn rewrite(
    connection: &Connection,
    tenant: TenantId,
    id: AgentId,
    name: &str,
    rewrite: &(dyn Fn(&str) -> String + Send + Sync),
    now: DateTime<Utc>,
) -> Result<i64, Failure> {
    let mut select = connection.prepare_cached("select user_id, content from user_context_files where tenant_id = ?1 and agent_id = ?2 and file_name = ?3")?;
    let files: Vec<(String, String)> =
        select.query_map(params![Text(tenant), Text(id), name], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    let mut update = connection.prepare_cached(
        "update user_context_files set content = ?5, updated_at = ?6 where tenant_id = ?1 and agent_id = ?2 and user_id = ?3 and file_name = ?4",
    )?;
    for (user, content) in &files {
        update.execute(params![Text(tenant), Text(id), user, name, rewrite(content), Time(now)])?;
    }
    Ok(i64::try_from(files.len()).map_err(Error::internal)?)
}
