//! The database as a whole, and each store's statements.

mod agents;
mod backup;
mod opening;
mod sessions;
mod small_stores;
mod traces;

use crate::{SqliteOptions, open};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, JsonObject, TenantId,
    agents::{Agent, AgentStatus, AgentType},
    stores::Stores,
    tenants::{Tenant, TenantStatus},
};
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use uuid::Uuid;

/// A database in a directory that goes when this is dropped.
struct Place {
    stores: Stores,
    path: PathBuf,
    _directory: TempDir,
}

impl Place {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data").join("goclaw.db");
        Self { stores: open_at(&path).await.unwrap(), path, _directory: directory }
    }

    /// A tenant beside the master tenant.
    async fn other_tenant(&self) -> TenantId {
        let id = TenantId(Uuid::now_v7());
        let tenant = Tenant {
            id,
            name: "Other".to_owned(),
            slug: format!("other-{id}"),
            status: TenantStatus::Active,
            settings: JsonObject::new(),
            created_at: at(1),
            updated_at: at(1),
        };
        self.stores.tenants.insert(&tenant).await.unwrap();
        id
    }

    /// A stored agent.
    async fn agent(&self, tenant: TenantId, key: &str) -> Agent {
        let agent = agent(tenant, key);
        self.stores.agents.insert(tenant, &agent, &[]).await.unwrap();
        agent
    }
}

async fn open_at(path: &Path) -> goclaw_ports::Result<Stores> {
    open(SqliteOptions { path: path.to_owned(), readers: 2 }).await
}

/// So many seconds after the year 2020 began, and a microsecond.
fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_577_836_800 + seconds, 1000).unwrap()
}

fn object(json: &str) -> JsonObject {
    serde_json::from_str(json).unwrap()
}

fn agent(tenant: TenantId, key: &str) -> Agent {
    Agent {
        id: AgentId(Uuid::now_v7()),
        created_at: at(10),
        updated_at: at(10),
        tenant_id: tenant,
        agent_key: key.to_owned(),
        display_name: "Fox".to_owned(),
        frontmatter: "quick".to_owned(),
        owner_id: "alice".to_owned(),
        provider: "openai".to_owned(),
        model: "small".to_owned(),
        context_window: 200_000,
        max_tool_iterations: 20,
        workspace: "/files".to_owned(),
        restrict_to_workspace: true,
        agent_type: AgentType::Open,
        is_default: false,
        status: AgentStatus::Active,
        budget_monthly_cents: Some(1000),
        tools_config: object(r#"{"profile":"full"}"#),
        sandbox_config: Some(object(r#"{"mode":"off"}"#)),
        subagents_config: None,
        memory_config: None,
        compaction_config: Some(JsonObject::new()),
        context_pruning: None,
        other_config: object(r#"{"z":1,"a":[null,"ü"]}"#),
    }
}
