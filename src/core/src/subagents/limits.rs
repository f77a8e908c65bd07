//! How many sub-agents there may be, how deep, and what they may do.

use crate::settings::Settings;
use chrono::TimeDelta;
use goclaw_ports::{JsonObject, agents::Agent, subagents::TaskCaps};
use serde_json::Value;

/// What no sub-agent may use.
const DENIED: &[&str] = &["gateway", "agents_list", "whatsapp_login", "session_status", "cron", "memory_search", "memory_get", "sessions_send", "team_tasks"];
/// What one may not use besides that may have no sub-agents itself.
const DENIED_TO_LEAVES: &[&str] = &["sessions_list", "sessions_history", "sessions_spawn", "spawn", crate::delegation::TOOL];

/// What holds for the sub-agents of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Limits {
    /// How many run in the tenant at once.
    pub concurrent: i64,
    /// How deep they nest.
    pub depth: i32,
    /// How many one conversation has at once.
    pub children: i64,
    /// How long after its end one is put away.
    pub archive_after: TimeDelta,
    /// How often a failed call of the model is tried again.
    pub retries: u32,
    /// Their model; "" for the agent's own.
    pub model: String,
}

impl Limits {
    /// The agent's own limits, else the installation's, within those of the edition.
    pub fn of(settings: &Settings, agent: &Agent) -> Self {
        let (all, own, edition) = (&settings.agents.subagents, agent.subagents_config.as_ref(), &settings.edition);
        let within = |value: i64, most: i64| if most > 0 { value.min(most) } else { value };
        let depth = within(number(own, "maxSpawnDepth").unwrap_or(all.max_spawn_depth).clamp(1, 5), edition.max_subagent_depth);
        Self {
            concurrent: within(number(own, "maxConcurrent").unwrap_or(all.max_concurrent), edition.max_subagent_concurrent),
            depth: i32::try_from(depth).unwrap_or(1),
            children: number(own, "maxChildrenPerAgent").unwrap_or(all.max_children_per_agent).clamp(1, 20),
            archive_after: TimeDelta::try_minutes(number(own, "archiveAfterMinutes").unwrap_or(all.archive_after_minutes).min(MAX_MINUTES)).unwrap_or_default(),
            retries: number(own, "maxRetries").map_or(all.max_retries, |retries| u32::try_from(retries.min(100)).unwrap_or_default()),
            model: text(own, "model").unwrap_or(&all.model).to_owned(),
        }
    }

    /// What caps the sub-agents.
    pub fn caps(&self) -> TaskCaps {
        TaskCaps { in_tenant: Some(self.concurrent), of_session: Some(self.children), ..TaskCaps::default() }
    }

    /// What a run with so many sub-agents above it, itself included, may not use.
    pub fn denied(&self, spawns: i32) -> Vec<&'static str> {
        match spawns {
            0 => vec![],
            spawns if spawns < self.depth => DENIED.to_vec(),
            _ => [DENIED, DENIED_TO_LEAVES].concat(),
        }
    }
}

/// A year.
const MAX_MINUTES: i64 = 525_600;

/// A number of the agent's own; 0 means that it has none.
fn number(own: Option<&JsonObject>, key: &str) -> Option<i64> {
    own?.get(key).and_then(Value::as_i64).filter(|number| *number > 0)
}

fn text<'a>(own: Option<&'a JsonObject>, key: &str) -> Option<&'a str> {
    own?.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}
