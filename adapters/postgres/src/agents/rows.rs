//! Agents as they are stored.

use crate::{
    error::corrupt,
    json::{decode, object, text},
    schema::{agent_shares, agents},
};
use chrono::{DateTime, Utc};
use diesel::{
    prelude::*,
    sql_types::{BigInt, Jsonb, Text, Timestamptz},
};
use goclaw_ports::{
    AgentId, JsonObject, Result, TenantId,
    agents::{Agent, AgentPatch, AgentShare, AgentStatus, AgentType, ContextFile, UserInstance, UserProfile},
};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = agents)]
pub(super) struct Row {
    id: Uuid,
    tenant_id: Uuid,
    agent_key: String,
    display_name: String,
    frontmatter: String,
    owner_id: String,
    provider: String,
    model: String,
    context_window: i64,
    max_tool_iterations: i32,
    workspace: String,
    agent_type: String,
    is_default: bool,
    status: String,
    budget_monthly_cents: Option<i64>,
    tools_config: Value,
    sandbox_config: Option<Value>,
    subagents_config: Option<Value>,
    memory_config: Option<Value>,
    compaction_config: Option<Value>,
    context_pruning: Option<Value>,
    other_config: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Row {
    pub(super) fn new(tenant: TenantId, agent: &Agent) -> Self {
        Self {
            id: agent.id.0,
            tenant_id: tenant.0,
            agent_key: text(&agent.agent_key),
            display_name: text(&agent.display_name),
            frontmatter: text(&agent.frontmatter),
            owner_id: text(&agent.owner_id),
            provider: text(&agent.provider),
            model: text(&agent.model),
            context_window: agent.context_window,
            max_tool_iterations: agent.max_tool_iterations,
            workspace: text(&agent.workspace),
            agent_type: agent.agent_type.as_str().to_owned(),
            is_default: agent.is_default,
            status: agent.status.as_str().to_owned(),
            budget_monthly_cents: agent.budget_monthly_cents,
            tools_config: object(&agent.tools_config),
            sandbox_config: agent.sandbox_config.as_ref().map(object),
            subagents_config: agent.subagents_config.as_ref().map(object),
            memory_config: agent.memory_config.as_ref().map(object),
            compaction_config: agent.compaction_config.as_ref().map(object),
            context_pruning: agent.context_pruning.as_ref().map(object),
            other_config: object(&agent.other_config),
            created_at: agent.created_at,
            updated_at: agent.updated_at,
        }
    }

    pub(super) fn agent(self) -> Result<Agent> {
        Ok(Agent {
            id: AgentId(self.id),
            created_at: self.created_at,
            updated_at: self.updated_at,
            tenant_id: TenantId(self.tenant_id),
            agent_key: self.agent_key,
            display_name: self.display_name,
            frontmatter: self.frontmatter,
            owner_id: self.owner_id,
            provider: self.provider,
            model: self.model,
            context_window: self.context_window,
            max_tool_iterations: self.max_tool_iterations,
            workspace: self.workspace,
            restrict_to_workspace: true,
            agent_type: AgentType::parse(&self.agent_type).ok_or_else(|| corrupt("agents.agent_type", &self.agent_type))?,
            is_default: self.is_default,
            status: AgentStatus::parse(&self.status).ok_or_else(|| corrupt("agents.status", &self.status))?,
            budget_monthly_cents: self.budget_monthly_cents,
            tools_config: decode(self.tools_config)?,
            sandbox_config: self.sandbox_config.map(decode).transpose()?,
            subagents_config: self.subagents_config.map(decode).transpose()?,
            memory_config: self.memory_config.map(decode).transpose()?,
            compaction_config: self.compaction_config.map(decode).transpose()?,
            context_pruning: self.context_pruning.map(decode).transpose()?,
            other_config: decode(self.other_config)?,
        })
    }
}

/// What a patch writes: `None` leaves the column alone, `Some(None)` makes it null.
#[derive(AsChangeset)]
#[diesel(table_name = agents)]
pub(super) struct Changes {
    agent_key: Option<String>,
    display_name: Option<String>,
    frontmatter: Option<String>,
    provider: Option<String>,
    model: Option<String>,
    context_window: Option<i64>,
    max_tool_iterations: Option<i32>,
    workspace: Option<String>,
    agent_type: Option<&'static str>,
    is_default: Option<bool>,
    status: Option<&'static str>,
    budget_monthly_cents: Option<Option<i64>>,
    tools_config: Option<Value>,
    sandbox_config: Option<Option<Value>>,
    subagents_config: Option<Option<Value>>,
    memory_config: Option<Option<Value>>,
    compaction_config: Option<Option<Value>>,
    context_pruning: Option<Option<Value>>,
    other_config: Option<Value>,
    updated_at: DateTime<Utc>,
}

impl Changes {
    pub(super) fn new(patch: &AgentPatch, now: DateTime<Utc>) -> Self {
        let optional = |config: &Option<Option<JsonObject>>| config.as_ref().map(|config| config.as_ref().map(object));
        Self {
            agent_key: patch.agent_key.as_deref().map(text),
            display_name: patch.display_name.as_deref().map(text),
            frontmatter: patch.frontmatter.as_deref().map(text),
            provider: patch.provider.as_deref().map(text),
            model: patch.model.as_deref().map(text),
            context_window: patch.context_window,
            max_tool_iterations: patch.max_tool_iterations,
            workspace: patch.workspace.as_deref().map(text),
            agent_type: patch.agent_type.map(AgentType::as_str),
            is_default: patch.is_default,
            status: patch.status.map(AgentStatus::as_str),
            budget_monthly_cents: patch.budget_monthly_cents,
            tools_config: patch.tools_config.as_ref().map(object),
            sandbox_config: optional(&patch.sandbox_config),
            subagents_config: optional(&patch.subagents_config),
            memory_config: optional(&patch.memory_config),
            compaction_config: optional(&patch.compaction_config),
            context_pruning: optional(&patch.context_pruning),
            other_config: patch.other_config.as_ref().map(object),
            updated_at: now,
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct Profile {
    #[diesel(sql_type = Text)]
    workspace: String,
    #[diesel(sql_type = Timestamptz)]
    first_seen_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    last_seen_at: DateTime<Utc>,
}

impl Profile {
    pub(super) fn profile(self) -> UserProfile {
        UserProfile { workspace: self.workspace, first_seen_at: self.first_seen_at, last_seen_at: self.last_seen_at }
    }
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = agent_shares)]
pub(super) struct Share {
    id: Uuid,
    agent_id: Uuid,
    user_id: String,
    role: String,
    granted_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl Share {
    pub(super) fn share(self) -> AgentShare {
        AgentShare {
            id: self.id,
            created_at: self.created_at,
            updated_at: self.updated_at,
            agent_id: AgentId(self.agent_id),
            user_id: self.user_id,
            role: self.role,
            granted_by: self.granted_by,
        }
    }
}

#[derive(QueryableByName)]
pub(super) struct Instance {
    #[diesel(sql_type = Text)]
    user_id: String,
    #[diesel(sql_type = Timestamptz)]
    first_seen_at: DateTime<Utc>,
    #[diesel(sql_type = Timestamptz)]
    last_seen_at: DateTime<Utc>,
    #[diesel(sql_type = BigInt)]
    file_count: i64,
    #[diesel(sql_type = Jsonb)]
    metadata: Value,
}

impl Instance {
    pub(super) fn instance(self) -> Result<UserInstance> {
        Ok(UserInstance {
            user_id: self.user_id,
            first_seen_at: self.first_seen_at,
            last_seen_at: self.last_seen_at,
            file_count: self.file_count,
            metadata: decode(self.metadata)?,
        })
    }
}

pub(super) fn context_file((name, content): (String, String)) -> ContextFile {
    ContextFile { name, content }
}

/// The files' names and contents, as one statement takes them: each name once, with its last content.
pub(super) fn columns(files: &[ContextFile]) -> (Vec<String>, Vec<String>) {
    files.iter().map(|file| (text(&file.name), text(&file.content))).collect::<BTreeMap<_, _>>().into_iter().unzip()
}
