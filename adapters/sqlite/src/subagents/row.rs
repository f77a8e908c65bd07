//! The row of a task.

use crate::values::{Columns, Json, Lasts, NOW, Text, Time};
use goclaw_ports::{
    TenantId,
    roles::Role,
    subagents::{SubagentTask, TaskKind, TaskLease, TaskOrigin, TaskStatus},
};
use rusqlite::{Connection, Row, named_params};

pub(super) fn task(row: &Row<'_>) -> rusqlite::Result<SubagentTask> {
    Ok(SubagentTask {
        id: row.id("id")?,
        kind: row.named("kind", TaskKind::parse)?,
        parent_agent_id: row.id("parent_agent_id")?,
        parent_agent_key: row.get("parent_agent_key")?,
        session_key: row.get("session_key")?,
        agent_id: row.id("agent_id")?,
        agent_key: row.get("agent_key")?,
        link_id: row.optional_id("link_id")?,
        subject: row.get("subject")?,
        description: row.get("description")?,
        status: row.named("status", TaskStatus::parse)?,
        result: row.get("result")?,
        depth: row.get("depth")?,
        model: row.get("model")?,
        provider: row.get("provider")?,
        iterations: row.get("iterations")?,
        input_tokens: row.get("input_tokens")?,
        output_tokens: row.get("output_tokens")?,
        origin: TaskOrigin {
            channel: row.get("origin_channel")?,
            chat_id: row.get("origin_chat_id")?,
            peer_kind: row.get("origin_peer_kind")?,
            user_id: row.get("origin_user_id")?,
            role: row.named("origin_role", Role::parse)?,
        },
        spawned_by: row.get("spawned_by")?,
        told_at: row.optional_time("told_at")?,
        completed_at: row.optional_time("completed_at")?,
        archive_at: row.optional_time("archive_at")?,
        metadata: row.json("metadata")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

pub(super) fn task_with_tenant(row: &Row<'_>) -> rusqlite::Result<(TenantId, SubagentTask)> {
    Ok((row.id("tenant_id")?, task(row)?))
}

pub(super) fn insert(connection: &Connection, tenant: TenantId, task: &SubagentTask, lease: TaskLease) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(&format!(
            "insert into subagent_tasks (id, tenant_id, kind, parent_agent_id, parent_agent_key, session_key, agent_id, agent_key, link_id, subject,
                description, status, result, depth, model, provider, iterations, input_tokens, output_tokens, origin_channel, origin_chat_id,
                origin_peer_kind, origin_user_id, origin_role, spawned_by, lease_owner, lease_until, told_at, completed_at, archive_at, metadata,
                created_at, updated_at)
             values (:id, :tenant, :kind, :parent_id, :parent_key, :session, :agent_id, :agent_key, :link, :subject, :description, :status, :result, :depth,
                :model, :provider, :iterations, :input, :output, :channel, :chat, :peer, :user, :role, :spawned_by, :owner, {NOW} + :lasts, :told, :completed,
                :archive, :metadata, :created, :updated)",
        ))?
        .execute(named_params! {
            ":id": Text(task.id),
            ":tenant": Text(tenant),
            ":kind": task.kind.as_str(),
            ":parent_id": Text(task.parent_agent_id),
            ":parent_key": task.parent_agent_key,
            ":session": task.session_key,
            ":agent_id": Text(task.agent_id),
            ":agent_key": task.agent_key,
            ":link": task.link_id.map(Text),
            ":subject": task.subject,
            ":description": task.description,
            ":status": task.status.as_str(),
            ":result": task.result,
            ":depth": task.depth,
            ":model": task.model,
            ":provider": task.provider,
            ":iterations": task.iterations,
            ":input": task.input_tokens,
            ":output": task.output_tokens,
            ":channel": task.origin.channel,
            ":chat": task.origin.chat_id,
            ":peer": task.origin.peer_kind,
            ":user": task.origin.user_id,
            ":role": task.origin.role.as_str(),
            ":spawned_by": task.spawned_by,
            ":owner": Text(lease.owner),
            ":lasts": Lasts(lease.lasts),
            ":told": task.told_at.map(Time),
            ":completed": task.completed_at.map(Time),
            ":archive": task.archive_at.map(Time),
            ":metadata": Json(&task.metadata),
            ":created": Time(task.created_at),
            ":updated": Time(task.updated_at),
        })
}
