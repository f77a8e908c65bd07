//! The installation itself: whether it is well, and what it is.

use crate::{
    caller::{Access, Caller},
    runs::{Runs, elsewhere::Elsewhere},
    settings::{Edition, LiveSettings},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Result,
    agents::{AgentFilter, AgentStatus},
    clock::Clock,
    releases::{Release, Releases},
    roles::Role,
    stores::Stores,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long the database may take to say that it is there. Whoever probes waits for a few seconds at most, and a network that
/// says nothing would keep them waiting for longer than that.
const PROBE: Duration = Duration::from_secs(2);

/// The installation itself.
pub struct Platform {
    pub(crate) stores: Stores,
    pub(crate) services: Vec<Arc<dyn Service>>,
    pub(crate) settings: Arc<LiveSettings>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) started_at: DateTime<Utc>,
    pub(crate) version: &'static str,
    pub(crate) tools: usize,
    pub(crate) releases: Arc<dyn Releases>,
}

/// A server beside the database that helps and is not needed.
#[async_trait]
pub trait Service: Send + Sync {
    /// Its name, for operators.
    fn name(&self) -> &'static str;

    /// Whether it answers now. Takes no longer than a moment.
    async fn answers(&self) -> bool;
}

/// Whether requests can be served.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Readiness {
    /// `ok` or `unavailable`.
    pub status: &'static str,
    /// `ok` or `error`.
    pub database: &'static str,
    /// `ok` or `error` for each server that helps and is not needed, by its name.
    pub services: BTreeMap<&'static str, &'static str>,
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
    /// The newest release, if it is known.
    #[serde(flatten)]
    pub update: Option<Update>,
}

/// The newest release, as `health` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Update {
    /// Its version.
    pub latest_version: String,
    /// Whether it is newer than what runs.
    pub update_available: bool,
    /// Its page.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub update_url: String,
    /// What is new.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub release_notes: String,
}

impl From<Release> for Update {
    fn from(release: Release) -> Self {
        Self { latest_version: release.version, update_available: release.newer, update_url: release.url, release_notes: release.notes }
    }
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
        let mut services = BTreeMap::new();
        for service in &self.services {
            services.insert(service.name(), if service.answers().await { "ok" } else { "error" });
        }
        let (database, draining) = (self.database().await, self.runs.draining());
        Readiness { status: if database == "ok" && !draining { "ok" } else { "unavailable" }, database, services, draining }
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
            update: self.releases.latest().map(Update::from),
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
        let (agents, agent_total, sessions, busy) = tokio::try_join!(
            stores.agents.list(caller.tenant, &filter),
            stores.agents.count(caller.tenant),
            stores.sessions.count(caller.tenant),
            self.elsewhere.busy(caller.tenant, None),
        )?;
        let state = |agent: goclaw_ports::agents::Agent| AgentState {
            is_running: self.runs.of_agent(caller.tenant, &agent.agent_key) > 0 || busy.contains(&agent.id),
            id: agent.agent_key,
            model: agent.model,
        };
        Ok(Status { agents: agents.into_iter().map(state).collect(), agent_total, clients, sessions })
    }

    async fn database(&self) -> &'static str {
        match tokio::time::timeout(PROBE, self.stores.database.ping()).await {
            Ok(Ok(())) => "ok",
            Ok(Err(error)) => {
                tracing::warn!(%error, "the database does not answer");
                "error"
            }
            Err(_) => {
                tracing::warn!("the database does not answer within {} s", PROBE.as_secs());
                "error"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn shown(release: Option<Release>) -> Value {
        let health = Health {
            status: "ok",
            version: "1.0.0",
            uptime: 1,
            mode: "managed",
            database: "ok",
            tools: 1,
            clients: vec![],
            current_id: "c".into(),
            update: release.map(Update::from),
        };
        serde_json::to_value(health).unwrap()
    }

    #[test]
    fn health_tells_of_a_release_once_it_is_known() {
        let release = |notes: &str| Release { version: "1.1.0".into(), url: "https://releases.example/1.1.0".into(), notes: notes.into(), newer: true };
        let (unknown, known) = (shown(None), shown(Some(release("Better."))));
        assert!(["latestVersion", "updateAvailable", "updateUrl", "releaseNotes"].iter().all(|key| unknown.get(key).is_none()), "{unknown}");
        assert_eq!(known["latestVersion"], "1.1.0");
        assert_eq!((&known["updateAvailable"], &known["updateUrl"]), (&json!(true), &json!("https://releases.example/1.1.0")));
        assert_eq!(known["releaseNotes"], "Better.");
        assert!(shown(Some(release(""))).get("releaseNotes").is_none());
    }
}
