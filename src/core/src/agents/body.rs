//! The bodies of agent requests, checked.

use crate::{runs::fallback, settings::Settings};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, Error, JsonObject, Result, TenantId,
    agents::{Agent, AgentPatch, AgentStatus, AgentType},
    message,
};
use regex::Regex;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};
use std::sync::LazyLock;

#[expect(clippy::expect_used, reason = "a constant pattern")]
static SLUG: LazyLock<Regex> = LazyLock::new(|| Regex::new("^[a-z0-9]([a-z0-9-]*[a-z0-9])?$").expect("a constant pattern"));

/// Whether the text is a slug: lowercase letters, digits and hyphens, none at an end.
#[must_use]
pub fn is_slug(text: &str) -> bool {
    SLUG.is_match(text)
}

/// A new agent, as a request describes it. What is left out gets a default; ids, owner and times are not taken from here.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of Agent")]
pub struct NewAgent {
    /// A slug of at most 100 characters, unique in the tenant.
    pub agent_key: String,
    pub display_name: String,
    pub frontmatter: String,
    pub provider: String,
    pub model: String,
    pub context_window: i64,
    pub max_tool_iterations: i32,
    pub workspace: String,
    pub agent_type: Option<String>,
    pub is_default: bool,
    pub status: Option<String>,
    pub budget_monthly_cents: Option<i64>,
    pub tools_config: Option<JsonObject>,
    pub sandbox_config: Option<JsonObject>,
    pub subagents_config: Option<JsonObject>,
    pub memory_config: Option<JsonObject>,
    pub compaction_config: Option<JsonObject>,
    pub context_pruning: Option<JsonObject>,
    pub other_config: Option<JsonObject>,
    /// Another tenant than the caller's; only owners may.
    pub tenant_id: Option<TenantId>,
}

/// Changes to an agent. Keys that are left out change nothing; `null` clears what may be empty; other keys are ignored.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[expect(missing_docs, reason = "the fields are those of Agent")]
pub struct AgentUpdate {
    pub agent_key: Option<String>,
    pub display_name: Option<String>,
    pub frontmatter: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub context_window: Option<i64>,
    pub max_tool_iterations: Option<i32>,
    pub workspace: Option<String>,
    pub agent_type: Option<String>,
    pub is_default: Option<bool>,
    pub status: Option<String>,
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<i64>")]
    pub budget_monthly_cents: Option<Option<i64>>,
    pub tools_config: Option<JsonObject>,
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<JsonObject>")]
    pub sandbox_config: Option<Option<JsonObject>>,
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<JsonObject>")]
    pub subagents_config: Option<Option<JsonObject>>,
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<JsonObject>")]
    pub memory_config: Option<Option<JsonObject>>,
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<JsonObject>")]
    pub compaction_config: Option<Option<JsonObject>>,
    #[serde(deserialize_with = "present")]
    #[schemars(with = "Option<JsonObject>")]
    pub context_pruning: Option<Option<JsonObject>>,
    pub other_config: Option<JsonObject>,
}

/// Tells `null` from absent.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(value: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(value).map(Some)
}

impl NewAgent {
    /// The agent that is asked for.
    pub(crate) fn into_agent(self, tenant: TenantId, owner: String, settings: &Settings, id: AgentId, now: DateTime<Utc>) -> Result<Agent> {
        check_texts(&[("display_name", &self.display_name, 255), ("provider", &self.provider, 50), ("model", &self.model, 200)])?;
        check_budget(self.budget_monthly_cents)?;
        check_iterations(self.max_tool_iterations.max(1))?;
        check_other(self.other_config.as_ref())?;
        let defaults = &settings.agents;
        let or_default = |text: String, default: &str| if text.is_empty() { default.to_owned() } else { text };
        let workspace = or_default(self.workspace, &defaults.workspace.join(&self.agent_key).to_string_lossy());
        let memory_config = self.memory_config.unwrap_or_else(|| JsonObject::from_iter([("enabled".to_owned(), true.into())]));
        Ok(Agent {
            id,
            created_at: now,
            updated_at: now,
            tenant_id: tenant,
            agent_key: self.agent_key,
            display_name: self.display_name,
            frontmatter: self.frontmatter,
            owner_id: owner,
            provider: self.provider,
            model: self.model,
            context_window: if self.context_window > 0 { self.context_window } else { defaults.context_window },
            max_tool_iterations: if self.max_tool_iterations > 0 { self.max_tool_iterations } else { defaults.max_tool_iterations },
            workspace,
            restrict_to_workspace: true,
            agent_type: agent_type(self.agent_type.as_deref().unwrap_or("open"))?,
            is_default: self.is_default,
            status: agent_status(self.status.as_deref().filter(|status| !status.is_empty()).unwrap_or("active"))?,
            budget_monthly_cents: self.budget_monthly_cents,
            tools_config: self.tools_config.unwrap_or_default(),
            sandbox_config: self.sandbox_config,
            subagents_config: self.subagents_config,
            memory_config: Some(memory_config),
            compaction_config: Some(self.compaction_config.unwrap_or_default()),
            context_pruning: self.context_pruning,
            other_config: self.other_config.unwrap_or_default(),
        })
    }
}

impl AgentUpdate {
    /// The changes that are asked for.
    pub(super) fn into_patch(self) -> Result<AgentPatch> {
        if let Some(key) = &self.agent_key {
            check_key(key)?;
        }
        let texts = [("display_name", &self.display_name, 255), ("provider", &self.provider, 50), ("model", &self.model, 200)];
        for (field, text, limit) in texts {
            check_texts(&[(field, text.as_deref().unwrap_or_default(), limit)])?;
        }
        check_budget(self.budget_monthly_cents.flatten())?;
        if self.context_window.is_some_and(|tokens| tokens < 1) {
            return Err(Error::invalid(message::out_of_range("context_window", 1, i64::MAX)));
        }
        check_iterations(self.max_tool_iterations.unwrap_or(1))?;
        check_other(self.other_config.as_ref())?;
        Ok(AgentPatch {
            agent_key: self.agent_key,
            display_name: self.display_name,
            frontmatter: self.frontmatter,
            provider: self.provider,
            model: self.model,
            context_window: self.context_window,
            max_tool_iterations: self.max_tool_iterations,
            workspace: self.workspace,
            agent_type: self.agent_type.as_deref().map(agent_type).transpose()?,
            is_default: self.is_default,
            status: self.status.as_deref().map(agent_status).transpose()?,
            budget_monthly_cents: self.budget_monthly_cents,
            tools_config: self.tools_config,
            sandbox_config: self.sandbox_config,
            subagents_config: self.subagents_config,
            memory_config: self.memory_config,
            compaction_config: self.compaction_config,
            context_pruning: self.context_pruning,
            other_config: self.other_config,
        })
    }
}

/// A key that a request chooses.
pub(crate) fn check_key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(Error::required("agent_key"));
    }
    if !is_slug(key) {
        return Err(Error::invalid(message::invalid_slug("agent_key")));
    }
    check_texts(&[("agent_key", key, 100)])
}

fn check_texts(texts: &[(&str, &str, usize)]) -> Result<()> {
    match texts.iter().find(|(_, text, limit)| text.chars().count() > *limit) {
        Some((field, _, limit)) => Err(Error::invalid(message::too_long(field, limit))),
        None => Ok(()),
    }
}

fn check_budget(cents: Option<i64>) -> Result<()> {
    if cents.is_some_and(|cents| cents < 0) { Err(Error::invalid(message::out_of_range("budget_monthly_cents", 0, i64::MAX))) } else { Ok(()) }
}

fn check_iterations(iterations: i32) -> Result<()> {
    if (1..=1000).contains(&iterations) { Ok(()) } else { Err(Error::invalid(message::out_of_range("max_tool_iterations", 1, 1000))) }
}

/// What is known of the other settings must make sense.
fn check_other(other_config: Option<&JsonObject>) -> Result<()> {
    other_config.map_or(Ok(()), |other| fallback::named(other).map(drop))
}

fn agent_type(text: &str) -> Result<AgentType> {
    AgentType::parse(text).ok_or_else(|| Error::invalid(message::not_one_of("agent_type", "open, predefined")))
}

fn agent_status(text: &str) -> Result<AgentStatus> {
    AgentStatus::parse(text).ok_or_else(|| Error::invalid(message::not_one_of("status", "active, inactive, summoning, summon_failed")))
}
