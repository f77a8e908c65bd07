//! Which agent may hand work to which.

use crate::{
    error::{corrupt, taken_or_missing},
    json::{decode, object, text},
    pool::Postgres,
    schema::{agent_links as links, agents},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use goclaw_ports::{
    AgentId, LinkId, Result, TenantId,
    links::{AgentLink, LinkDirection, LinkEnds, LinkPatch, LinkSide, LinkStatus, LinkStore},
};
use serde_json::Value;
use uuid::Uuid;

diesel::alias!(agents as sources: Sources, agents as targets: Targets);

#[derive(Queryable, Selectable, Insertable)]
#[diesel(table_name = links)]
struct Row {
    id: Uuid,
    tenant_id: Uuid,
    source_agent_id: Uuid,
    target_agent_id: Uuid,
    direction: String,
    description: String,
    max_concurrent: i32,
    settings: Option<Value>,
    status: String,
    created_by: String,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// What the agents' rows add: the keys of both, and the target's name and expertise.
type Ends = (String, String, String, String);

#[derive(AsChangeset)]
#[diesel(table_name = links)]
struct Changes {
    direction: Option<&'static str>,
    description: Option<String>,
    max_concurrent: Option<i32>,
    settings: Option<Value>,
    status: Option<&'static str>,
    updated_at: DateTime<Utc>,
}

fn link((row, ends): (Row, Ends)) -> Result<AgentLink> {
    let (source_agent_key, target_agent_key, target_display_name, target_description) = ends;
    Ok(AgentLink {
        id: LinkId(row.id),
        created_at: row.created_at,
        updated_at: row.updated_at,
        source_agent_id: AgentId(row.source_agent_id),
        target_agent_id: AgentId(row.target_agent_id),
        direction: LinkDirection::parse(&row.direction).ok_or_else(|| corrupt("agent_links.direction", &row.direction))?,
        description: row.description,
        max_concurrent: row.max_concurrent,
        settings: row.settings.map(decode).transpose()?,
        status: LinkStatus::parse(&row.status).ok_or_else(|| corrupt("agent_links.status", &row.status))?,
        created_by: row.created_by,
        ends: LinkEnds { source_agent_key, target_agent_key, target_display_name, target_description },
    })
}

/// The tenant's links with what the agents' rows add.
macro_rules! with_ends {
    ($tenant:expr) => {
        links::table
            .inner_join(sources.on(sources.field(agents::tenant_id).eq(links::tenant_id).and(sources.field(agents::id).eq(links::source_agent_id))))
            .inner_join(targets.on(targets.field(agents::tenant_id).eq(links::tenant_id).and(targets.field(agents::id).eq(links::target_agent_id))))
            .filter(links::tenant_id.eq($tenant.0))
            .select((
                Row::as_select(),
                (sources.field(agents::agent_key), targets.field(agents::agent_key), targets.field(agents::display_name), targets.field(agents::frontmatter)),
            ))
    };
}

#[async_trait]
impl LinkStore for Postgres {
    async fn list(&self, tenant: TenantId, agent: AgentId, side: LinkSide) -> Result<Vec<AgentLink>> {
        let connection = self.tenant(tenant).await?;
        let (from, to) = (matches!(side, LinkSide::From | LinkSide::All), matches!(side, LinkSide::To | LinkSide::All));
        let begins = links::source_agent_id.eq(agent.0).and(from.into_sql::<diesel::sql_types::Bool>());
        let ends = links::target_agent_id.eq(agent.0).and(to.into_sql::<diesel::sql_types::Bool>());
        let query = with_ends!(tenant).filter(begins.or(ends)).order((links::created_at, links::id));
        connection.run(query.load::<(Row, Ends)>(&mut connection.pipe())).await?.into_iter().map(link).collect()
    }

    async fn find(&self, tenant: TenantId, id: LinkId) -> Result<Option<AgentLink>> {
        let connection = self.tenant(tenant).await?;
        let query = with_ends!(tenant).filter(links::id.eq(id.0));
        connection.run_optional(query.first::<(Row, Ends)>(&mut connection.pipe())).await?.map(link).transpose()
    }

    async fn insert(&self, tenant: TenantId, link: &AgentLink) -> Result<()> {
        let connection = self.tenant(tenant).await?;
        let row = Row {
            id: link.id.0,
            tenant_id: tenant.0,
            source_agent_id: link.source_agent_id.0,
            target_agent_id: link.target_agent_id.0,
            direction: link.direction.as_str().to_owned(),
            description: text(&link.description),
            max_concurrent: link.max_concurrent,
            settings: link.settings.as_ref().map(object),
            status: link.status.as_str().to_owned(),
            created_by: text(&link.created_by),
            created_at: link.created_at,
            updated_at: link.updated_at,
        };
        let query = diesel::insert_into(links::table).values(row);
        let pair = format!("{} → {}", link.source_agent_id, link.target_agent_id);
        connection.run(query.execute(&mut connection.pipe())).await.map(drop).map_err(taken_or_missing("link", pair, "agent", link.target_agent_id))
    }

    async fn update(&self, tenant: TenantId, id: LinkId, patch: &LinkPatch, now: DateTime<Utc>) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let changes = Changes {
            direction: patch.direction.map(LinkDirection::as_str),
            description: patch.description.as_deref().map(text),
            max_concurrent: patch.max_concurrent,
            settings: patch.settings.as_ref().map(object),
            status: patch.status.map(LinkStatus::as_str),
            updated_at: now,
        };
        let query = diesel::update(links::table.find((tenant.0, id.0))).set(changes);
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }

    async fn delete(&self, tenant: TenantId, id: LinkId) -> Result<bool> {
        let connection = self.tenant(tenant).await?;
        let query = diesel::delete(links::table.find((tenant.0, id.0)));
        Ok(connection.run(query.execute(&mut connection.pipe())).await? > 0)
    }
}
