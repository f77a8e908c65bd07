//! Who may change what of an agent, beyond its owner.

use crate::{
    error::{corrupt, missing},
    json::{decode, object, text},
    pool::Postgres,
    schema::agent_config_permissions as rules,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use goclaw_ports::{
    AgentId, Result, TenantId,
    config_permissions::{ConfigPermission, ConfigPermissionStore, Permission},
};
use serde_json::Value;
use uuid::Uuid;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = rules)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    agent_id: Uuid,
    scope: String,
    config_type: String,
    user_id: String,
    permission: String,
    granted_by: String,
    metadata: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn rule(self) -> Result<ConfigPermission> {
        Ok(ConfigPermission {
            id: self.id,
            agent_id: AgentId(self.agent_id),
            scope: self.scope,
            config_type: self.config_type,
            user_id: self.user_id,
            permission: Permission::parse(&self.permission).ok_or_else(|| corrupt("agent_config_permissions.permission", &self.permission))?,
            granted_by: self.granted_by,
            metadata: decode(self.metadata)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

#[async_trait]
impl ConfigPermissionStore for Postgres {
    async fn list(&self, tenant: TenantId, agent: AgentId) -> Result<Vec<ConfigPermission>> {
        let connection = self.tenant(tenant).await?;
        let query =
            rules::table.filter(rules::tenant_id.eq(tenant.0).and(rules::agent_id.eq(agent.0))).order((rules::created_at, rules::id)).select(Row::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(Row::rule).collect()
    }

    async fn put(&self, tenant: TenantId, rule: &ConfigPermission) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let row = Row {
            id: rule.id,
            tenant_id: tenant.0,
            agent_id: rule.agent_id.0,
            scope: text(&rule.scope),
            config_type: text(&rule.config_type),
            user_id: text(&rule.user_id),
            permission: rule.permission.as_str().to_owned(),
            granted_by: text(&rule.granted_by),
            metadata: object(&rule.metadata),
            created_at: rule.created_at,
            updated_at: rule.updated_at,
        };
        let said = (
            rules::permission.eq(row.permission.clone()),
            rules::granted_by.eq(row.granted_by.clone()),
            rules::metadata.eq(row.metadata.clone()),
            rules::updated_at.eq(row.updated_at),
        );
        let query = diesel::insert_into(rules::table)
            .values(row)
            .on_conflict((rules::tenant_id, rules::agent_id, rules::scope, rules::config_type, rules::user_id))
            .do_update()
            .set(said);
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(missing("agent", rule.agent_id))
    }

    async fn delete(&self, tenant: TenantId, agent: AgentId, scope: &str, config_type: &str, user: &str) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(rules::table.find((tenant.0, agent.0, text(scope), text(config_type), text(user))));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }
}
