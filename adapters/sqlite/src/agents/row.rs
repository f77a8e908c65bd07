//! The agent's own row.

use crate::{
    failure::{Explain, Failure},
    values::{Columns, Json, Text, Time},
};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, TenantId,
    agents::{Agent, AgentPatch, AgentStatus, AgentType},
};
use rusqlite::{Connection, OptionalExtension, Row, named_params};

pub(super) fn agent(row: &Row<'_>) -> rusqlite::Result<Agent> {
    Ok(Agent {
        id: row.id("id")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        tenant_id: row.id("tenant_id")?,
        agent_key: row.get("agent_key")?,
        display_name: row.get("display_name")?,
        frontmatter: row.get("frontmatter")?,
        owner_id: row.get("owner_id")?,
        provider: row.get("provider")?,
        model: row.get("model")?,
        context_window: row.get("context_window")?,
        max_tool_iterations: row.get("max_tool_iterations")?,
        workspace: row.get("workspace")?,
        restrict_to_workspace: true,
        agent_type: row.named("agent_type", AgentType::parse)?,
        is_default: row.get("is_default")?,
        status: row.named("status", AgentStatus::parse)?,
        budget_monthly_cents: row.get("budget_monthly_cents")?,
        tools_config: row.json("tools_config")?,
        sandbox_config: row.optional_json("sandbox_config")?,
        subagents_config: row.optional_json("subagents_config")?,
        memory_config: row.optional_json("memory_config")?,
        compaction_config: row.optional_json("compaction_config")?,
        context_pruning: row.optional_json("context_pruning")?,
        other_config: row.json("other_config")?,
    })
}

pub(super) fn find(connection: &Connection, tenant: TenantId, id: AgentId) -> rusqlite::Result<Option<Agent>> {
    connection.prepare_cached("select * from agents where tenant_id = ?1 and id = ?2")?.query_row([tenant.to_string(), id.to_string()], agent).optional()
}

pub(super) fn find_by_key(connection: &Connection, tenant: TenantId, key: &str) -> rusqlite::Result<Option<Agent>> {
    connection.prepare_cached("select * from agents where tenant_id = ?1 and agent_key = ?2")?.query_row([&tenant.to_string(), key], agent).optional()
}

/// Takes the flag from the tenant's default agent, so that another can have it.
pub(super) fn clear_default(connection: &Connection, tenant: TenantId, but: AgentId, now: DateTime<Utc>) -> rusqlite::Result<()> {
    connection
        .prepare_cached("update agents set is_default = 0, updated_at = :now where tenant_id = :tenant and is_default = 1 and id <> :but")?
        .execute(named_params! { ":tenant": Text(tenant), ":but": Text(but), ":now": Time(now) })
        .map(drop)
}

/// Writes the whole row: a new one, or over the one with the same id in the same tenant.
pub(super) fn write(connection: &Connection, tenant: TenantId, agent: &Agent, new: bool) -> Result<(), Failure> {
    const INSERT: &str = "insert into agents (id, tenant_id, agent_key, display_name, frontmatter, owner_id, provider, model, context_window,
            max_tool_iterations, workspace, agent_type, is_default, status, budget_monthly_cents, tools_config, sandbox_config, subagents_config,
            memory_config, compaction_config, context_pruning, other_config, created_at, updated_at)
        values (:id, :tenant, :agent_key, :display_name, :frontmatter, :owner_id, :provider, :model, :context_window,
            :max_tool_iterations, :workspace, :agent_type, :is_default, :status, :budget, :tools, :sandbox, :subagents,
            :memory, :compaction, :pruning, :other, :created_at, :updated_at)";
    const UPDATE: &str = "update agents set agent_key = :agent_key, display_name = :display_name, frontmatter = :frontmatter, owner_id = :owner_id,
            provider = :provider, model = :model, context_window = :context_window, max_tool_iterations = :max_tool_iterations,
            workspace = :workspace, agent_type = :agent_type, is_default = :is_default, status = :status, budget_monthly_cents = :budget,
            tools_config = :tools, sandbox_config = :sandbox, subagents_config = :subagents, memory_config = :memory,
            compaction_config = :compaction, context_pruning = :pruning, other_config = :other, created_at = :created_at, updated_at = :updated_at
        where tenant_id = :tenant and id = :id";
    connection
        .prepare_cached(if new { INSERT } else { UPDATE })?
        .execute(named_params! {
            ":id": Text(agent.id),
            ":tenant": Text(tenant),
            ":agent_key": agent.agent_key,
            ":display_name": agent.display_name,
            ":frontmatter": agent.frontmatter,
            ":owner_id": agent.owner_id,
            ":provider": agent.provider,
            ":model": agent.model,
            ":context_window": agent.context_window,
            ":max_tool_iterations": agent.max_tool_iterations,
            ":workspace": agent.workspace,
            ":agent_type": agent.agent_type.as_str(),
            ":is_default": agent.is_default,
            ":status": agent.status.as_str(),
            ":budget": agent.budget_monthly_cents,
            ":tools": Json(&agent.tools_config),
            ":sandbox": agent.sandbox_config.as_ref().map(Json),
            ":subagents": agent.subagents_config.as_ref().map(Json),
            ":memory": agent.memory_config.as_ref().map(Json),
            ":compaction": agent.compaction_config.as_ref().map(Json),
            ":pruning": agent.context_pruning.as_ref().map(Json),
            ":other": Json(&agent.other_config),
            ":created_at": Time(agent.created_at),
            ":updated_at": Time(agent.updated_at),
        })
        .unless_exists("agent", &agent.agent_key)
        .unless_missing("tenant", tenant)?;
    Ok(())
}

/// The agent as the patch wants it.
pub(super) fn patched(agent: Agent, patch: AgentPatch, now: DateTime<Utc>) -> Agent {
    Agent {
        id: agent.id,
        created_at: agent.created_at,
        updated_at: now,
        tenant_id: agent.tenant_id,
        agent_key: patch.agent_key.unwrap_or(agent.agent_key),
        display_name: patch.display_name.unwrap_or(agent.display_name),
        frontmatter: patch.frontmatter.unwrap_or(agent.frontmatter),
        owner_id: agent.owner_id,
        provider: patch.provider.unwrap_or(agent.provider),
        model: patch.model.unwrap_or(agent.model),
        context_window: patch.context_window.unwrap_or(agent.context_window),
        max_tool_iterations: patch.max_tool_iterations.unwrap_or(agent.max_tool_iterations),
        workspace: patch.workspace.unwrap_or(agent.workspace),
        restrict_to_workspace: agent.restrict_to_workspace,
        agent_type: patch.agent_type.unwrap_or(agent.agent_type),
        is_default: patch.is_default.unwrap_or(agent.is_default),
        status: patch.status.unwrap_or(agent.status),
        budget_monthly_cents: patch.budget_monthly_cents.unwrap_or(agent.budget_monthly_cents),
        tools_config: patch.tools_config.unwrap_or(agent.tools_config),
        sandbox_config: patch.sandbox_config.unwrap_or(agent.sandbox_config),
        subagents_config: patch.subagents_config.unwrap_or(agent.subagents_config),
        memory_config: patch.memory_config.unwrap_or(agent.memory_config),
        compaction_config: patch.compaction_config.unwrap_or(agent.compaction_config),
        context_pruning: patch.context_pruning.unwrap_or(agent.context_pruning),
        other_config: patch.other_config.unwrap_or(agent.other_config),
    }
}
