//! The installation itself: whether it is well, and what it is.

use crate::{
    caller::{Access, Caller},
    runs::Runs,
    settings::{Edition, LiveSettings},
};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Result,
    agents::{AgentFilter, AgentStatus},
    clock::Clock,
    roles::Role,
    stores::Stores,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// The installation itself.
pub struct Platform {
    pub(crate) stores: Stores,
    pub(crate) settings: Arc<LiveSettings>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) version: &'static str,
    pub(crate) tools: usize,
}

/// Whether requests can be served.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Readiness {
    /// `ok` or `unavailable`.
    pub status: &'static str,
    /// `ok` or `error`.
    pub database: &'static str,
    /// Whether the gateway stops.
    pub draining: bool,
}

/// A WebSocket client, as `health` shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClientView {
    /// The connection.
    pub id: String,
    /// From where.
    pub remote_addr: String,
    /// As whom.
    pub user_id: String,
    /// In which role.
    pub role: &'static str,
    /// Since when.
    pub connected_at: DateTime<Utc>,
}

/// The answer of `health`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Health {
    /// Always `ok`.
    pub status: &'static str,
    /// The gateway's version.
    pub version: &'static str,
    /// How long it runs, in milliseconds.
    pub uptime: i64,
    /// Always `managed`.
    pub mode: &'static str,
    /// `ok` or `error`.
    pub database: &'static str,
    /// How many tools there are.
    pub tools: usize,
    /// Who is connected: for admins those of their tenant, for others only themselves.
    pub clients: Vec<ClientView>,
    /// The connection that asks.
    pub current_id: String,
}

/// The answer of `status`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The active agents that the caller may use.
    pub agents: Vec<AgentState>,
    /// How many agents the tenant has.
    pub agent_total: i64,
    /// How many clients are connected.
    pub clients: usize,
    /// How many sessions the tenant has.
    pub sessions: i64,
}

/// An agent, as `status` shows it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentState {
    /// Its key.
    pub id: String,
    /// Its model.
    pub model: String,
    /// Whether it runs now.
    pub is_running: bool,
}

impl Platform {
    /// What this installation is.
    #[must_use]
    pub fn edition(&self) -> Edition {
        self.settings.get().edition.clone()
    }

    /// Whether requests can be served.
    pub async fn ready(&self) -> Readiness {
        let (database, draining) = (self.database().await, self.runs.draining());
        Readiness { status: if database == "ok" && !draining { "ok" } else { "unavailable" }, database, draining }
    }

    /// How the installation is, for a client. `clients` are those that the caller may see.
    pub async fn health(&self, clients: Vec<ClientView>, current: &str) -> Health {
        Health {
            status: "ok",
            version: self.version,
            uptime: (self.clock.now() - self.started_at).num_milliseconds(),
            mode: "managed",
            database: self.database().await,
            tools: self.tools,
            clients,
            current_id: current.into(),
        }
    }

    /// What the tenant has.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn status(&self, caller: &Caller, clients: usize) -> Result<Status> {
        caller.require(Role::Viewer, Access::Read, "status")?;
        let filter = AgentFilter { visible_to: (caller.role != Role::Owner).then(|| caller.user.to_string()), status: Some(AgentStatus::Active) };
        let stores = &self.stores;
        let (agents, agent_total, sessions) =
            tokio::try_join!(stores.agents.list(caller.tenant, &filter), stores.agents.count(caller.tenant), stores.sessions.count(caller.tenant))?;
        let state = |agent: goclaw_ports::agents::Agent| AgentState {
            is_running: self.runs.of_agent(caller.tenant, &agent.agent_key) > 0,
            id: agent.agent_key,
            model: agent.model,
        };
        Ok(Status { agents: agents.into_iter().map(state).collect(), agent_total, clients, sessions })
    }

    async fn database(&self) -> &'static str {
        match self.stores.database.ping().await {
            Ok(()) => "ok",
            Err(error) => {
                tracing::warn!(%error, "the database does not answer");
                "error"
            }
        }
    }
}
