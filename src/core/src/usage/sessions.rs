//! What conversations took.

use super::Usage;
use crate::caller::{Access, Caller};
use goclaw_ports::{
    Result,
    roles::Role,
    usage::{SessionUsage, SessionUsageFilter},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The most conversations of one page.
const MAX_PAGE: i64 = 200;
/// The conversations of a page, where nothing sensible is asked for.
const PAGE: i64 = 20;

/// Which conversations are asked for.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct UsageQuery {
    /// The key of their agent.
    pub agent_id: String,
    /// How many; 20 if it is not positive, at most 200.
    pub limit: i64,
    /// After how many.
    pub offset: i64,
}

/// A page of conversations that took tokens.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct UsageRecords {
    /// Last updated first.
    pub records: Vec<SessionRecord>,
    /// How many there are in all.
    pub total: i64,
    /// How many were asked for.
    pub limit: i64,
    /// After how many.
    pub offset: i64,
}

/// What a conversation took.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionRecord {
    /// The key of its agent.
    pub agent_id: String,
    /// Its key.
    pub session_key: String,
    /// The model that answered last.
    pub model: String,
    /// The provider that answered last.
    pub provider: String,
    /// Read by models.
    pub input_tokens: i64,
    /// Written by models.
    pub output_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// When something was last said, in milliseconds since 1970.
    pub timestamp: i64,
}

/// What conversations took, by agent.
#[derive(Debug, Clone, Default, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UsageBySession {
    /// By the agent's key.
    pub by_agent: BTreeMap<String, AgentTokens>,
    /// How many conversations took tokens.
    pub total_records: i64,
}

/// What the conversations of an agent took.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentTokens {
    /// Read by models.
    pub input_tokens: i64,
    /// Written by models.
    pub output_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// How many conversations.
    pub sessions: i64,
}

impl From<SessionUsage> for SessionRecord {
    fn from(usage: SessionUsage) -> Self {
        Self {
            agent_id: usage.agent_key().to_owned(),
            total_tokens: usage.input_tokens + usage.output_tokens,
            timestamp: usage.updated_at.timestamp_millis(),
            session_key: usage.session_key,
            model: usage.model,
            provider: usage.provider,
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
        }
    }
}

impl Usage {
    /// What conversations took: all of the tenant for admins, their own for others.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn records(&self, caller: &Caller, query: UsageQuery) -> Result<UsageRecords> {
        caller.require(Role::Viewer, Access::Read, "usage.get")?;
        let limit = if query.limit <= 0 { PAGE } else { query.limit.min(MAX_PAGE) };
        let offset = query.offset.max(0);
        let user_id = own(caller);
        if user_id.as_deref() == Some("") {
            return Ok(UsageRecords { records: vec![], total: 0, limit, offset: 0 });
        }
        let filter = SessionUsageFilter { agent_key: Some(query.agent_id).filter(|key| !key.is_empty()), user_id, limit, offset };
        let (sessions, total) = self.store.sessions(caller.tenant, &filter).await?;
        Ok(UsageRecords { records: sessions.into_iter().map(SessionRecord::from).collect(), total, limit, offset: offset.min(total) })
    }

    /// What conversations took, by agent: all of the tenant for admins, their own for others.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn by_session(&self, caller: &Caller) -> Result<UsageBySession> {
        caller.require(Role::Viewer, Access::Read, "usage.summary")?;
        let user = own(caller);
        if user.as_deref() == Some("") {
            return Ok(UsageBySession::default());
        }
        let agents = self.store.sessions_by_agent(caller.tenant, user.as_deref()).await?;
        Ok(UsageBySession {
            total_records: agents.iter().map(|agent| agent.sessions).sum(),
            by_agent: agents
                .into_iter()
                .map(|agent| {
                    let (input_tokens, output_tokens, sessions) = (agent.input_tokens, agent.output_tokens, agent.sessions);
                    (agent.agent_key, AgentTokens { input_tokens, output_tokens, total_tokens: input_tokens + output_tokens, sessions })
                })
                .collect(),
        })
    }
}

/// Whose conversations the caller sees; `None` for all, "" for nobody's.
fn own(caller: &Caller) -> Option<String> {
    (!caller.is_admin()).then(|| caller.user.to_string())
}
