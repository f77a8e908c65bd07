//! Language models: what is asked of them and how they answer.

use crate::{
    JsonObject, Message, Result, TenantId,
    embeddings::{Embedder, EmbedderSpec},
    message,
    sessions::{ChatMessage, ToolCall},
};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{fmt, sync::Arc, time::Duration};

/// How long an answer may be, in bytes, what the model thinks included: several times what models say at most. Providers give up one that
/// goes on, so that a model that never ends fills no memory.
pub const LONGEST_ANSWER: usize = 8 << 20;

/// The type of the operator's provider that is OpenAI itself and keeps its tools to the rules of strict mode. Its provider calls itself
/// `openai_compat`, which it is to everybody else; no row has this type.
pub const OPENAI: &str = "openai";

/// A tool that the model may call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// Its name.
    pub name: String,
    /// What it does and when to use it.
    pub description: String,
    /// The JSON Schema of its arguments.
    pub parameters: Value,
}

/// One question to a model.
#[derive(Debug, Clone, Default)]
pub struct ChatRequest {
    /// The model's id; "" for the provider's default.
    pub model: String,
    /// The conversation, system messages first.
    pub messages: Vec<ChatMessage>,
    /// What it may call.
    pub tools: Arc<[ToolDefinition]>,
    /// The most tokens it may answer with.
    pub max_tokens: u32,
    /// How freely it chooses words; `None` for the provider's default.
    pub temperature: Option<f64>,
    /// How hard it should think (`low`, `medium`, …); `None` to send nothing.
    pub reasoning_effort: Option<String>,
    /// Whether the answer should come in pieces. Without it, only [`ChatEvent::Done`] comes.
    pub stream: bool,
    /// The conversation that it belongs to, for providers that keep it themselves; `None` if it stands alone.
    pub conversation: Option<Conversation>,
}

/// A conversation, as providers know it that keep it themselves.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Conversation {
    /// Whose it is.
    pub tenant: TenantId,
    /// The session's key, unique in the tenant.
    pub session_key: String,
}

/// Why the model stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    /// It had said all.
    #[default]
    Stop,
    /// It wants tools called.
    ToolCalls,
    /// It ran into the token limit.
    Length,
}

impl FinishReason {
    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::ToolCalls => "tool_calls",
            Self::Length => "length",
        }
    }
}

/// What an answer took, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Read by the model.
    pub prompt_tokens: i64,
    /// Written by the model.
    pub completion_tokens: i64,
    /// Both.
    pub total_tokens: i64,
    /// Written to the provider's prompt cache.
    #[serde(default, rename = "cache_creation_input_tokens", skip_serializing_if = "is_zero")]
    pub cache_creation_tokens: i64,
    /// Read from the provider's prompt cache.
    #[serde(default, rename = "cache_read_input_tokens", skip_serializing_if = "is_zero")]
    pub cache_read_tokens: i64,
    /// Thought.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub thinking_tokens: i64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &i64) -> bool {
    *n == 0
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.prompt_tokens += other.prompt_tokens;
        self.completion_tokens += other.completion_tokens;
        self.total_tokens += other.total_tokens;
        self.cache_creation_tokens += other.cache_creation_tokens;
        self.cache_read_tokens += other.cache_read_tokens;
        self.thinking_tokens += other.thinking_tokens;
    }
}

/// A whole answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatResponse {
    /// The text.
    pub content: String,
    /// What the model thought.
    pub thinking: String,
    /// What the provider calls this part of its answer (`commentary`, `final_answer`), to hear it back later; "" if nothing.
    pub phase: String,
    /// What it wants called.
    pub tool_calls: Vec<ToolCall>,
    /// Why it stopped.
    pub finish_reason: FinishReason,
    /// What it took; `None` if the provider did not say.
    pub usage: Option<Usage>,
    /// What it cost in US dollars, if the provider says so.
    pub cost: Option<f64>,
    /// The provider's own content blocks, if they must go back unchanged in the next turn.
    pub raw: Option<Value>,
}

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum ChatEvent {
    /// The next bit of text.
    Text(String),
    /// The next bit of thought.
    Thinking(String),
    /// The call failed and is tried again.
    Retrying {
        /// The attempt that failed, from 1.
        attempt: u32,
        /// How many there are.
        max_attempts: u32,
        /// Why, scrubbed of secrets.
        error: String,
    },
    /// Which of several accounts is asked now, or has answered. What was told before holds no more.
    Routed(Box<Routing>),
    /// The provider that was asked failed before it said anything, and another one is asked now.
    Elsewhere(Box<Elsewhere>),
    /// The end: the whole answer.
    Done(Box<ChatResponse>),
}

/// How a question found the account that answers it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Routing {
    /// The provider that the agent names.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pool_owner_provider: String,
    /// How the first account was chosen.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub strategy: String,
    /// Those that there were to choose from, in the pool's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pool_providers: Vec<String>,
    /// The one that was asked first.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub selected_provider: String,
    /// The one that answered.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub serving_provider: String,
    /// Those that were asked, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attempted_providers: Vec<String>,
    /// Those of them that were asked because another failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failover_providers: Vec<String>,
    /// How many were asked.
    #[serde(skip_serializing_if = "is_none_at_all")]
    pub attempt_count: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none_at_all(n: &u32) -> bool {
    *n == 0
}

/// Who is asked instead of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The provider that is asked now.
    pub provider: String,
    /// Its type.
    #[serde(skip)]
    pub provider_type: String,
    /// The model that is asked there.
    pub model: String,
    /// The provider that failed.
    pub instead_of: String,
    /// Why, scrubbed of secrets; "" if it failed at an earlier question.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

/// An answer as it comes: pieces, then exactly one [`ChatEvent::Done`], or an error. Dropping it ends the upstream call.
pub type ChatStream = BoxStream<'static, Result<ChatEvent, LlmError>>;

/// What kind of failure an upstream had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LlmErrorKind {
    /// It did not answer in time.
    Timeout,
    /// The conversation is too long for the model.
    ContextOverflow,
    /// It refuses the order of the messages.
    History,
    /// Too many requests.
    RateLimit,
    /// Too busy.
    Overloaded,
    /// No money.
    Billing,
    /// The key is wrong.
    Auth,
    /// It does not know the model.
    Model,
    /// Anything else.
    Other,
}

/// A failed call to a model.
#[derive(Debug, Clone)]
pub struct LlmError {
    /// What kind of failure.
    pub kind: LlmErrorKind,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// The provider's text, shortened and scrubbed of secrets. For logs, traces and the provider's own admin.
    pub text: String,
    /// When the provider asks to come back.
    pub retry_after: Option<Duration>,
}

/// Whether an upstream's words say that what an account may use is used up, for hours or until somebody pays. Limits by the minute, which
/// some vendors call quotas as well, soon pass and are none.
#[must_use]
pub fn tells_used_up_quota(words: &str) -> bool {
    // Codes and sentences alike: "usage_limit_reached", "The usage limit has been reached".
    let words: String = words.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    let tells = |signs: &[&str]| signs.iter().any(|sign| words.contains(sign));
    let soon_passes = || tells(&["perminute", "persecond", "pleaseretry", "retrydelay", "throttling"]) && !tells(&["perday"]);
    tells(&["usagelimit", "insufficientquota"]) || (tells(&["quota", "insufficientbalance"]) && !soon_passes())
}

impl fmt::Display for LlmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for LlmError {}

impl LlmError {
    /// Whether the same question may be answered later, or elsewhere.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self.status {
            Some(408 | 429 | 500 | 502 | 503 | 504 | 529) => true,
            // Some vendors answer 409 while a lock on the conversation is held; other conflicts stay.
            Some(409) => self.text.to_ascii_lowercase().contains("lock"),
            Some(_) => false,
            None => {
                let text = self.text.to_ascii_lowercase();
                self.kind == LlmErrorKind::Timeout
                    || ["network error", "connection reset", "broken pipe", "eof", "timeout"].iter().any(|sign| text.contains(sign))
            }
        }
    }

    /// Whether what the account may use is used up: another one may answer, this one will not soon.
    #[must_use]
    pub fn quota_used_up(&self) -> bool {
        matches!(self.status, None | Some(429)) && tells_used_up_quota(&self.text)
    }

    /// What a user is told: the class of the failure, never the provider's own words.
    #[must_use]
    pub fn message(&self) -> Message {
        match self.kind {
            LlmErrorKind::Timeout => message::upstream_timeout(),
            LlmErrorKind::ContextOverflow => message::upstream_context(),
            LlmErrorKind::History => message::upstream_history(),
            LlmErrorKind::RateLimit => message::upstream_rate_limit(),
            LlmErrorKind::Overloaded => message::upstream_overloaded(),
            LlmErrorKind::Billing => message::upstream_billing(),
            LlmErrorKind::Auth => message::upstream_auth(),
            LlmErrorKind::Model => message::upstream_model(),
            LlmErrorKind::Other => message::upstream_other(),
        }
    }
}

/// A model that a provider offers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelInfo {
    /// Its id.
    pub id: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A place that answers questions: an account at an LLM vendor, or a local server.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The name that agents use.
    fn name(&self) -> &str;
    /// Its type (`anthropic_native`, `openai_compat`, …).
    fn provider_type(&self) -> &str;
    /// The model that stands in where none is named; "" if it has none.
    fn default_model(&self) -> &str;
    /// Asks. Retries what may be retried until the answer begins; never after. An account that has nothing left, or asks for more patience
    /// than there is, is given up at once.
    fn chat(&self, request: ChatRequest) -> ChatStream;
    /// The models it offers, as it says itself.
    async fn models(&self) -> Result<Vec<ModelInfo>, LlmError>;
    /// The settings that it was made with; `None` if it keeps none.
    fn settings(&self) -> Option<&JsonObject> {
        None
    }
    /// What the account behind it has used up and may still use, in the vendor's own JSON. `None` if it is no such account.
    async fn quota(&self) -> Option<Result<Vec<u8>, LlmError>> {
        None
    }
    /// The conversation begins anew: what the provider keeps of it goes. Most keep nothing.
    async fn forget(&self, _conversation: &Conversation) {}
}

/// What opens an account that a person has signed in to, for a while.
#[derive(Clone)]
pub struct Bearer {
    /// The access token.
    pub token: SecretString,
    /// The account at the vendor, if it is known.
    pub account_id: Option<String>,
}

/// Gives each call the access token of its moment.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// A token that is good now, as far as is known.
    ///
    /// # Errors
    /// Of kind `Auth` if there is none: somebody has to sign in again.
    async fn bearer(&self) -> Result<Bearer, LlmError>;
}

/// Who is logged in at a provider's command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliAccount {
    /// Whether somebody is.
    pub logged_in: bool,
    /// Who; "" if it does not say.
    pub email: String,
    /// What they pay for; "" if it does not say.
    pub subscription_type: String,
}

/// Claude's command line on this machine.
#[async_trait]
pub trait ClaudeCli: Send + Sync {
    /// Who is logged in at the program: an absolute path, or a name that is looked for.
    ///
    /// # Errors
    /// Why it does not tell, in words.
    async fn account(&self, program: &str) -> Result<CliAccount, String>;
    /// Whether there is such a program.
    fn finds(&self, program: &str) -> bool;
    /// Whether the gateway runs in a container, which has no login of its own.
    fn in_container(&self) -> bool;
}

/// What a provider is made from.
#[derive(Clone)]
pub struct ProviderSpec {
    /// The name that agents use.
    pub name: String,
    /// Its type, or [`OPENAI`].
    pub provider_type: String,
    /// The base URL, never empty.
    pub api_base: String,
    /// The key; `None` for types that need none.
    pub api_key: Option<SecretString>,
    /// What takes the key's place, for accounts whose tokens expire.
    pub credentials: Option<Arc<dyn Credentials>>,
    /// The model that stands in where none is named; "" if there is none.
    pub default_model: String,
    /// Whether an operator set the base (file, environment), so that it may name a private host.
    pub trusted: bool,
    /// The row's settings.
    pub settings: JsonObject,
}

/// Makes providers.
pub trait ProviderFactory: Send + Sync {
    /// Whether this build speaks the type.
    fn speaks(&self, provider_type: &str) -> bool;
    /// A provider that is ready to be asked.
    ///
    /// # Errors
    /// `Invalid` if the type is not spoken or the base is no URL that may be called.
    fn build(&self, spec: ProviderSpec) -> Result<Arc<dyn Provider>>;
    /// What turns texts into vectors at a provider.
    ///
    /// # Errors
    /// As [`Self::build`].
    fn embedder(&self, spec: EmbedderSpec) -> Result<Arc<dyn Embedder>>;
    /// Whether a base that came through the API may be called: a message says why not.
    ///
    /// # Errors
    /// `Invalid` with the reason.
    fn check_base(&self, api_base: &str) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_up_is_told_apart_from_what_soon_passes() {
        for (words, used_up) in [
            (r#"{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","resets_in_seconds":9000}}"#, true),
            (r#"{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","code":"insufficient_quota"}}"#, true),
            ("Usage limit reached for 5 hour. Your limit will reset at 2026-01-02 03:04:05", true),
            ("Quota exceeded", true),
            ("Insufficient balance or no resource package. Please recharge.", true),
            (r#"You exceeded your current quota. Please retry in 31.5s. "quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier""#, true),
            (r#"You exceeded your current quota. "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier""#, false),
            ("Quota exceeded for generate_content_requests_per_minute_per_project_per_base_model", false),
            ("exceeded token rate limit. Please retry after 6 seconds. See https://aka.ms/oai/quotaincrease for a higher limit.", false),
            (r#"{"code":"Throttling.AllocationQuota","message":"Allocated quota exceeded"}"#, false),
            ("Rate limit reached for requests", false),
            ("slow down", false),
            ("", false),
        ] {
            assert_eq!(tells_used_up_quota(words), used_up, "{words}");
            let error = |status| LlmError { kind: LlmErrorKind::RateLimit, status, text: words.into(), retry_after: None };
            assert_eq!((error(Some(429)).quota_used_up(), error(None).quota_used_up()), (used_up, used_up), "{words}");
            assert!(!error(Some(503)).quota_used_up(), "{words}");
        }
    }
}
