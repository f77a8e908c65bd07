//! What is particular about single vendors.

use super::{
    ANTHROPIC_OK, OPENAI_OK, answer, ask, body_sent, provider, providers, run, spec,
    support::{Upstream, stream},
    tool_turn, weather,
};
use goclaw_llm::{LlmOptions, RetryPolicy, factory};
use goclaw_outbound::{Outbound, OutboundOptions};
use goclaw_ports::{
    embeddings::EmbedderSpec,
    llm::{ChatRequest, ProviderSpec},
    sessions::{ChatMessage, MessageRole},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// What is sent by the provider of this specification, and with which headers.
async fn sent(spec: impl FnOnce(&str) -> ProviderSpec, request: ChatRequest) -> (Value, String) {
    let mut upstream = Upstream::start(vec![answer(200, "", OPENAI_OK)]).await;
    let provider = providers(Duration::from_secs(30)).build(spec(&upstream.base)).unwrap();
    run(&provider, request).await.1.unwrap();
    let seen = upstream.request().await;
    (seen.body, seen.head)
}

#[tokio::test]
async fn openai_itself_calls_system_messages_otherwise() {
    for (base, role) in [("/api.openai.com/v1", "developer"), ("/v1", "system")] {
        let (body, _) = sent(|upstream| spec("openai_compat", &upstream.replace("/v1", base)), ask("m", false)).await;
        assert_eq!(body["messages"][0]["role"], role, "{base}");
    }
}

#[tokio::test]
async fn azure_takes_the_key_under_another_name() {
    let (_, head) = sent(|upstream| spec("openai_compat", &upstream.replace("/v1", "/azure.com/v1")), ask("m", false)).await;
    assert!(head.contains("\r\napi-key: sk-test-secret\r\n") && !head.contains("authorization"), "{head}");
}

#[tokio::test]
async fn openrouter_knows_no_model_without_its_vendor() {
    let named = |name: &str, base: &str| ProviderSpec { name: name.into(), default_model: "vendor/default".into(), ..spec("openrouter", base) };
    for (name, asked, model) in [
        ("openrouter", "gpt-4o", "vendor/default"),
        ("openrouter", "openai/gpt-4o", "openai/gpt-4o"),
        ("openrouter", "", "vendor/default"),
        ("mine", "gpt-4o", "gpt-4o"),
    ] {
        assert_eq!(sent(|base| named(name, base), ask(asked, false)).await.0["model"], model, "{name} {asked}");
    }
}

#[tokio::test]
async fn signed_calls_go_back_to_gemini_with_their_signature_and_to_nobody_else() {
    let mut messages = tool_turn("call_1", None);
    for call in &mut messages[1].tool_calls {
        call.metadata.insert("thought_signature".into(), format!("signed-{}", call.id));
    }
    let request = |model: &str| ChatRequest { messages: messages.clone(), tools: [weather()].into(), ..ask(model, false) };
    for (kind, model, signed) in [("gemini_native", "m", true), ("openai_compat", "google/gemini-3", true), ("openai_compat", "m", false)] {
        let body = body_sent(kind, request(model)).await;
        let calls = body["messages"][1]["tool_calls"].as_array().unwrap();
        let expected = if signed { json!("signed-call_2") } else { Value::Null };
        assert_eq!((calls.len(), &calls[1]["function"]["thought_signature"]), (2, &expected), "{kind} {model}");
        assert_eq!(body["messages"][2]["role"], "tool");
    }
}

#[tokio::test]
async fn dashscope_thinks_within_a_budget_or_is_told_nothing() {
    for (model, level, budget) in [
        ("qwen3-max", "low", Some(4096)),
        ("qwen3.5-plus", "medium", Some(16_384)),
        ("qwen3-32b", "high", Some(32_768)),
        ("qwen3-8b", "xhigh", Some(16_384)),
        ("qwen3-max", "none", None),
        ("qwen-plus", "high", None),
    ] {
        let body = body_sent("dashscope", ChatRequest { reasoning_effort: Some(level.into()), ..ask(model, false) }).await;
        assert_eq!(body["thinking_budget"].as_u64(), budget, "{model} {level}");
        assert_eq!((body.get("enable_thinking").is_some(), body.get("reasoning_effort")), (budget.is_some(), None), "{model} {level}");
    }
}

#[tokio::test]
async fn no_words_are_put_into_a_models_mouth() {
    let mut messages = vec![ChatMessage::new(MessageRole::User, "Hello"), ChatMessage::new(MessageRole::Assistant, "Well, ")];
    messages[1].thinking = "hm".into();
    let body = body_sent("openai_compat", ChatRequest { messages: messages.clone(), ..ask("m", false) }).await;
    assert_eq!(body["messages"], json!([{"role": "user", "content": "Hello"}]));
    messages.push(ChatMessage::new(MessageRole::User, "Go on"));
    let body = body_sent("openai_compat", ChatRequest { messages, ..ask("m", false) }).await;
    assert_eq!(body["messages"][1], json!({"role": "assistant", "content": "Well, ", "reasoning_content": "hm"}), "what it thought goes back");
}

#[tokio::test]
async fn a_model_that_takes_no_budget_thinks_as_it_sees_fit_from_then_on() {
    let refusal = r#"{"error":{"message":"thinking.budget_tokens is not supported by this model; use thinking.type=adaptive"}}"#;
    let mut upstream = Upstream::start(vec![answer(400, "", refusal), answer(200, "", ANTHROPIC_OK), answer(200, "", ANTHROPIC_OK)]).await;
    let anthropic = provider("anthropic_native", &upstream);
    for level in ["xhigh", "low"] {
        run(&anthropic, ChatRequest { reasoning_effort: Some(level.into()), ..ask("m", false) }).await.1.unwrap();
    }
    let bodies = [upstream.request().await.body, upstream.request().await.body, upstream.request().await.body];
    assert_eq!(bodies[0]["thinking"], json!({"type": "enabled", "budget_tokens": 48_000}));
    assert_eq!((&bodies[1]["thinking"], &bodies[1]["output_config"]), (&json!({"type": "adaptive"}), &json!({"effort": "max"})));
    assert_eq!((&bodies[2]["thinking"], &bodies[2]["output_config"]), (&json!({"type": "adaptive"}), &json!({"effort": "low"})));
}

#[tokio::test]
async fn a_minimax_failure_with_a_good_status_is_a_failure() {
    let told = r#"{"base_resp":{"status_code":1004,"status_msg":"login fail"},"choices":[]}"#;
    let upstream = Upstream::start(vec![answer(200, "", told), stream(&[told])]).await;
    let minimax = provider("minimax_native", &upstream);
    for pieces in [false, true] {
        assert_eq!(run(&minimax, ask("m", pieces)).await.1.unwrap_err().text, "stub: stream error: 1004: login fail");
    }
}

#[tokio::test]
async fn vectors_come_in_the_order_of_their_texts_and_after_a_failure_that_passes() {
    let one = |index: usize, value: usize| json!({"index": index, "embedding": [value]});
    let data = |vectors: Vec<Value>| answer(200, "", &json!({"data": vectors}).to_string());
    let first: Vec<Value> = (0..100).rev().map(|n| one(n, n)).collect();
    let mut upstream = Upstream::start(vec![answer(503, "", "busy"), data(first), data(vec![json!({"embedding": [100]})]), answer(400, "", "no")]).await;
    let provider = spec("openai_compat", &upstream.base);
    let asked = EmbedderSpec { provider, model: "small".into(), dimensions: Some(1), attempts: 3 };
    let embedder = providers(Duration::from_secs(30)).embedder(asked).unwrap();
    let texts: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    let vectors = embedder.embed(&texts).await.unwrap();
    let (said, expected): (Vec<f32>, Vec<f32>) = (vectors.concat(), (0..101_u8).map(f32::from).collect());
    assert_eq!((embedder.model(), vectors.len()), ("small", 101));
    assert!(said == expected, "{said:?}");
    let error = embedder.embed(&texts[..1]).await.unwrap_err();
    assert_eq!((error.status, upstream.more()), (Some(400), 4), "what will not pass is not tried again");
}

#[tokio::test]
async fn vectors_that_cannot_be_compared_are_refused() {
    for (dimensions, vectors, why) in [
        (Some(2), ["1,2", "1,2,3"], "a vector has length 3 instead of 2"),
        (None, ["1,2", "1"], "a vector has length 1 instead of 2"),
        (None, ["1,2", "1,1e39"], "a vector holds a number that is infinite"),
    ] {
        let data = vectors.map(|numbers| format!(r#"{{"embedding":[{numbers}]}}"#)).join(",");
        let upstream = Upstream::start(vec![answer(200, "", &format!(r#"{{"data":[{data}]}}"#))]).await;
        let asked = EmbedderSpec { provider: spec("openai_compat", &upstream.base), model: "small".into(), dimensions, attempts: 3 };
        let embedder = providers(Duration::from_secs(30)).embedder(asked).unwrap();
        let error = embedder.embed(&["one".to_owned(), "two".to_owned()]).await.unwrap_err();
        assert_eq!(error.text, format!("stub: {why}"));
    }
}

#[tokio::test]
async fn a_text_of_a_later_request_has_a_vector_of_the_same_length() {
    let data = |vectors: Vec<Value>| answer(200, "", &json!({"data": vectors}).to_string());
    let upstream = Upstream::start(vec![data(vec![json!({"embedding": [1, 2]}); 100]), data(vec![json!({"embedding": [1]})])]).await;
    let asked = EmbedderSpec { provider: spec("openai_compat", &upstream.base), model: "small".into(), dimensions: None, attempts: 1 };
    let embedder = providers(Duration::from_secs(30)).embedder(asked).unwrap();
    let texts: Vec<String> = (0..101).map(|n| n.to_string()).collect();
    assert_eq!(embedder.embed(&texts).await.unwrap_err().text, "stub: a vector has length 1 instead of 2");
}

#[tokio::test]
async fn ollama_needs_no_key() {
    let mut upstream = Upstream::start(vec![answer(200, "", OPENAI_OK), answer(200, "", OPENAI_OK)]).await;
    for base in [upstream.base.clone(), upstream.base.trim_end_matches("/v1").to_owned()] {
        let ollama = providers(Duration::from_secs(30)).build(ProviderSpec { api_key: None, ..spec("ollama", &base) }).unwrap();
        run(&ollama, ask("m", false)).await.1.unwrap();
        let head = upstream.request().await.head;
        assert!(head.starts_with("POST /v1/chat/completions ") && head.contains("authorization: bearer ollama"), "{head}");
    }
}

#[tokio::test]
async fn an_ollama_of_the_machine_that_a_container_runs_on_is_found() {
    let mut upstream = Upstream::start(vec![answer(200, "", OPENAI_OK), answer(200, "", r#"{"data":[{"id":"llama3.3"}]}"#)]).await;
    // Nobody is there: the upstream listens at the address of "the machine" only.
    let inside = upstream.base.replace("127.0.0.1", "[::1]");
    let options = LlmOptions { machine: Some("127.0.0.1".into()), ..LlmOptions::default() };
    let providers = factory(Arc::new(Outbound::new(OutboundOptions::default()).unwrap()), options);
    let ollama = providers.build(ProviderSpec { api_key: None, ..spec("ollama", &inside) }).unwrap();
    run(&ollama, ask("m", false)).await.1.unwrap();
    assert!(upstream.request().await.head.contains("host: 127.0.0.1:"));
    assert_eq!(serde_json::to_value(ollama.models().await.unwrap()).unwrap(), json!([{"id": "llama3.3", "name": "llama3.3"}]));
    let head = upstream.request().await.head;
    assert!(head.starts_with("GET /v1/models ") && head.contains("authorization: bearer ollama"), "{head}");
    let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
    let elsewhere =
        factory(Arc::new(Outbound::new(OutboundOptions::default()).unwrap()), LlmOptions { machine: Some("127.0.0.1".into()), retry, ..LlmOptions::default() });
    assert!(run(&elsewhere.build(spec("openai_compat", &inside)).unwrap(), ask("m", false)).await.1.is_err(), "others stay where they are");
}
