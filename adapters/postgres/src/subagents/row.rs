//! The row of a task.

use crate::{
    error::corrupt,
    json::{decode, object, text},
    schema::subagent_tasks,
};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use goclaw_ports::{
    AgentId, LinkId, Result, SubagentTaskId, TenantId,
    roles::Role,
    subagents::{SubagentTask, TaskKind, TaskOrigin, TaskStatus},
};
use serde_json::Value;
use uuid::Uuid;

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = subagent_tasks)]
pub(super) struct TaskRow {
    id: Uuid,
    tenant_id: Uuid,
    kind: String,
    parent_agent_id: Uuid,
    parent_agent_key: String,
    session_key: String,
    agent_id: Uuid,
    agent_key: String,
    link_id: Option<Uuid>,
    subject: String,
    description: String,
    status: String,
    result: String,
    depth: i32,
    model: String,
    provider: String,
    iterations: i32,
    input_tokens: i64,
    output_tokens: i64,
    origin_channel: String,
    origin_chat_id: String,
    origin_peer_kind: String,
    origin_user_id: String,
    origin_role: String,
    spawned_by: String,
    told_at: Option<DateTime<Utc>>,
    completed_at: Option<DateTime<Utc>>,
    archive_at: Option<DateTime<Utc>>,
    metadata: Value,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl TaskRow {
    pub fn new(tenant: TenantId, task: &SubagentTask) -> Self {
        Self {
            id: task.id.0,
            tenant_id: tenant.0,
            kind: task.kind.as_str().to_owned(),
            parent_agent_id: task.parent_agent_id.0,
            parent_agent_key: text(&task.parent_agent_key),
            session_key: text(&task.session_key),
            agent_id: task.agent_id.0,
            agent_key: text(&task.agent_key),
            link_id: task.link_id.map(|id| id.0),
            subject: text(&task.subject),
            description: text(&task.description),
            status: task.status.as_str().to_owned(),
            result: text(&task.result),
            depth: task.depth,
            model: text(&task.model),
            provider: text(&task.provider),
            iterations: task.iterations,
            input_tokens: task.input_tokens,
            output_tokens: task.output_tokens,
            origin_channel: text(&task.origin.channel),
            origin_chat_id: text(&task.origin.chat_id),
            origin_peer_kind: text(&task.origin.peer_kind),
            origin_user_id: text(&task.origin.user_id),
            origin_role: task.origin.role.as_str().to_owned(),
            spawned_by: text(&task.spawned_by),
            told_at: task.told_at,
            completed_at: task.completed_at,
            archive_at: task.archive_at,
            metadata: object(&task.metadata),
            created_at: task.created_at,
            updated_at: task.updated_at,
        }
    }

    pub fn task(self) -> Result<SubagentTask> {
        Ok(SubagentTask {
            id: SubagentTaskId(self.id),
            kind: TaskKind::parse(&self.kind).ok_or_else(|| corrupt("subagent_tasks.kind", &self.kind))?,
            parent_agent_id: AgentId(self.parent_agent_id),
            parent_agent_key: self.parent_agent_key,
            session_key: self.session_key,
            agent_id: AgentId(self.agent_id),
            agent_key: self.agent_key,
            link_id: self.link_id.map(LinkId),
            subject: self.subject,
            description: self.description,
            status: TaskStatus::parse(&self.status).ok_or_else(|| corrupt("subagent_tasks.status", &self.status))?,
            result: self.result,
            depth: self.depth,
            model: self.model,
            provider: self.provider,
            iterations: self.iterations,
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            origin: TaskOrigin {
                channel: self.origin_channel,
                chat_id: self.origin_chat_id,
                peer_kind: self.origin_peer_kind,
                user_id: self.origin_user_id,
                role: Role::parse(&self.origin_role).ok_or_else(|| corrupt("subagent_tasks.origin_role", &self.origin_role))?,
            },
            spawned_by: self.spawned_by,
            told_at: self.told_at,
            completed_at: self.completed_at,
            archive_at: self.archive_at,
            metadata: decode(self.metadata)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }

    pub fn with_tenant(self) -> Result<(TenantId, SubagentTask)> {
        Ok((TenantId(self.tenant_id), self.task()?))
    }
}
