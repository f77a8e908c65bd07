//! Usage: what runs took, hour by hour. It is kept longer than the traces that it is counted from.

use crate::{AgentId, Result, TenantId};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;
use std::ops::AddAssign;

/// What runs took, summed up.
///
/// Requests are the runs that users started; with them count their tool calls, errors, users and durations. Tokens, cost and model
/// calls are those of all runs, the runs that other runs started included. A sum over one provider or model therefore has no
/// requests: a run may ask several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct UsageSum {
    /// Read by models.
    pub input_tokens: i64,
    /// Written by models.
    pub output_tokens: i64,
    /// Read from providers' prompt caches.
    pub cache_read_tokens: i64,
    /// Written to providers' prompt caches.
    pub cache_create_tokens: i64,
    /// Thought.
    pub thinking_tokens: i64,
    /// US dollars.
    pub total_cost: f64,
    /// Runs that users started.
    pub request_count: i64,
    /// Calls of models.
    pub llm_call_count: i64,
    /// Calls of tools.
    pub tool_call_count: i64,
    /// Requests that failed.
    pub error_count: i64,
    /// Users who asked, summed over hours, agents and channels.
    pub unique_users: i64,
    /// The time of all requests together, in milliseconds; shown as [`Self::average_duration`].
    #[serde(skip)]
    pub duration_ms: i64,
    /// Documents in agents' memories at that time.
    pub memory_docs: i64,
    /// Their pieces.
    pub memory_chunks: i64,
    /// Things in knowledge graphs.
    pub kg_entities: i64,
    /// What relates them.
    pub kg_relations: i64,
}

impl UsageSum {
    /// How long a request took on average, in milliseconds; 0 without requests.
    #[must_use]
    pub fn average_duration(&self) -> i64 {
        self.duration_ms.checked_div(self.request_count).unwrap_or(0)
    }
}

impl AddAssign for UsageSum {
    fn add_assign(&mut self, other: Self) {
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.cache_create_tokens += other.cache_create_tokens;
        self.thinking_tokens += other.thinking_tokens;
        self.total_cost += other.total_cost;
        self.request_count += other.request_count;
        self.llm_call_count += other.llm_call_count;
        self.tool_call_count += other.tool_call_count;
        self.error_count += other.error_count;
        self.unique_users += other.unique_users;
        self.duration_ms += other.duration_ms;
        self.memory_docs += other.memory_docs;
        self.memory_chunks += other.memory_chunks;
        self.kg_entities += other.kg_entities;
        self.kg_relations += other.kg_relations;
    }
}

/// Which usage is counted. All given conditions must hold; runs belong to the hour in which they began.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the other fields are those of traces and spans")]
pub struct UsageFilter {
    /// Hours from this one on; a whole hour.
    pub from: DateTime<Utc>,
    /// Hours before this one; a whole hour.
    pub to: DateTime<Utc>,
    pub agent_id: Option<AgentId>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub channel: Option<String>,
}

impl UsageFilter {
    /// Everything of these hours.
    #[must_use]
    pub fn between(from: DateTime<Utc>, to: DateTime<Utc>) -> Self {
        Self { from, to, agent_id: None, provider: None, model: None, channel: None }
    }

    /// Whether everything of these hours matches.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        self.agent_id.is_none() && self.provider.is_none() && self.model.is_none() && self.channel.is_none()
    }
}

/// What usage is broken down by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum UsageKey {
    Provider,
    Model,
    Channel,
    Agent,
}

/// What one conversation took so far.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of Session")]
pub struct SessionUsage {
    pub session_key: String,
    pub model: String,
    pub provider: String,
    pub input_tokens: i64,
    pub output_tokens: i64,
    pub updated_at: DateTime<Utc>,
}

impl SessionUsage {
    /// The agent's key as it stands in the session's key, between `agent:` and the next colon; else the whole key.
    #[must_use]
    pub fn agent_key(&self) -> &str {
        let named = self.session_key.strip_prefix("agent:").and_then(|rest| rest.split_once(':'));
        named.map_or(&self.session_key, |(agent, _)| agent)
    }
}

/// Which conversations are listed: those that took tokens, and match all given conditions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionUsageFilter {
    /// Whose key starts `agent:{this}:`.
    pub agent_key: Option<String>,
    /// Of this user.
    pub user_id: Option<String>,
    /// At most this many.
    pub limit: i64,
    /// After this many.
    pub offset: i64,
}

/// What the conversations of one agent took so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentUsage {
    /// As [`SessionUsage::agent_key`].
    pub agent_key: String,
    /// Read by models.
    pub input_tokens: i64,
    /// Written by models.
    pub output_tokens: i64,
    /// How many conversations took tokens.
    pub sessions: i64,
}

/// How many runs a user has started lately; those whose traces are gone do not count.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserRequests {
    /// Who; "" is nobody in particular.
    pub user_id: String,
    /// In the last hour.
    pub hour: i64,
    /// In the last 24 hours.
    pub day: i64,
    /// In the last seven days.
    pub week: i64,
}

/// Counts usage and keeps it. Every method but `all_tenants_…` sees only what is `tenant`'s. Hours that are not counted yet, or have runs
/// under way, are read from the traces.
#[async_trait]
pub trait UsageStore: Send + Sync {
    /// What matches, by hour, oldest first; hours without anything are left out.
    async fn hours(&self, tenant: TenantId, filter: &UsageFilter) -> Result<Vec<(DateTime<Utc>, UsageSum)>>;

    /// What matches, by key: the provider, the model, the channel, or the agent's id ("" for none). By provider and by model, calls
    /// only; by channel, only what has one. Channels are ordered by requests, the rest by input tokens, the most first.
    async fn breakdown(&self, tenant: TenantId, filter: &UsageFilter, by: UsageKey) -> Result<Vec<(String, UsageSum)>>;

    /// How many users have started runs since then.
    async fn users_since(&self, tenant: TenantId, since: DateTime<Utc>) -> Result<i64>;

    /// What users have asked in the hour, day and week before `now`: of `user` ("" for runs of nobody), or of at most `limit` known users,
    /// those with the most first. Users who asked nothing are left out.
    async fn requests(&self, tenant: TenantId, user: Option<&str>, now: DateTime<Utc>, limit: i64) -> Result<Vec<UserRequests>>;

    /// The conversations that match, last updated first, and how many there are in all.
    async fn sessions(&self, tenant: TenantId, filter: &SessionUsageFilter) -> Result<(Vec<SessionUsage>, i64)>;

    /// What conversations took, by agent key; of one user's only, if one is given.
    async fn sessions_by_agent(&self, tenant: TenantId, user: Option<&str>) -> Result<Vec<AgentUsage>>;

    /// Hours before this one are counted for good, so that their traces are not needed any more. `None` if there are none.
    async fn all_tenants_counted_until(&self) -> Result<Option<DateTime<Utc>>>;

    /// Counts one more hour from the traces of all tenants, and answers with it; `None` if there is none left. Due are, oldest first: hours that
    /// were counted before `now` while runs of theirs went on, then hours that ended at least five minutes before `now`. Hours in
    /// which nothing happened are passed over, and count as done. Counting an hour again replaces what was counted; of two
    /// replicas that count at once, one waits for the other.
    async fn all_tenants_count_hour(&self, now: DateTime<Utc>) -> Result<Option<DateTime<Utc>>>;
}
