//! Sessions, as their users see them.

mod change;
pub(crate) mod tools;

pub use change::{SessionPatch, SessionPatched};

use crate::{
    audit::Audit,
    caller::{Access, Caller},
    files::Files,
    providers::Registry,
    runs::{Runs, elsewhere::Elsewhere},
    settings::TenantSettings,
};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, Result,
    agents::{AgentFilter, AgentStore},
    clock::Clock,
    events::EventBus,
    locks::Locks,
    roles::Role,
    sessions::{ChatMessage, Session, SessionFilter, SessionStore},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

/// The most sessions of one page.
const MAX_PAGE: i64 = 200;
/// The most messages of one page.
const MAX_HISTORY: i64 = 2_000;
/// Tokens that every prompt has beside the messages, for estimates.
const PROMPT_TOKENS: i64 = 12_000;

/// What may be done with sessions.
pub struct Sessions {
    pub(crate) store: Arc<dyn SessionStore>,
    pub(crate) agents: Arc<dyn AgentStore>,
    pub(crate) settings: Arc<TenantSettings>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) locks: Arc<dyn Locks>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) files: Arc<Files>,
    pub(crate) audit: Audit,
    pub(crate) bus: Arc<dyn EventBus>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Which sessions are asked for.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct SessionQuery {
    /// An agent's key.
    #[serde(alias = "agent_key", alias = "agent_id")]
    pub agent_id: Option<String>,
    /// `ws`, `http`, …
    pub channel: Option<String>,
    /// How many; 20 if it is not positive, at most 200.
    pub limit: i64,
    /// After how many.
    pub offset: i64,
}

/// A page of sessions.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SessionPage {
    /// Last updated first.
    pub sessions: Vec<SessionInfo>,
    /// How many there are in all.
    pub total: i64,
    /// How many were asked for.
    pub limit: i64,
    /// After how many.
    pub offset: i64,
}

/// A session, as lists show it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of Session")]
pub struct SessionInfo {
    pub key: String,
    pub message_count: i64,
    pub created: DateTime<Utc>,
    pub updated: DateTime<Utc>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub label: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub channel: String,
    #[serde(rename = "userID", skip_serializing_if = "String::is_empty")]
    pub user_id: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub model: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub provider: String,
    #[serde(skip_serializing_if = "zero")]
    pub input_tokens: i64,
    #[serde(skip_serializing_if = "zero")]
    pub output_tokens: i64,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub agent_name: String,
    pub estimated_tokens: i64,
    pub context_window: i64,
    #[serde(skip_serializing_if = "zero")]
    pub compaction_count: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn zero(n: &i64) -> bool {
    *n == 0
}

/// Which part of a session's messages is asked for.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default, rename_all = "camelCase")]
pub struct HistoryQuery {
    /// Which session.
    pub session_key: String,
    /// How many messages; 2,000 if it is not positive, and at most.
    pub limit: i64,
    /// Only messages before this place, which an earlier answer named.
    pub before: Option<i64>,
}

/// A page of what was said in a session.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    /// What was said, oldest first.
    pub messages: Vec<ChatMessage>,
    /// Where the page before this one ends; absent if nothing was said before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<i64>,
}

/// A session with what was said in it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct SessionPreview {
    /// Its key.
    pub key: String,
    /// What was said, oldest first.
    pub messages: Vec<ChatMessage>,
    /// What was said before.
    pub summary: String,
}

impl Sessions {
    /// The sessions that the caller may see: admins all of the tenant, others their own.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn list(&self, caller: &Caller, query: SessionQuery) -> Result<SessionPage> {
        caller.require(Role::Viewer, Access::Read, "sessions.list")?;
        let limit = if query.limit <= 0 { 20 } else { query.limit.min(MAX_PAGE) };
        let offset = query.offset.max(0);
        let filter = SessionFilter {
            agent_key: query.agent_id.filter(|key| !key.is_empty()),
            channel: query.channel.filter(|channel| !channel.is_empty()),
            user_id: (!caller.is_admin()).then(|| caller.user.to_string()),
            limit,
            offset,
            ..SessionFilter::default()
        };
        if filter.user_id.as_deref() == Some("") {
            return Ok(SessionPage { sessions: vec![], total: 0, limit, offset });
        }
        let (sessions, total) = self.store.list(caller.tenant, &filter).await?;
        let agents = self.agents.list(caller.tenant, &AgentFilter::default()).await?;
        let agents: HashMap<_, _> = agents.into_iter().map(|agent| (agent.id, agent)).collect();
        let default_window = self.settings.of(caller.tenant).await?.agents.context_window;
        let info = |session: Session| {
            let agent = session.agent_id.and_then(|id| agents.get(&id));
            SessionInfo {
                agent_name: agent.map(|agent| agent.display_name.clone()).unwrap_or_default(),
                context_window: agent.map_or(default_window, |agent| agent.context_window),
                estimated_tokens: session.message_bytes / 4 + PROMPT_TOKENS,
                compaction_count: session.compaction_count.into(),
                key: session.key,
                message_count: session.message_count,
                created: session.created_at,
                updated: session.updated_at,
                label: session.label,
                channel: session.channel,
                user_id: session.user_id,
                metadata: session.metadata,
                model: session.model,
                provider: session.provider,
                input_tokens: session.input_tokens,
                output_tokens: session.output_tokens,
            }
        };
        Ok(SessionPage { sessions: sessions.into_iter().map(info).collect(), total, limit, offset })
    }

    /// What was said in a session. Admins get an empty answer for an unknown one.
    ///
    /// # Errors
    /// `NotFound`, or `Forbidden` for another user's, for callers below admin; `Invalid` without a key.
    pub async fn preview(&self, caller: &Caller, key: &str) -> Result<SessionPreview> {
        caller.require(Role::Viewer, Access::Read, "sessions.preview")?;
        if key.is_empty() {
            return Err(Error::required("key"));
        }
        let session = self.visible(caller, key).await?;
        if session.is_none() && !caller.is_admin() {
            return Err(Error::not_found("session", key));
        }
        let mut messages = match &session {
            Some(_) => self.store.messages(caller.tenant, key, Some(MAX_HISTORY)).await?,
            None => vec![],
        };
        let mut summary = session.map(|session| session.summary).unwrap_or_default();
        self.files.linked(caller, &mut messages, &mut summary).await?;
        Ok(SessionPreview { key: key.into(), messages, summary })
    }

    /// What was said in a session last, or before a place, oldest first; nothing for an unknown one.
    ///
    /// # Errors
    /// `Forbidden` for another user's, for callers below admin; `Invalid` without a key.
    pub async fn history(&self, caller: &Caller, query: &HistoryQuery) -> Result<HistoryPage> {
        caller.require(Role::Viewer, Access::Read, "chat.history")?;
        let key = &query.session_key;
        if key.is_empty() {
            return Err(Error::required("sessionKey"));
        }
        if self.visible(caller, key).await?.is_none() {
            return Ok(HistoryPage { messages: vec![], before: None });
        }
        let limit = if query.limit <= 0 { MAX_HISTORY } else { query.limit.min(MAX_HISTORY) };
        // One more tells whether there are any more.
        let mut found = self.store.messages_before(caller.tenant, key, query.before, limit + 1).await?;
        let older = usize::try_from(limit).is_ok_and(|limit| found.len() > limit);
        if older {
            found.remove(0);
        }
        let before = found.first().filter(|_| older).map(|first| first.seq);
        let mut messages: Vec<ChatMessage> = found.into_iter().map(|stored| stored.message).collect();
        self.files.linked(caller, &mut messages, &mut String::new()).await?;
        Ok(HistoryPage { messages, before })
    }

    /// The session, if there is one.
    ///
    /// # Errors
    /// `Forbidden` if it is another user's and the caller is no admin.
    pub(crate) async fn visible(&self, caller: &Caller, key: &str) -> Result<Option<Session>> {
        let session = self.store.find(caller.tenant, key).await?;
        if session.as_ref().is_some_and(|session| !caller.is_admin() && (caller.user.is_empty() || session.user_id != *caller.user)) {
            return Err(Error::forbidden("this session belongs to another user"));
        }
        Ok(session)
    }
}
