//! Answers in OpenAI's dialect.

use super::gemini::SIGNATURE;
use crate::{
    answer::{Answer, usage},
    chat::{Decoder, Reported},
    text::{Text, describe, tool_call},
};
use goclaw_ports::{
    llm::{ChatEvent, ChatResponse, Usage},
    sessions::ToolCall,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
};

/// A chunk of a stream, or a whole answer: they differ only in the name of what a choice holds.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    usage: Option<UsageWire>,
    error: Option<Value>,
    /// How MiniMax reports failures, with status 200.
    base_resp: Option<BaseResp>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow, alias = "message")]
    delta: Option<Delta<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Text<'a>>,
}

#[derive(Deserialize, Default)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning_content: Option<Text<'a>>,
    #[serde(borrow)]
    reasoning: Option<Text<'a>>,
    reasoning_details: Option<Vec<Value>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolDelta<'a>>>,
}

#[derive(Deserialize)]
struct ToolDelta<'a> {
    index: Option<i64>,
    #[serde(borrow)]
    id: Option<Text<'a>>,
    #[serde(borrow)]
    function: Option<FunctionDelta<'a>>,
}

#[derive(Deserialize)]
struct FunctionDelta<'a> {
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
    thought_signature: Option<String>,
}

/// Some servers send the arguments as they are instead of as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Arguments<'a> {
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Object(Map<String, Value>),
}

#[derive(Deserialize)]
struct BaseResp {
    #[serde(default)]
    status_code: i64,
    #[serde(default)]
    status_msg: String,
}

#[derive(Deserialize, Clone, Copy)]
struct UsageWire {
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    total_tokens: Option<i64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
}

#[derive(Deserialize, Clone, Copy)]
struct PromptDetails {
    cached_tokens: Option<i64>,
}

#[derive(Deserialize, Clone, Copy)]
struct CompletionDetails {
    reasoning_tokens: Option<i64>,
}

impl From<UsageWire> for Usage {
    fn from(wire: UsageWire) -> Self {
        let cached = wire.prompt_tokens_details.and_then(|details| details.cached_tokens);
        let thought = wire.completion_tokens_details.and_then(|details| details.reasoning_tokens);
        usage(wire.prompt_tokens, wire.completion_tokens, wire.total_tokens, cached, thought)
    }
}

/// A tool call as it grows.
#[derive(Default)]
struct Growing {
    index: Option<i64>,
    id: String,
    name: String,
    arguments: String,
    signature: Option<String>,
}

/// Reads an answer in pieces.
#[derive(Default)]
pub(crate) struct OpenAiDecoder {
    answer: Answer,
    calls: Vec<Growing>,
    finish: Option<String>,
    usage: Option<Usage>,
}

impl Decoder for OpenAiDecoder {
    fn event(&mut self, data: &[u8], out: &mut VecDeque<ChatEvent>) -> Result<(), Reported> {
        if data.trim_ascii() == b"[DONE]" {
            out.push_back(ChatEvent::Done(Box::new(self.response())));
            return Ok(());
        }
        match serde_json::from_slice::<Chunk>(data) {
            Ok(chunk) => self.take(chunk, out),
            // Keep-alives and other noise of gateways in between.
            Err(_) => Ok(()),
        }
    }

    fn end(&mut self) -> Option<ChatResponse> {
        // Some servers leave the marker out; the reason for stopping is as good an end.
        self.finish.is_some().then(|| self.response())
    }
}

impl OpenAiDecoder {
    fn take(&mut self, chunk: Chunk<'_>, out: &mut VecDeque<ChatEvent>) -> Result<(), Reported> {
        if let Some(error) = chunk.error.filter(|error| !error.is_null()) {
            let (code, text) = describe(&error);
            return Err(Reported { code, text: format!("stream error: {text}") });
        }
        if let Some(failed) = chunk.base_resp.filter(|resp| resp.status_code != 0) {
            return Err(Reported::new(format!("stream error: {}: {}", failed.status_code, failed.status_msg)));
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(usage.into());
        }
        let Some(choice) = chunk.choices.unwrap_or_default().into_iter().next() else { return Ok(()) };
        let delta = choice.delta.unwrap_or_default();
        let thought = delta.reasoning_content.or(delta.reasoning).map(|text| text.0).filter(|text| !text.is_empty());
        if let Some(thought) = thought.or_else(|| delta.reasoning_details.as_deref().and_then(details_text).map(Cow::Owned)) {
            self.answer.think(thought, out);
        }
        if let Some(Text(content)) = delta.content {
            self.answer.say(content, out);
        }
        for call in delta.tool_calls.unwrap_or_default() {
            self.grow(call);
        }
        if let Some(Text(reason)) = choice.finish_reason.filter(|reason| !reason.0.is_empty()) {
            self.finish = Some(reason.into_owned());
        }
        Ok(())
    }

    fn grow(&mut self, delta: ToolDelta<'_>) {
        let id = delta.id.map(|id| id.0).unwrap_or_default();
        let (name, arguments, signature) = match delta.function {
            Some(function) => (function.name.map(|name| name.0).unwrap_or_default(), function.arguments, function.thought_signature),
            None => (Cow::Borrowed(""), None, None),
        };
        let found = match delta.index {
            // Some servers give all parallel calls the same index, so another id is another call.
            Some(index) => self
                .calls
                .iter()
                .rposition(|call| call.index == Some(index))
                .filter(|at| id.is_empty() || self.calls[*at].id.is_empty() || self.calls[*at].id == id),
            None if !id.is_empty() => self.calls.iter().rposition(|call| call.id == id),
            None if !name.is_empty() => None,
            None => self.calls.len().checked_sub(1),
        };
        let at = found.unwrap_or_else(|| {
            self.calls.push(Growing { index: delta.index, ..Growing::default() });
            self.calls.len() - 1
        });
        let call = &mut self.calls[at];
        if call.id.is_empty() {
            call.id = id.into_owned();
        }
        if !name.trim().is_empty() {
            call.name = name.into_owned();
        }
        match arguments {
            Some(Arguments::Text(text)) => call.arguments.push_str(&text),
            Some(Arguments::Object(object)) => call.arguments = Value::Object(object).to_string(),
            None => {}
        }
        if signature.is_some() {
            call.signature = signature;
        }
    }

    fn response(&mut self) -> ChatResponse {
        let finish = self.finish.take().unwrap_or_default();
        let finished = |(at, call): (usize, Growing)| -> ToolCall {
            let id = if call.id.is_empty() { format!("call_{at}") } else { call.id };
            let metadata: BTreeMap<_, _> = call.signature.map(|signature| (SIGNATURE.to_owned(), signature)).into_iter().collect();
            tool_call(id, &call.name, &call.arguments, metadata)
        };
        let tool_calls: Vec<_> = std::mem::take(&mut self.calls).into_iter().enumerate().map(finished).collect();
        self.answer.finish(tool_calls, matches!(finish.as_str(), "length" | "max_tokens"), self.usage)
    }
}

/// The readable part of OpenRouter's reasoning blocks.
fn details_text(details: &[Value]) -> Option<String> {
    let text: String = details.iter().filter_map(|detail| detail.get("text").or_else(|| detail.get("summary"))?.as_str()).collect();
    (!text.is_empty()).then_some(text)
}

/// Reads an answer in one piece.
pub(super) fn whole(body: &[u8]) -> Result<ChatResponse, Reported> {
    let chunk: Chunk = serde_json::from_slice(body).map_err(|error| Reported::new(format!("the answer cannot be read: {error}")))?;
    let answered = chunk.choices.as_ref().is_some_and(|choices| !choices.is_empty());
    let mut decoder = OpenAiDecoder::default();
    decoder.take(chunk, &mut VecDeque::new())?;
    if answered { Ok(decoder.response()) } else { Err(Reported::new("the answer holds no choice")) }
}
