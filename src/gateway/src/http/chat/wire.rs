//! The shapes of OpenAI's chat completions.

use crate::http::streaming::{Form, record};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use goclaw_core::chat::{InputMessage, RunOutcome};
use goclaw_ports::llm;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A chat to complete. Other parameters of OpenAI's are accepted and ignored.
#[derive(Deserialize, JsonSchema)]
pub struct ChatRequest {
    /// `goclaw:<key or id>` or `agent:<key or id>` of an agent; anything else leaves the choice to the headers.
    pub model: Option<String>,
    /// The chat; only the last message of the user is used. Required.
    pub messages: Option<Vec<InputMessage>>,
    /// Whether to answer with server-sent events.
    pub stream: Option<bool>,
    /// The user, if neither a header nor the API key names one.
    pub user: Option<String>,
}

/// A completed chat.
#[derive(Serialize, JsonSchema)]
pub struct ChatCompletion {
    /// `chatcmpl-` and the first 8 characters of the run's id.
    id: String,
    /// `chat.completion`.
    object: &'static str,
    /// In Unix seconds.
    created: i64,
    /// The model of the request.
    model: String,
    /// One choice.
    choices: [Choice; 1],
    /// What it took; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<CompletionUsage>,
}

/// An answer.
#[derive(Serialize, JsonSchema)]
pub struct Choice {
    /// 0.
    index: u32,
    /// The answer.
    message: AnswerMessage,
    /// `stop`.
    finish_reason: &'static str,
}

/// The message of an answer.
#[derive(Serialize, JsonSchema)]
pub struct AnswerMessage {
    /// `assistant`.
    role: &'static str,
    /// The text.
    content: String,
}

/// Tokens.
#[derive(Serialize, JsonSchema)]
pub struct CompletionUsage {
    /// Read by the model.
    prompt_tokens: i64,
    /// Written by the model.
    completion_tokens: i64,
    /// Both.
    total_tokens: i64,
}

/// A piece of an answer.
#[derive(Serialize, JsonSchema)]
pub struct ChatCompletionChunk<'a> {
    /// The same in all chunks.
    id: &'a str,
    /// `chat.completion.chunk`.
    object: &'static str,
    /// In Unix seconds; the same in all chunks.
    created: i64,
    /// The model of the request.
    model: &'a str,
    /// One choice.
    choices: [ChunkChoice<'a>; 1],
}

/// A piece of the answer.
#[derive(Serialize, JsonSchema)]
pub struct ChunkChoice<'a> {
    /// 0.
    index: u32,
    /// What is new.
    delta: Delta<'a>,
    /// `stop` in the last chunk, else `null`.
    finish_reason: Option<&'static str>,
}

/// What is new in a chunk. Both keys are always there, because some clients read them unasked.
#[derive(Serialize, JsonSchema)]
pub struct Delta<'a> {
    /// `assistant` in the first chunk, else "".
    role: &'static str,
    /// More text.
    content: &'a str,
}

/// What all parts of one answer share.
pub(crate) struct Envelope {
    id: String,
    created: i64,
    model: String,
}

impl Envelope {
    /// Of this run, now.
    pub(crate) fn new(run: Uuid, now: DateTime<Utc>, model: String) -> Self {
        let run = run.simple().to_string();
        Self { id: format!("chatcmpl-{}", run.get(..8).unwrap_or(&run)), created: now.timestamp(), model }
    }

    /// The whole answer.
    pub(super) fn completion(self, outcome: RunOutcome) -> ChatCompletion {
        let message = AnswerMessage { role: "assistant", content: outcome.content };
        ChatCompletion {
            id: self.id,
            object: "chat.completion",
            created: self.created,
            model: self.model,
            choices: [Choice { index: 0, message, finish_reason: "stop" }],
            usage: outcome.usage.map(CompletionUsage::from),
        }
    }

    /// One piece of it.
    fn chunk<'a>(&'a self, role: &'static str, content: &'a str, finish_reason: Option<&'static str>) -> ChatCompletionChunk<'a> {
        ChatCompletionChunk {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            choices: [ChunkChoice { index: 0, delta: Delta { role, content }, finish_reason }],
        }
    }
}

impl Form for Envelope {
    fn begin(&mut self) -> Vec<Bytes> {
        vec![record(None, &self.chunk("assistant", "", None))]
    }

    fn text(&mut self, text: &str) -> Bytes {
        record(None, &self.chunk("", text, None))
    }

    fn end(&mut self, end: Result<RunOutcome, String>) -> Vec<Bytes> {
        let text = end.err().map(|why| format!("Error: {why}")).unwrap_or_default();
        vec![record(None, &self.chunk("", &text, Some("stop"))), Bytes::from_static(b"data: [DONE]\n\n")]
    }
}

impl From<llm::Usage> for CompletionUsage {
    fn from(usage: llm::Usage) -> Self {
        Self { prompt_tokens: usage.prompt_tokens, completion_tokens: usage.completion_tokens, total_tokens: usage.total_tokens }
    }
}
