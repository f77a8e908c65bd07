//! The catalogue of built-in tools.

use crate::{
    database::Sqlite,
    failure::Explain,
    values::{Columns, Json, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, Result, TenantId,
    builtin_tools::{BuiltinTool, BuiltinToolStore},
};
use rusqlite::{Row, params};

/// What an operator set (`enabled`, `settings`) stays; a row that says what the catalogue says already is left alone.
const SEED: &str = "insert into builtin_tools (name, display_name, description, category, enabled, settings, requires, metadata, created_at, updated_at)
    values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    on conflict do update set display_name = excluded.display_name, description = excluded.description, category = excluded.category,
        settings = iif(settings = '{}', excluded.settings, settings), requires = excluded.requires, metadata = excluded.metadata,
        updated_at = excluded.updated_at
    where (display_name, description, category, requires, metadata)
            <> (excluded.display_name, excluded.description, excluded.category, excluded.requires, excluded.metadata)
        or settings = '{}' and excluded.settings <> '{}'";

fn tool(row: &Row<'_>) -> rusqlite::Result<BuiltinTool> {
    Ok(BuiltinTool {
        name: row.get("name")?,
        display_name: row.get("display_name")?,
        description: row.get("description")?,
        category: row.get("category")?,
        enabled: row.get("enabled")?,
        settings: row.json("settings")?,
        requires: row.json("requires")?,
        metadata: row.json("metadata")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

#[async_trait]
impl BuiltinToolStore for Sqlite {
    async fn all_tenants_seed(&self, tools: &[BuiltinTool]) -> Result<()> {
        let tools = tools.to_vec();
        self.write(move |connection| {
            let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
            connection.prepare_cached("delete from builtin_tools where name not in (select value from json_each(?1))")?.execute([Json(names)])?;
            let mut seed = connection.prepare_cached(SEED)?;
            for tool in &tools {
                seed.execute(params![
                    tool.name,
                    tool.display_name,
                    tool.description,
                    tool.category,
                    tool.enabled,
                    Json(&tool.settings),
                    Json(&tool.requires),
                    Json(&tool.metadata),
                    Time(tool.created_at),
                    Time(tool.updated_at)
                ])?;
            }
            Ok(())
        })
        .await
    }

    async fn all_tenants_list(&self) -> Result<Vec<BuiltinTool>> {
        self.read(|connection| {
            let mut statement = connection.prepare_cached("select * from builtin_tools order by category, name")?;
            Ok(statement.query_map([], tool)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn overrides(&self, tenant: TenantId) -> Result<Vec<(String, bool)>> {
        self.read(move |connection| {
            let mut statement =
                connection.prepare_cached("select tool_name, enabled from builtin_tool_tenant_configs where tenant_id = ?1 order by tool_name")?;
            Ok(statement.query_map([Text(tenant)], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn put_override(&self, tenant: TenantId, tool: &str, enabled: bool, now: DateTime<Utc>) -> Result<()> {
        let tool = tool.to_owned();
        self.write(move |connection| {
            let known = connection.prepare_cached("select 1 from builtin_tools where name = ?1")?.exists([&tool])?;
            if !known {
                return Err(Error::not_found("tool", tool).into());
            }
            connection
                .prepare_cached(
                    "insert into builtin_tool_tenant_configs (tool_name, tenant_id, enabled, updated_at) values (?1, ?2, ?3, ?4)
                     on conflict do update set enabled = excluded.enabled, updated_at = excluded.updated_at",
                )?
                .execute(params![tool, Text(tenant), enabled, Time(now)])
                .unless_missing("tenant", tenant)?;
            Ok(())
        })
        .await
    }

    async fn delete_override(&self, tenant: TenantId, tool: &str) -> Result<bool> {
        let tool = tool.to_owned();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("delete from builtin_tool_tenant_configs where tenant_id = ?1 and tool_name = ?2")?;
            Ok(statement.execute(params![Text(tenant), tool])? > 0)
        })
        .await
    }
}
