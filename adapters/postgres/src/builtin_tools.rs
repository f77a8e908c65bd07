//! The catalogue of built-in tools.

use crate::{
    error::{Failure, missing},
    json::{decode, encode, text},
    pool::{Postgres, within},
    schema::{builtin_tool_tenant_configs as configs, builtin_tools},
    statement::Fixed,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::{prelude::*, sql_types::Jsonb};
use diesel_async::{AsyncConnection, RunQueryDsl};
use goclaw_ports::{
    Result, TenantId,
    builtin_tools::{BuiltinTool, BuiltinToolStore},
};
use serde_json::Value;

/// One seeding at a time over all replicas ("tools" in ASCII).
const SEED_LOCK: &str = "select pg_advisory_xact_lock(500069690483)";

/// Stored `settings` stay unless they are empty; `updated_at` moves only when something changed.
const SEED: &str = "\
    insert into builtin_tools as known (name, display_name, description, category, enabled, settings, requires, metadata, created_at, updated_at) \
    select name, display_name, description, category, enabled, settings, coalesce(requires, '[]'), metadata, created_at, updated_at \
    from jsonb_to_recordset($1) as seed (name text, display_name text, description text, category text, enabled boolean, settings jsonb, \
        requires jsonb, metadata jsonb, created_at timestamptz, updated_at timestamptz) \
    on conflict (name) do update set display_name = excluded.display_name, description = excluded.description, category = excluded.category, \
        settings = case when known.settings = '{}' then excluded.settings else known.settings end, \
        requires = excluded.requires, metadata = excluded.metadata, updated_at = excluded.updated_at \
    where (known.display_name, known.description, known.category, known.requires, known.metadata) \
        is distinct from (excluded.display_name, excluded.description, excluded.category, excluded.requires, excluded.metadata) \
        or (known.settings = '{}' and excluded.settings <> '{}')";

#[derive(Queryable, Selectable)]
#[diesel(table_name = builtin_tools)]
struct Row {
    name: String,
    display_name: String,
    description: String,
    category: String,
    enabled: bool,
    settings: Value,
    requires: Value,
    metadata: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    fn tool(self) -> Result<BuiltinTool> {
        Ok(BuiltinTool {
            name: self.name,
            display_name: self.display_name,
            description: self.description,
            category: self.category,
            enabled: self.enabled,
            settings: decode(self.settings)?,
            requires: decode(self.requires)?,
            metadata: decode(self.metadata)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

#[async_trait]
impl BuiltinToolStore for Postgres {
    async fn all_tenants_seed(&self, tools: &[BuiltinTool]) -> Result<()> {
        let seed = encode(&tools)?;
        let names: Vec<String> = tools.iter().map(|tool| text(&tool.name)).collect();
        let mut connection = self.engine().await?;
        let seeding = connection.raw().transaction(async |connection| -> Result<(), Failure> {
            diesel::sql_query(SEED_LOCK).execute(connection).await?;
            diesel::delete(builtin_tools::table.filter(builtin_tools::name.ne_all(&names))).execute(connection).await?;
            Fixed(diesel::sql_query(SEED).bind::<Jsonb, _>(&seed)).execute(connection).await?;
            Ok(())
        });
        Ok(within(seeding).await?)
    }

    async fn all_tenants_list(&self) -> Result<Vec<BuiltinTool>> {
        let connection = self.engine().await?;
        let query = builtin_tools::table.order((builtin_tools::category, builtin_tools::name)).select(Row::as_select());
        connection.run(query.load(&mut connection.pipe())).await?.into_iter().map(Row::tool).collect()
    }

    async fn overrides(&self, tenant: TenantId) -> Result<Vec<(String, bool)>> {
        let connection = self.tenant(tenant).await?;
        let query = configs::table.filter(configs::tenant_id.eq(tenant.0)).order(configs::tool_name).select((configs::tool_name, configs::enabled));
        Ok(connection.run(query.load(&mut connection.pipe())).await?)
    }

    async fn put_override(&self, tenant: TenantId, tool: &str, enabled: bool, now: DateTime<Utc>) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::insert_into(configs::table)
            .values((configs::tool_name.eq(text(tool)), configs::tenant_id.eq(tenant.0), configs::enabled.eq(enabled), configs::updated_at.eq(now)))
            .on_conflict((configs::tenant_id, configs::tool_name))
            .do_update()
            .set((configs::enabled.eq(enabled), configs::updated_at.eq(now)));
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(missing("tool", tool))
    }

    async fn delete_override(&self, tenant: TenantId, tool: &str) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(configs::table.filter(configs::tenant_id.eq(tenant.0).and(configs::tool_name.eq(text(tool)))));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }
}
