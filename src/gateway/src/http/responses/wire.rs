//! Our own shape of responses.

use crate::http::{
    chat::wire::CompletionUsage,
    streaming::{Form, record},
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use goclaw_core::chat::{InputMessage, RunOutcome};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

/// What is asked. Other parameters of OpenAI's are accepted and ignored.
#[derive(Deserialize, JsonSchema)]
pub struct ResponsesRequest {
    /// `goclaw:<key or id>` or `agent:<key or id>` of an agent; anything else leaves the choice to the headers.
    pub model: Option<String>,
    /// The chat; only the last message of the user is used. Required unless there is `input`.
    pub messages: Option<Vec<InputMessage>>,
    /// The same as OpenAI's clients send it: a text, or a list of items. The answer is then in OpenAI's shape.
    pub input: Option<ResponseInput>,
    /// Orders for this answer alone.
    pub instructions: Option<String>,
    /// Whether to answer with server-sent events.
    pub stream: Option<bool>,
    /// The user, if neither a header nor the API key names one. Nobody has to be named.
    pub user: Option<String>,
}

/// A question, as OpenAI's clients send it.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ResponseInput {
    /// A text of the user.
    Text(String),
    /// A chat. Items that are no messages are ignored.
    Items(Vec<InputMessage>),
}

/// An answer in either shape.
#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub enum ResponseAnswer {
    /// To a request with `messages`.
    Ours(ResponseObject),
    /// To a request with `input`: OpenAI's response object.
    OpenAi(Map<String, Value>),
}

/// A response.
#[derive(Serialize, JsonSchema)]
pub struct ResponseObject {
    /// `resp-` and the first 8 characters of the run's id.
    id: String,
    /// `completed`.
    status: &'static str,
    /// One message.
    output: [OutputMessage; 1],
    /// What it took; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<CompletionUsage>,
}

/// The message of a response.
#[derive(Serialize, JsonSchema)]
pub struct OutputMessage {
    /// `message`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// `assistant`.
    role: &'static str,
    /// One text.
    content: [OutputText; 1],
}

/// A text of a response.
#[derive(Serialize, JsonSchema)]
pub struct OutputText {
    /// `text`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The text.
    text: String,
}

/// An event of a streamed response: `response.started`, `response.delta`s, `response.done`.
#[derive(Serialize, JsonSchema)]
pub struct ResponseEvent<'a> {
    /// Which of them.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The response, as it is then; not in deltas.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ResponseState<'a>>,
    /// What is new; in deltas.
    #[serde(skip_serializing_if = "Option::is_none")]
    delta: Option<ResponseDelta<'a>>,
}

/// How far a streamed response is.
#[derive(Serialize, JsonSchema)]
pub struct ResponseState<'a> {
    /// The same in all events.
    id: &'a str,
    /// `in_progress`, `completed` or `failed`.
    status: &'static str,
    /// In Unix seconds; in `response.started`.
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<i64>,
    /// What it took; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<CompletionUsage>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// More of a streamed response.
#[derive(Serialize, JsonSchema)]
pub struct ResponseDelta<'a> {
    /// `content`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// More text.
    content: &'a str,
}

/// A response that is being made.
pub(super) struct Response {
    id: String,
    created_at: i64,
}

impl Response {
    /// Of this run, now.
    pub(super) fn new(run: Uuid, now: DateTime<Utc>) -> Self {
        let run = run.simple().to_string();
        Self { id: format!("resp-{}", run.get(..8).unwrap_or(&run)), created_at: now.timestamp() }
    }

    /// The whole answer.
    pub(super) fn completed(self, outcome: RunOutcome) -> ResponseObject {
        let content = [OutputText { kind: "text", text: outcome.content }];
        let output = [OutputMessage { kind: "message", role: "assistant", content }];
        ResponseObject { id: self.id, status: "completed", output, usage: outcome.usage.map(CompletionUsage::from) }
    }

    fn is(&self, kind: &'static str, status: &'static str, usage: Option<CompletionUsage>, error: Option<String>) -> Bytes {
        let created_at = (status == "in_progress").then_some(self.created_at);
        let response = ResponseState { id: &self.id, status, created_at, usage, error };
        record(None, &ResponseEvent { kind, response: Some(response), delta: None })
    }
}

impl Form for Response {
    fn begin(&mut self) -> Vec<Bytes> {
        vec![self.is("response.started", "in_progress", None, None)]
    }

    fn text(&mut self, text: &str) -> Bytes {
        record(None, &ResponseEvent { kind: "response.delta", response: None, delta: Some(ResponseDelta { kind: "content", content: text }) })
    }

    fn end(&mut self, end: Result<RunOutcome, String>) -> Vec<Bytes> {
        vec![match end {
            Ok(outcome) => self.is("response.done", "completed", outcome.usage.map(CompletionUsage::from), None),
            Err(why) => self.is("response.done", "failed", None, Some(why)),
        }]
    }
}
