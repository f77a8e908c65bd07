//! Who may change what of an agent.

use crate::{
    database::Sqlite,
    failure::Explain,
    values::{Columns, Json, Text, Time},
};
use async_trait::async_trait;
use goclaw_ports::{
    AgentId, Result, TenantId,
    config_permissions::{ConfigPermission, ConfigPermissionStore, Permission},
};
use rusqlite::{Row, params};

fn rule(row: &Row<'_>) -> rusqlite::Result<ConfigPermission> {
    Ok(ConfigPermission {
        id: row.id("id")?,
        agent_id: row.id("agent_id")?,
        scope: row.get("scope")?,
        config_type: row.get("config_type")?,
        user_id: row.get("user_id")?,
        permission: row.named("permission", Permission::parse)?,
        granted_by: row.get("granted_by")?,
        metadata: row.json("metadata")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

#[async_trait]
impl ConfigPermissionStore for Sqlite {
    async fn list(&self, tenant: TenantId, agent: AgentId) -> Result<Vec<ConfigPermission>> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("select * from agent_config_permissions where tenant_id = ?1 and agent_id = ?2 order by created_at, id")?;
            Ok(statement.query_map(params![Text(tenant), Text(agent)], rule)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn put(&self, tenant: TenantId, new: &ConfigPermission) -> Result<()> {
        let new = new.clone();
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "insert into agent_config_permissions
                     (id, agent_id, tenant_id, scope, config_type, user_id, permission, granted_by, metadata, created_at, updated_at)
                     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                     on conflict (tenant_id, agent_id, scope, config_type, user_id) do update set permission = excluded.permission,
                        granted_by = excluded.granted_by, metadata = excluded.metadata, updated_at = excluded.updated_at",
                )?
                .execute(params![
                    Text(new.id),
                    Text(new.agent_id),
                    Text(tenant),
                    new.scope,
                    new.config_type,
                    new.user_id,
                    new.permission.as_str(),
                    new.granted_by,
                    Json(&new.metadata),
                    Time(new.created_at),
                    Time(new.updated_at)
                ])
                .unless_exists("rule", new.id)
                .unless_missing("agent", new.agent_id)?;
            Ok(())
        })
        .await
    }

    async fn delete(&self, tenant: TenantId, agent: AgentId, scope: &str, config_type: &str, user: &str) -> Result<bool> {
        let (scope, config_type, user) = (scope.to_owned(), config_type.to_owned(), user.to_owned());
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "delete from agent_config_permissions where tenant_id = ?1 and agent_id = ?2 and scope = ?3 and config_type = ?4 and user_id = ?5",
            )?;
            Ok(statement.execute(params![Text(tenant), Text(agent), scope, config_type, user])? > 0)
        })
        .await
    }
}
