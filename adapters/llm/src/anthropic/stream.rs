//! Answers in Anthropic's dialect.

use super::reported;
use crate::{
    chat::{Decoder, Reported},
    text::{Text, tool_call},
};
use goclaw_ports::llm::{ChatEvent, ChatResponse, FinishReason, Usage};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, VecDeque};

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", borrow)]
    kind: Text<'a>,
    #[serde(default)]
    index: usize,
    message: Option<Started>,
    content_block: Option<Map<String, Value>>,
    #[serde(borrow)]
    delta: Option<Delta<'a>>,
    usage: Option<UsageWire>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Started {
    usage: Option<UsageWire>,
}

#[derive(Deserialize)]
struct Delta<'a> {
    #[serde(borrow)]
    text: Option<Text<'a>>,
    #[serde(borrow)]
    thinking: Option<Text<'a>>,
    #[serde(borrow)]
    partial_json: Option<Text<'a>>,
    #[serde(borrow)]
    signature: Option<Text<'a>>,
    #[serde(borrow)]
    stop_reason: Option<Text<'a>>,
}

#[derive(Deserialize, Default, Clone, Copy)]
struct UsageWire {
    input_tokens: Option<i64>,
    output_tokens: Option<i64>,
    cache_creation_input_tokens: Option<i64>,
    cache_read_input_tokens: Option<i64>,
}

impl UsageWire {
    /// What is told later counts; what is not told stays.
    fn update(&mut self, later: Self) {
        self.input_tokens = later.input_tokens.or(self.input_tokens);
        self.output_tokens = later.output_tokens.or(self.output_tokens);
        self.cache_creation_input_tokens = later.cache_creation_input_tokens.or(self.cache_creation_input_tokens);
        self.cache_read_input_tokens = later.cache_read_input_tokens.or(self.cache_read_input_tokens);
    }
}

/// A content block as it grows.
#[derive(Default)]
struct Block {
    /// What it began with.
    start: Map<String, Value>,
    text: String,
    thinking: String,
    signature: String,
    json: String,
}

impl Block {
    fn started(start: Map<String, Value>) -> Self {
        let text = |key: &str| start.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Self { text: text("text"), thinking: text("thinking"), signature: text("signature"), json: String::new(), start }
    }
}

/// Reads an answer in pieces.
#[derive(Default)]
pub(crate) struct AnthropicDecoder {
    blocks: BTreeMap<usize, Block>,
    stop_reason: String,
    usage: Option<UsageWire>,
}

impl Decoder for AnthropicDecoder {
    fn event(&mut self, data: &[u8], out: &mut VecDeque<ChatEvent>) -> Result<(), Reported> {
        // Events that cannot be read are new kinds; the ones below are what an answer is made of.
        let Ok(event) = serde_json::from_slice::<Event>(data) else { return Ok(()) };
        match &*event.kind.0 {
            "message_start" => self.count(event.message.and_then(|message| message.usage)),
            "content_block_start" => {
                let block = Block::started(event.content_block.unwrap_or_default());
                if !block.text.is_empty() {
                    out.push_back(ChatEvent::Text(block.text.clone()));
                }
                if !block.thinking.is_empty() {
                    out.push_back(ChatEvent::Thinking(block.thinking.clone()));
                }
                self.blocks.insert(event.index, block);
            }
            "content_block_delta" => {
                let Some(delta) = event.delta else { return Ok(()) };
                let block = self.blocks.entry(event.index).or_default();
                if let Some(Text(text)) = delta.text {
                    block.text.push_str(&text);
                    out.push_back(ChatEvent::Text(text.into_owned()));
                }
                if let Some(Text(thinking)) = delta.thinking {
                    block.thinking.push_str(&thinking);
                    out.push_back(ChatEvent::Thinking(thinking.into_owned()));
                }
                if let Some(Text(json)) = delta.partial_json {
                    block.json.push_str(&json);
                }
                if let Some(Text(signature)) = delta.signature {
                    block.signature.push_str(&signature);
                }
            }
            "message_delta" => {
                if let Some(Text(reason)) = event.delta.and_then(|delta| delta.stop_reason) {
                    self.stop_reason = reason.into_owned();
                }
                self.count(event.usage);
            }
            "message_stop" => out.push_back(ChatEvent::Done(Box::new(self.response()))),
            "error" => return Err(reported(&event.error.unwrap_or_default())),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self) -> Option<ChatResponse> {
        None
    }
}

impl AnthropicDecoder {
    fn count(&mut self, usage: Option<UsageWire>) {
        if let Some(usage) = usage {
            self.usage.get_or_insert_default().update(usage);
        }
    }

    fn response(&mut self) -> ChatResponse {
        let mut response = ChatResponse::default();
        let mut raw = Vec::new();
        for block in std::mem::take(&mut self.blocks).into_values() {
            let Block { mut start, text, thinking, signature, json } = block;
            match start.get("type").and_then(Value::as_str).unwrap_or("text") {
                "text" => {
                    response.content.push_str(&text);
                    // An empty text block must not be sent back.
                    if text.is_empty() {
                        continue;
                    }
                    start.entry("type").or_insert_with(|| "text".into());
                    start.insert("text".to_owned(), text.into());
                }
                "thinking" => {
                    response.thinking.push_str(&thinking);
                    start.insert("thinking".to_owned(), thinking.into());
                    start.insert("signature".to_owned(), signature.into());
                }
                "tool_use" => {
                    let named = |key: &str| start.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
                    let json = match start.get("input") {
                        Some(Value::Object(input)) if json.is_empty() && !input.is_empty() => Value::Object(input.clone()).to_string(),
                        _ => json,
                    };
                    let call = tool_call(named("id"), &named("name"), &json, BTreeMap::new());
                    start.insert("input".to_owned(), Value::Object(call.arguments.clone()));
                    response.tool_calls.push(call);
                }
                _ => {}
            }
            raw.push(Value::Object(start));
        }
        response.finish_reason = match self.stop_reason.as_str() {
            "max_tokens" => FinishReason::Length,
            "tool_use" => FinishReason::ToolCalls,
            _ => FinishReason::Stop,
        };
        response.raw = (!response.tool_calls.is_empty()).then_some(Value::Array(raw));
        response.usage = self.usage.map(|usage| usage_of(usage, &response.thinking));
        response
    }
}

fn usage_of(wire: UsageWire, thinking: &str) -> Usage {
    let (input, output) = (wire.input_tokens.unwrap_or(0), wire.output_tokens.unwrap_or(0));
    Usage {
        prompt_tokens: input,
        completion_tokens: output,
        total_tokens: input + output,
        cache_creation_tokens: wire.cache_creation_input_tokens.unwrap_or(0),
        cache_read_tokens: wire.cache_read_input_tokens.unwrap_or(0),
        // The API does not count it apart; four bytes make about one token.
        thinking_tokens: i64::try_from(thinking.len() / 4).unwrap_or(i64::MAX),
    }
}

#[derive(Deserialize)]
struct Whole {
    content: Option<Vec<Map<String, Value>>>,
    stop_reason: Option<String>,
    usage: Option<UsageWire>,
    error: Option<Value>,
}

/// Reads an answer in one piece.
pub(super) fn whole(body: &[u8]) -> Result<ChatResponse, Reported> {
    let whole: Whole = serde_json::from_slice(body).map_err(|error| Reported::new(format!("the answer cannot be read: {error}")))?;
    if let Some(error) = whole.error {
        return Err(reported(&error));
    }
    let blocks = whole.content.ok_or_else(|| Reported::new("the answer has no content"))?;
    let mut decoder = AnthropicDecoder {
        blocks: blocks.into_iter().map(Block::started).enumerate().collect(),
        stop_reason: whole.stop_reason.unwrap_or_default(),
        usage: whole.usage,
    };
    Ok(decoder.response())
}
