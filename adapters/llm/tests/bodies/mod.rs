//! What each type of OpenAI's dialect sends of one and the same question, down to the last field.

use super::{
    OPENAI_OK, answer, ask, provider, providers, run, spec,
    support::{Upstream, stream},
};
use goclaw_ports::llm::{ChatRequest, OPENAI, ProviderSpec, ToolDefinition};
use serde_json::{Value, json};
use std::time::Duration;

/// Types that differ in nothing but their address.
const PLAIN: [&str; 16] = [
    "openai_compat",
    "openrouter",
    "groq",
    "deepseek",
    "mistral",
    "minimax_native",
    "minimax",
    "cohere",
    "perplexity",
    "bailian",
    "zai",
    "zai_coding",
    "ollama",
    "ollama_cloud",
    "novita",
    "yescale",
];

/// A tool whose schema holds something that each vendor wants otherwise.
fn forecast() -> ToolDefinition {
    let parameters = json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1},
            "unit": {"$ref": "#/$defs/unit"},
            "days": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["city"],
        "additionalProperties": false,
        "$defs": {"unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
    });
    ToolDefinition { name: "forecast".into(), description: "The weather to come".into(), parameters }
}

/// The schema of [`forecast`] for those who take all of it.
fn parameters() -> Value {
    json!({
        "type": "object",
        "properties": {
            "city": {"type": "string", "minLength": 1},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]},
            "days": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        },
        "required": ["city"],
        "additionalProperties": false,
    })
}

/// What a type sends that is not particular, with this schema of the tool.
fn plain(model: &str, parameters: &Value) -> Value {
    json!({
        "model": model,
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "stream": true,
        "stream_options": {"include_usage": true},
        "tool_choice": "auto",
        "max_tokens": 8192,
        "temperature": 0.7,
        "reasoning_effort": "low",
        "tools": [{"type": "function", "function": {"name": "forecast", "description": "The weather to come", "parameters": parameters}}],
    })
}

/// What a provider of this type sends, once `change` has made it what it is.
async fn sent(kind: &str, model: &str, change: impl FnOnce(&mut ProviderSpec)) -> Value {
    let streamed = || stream(&[r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#, "[DONE]"]);
    let mut upstream = Upstream::start(vec![if kind == "dashscope" { answer(200, "", OPENAI_OK) } else { streamed() }]).await;
    let mut spec = spec(kind, &upstream.base);
    change(&mut spec);
    let provider = providers(Duration::from_secs(30)).build(spec).unwrap();
    let question = ChatRequest { tools: [forecast()].into(), reasoning_effort: Some("low".into()), ..ask(model, true) };
    assert_eq!(run(&provider, question).await.1.unwrap().content, "Hi");
    upstream.request().await.body
}

#[tokio::test]
async fn most_types_send_the_same() {
    for kind in PLAIN {
        assert_eq!(sent(kind, "m", |_| {}).await, plain("m", &parameters()), "{kind}");
    }
}

#[tokio::test]
async fn openai_itself_is_sent_tools_in_strict_mode() {
    let mut expected = plain(
        "m",
        &json!({
            "type": "object",
            "properties": {
                "city": {"type": "string", "minLength": 1},
                "unit": {"type": ["string", "null"], "enum": ["celsius", "fahrenheit", null]},
                "days": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            },
            "required": ["city", "unit", "days"],
            "additionalProperties": false,
        }),
    );
    expected["tools"][0]["function"]["strict"] = true.into();
    assert_eq!(sent(OPENAI, "m", |spec| spec.name = "openai".into()).await, expected);
    let upstream = Upstream::start(vec![]).await;
    assert_eq!(provider(OPENAI, &upstream).provider_type(), "openai_compat", "to everybody else");
}

#[tokio::test]
async fn a_stored_provider_that_is_called_openai_is_one_like_all_others() {
    // Trusted as well, as one without a base of its own is.
    let named = |spec: &mut ProviderSpec| {
        assert!(spec.trusted);
        spec.name = "openai".into();
    };
    assert_eq!(sent("openai_compat", "m", named).await, plain("m", &parameters()));
}

#[tokio::test]
async fn openais_own_address_is_sent_developer_messages() {
    let mut expected = plain("m", &parameters());
    expected["messages"][0]["role"] = "developer".into();
    assert_eq!(sent("openai_compat", "m", |spec| spec.api_base = spec.api_base.replace("/v1", "/api.openai.com/v1")).await, expected);
}

#[tokio::test]
async fn models_that_think_are_sent_another_limit_and_no_temperature() {
    let mut expected = plain("openai/o3-mini", &parameters());
    let fields = expected.as_object_mut().unwrap();
    fields.remove("temperature");
    let limit = fields.remove("max_tokens").unwrap();
    fields.insert("max_completion_tokens".into(), limit);
    assert_eq!(sent("openai_compat", "openai/o3-mini", |_| {}).await, expected);
}

#[tokio::test]
async fn openrouter_is_sent_models_with_their_vendor() {
    let named = |spec: &mut ProviderSpec| {
        spec.name = "openrouter".into();
        spec.default_model = "vendor/default".into();
    };
    assert_eq!(sent("openrouter", "m", named).await, plain("vendor/default", &parameters()));
}

#[tokio::test]
async fn xai_is_sent_no_lengths() {
    let mut schema = parameters();
    schema["properties"]["city"] = json!({"type": "string"});
    schema["$defs"] = json!({"unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}});
    assert_eq!(sent("xai", "m", |_| {}).await, plain("m", &schema));
}

#[tokio::test]
async fn gemini_is_sent_the_plainest_schemas() {
    let schema = json!({
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}, "days": {"type": "integer"}},
        "required": ["city"],
    });
    assert_eq!(sent("gemini_native", "m", |_| {}).await, plain("m", &schema));
}

#[tokio::test]
async fn dashscope_is_sent_a_budget_and_streams_no_calls() {
    let mut expected = plain("qwen3-max", &parameters());
    let fields = expected.as_object_mut().unwrap();
    for other in ["stream_options", "reasoning_effort"] {
        fields.remove(other);
    }
    fields.extend([("stream".into(), false.into()), ("enable_thinking".into(), true.into()), ("thinking_budget".into(), 4096.into())]);
    assert_eq!(sent("dashscope", "qwen3-max", |_| {}).await, expected);
}
