//! Questions to the Responses API.

use crate::schema::{SchemaProfile, clean};
use goclaw_ports::{
    llm::{ChatRequest, ToolDefinition},
    sessions::{ChatMessage, MessageRole, ToolCall},
};
use serde_json::{Map, Value, json};

/// What stands for the system messages if there are none: the field must not be empty.
const NO_INSTRUCTIONS: &str = "Be a helpful assistant.";

/// The body of a call. Limits and temperature are not in it: the backend refuses them.
pub(super) fn body(request: &ChatRequest, model: &str) -> Value {
    let system: Vec<&str> =
        request.messages.iter().filter(|message| message.role == MessageRole::System && !message.content.is_empty()).map(|m| m.content.as_str()).collect();
    let instructions = if system.is_empty() { NO_INSTRUCTIONS.to_owned() } else { system.join("\n\n") };
    let mut body = Map::new();
    body.insert("model".to_owned(), model.into());
    body.insert("instructions".to_owned(), instructions.into());
    body.insert("input".to_owned(), request.messages.iter().flat_map(items).collect());
    body.insert("stream".to_owned(), true.into());
    body.insert("store".to_owned(), false.into());
    if !request.tools.is_empty() {
        body.insert("tools".to_owned(), request.tools.iter().map(tool).collect());
    }
    if let Some(level) = request.reasoning_effort.as_deref().filter(|level| !matches!(*level, "" | "off")) {
        // Without `summary` the model thinks in silence.
        body.insert("reasoning".to_owned(), json!({"effort": level, "summary": "auto"}));
    }
    Value::Object(body)
}

fn tool(definition: &ToolDefinition) -> Value {
    let cleaned = clean(&definition.parameters, SchemaProfile::Strict);
    json!({
        "type": "function",
        "name": definition.name,
        "description": definition.description,
        "parameters": cleaned.schema,
        "strict": cleaned.strict,
    })
}

/// What a message is in the input: nothing, one item, or several.
fn items(message: &ChatMessage) -> Vec<Value> {
    match message.role {
        MessageRole::System => vec![],
        MessageRole::User if !message.images.is_empty() => vec![json!({"role": "user", "content": with_images(message)})],
        MessageRole::User => vec![json!({"role": "user", "content": message.content})],
        MessageRole::Tool => vec![json!({"type": "function_call_output", "call_id": item_id(&message.tool_call_id), "output": message.content})],
        MessageRole::Assistant => {
            let mut items: Vec<Value> = message.tool_calls.iter().map(call).collect();
            if !message.content.is_empty() {
                let mut said = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": message.content}]});
                if !message.phase.is_empty() {
                    said["phase"] = message.phase.as_str().into();
                }
                items.push(said);
            }
            items
        }
    }
}

/// The pictures of a message, then its text.
fn with_images(message: &ChatMessage) -> Vec<Value> {
    let images = message.images.iter().map(|image| json!({"type": "input_image", "image_url": image.data_url()}));
    let text = (!message.content.is_empty()).then(|| json!({"type": "input_text", "text": message.content}));
    images.chain(text).collect()
}

fn call(call: &ToolCall) -> Value {
    let id = item_id(&call.id);
    json!({"type": "function_call", "id": id, "call_id": id, "name": call.name, "arguments": Value::Object(call.arguments.clone()).to_string()})
}

/// An id of a call as the API takes it, whichever provider gave it.
fn item_id(id: &str) -> String {
    let bare = ["tool_", "call_", "fc_"].iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id);
    let clean = bare.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_') { c } else { '_' });
    ["fc_".to_owned(), clean.collect()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_lose_one_prefix_and_what_the_api_does_not_take() {
        for (id, sent) in [("call_1", "fc_1"), ("fc_1", "fc_1"), ("tool_call_1", "fc_call_1"), ("a.b/ü", "fc_a_b__"), ("", "fc_")] {
            assert_eq!(item_id(id), sent);
        }
    }
}
