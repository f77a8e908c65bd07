//! Questions in Anthropic's dialect.

use super::cache_control;
use crate::schema::{SchemaProfile, clean};
use goclaw_ports::{
    llm::{ChatRequest, ToolDefinition},
    media::ImagePart,
    sessions::{ChatMessage, MessageRole},
};
use serde_json::{Map, Value, json};

const DEFAULT_MAX_TOKENS: u32 = 4096;
const THINKING_BETA: &str = "interleaved-thinking-2025-05-14";

/// The model's full id.
pub(super) fn model(asked: &str, default: &str) -> String {
    match if asked.is_empty() { default } else { asked } {
        "opus" => "claude-opus-4-6",
        "sonnet" => "claude-sonnet-4-6",
        "haiku" => "claude-haiku-4-5-20251001",
        model => model,
    }
    .to_owned()
}

/// How many tokens a level may think for; `None` for no thinking.
fn budget(level: Option<&str>) -> Option<u32> {
    match level.unwrap_or_default() {
        "" | "off" | "none" => None,
        "minimal" => Some(1024),
        "low" => Some(4096),
        "high" => Some(32_000),
        "xhigh" => Some(48_000),
        _ => Some(10_000),
    }
}

/// The betas that a body needs.
pub(super) fn betas(body: &Value) -> Vec<&'static str> {
    if body.get("thinking").is_some() { vec![THINKING_BETA] } else { Vec::new() }
}

/// Replaces the budget of a body by thinking as much as the model sees fit.
pub(super) fn think_adaptively(body: &mut Value, level: &str) {
    body["thinking"] = json!({"type": "adaptive"});
    let effort = match level {
        "minimal" | "low" => "low",
        "high" => "high",
        "xhigh" => "max",
        _ => "medium",
    };
    body["output_config"] = json!({"effort": effort});
}

/// The body of a call.
pub(super) fn body(request: &ChatRequest, model: &str, adaptive: bool) -> Value {
    let mut max_tokens = if request.max_tokens == 0 { DEFAULT_MAX_TOKENS } else { request.max_tokens };
    let budget = budget(request.reasoning_effort.as_deref());
    if let Some(budget) = budget.filter(|budget| max_tokens < budget + 4096) {
        max_tokens = budget + 8192;
    }
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    body.insert("max_tokens".to_owned(), max_tokens.into());
    let mut system: Vec<Value> = request
        .messages
        .iter()
        .filter(|message| message.role == MessageRole::System && !message.content.is_empty())
        .map(|message| json!({"type": "text", "text": message.content}))
        .collect();
    if let Some(last) = system.last_mut() {
        last["cache_control"] = cache_control();
        body.insert("system".to_owned(), system.into());
    }
    body.insert("messages".to_owned(), messages(&request.messages).into());
    let mut tools: Vec<Value> = request.tools.iter().map(tool).collect();
    if let Some(last) = tools.last_mut() {
        last["cache_control"] = cache_control();
        body.insert("tools".to_owned(), tools.into());
    }
    if request.stream {
        body.insert("stream".to_owned(), true.into());
    }
    let mut body = match (budget, request.temperature) {
        (Some(budget), _) => {
            body.insert("thinking".to_owned(), json!({"type": "enabled", "budget_tokens": budget}));
            Value::Object(body)
        }
        (None, Some(temperature)) => {
            body.insert("temperature".to_owned(), temperature.into());
            Value::Object(body)
        }
        (None, None) => Value::Object(body),
    };
    if budget.is_some() && adaptive {
        think_adaptively(&mut body, request.reasoning_effort.as_deref().unwrap_or_default());
    }
    body
}

fn tool(tool: &ToolDefinition) -> Value {
    json!({"name": tool.name, "description": tool.description, "input_schema": clean(&tool.parameters, SchemaProfile::Anthropic).schema})
}

fn messages(messages: &[ChatMessage]) -> Vec<Value> {
    let mut sent = Vec::new();
    // All results of one turn belong into one message; the API refuses them apart.
    let mut results: Vec<Value> = Vec::new();
    for message in messages {
        if message.role == MessageRole::Tool {
            let mut result = json!({"type": "tool_result", "tool_use_id": message.tool_call_id, "content": message.content});
            if message.is_error {
                result["is_error"] = true.into();
            }
            results.push(result);
            continue;
        }
        if message.role == MessageRole::System {
            continue;
        }
        flush(&mut results, &mut sent);
        match message.role {
            MessageRole::User if !message.images.is_empty() => sent.push(json!({"role": "user", "content": with_images(message)})),
            MessageRole::User if !message.content.is_empty() => sent.push(json!({"role": "user", "content": message.content})),
            MessageRole::Assistant => {
                let content = assistant(message);
                if !content.is_empty() {
                    sent.push(json!({"role": "assistant", "content": content}));
                }
            }
            _ => {}
        }
    }
    flush(&mut results, &mut sent);
    sent
}

/// The pictures of a message, then its text.
fn with_images(message: &ChatMessage) -> Vec<Value> {
    let image = |image: &ImagePart| json!({"type": "image", "source": {"type": "base64", "media_type": image.mime_type, "data": &*image.data}});
    let mut blocks: Vec<Value> = message.images.iter().map(image).collect();
    if !message.content.is_empty() {
        blocks.push(json!({"type": "text", "text": message.content}));
    }
    blocks
}

fn flush(results: &mut Vec<Value>, sent: &mut Vec<Value>) {
    if !results.is_empty() {
        sent.push(json!({"role": "user", "content": std::mem::take(results)}));
    }
}

fn assistant(message: &ChatMessage) -> Vec<Value> {
    if let Some(Value::Array(blocks)) = &message.raw
        && !blocks.is_empty()
    {
        return blocks.clone();
    }
    let mut blocks = Vec::new();
    if !message.content.trim().is_empty() {
        blocks.push(json!({"type": "text", "text": message.content}));
    }
    for call in &message.tool_calls {
        blocks.push(json!({"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}));
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_has_its_budget_and_room_for_the_answer() {
        for (level, budget, max_tokens) in [
            ("", None, 8192),
            ("off", None, 8192),
            ("none", None, 8192),
            ("minimal", Some(1024), 8192),
            ("low", Some(4096), 8192),
            ("medium", Some(10_000), 18_192),
            ("high", Some(32_000), 40_192),
            ("xhigh", Some(48_000), 56_192),
            ("other", Some(10_000), 18_192),
        ] {
            let request = ChatRequest { max_tokens: 8192, temperature: Some(0.7), reasoning_effort: Some(level.into()), ..ChatRequest::default() };
            let body = body(&request, "m", false);
            assert_eq!((&body["max_tokens"], body["thinking"]["budget_tokens"].as_u64()), (&json!(max_tokens), budget), "{level}");
            assert_eq!((body.get("temperature").is_some(), betas(&body).is_empty()), (budget.is_none(), budget.is_none()), "{level}");
        }
    }

    #[test]
    fn names_of_families_are_models_of_today() {
        for (asked, model) in [("opus", "claude-opus-4-6"), ("sonnet", "claude-sonnet-4-6"), ("haiku", "claude-haiku-4-5-20251001"), ("", "d"), ("x", "x")] {
            assert_eq!(super::model(asked, "d"), model);
        }
        let unlimited = body(&ChatRequest::default(), "m", false);
        assert_eq!(unlimited["max_tokens"], 4096);
    }
}
