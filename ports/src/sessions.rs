//! Sessions: conversations, and the messages in them.

use crate::{
    AgentId, InboundId, JsonObject, Result, SessionId, TenantId,
    media::{ImagePart, MediaRef},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MessageRole {
    /// Orders for the model.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// The result of a tool call.
    Tool,
}

/// One message of a conversation, as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: MessageRole,
    /// The text; may be empty.
    pub content: String,
    /// What the model thought before.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub thinking: String,
    /// What the provider says this is in the course of its answer: `commentary` or `final_answer`; "" if it says nothing. It wants
    /// to hear it back.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub phase: String,
    /// The files that came with it, or that the agent made for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media_refs: Vec<MediaRef>,
    /// The tools that the model wants called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// Which call this is the result of.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub tool_call_id: String,
    /// Whether the call failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// When it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<DateTime<Utc>>,
    /// The provider's own content blocks, for the next turn of the same run. Never stored, never shown.
    #[serde(skip)]
    pub raw: Option<serde_json::Value>,
    /// Whether this is no part of the conversation, but reminds the model of what was said before it. Never stored, never shown.
    #[serde(skip)]
    pub reminds: bool,
    /// Its pictures, for the model. Never stored, never shown.
    #[serde(skip)]
    pub images: Vec<ImagePart>,
}

impl ChatMessage {
    /// A message of this role with this text and nothing else.
    #[must_use]
    pub fn new(role: MessageRole, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            thinking: String::new(),
            phase: String::new(),
            media_refs: Vec::new(),
            tool_calls: Vec::new(),
            tool_call_id: String::new(),
            is_error: false,
            created_at: None,
            raw: None,
            reminds: false,
            images: Vec::new(),
        }
    }

    /// The result of a tool call.
    #[must_use]
    pub fn tool_result(call_id: impl Into<String>, content: impl Into<String>, is_error: bool) -> Self {
        Self { tool_call_id: call_id.into(), is_error, ..Self::new(MessageRole::Tool, content) }
    }
}

/// A tool call that the model asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    /// Links the result to the call.
    pub id: String,
    /// The tool's name, as the model wrote it.
    pub name: String,
    /// The arguments; `{}` if they could not be parsed.
    pub arguments: JsonObject,
    /// What the provider wants back with the call (such as Gemini's thought signature).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Why the arguments could not be parsed; "" if they could.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub parse_error: String,
}

/// A conversation, without its messages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// Its row.
    pub id: SessionId,
    /// Its name: `agent:{agent key}:…`; at most 500 bytes, unique in the tenant.
    pub key: String,
    /// The agent that answers.
    pub agent_id: Option<AgentId>,
    /// The user who asks; "" if none.
    pub user_id: String,
    /// What was said before the oldest message that is kept.
    pub summary: String,
    /// The model that answered last.
    pub model: String,
    /// The provider that answered last.
    pub provider: String,
    /// Where the conversation takes place: `ws`, `http`, …
    pub channel: String,
    /// Its title; at most 500 characters.
    pub label: String,
    /// All input tokens so far.
    pub input_tokens: i64,
    /// All output tokens so far.
    pub output_tokens: i64,
    /// How often it was compacted.
    pub compaction_count: i32,
    /// Free values (`tool_timing`, `display_name`, …).
    pub metadata: BTreeMap<String, String>,
    /// How many messages it holds.
    pub message_count: i64,
    /// How many bytes of JSON its messages are, for estimates.
    pub message_bytes: i64,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When something was last said.
    pub updated_at: DateTime<Utc>,
}

/// What a session is opened with if it is not there yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// The id it gets.
    pub id: SessionId,
    /// Its name.
    pub key: String,
    /// The agent that answers.
    pub agent_id: AgentId,
    /// The user who asks.
    pub user_id: String,
    /// Where it takes place.
    pub channel: String,
}

/// A session at the beginning of a turn.
#[derive(Debug, Clone, PartialEq)]
pub struct Turn {
    /// The session, with what was just said.
    pub session: Session,
    /// What was said before, oldest first.
    pub past: Vec<ChatMessage>,
}

/// What changes about a session, with messages or without.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionDelta {
    /// Added to its input tokens.
    pub input_tokens: i64,
    /// Added to its output tokens.
    pub output_tokens: i64,
    /// The model that answered.
    pub model: Option<String>,
    /// The provider that answered.
    pub provider: Option<String>,
    /// Its title from now on.
    pub label: Option<String>,
    /// Values to set in its metadata.
    pub metadata: BTreeMap<String, String>,
    /// The first of the messages is this one, which waited for its turn.
    pub said: Option<InboundId>,
    /// These are answered, or nobody will answer them.
    pub answered: Vec<InboundId>,
    /// The store may answer once all of this outlives a crash of this process and of the database's, a moment before it outlives one
    /// of the machine: it is what a model said, and who asked is still owed an answer should it be gone.
    pub relaxed: bool,
}

/// A message, and its place in its session.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredMessage {
    /// Its number. Numbers count up and are never used again, but some may be missing.
    pub seq: i64,
    /// What was said.
    pub message: ChatMessage,
}

/// What takes the place of the older part of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    /// Which session.
    pub session: SessionId,
    /// The number of the last message that the summary has.
    pub through: i64,
    /// What was said until then, earlier summaries included.
    pub summary: String,
    /// How often the session had been compacted when the summary was begun: it holds for no other.
    pub after: i32,
}

/// Which sessions a list holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only sessions whose key starts `agent:{this}:`.
    pub agent_key: Option<String>,
    /// Only sessions whose key is `agent:{any}:{this}:…`.
    pub channel: Option<String>,
    /// Only sessions of this user.
    pub user_id: Option<String>,
    /// Only sessions with this title.
    pub label: Option<String>,
    /// Only sessions that changed since then.
    pub updated_since: Option<DateTime<Utc>>,
    /// At most this many.
    pub limit: i64,
    /// After this many.
    pub offset: i64,
}

/// Keeps conversations. Every method sees only rows of `tenant`.
#[async_trait]
pub trait SessionStore: Send + Sync {
    /// The session with this key, opened if it is not there. An existing one is returned as it is.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such agent.
    async fn open(&self, tenant: TenantId, new: &NewSession, now: DateTime<Utc>) -> Result<Session>;

    /// Begins a turn, in one durable step: opens the session with this key if it is not there, and adds what was `said`. The answer
    /// holds the last `limit` messages before that, with the summary that belongs to them; what somebody else adds at the same
    /// moment may be missing. If nothing was said, an existing session does not change. The first of what was said is the accepted
    /// message `waited`, if that is given.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such agent, `Forbidden` if the session is another user's; then nothing is added.
    async fn begin_turn(
        &self,
        tenant: TenantId,
        new: &NewSession,
        said: &[ChatMessage],
        waited: Option<InboundId>,
        limit: i64,
        now: DateTime<Utc>,
    ) -> Result<Turn>;

    /// The session with this key.
    async fn find(&self, tenant: TenantId, key: &str) -> Result<Option<Session>>;

    /// The sessions that match, last updated first, and how many there are in all.
    async fn list(&self, tenant: TenantId, filter: &SessionFilter) -> Result<(Vec<Session>, i64)>;

    /// How many sessions the tenant has.
    async fn count(&self, tenant: TenantId) -> Result<i64>;

    /// Adds messages at the end and applies `delta`, in one durable step: once this answers, a crash loses none of it, with the exception
    /// that [`SessionDelta::relaxed`] makes.
    /// Messages that do not say when they were said were said `now`.
    ///
    /// # Errors
    /// `NotFound` if the tenant has no such session.
    async fn append(&self, tenant: TenantId, key: &str, messages: &[ChatMessage], delta: &SessionDelta, now: DateTime<Utc>) -> Result<()>;

    /// The last `limit` messages before the one with the number `before`, or of all, oldest first. Empty for an unknown session.
    async fn messages_before(&self, tenant: TenantId, key: &str, before: Option<i64>, limit: i64) -> Result<Vec<StoredMessage>>;

    /// The first `limit` messages after the one with the number `after`, oldest first. Empty for an unknown session.
    async fn messages_after(&self, tenant: TenantId, key: &str, after: i64, limit: i64) -> Result<Vec<StoredMessage>>;

    /// The last `limit` messages, oldest first; all of them for `None`. Empty for an unknown session.
    async fn messages(&self, tenant: TenantId, key: &str, limit: Option<i64>) -> Result<Vec<ChatMessage>> {
        let stored = self.messages_before(tenant, key, None, limit.unwrap_or(i64::MAX)).await?;
        Ok(stored.into_iter().map(|stored| stored.message).collect())
    }

    /// Replaces the older part of a session by its summary, in one durable step, and counts the compaction. Messages that came
    /// since stay, and so does `updated_at`. `false`, and nothing changes, if there is no such session, its messages up to
    /// there are gone, or it was compacted since the summary was begun.
    async fn compact(&self, tenant: TenantId, compaction: &Compaction) -> Result<bool>;

    /// Sets the title of a session that has none. It does not count as a change: `updated_at` stays. `false` if there is no
    /// such session, or it has a title.
    async fn entitle(&self, tenant: TenantId, key: &str, label: &str) -> Result<bool>;

    /// Removes all messages and the summary; title, tokens and metadata stay. `false` if there is no such session.
    async fn reset(&self, tenant: TenantId, key: &str, now: DateTime<Utc>) -> Result<bool>;

    /// Deletes a session with its messages. `false` if there is none.
    async fn delete(&self, tenant: TenantId, key: &str) -> Result<bool>;
}
