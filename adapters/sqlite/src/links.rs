//! Which agent may hand work to which.

use crate::{
    database::Sqlite,
    failure::Explain,
    values::{Columns, Json, Text, Time},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, LinkId, Result, TenantId,
    links::{AgentLink, LinkDirection, LinkEnds, LinkPatch, LinkSide, LinkStatus, LinkStore},
};
use rusqlite::{OptionalExtension, Row, params};

const SELECT: &str = "select links.*, source.agent_key as source_agent_key, target.agent_key as target_agent_key,
        target.display_name as target_display_name, target.frontmatter as target_description
    from agent_links as links
    join agents as source on source.tenant_id = links.tenant_id and source.id = links.source_agent_id
    join agents as target on target.tenant_id = links.tenant_id and target.id = links.target_agent_id
    where links.tenant_id = ?1";

fn link(row: &Row<'_>) -> rusqlite::Result<AgentLink> {
    Ok(AgentLink {
        id: row.id("id")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        source_agent_id: row.id("source_agent_id")?,
        target_agent_id: row.id("target_agent_id")?,
        direction: row.named("direction", LinkDirection::parse)?,
        description: row.get("description")?,
        max_concurrent: row.get("max_concurrent")?,
        settings: row.optional_json("settings")?,
        status: row.named("status", LinkStatus::parse)?,
        created_by: row.get("created_by")?,
        ends: LinkEnds {
            source_agent_key: row.get("source_agent_key")?,
            target_agent_key: row.get("target_agent_key")?,
            target_display_name: row.get("target_display_name")?,
            target_description: row.get("target_description")?,
        },
    })
}

#[async_trait]
impl LinkStore for Sqlite {
    async fn list(&self, tenant: TenantId, agent: AgentId, side: LinkSide) -> Result<Vec<AgentLink>> {
        let of_agent = match side {
            LinkSide::From => "links.source_agent_id = ?2",
            LinkSide::To => "links.target_agent_id = ?2",
            LinkSide::All => "?2 in (links.source_agent_id, links.target_agent_id)",
        };
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!("{SELECT} and {of_agent} order by links.created_at, links.id"))?;
            Ok(statement.query_map(params![Text(tenant), Text(agent)], link)?.collect::<rusqlite::Result<_>>()?)
        })
        .await
    }

    async fn find(&self, tenant: TenantId, id: LinkId) -> Result<Option<AgentLink>> {
        self.read(move |connection| {
            let mut statement = connection.prepare_cached(&format!("{SELECT} and links.id = ?2"))?;
            Ok(statement.query_row(params![Text(tenant), Text(id)], link).optional()?)
        })
        .await
    }

    async fn insert(&self, tenant: TenantId, new: &AgentLink) -> Result<()> {
        let new = new.clone();
        self.write(move |connection| {
            connection
                .prepare_cached(
                    "insert into agent_links (id, tenant_id, source_agent_id, target_agent_id, direction, description, max_concurrent, settings,
                     status, created_by, created_at, updated_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                )?
                .execute(params![
                    Text(new.id),
                    Text(tenant),
                    Text(new.source_agent_id),
                    Text(new.target_agent_id),
                    new.direction.as_str(),
                    new.description,
                    new.max_concurrent,
                    new.settings.as_ref().map(Json),
                    new.status.as_str(),
                    new.created_by,
                    Time(new.created_at),
                    Time(new.updated_at)
                ])
                .unless_exists("link", format!("{} → {}", new.source_agent_id, new.target_agent_id))
                .unless_missing("agent", new.target_agent_id)?;
            Ok(())
        })
        .await
    }

    async fn update(&self, tenant: TenantId, id: LinkId, patch: &LinkPatch, now: DateTime<Utc>) -> Result<bool> {
        let patch = patch.clone();
        self.write(move |connection| {
            let mut statement = connection.prepare_cached(
                "update agent_links set direction = coalesce(?3, direction), description = coalesce(?4, description),
                    max_concurrent = coalesce(?5, max_concurrent), settings = coalesce(?6, settings), status = coalesce(?7, status), updated_at = ?8
                 where tenant_id = ?1 and id = ?2",
            )?;
            let changed = statement.execute(params![
                Text(tenant),
                Text(id),
                patch.direction.map(LinkDirection::as_str),
                patch.description,
                patch.max_concurrent,
                patch.settings.as_ref().map(Json),
                patch.status.map(LinkStatus::as_str),
                Time(now)
            ])?;
            Ok(changed > 0)
        })
        .await
    }

    async fn delete(&self, tenant: TenantId, id: LinkId) -> Result<bool> {
        self.write(move |connection| {
            let mut statement = connection.prepare_cached("delete from agent_links where tenant_id = ?1 and id = ?2")?;
            Ok(statement.execute(params![Text(tenant), Text(id)])? > 0)
        })
        .await
    }
}
