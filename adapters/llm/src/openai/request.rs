//! Questions in OpenAI's dialect.

use super::gemini;
use crate::schema::{SchemaProfile, clean};
use bytes::Bytes;
use goclaw_ports::{
    llm::{ChatRequest, ProviderSpec, ToolDefinition},
    sessions::{ChatMessage, MessageRole, ToolCall},
};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::{
    borrow::Cow,
    sync::{Arc, Mutex, PoisonError},
};

/// Where the tools stand in a question. They are the largest part of most, and the same in each.
pub(super) const TOOLS: &str = "tools";
/// The longest id of a tool call that every vendor takes.
const ID_LIMIT: usize = 40;
/// Models of DashScope that take a budget for thinking.
const DASHSCOPE_THINKERS: &[&str] = &["qwen3.5-plus", "qwen3.5-turbo", "qwen3-max", "qwen3-235b-a22b", "qwen3-32b", "qwen3-14b", "qwen3-8b"];

/// What is particular about a provider.
#[derive(Debug, Clone)]
pub(super) struct Vendor {
    /// Below the base.
    pub(super) path: &'static str,
    pub(super) dashscope: bool,
    profile: SchemaProfile,
    /// System messages are called `developer`.
    developer: bool,
    gemini: bool,
    /// Model ids always hold a slash.
    slashed: bool,
}

impl Vendor {
    pub(super) fn new(spec: &ProviderSpec, base: &str) -> Self {
        let kind = spec.provider_type.as_str();
        let key = if kind.is_empty() { spec.name.as_str() } else { kind };
        Self {
            path: if matches!(kind, "minimax_native" | "minimax") { "text/chatcompletion_v2" } else { "chat/completions" },
            dashscope: kind == "dashscope",
            profile: SchemaProfile::of(key),
            developer: base.contains("api.openai.com"),
            gemini: kind.contains("gemini") || spec.name.contains("gemini") || base.contains("gemini") || base.contains("generativelanguage"),
            slashed: spec.name == "openrouter",
        }
    }

    /// The model to send.
    pub(super) fn model(&self, asked: &str, default: &str) -> String {
        let asked = if asked.is_empty() || (self.slashed && !asked.contains('/') && !default.is_empty()) { default } else { asked };
        asked.to_owned()
    }
}

fn begins_with(family: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| family.starts_with(prefix))
}

/// The body of a call, but for its tools.
pub(super) fn body(request: &ChatRequest, model: &str, vendor: &Vendor, streamed: bool) -> Value {
    let family = model.rsplit('/').next().unwrap_or_default();
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    let gemini = vendor.gemini || model.contains("gemini");
    body.insert("messages".to_owned(), messages(&request.messages, vendor.developer, gemini).into());
    body.insert("stream".to_owned(), streamed.into());
    if streamed {
        body.insert("stream_options".to_owned(), json!({"include_usage": true}));
    }
    if !request.tools.is_empty() {
        body.insert("tool_choice".to_owned(), "auto".into());
    }
    if request.max_tokens > 0 {
        let key = if begins_with(family, &["gpt-5", "o1", "o3", "o4"]) { "max_completion_tokens" } else { "max_tokens" };
        body.insert(key.to_owned(), request.max_tokens.into());
    }
    if let Some(temperature) = request.temperature
        && !begins_with(family, &["gpt-5-mini", "gpt-5-nano", "o1", "o3", "o4"])
    {
        body.insert("temperature".to_owned(), temperature.into());
    }
    if let Some(level) = request.reasoning_effort.as_deref().filter(|level| !matches!(*level, "" | "off")) {
        if !vendor.dashscope {
            body.insert("reasoning_effort".to_owned(), level.into());
        } else if DASHSCOPE_THINKERS.contains(&family) && level != "none" {
            let budget = match level {
                "low" => 4096,
                "high" => 32_768,
                _ => 16_384,
            };
            body.insert("enable_thinking".to_owned(), true.into());
            body.insert("thinking_budget".to_owned(), budget.into());
        }
    }
    Value::Object(body)
}

/// Tools, and their JSON in a request.
type RenderedTools = (Arc<[ToolDefinition]>, Bytes);

/// The tools of the last question as they were sent: most questions offer the same ones.
#[derive(Default)]
pub(super) struct Rendered(Mutex<Option<RenderedTools>>);

impl Rendered {
    pub(super) fn of(&self, tools: &Arc<[ToolDefinition]>, vendor: &Vendor) -> Bytes {
        let last = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((_, rendered)) = last.filter(|(known, _)| Arc::ptr_eq(known, tools)) {
            return rendered;
        }
        let rendered: Value = tools.iter().map(|definition| tool(definition, vendor.profile)).collect();
        let rendered = Bytes::from(rendered.to_string());
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((tools.clone(), rendered.clone()));
        rendered
    }
}

fn tool(definition: &ToolDefinition, profile: SchemaProfile) -> Value {
    let cleaned = clean(&definition.parameters, profile);
    let mut function = json!({"name": definition.name, "description": definition.description, "parameters": cleaned.schema});
    if cleaned.strict {
        function["strict"] = true.into();
    }
    json!({"type": "function", "function": function})
}

fn messages(messages: &[ChatMessage], developer: bool, gemini: bool) -> Vec<Value> {
    let mut kept: Vec<Cow<'_, ChatMessage>> = if gemini { gemini::without_unsigned_calls(messages) } else { messages.iter().map(Cow::Borrowed).collect() };
    // Few vendors continue an answer that is put into the model's mouth, and some refuse it.
    while kept.last().is_some_and(|message| message.role == MessageRole::Assistant) {
        kept.pop();
    }
    kept.iter()
        .filter_map(|message| match message.role {
            MessageRole::System => Some(json!({"role": if developer { "developer" } else { "system" }, "content": message.content})),
            MessageRole::User if !message.images.is_empty() => Some(json!({"role": "user", "content": with_images(message)})),
            MessageRole::User => Some(json!({"role": "user", "content": message.content})),
            MessageRole::Tool => Some(json!({"role": "tool", "tool_call_id": short_id(&message.tool_call_id), "content": message.content})),
            MessageRole::Assistant => assistant(message, gemini),
        })
        .collect()
}

/// The pictures of a message, then its text.
fn with_images(message: &ChatMessage) -> Vec<Value> {
    let images = message.images.iter().map(|image| json!({"type": "image_url", "image_url": {"url": image.data_url()}}));
    let text = (!message.content.is_empty()).then(|| json!({"type": "text", "text": message.content}));
    images.chain(text).collect()
}

fn assistant(message: &ChatMessage, gemini: bool) -> Option<Value> {
    if message.content.is_empty() && message.tool_calls.is_empty() {
        return None;
    }
    let mut sent = json!({"role": "assistant"});
    if !message.content.is_empty() {
        sent["content"] = message.content.as_str().into();
    }
    if !message.thinking.is_empty() {
        sent["reasoning_content"] = message.thinking.as_str().into();
    }
    if !message.tool_calls.is_empty() {
        sent["tool_calls"] = message.tool_calls.iter().map(|call| tool_call(call, gemini)).collect();
    }
    Some(sent)
}

fn tool_call(call: &ToolCall, gemini: bool) -> Value {
    let mut function = json!({"name": call.name, "arguments": Value::Object(call.arguments.clone()).to_string()});
    if gemini && let Some(signature) = call.metadata.get(gemini::SIGNATURE) {
        function[gemini::SIGNATURE] = signature.as_str().into();
    }
    json!({"id": short_id(&call.id), "type": "function", "function": function})
}

/// The id itself, or 40 characters that stand for it.
fn short_id(id: &str) -> Cow<'_, str> {
    if id.chars().count() <= ID_LIMIT {
        return Cow::Borrowed(id);
    }
    let hash = hex::encode(Sha256::digest(id.as_bytes()));
    Cow::Owned(format!("call_{}", &hash[..ID_LIMIT - 5]))
}

/// The limit that a refusal of `max_tokens` names.
pub(super) fn token_limit(body: &str) -> Option<u64> {
    const BEFORE: &str = "supports at most ";
    if !body.contains("max_tokens") || !body.contains("too large") {
        return None;
    }
    body.match_indices(BEFORE).find_map(|(at, _)| {
        let rest = &body[at + BEFORE.len()..];
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        rest[digits..].starts_with(" completion tokens").then(|| rest[..digits].parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_limit_is_read_from_the_refusal_only() {
        let refusal = "max_tokens is too large: 99999. This model supports at most 4096 completion tokens, whereas you provided 99999.";
        assert_eq!(token_limit(refusal), Some(4096));
        assert_eq!(token_limit("max_tokens is too large"), None);
        assert_eq!(token_limit("supports at most 4096 completion tokens"), None);
        assert_eq!(token_limit("max_tokens too large; supports at most many completion tokens"), None);
    }

    proptest! {
        #[test]
        fn ids_fit_and_stay_apart(a in "[a-z_0-9]{30,60}", b in "[a-z_0-9]{30,60}") {
            prop_assert!(short_id(&a).len() <= ID_LIMIT);
            prop_assert_eq!(a == b, short_id(&a) == short_id(&b));
        }
    }
}
