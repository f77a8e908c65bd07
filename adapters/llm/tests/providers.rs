//! Providers against a scripted upstream.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bodies;
mod connections;
mod patience;
mod responses;
mod support;
mod vendors;

use futures_util::StreamExt;
use goclaw_llm::{LlmOptions, RetryPolicy, factory};
use goclaw_outbound::{Outbound, OutboundOptions};
use goclaw_ports::{
    llm::{
        ChatEvent, ChatRequest, ChatResponse, FinishReason, LONGEST_ANSWER, LlmError, LlmErrorKind, Provider, ProviderFactory, ProviderSpec, ToolDefinition,
    },
    media::ImagePart,
    sessions::{ChatMessage, MessageRole, ToolCall},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use support::{Seen, Upstream, json as answer, stalled, stream};

fn providers(idle: Duration) -> Arc<dyn ProviderFactory> {
    let retry = RetryPolicy { base: Duration::from_millis(1), ..RetryPolicy::default() };
    factory(Arc::new(Outbound::new(OutboundOptions::default()).unwrap()), LlmOptions { idle_timeout: idle, retry, machine: None })
}

fn spec(provider_type: &str, base: &str) -> ProviderSpec {
    ProviderSpec {
        name: "stub".into(),
        provider_type: provider_type.into(),
        api_base: base.into(),
        api_key: Some("sk-test-secret".into()),
        credentials: None,
        default_model: "default-model".into(),
        trusted: true,
        settings: Default::default(),
    }
}

fn provider(provider_type: &str, upstream: &Upstream) -> Arc<dyn Provider> {
    provider_at(provider_type, &upstream.base)
}

fn provider_at(provider_type: &str, base: &str) -> Arc<dyn Provider> {
    providers(Duration::from_secs(30)).build(spec(provider_type, base)).unwrap()
}

fn ask(model: &str, stream: bool) -> ChatRequest {
    ChatRequest {
        model: model.into(),
        messages: vec![ChatMessage::new(MessageRole::System, "Be brief."), ChatMessage::new(MessageRole::User, "Hello")],
        max_tokens: 8192,
        temperature: Some(0.7),
        stream,
        ..ChatRequest::default()
    }
}

fn weather() -> ToolDefinition {
    let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}, "format": {"type": "string"}}, "required": ["city"]});
    ToolDefinition { name: "weather".into(), description: "The weather".into(), parameters }
}

async fn run(provider: &Arc<dyn Provider>, request: ChatRequest) -> (Vec<ChatEvent>, Result<ChatResponse, LlmError>) {
    let mut events = Vec::new();
    let mut stream = provider.chat(request);
    while let Some(event) = stream.next().await {
        match event {
            Ok(ChatEvent::Done(response)) => {
                assert!(stream.next().await.is_none(), "nothing follows the end");
                return (events, Ok(*response));
            }
            Ok(event) => events.push(event),
            Err(error) => return (events, Err(error)),
        }
    }
    panic!("the stream ended without an end")
}

const OPENAI_OK: &str =
    r#"{"choices":[{"message":{"content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}"#;
const ANTHROPIC_OK: &str = r#"{"content":[{"type":"text","text":"Hi"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":1}}"#;

async fn body_sent(provider_type: &str, request: ChatRequest) -> Value {
    let ok = if provider_type == "anthropic_native" { ANTHROPIC_OK } else { OPENAI_OK };
    let mut upstream = Upstream::start(vec![answer(200, "", ok)]).await;
    run(&provider(provider_type, &upstream), request).await.1.unwrap();
    upstream.request().await.body
}

fn tool_turn(id: &str, raw: Option<Value>) -> Vec<ChatMessage> {
    let call = |id: &str| ToolCall {
        id: id.into(),
        name: "weather".into(),
        arguments: json!({"city": "Hue"}).as_object().unwrap().clone(),
        metadata: Default::default(),
        parse_error: String::new(),
    };
    let mut asked = ChatMessage { tool_calls: vec![call(id), call("call_2")], ..ChatMessage::new(MessageRole::Assistant, "") };
    asked.raw = raw;
    vec![
        ChatMessage::new(MessageRole::User, "Weather?"),
        asked,
        ChatMessage::tool_result(id, "sunny", false),
        ChatMessage::tool_result("call_2", "no such city", true),
        ChatMessage::new(MessageRole::User, "Go on"),
        ChatMessage::new(MessageRole::Assistant, ""),
    ]
}

#[tokio::test]
async fn openai_bodies_are_what_the_vendor_expects() {
    let long = "x".repeat(45);
    let with_tools = ChatRequest { messages: tool_turn(&long, None), tools: [weather()].into(), ..ask("gpt-4o", false) };
    insta::assert_json_snapshot!("openai_tools", body_sent("openai_compat", with_tools.clone()).await);
    insta::assert_json_snapshot!(
        "openai_o3",
        body_sent("openai_compat", ChatRequest { reasoning_effort: Some("high".into()), ..ask("openai/o3-mini", false) }).await
    );
    insta::assert_json_snapshot!("gemini_unsigned_calls", body_sent("gemini_native", with_tools).await);
    insta::assert_json_snapshot!(
        "dashscope_thinking",
        body_sent("dashscope", ChatRequest { reasoning_effort: Some("low".into()), ..ask("qwen3-max", false) }).await
    );
}

#[tokio::test]
async fn anthropic_bodies_are_what_the_vendor_expects() {
    let with_tools = ChatRequest { messages: tool_turn("call_1", None), tools: [weather()].into(), ..ask("sonnet", false) };
    insta::assert_json_snapshot!("anthropic_tools", body_sent("anthropic_native", with_tools).await);
    insta::assert_json_snapshot!(
        "anthropic_thinking",
        body_sent("anthropic_native", ChatRequest { reasoning_effort: Some("medium".into()), ..ask("", false) }).await
    );
}

#[tokio::test]
async fn each_dialect_sends_its_headers_to_its_path() {
    for (kind, line, key) in [
        ("openai_compat", "POST /v1/chat/completions ", "authorization: bearer sk-test-secret"),
        ("minimax_native", "POST /v1/text/chatcompletion_v2 ", "authorization: bearer sk-test-secret"),
        ("anthropic_native", "POST /v1/messages ", "x-api-key: sk-test-secret"),
    ] {
        let ok = if kind == "anthropic_native" { ANTHROPIC_OK } else { OPENAI_OK };
        let mut upstream = Upstream::start(vec![answer(200, "", ok)]).await;
        let request = ChatRequest { reasoning_effort: Some("medium".into()), ..ask("m", false) };
        let (events, response) = run(&provider(kind, &upstream), request).await;
        assert_eq!((events.len(), response.unwrap().usage.unwrap().total_tokens), (0, 4));
        let seen = upstream.request().await;
        assert!(seen.head.starts_with(line) && seen.head.contains(key), "{}", seen.head);
        assert_eq!(seen.head.contains("anthropic-beta: interleaved-thinking-2025-05-14"), kind == "anthropic_native");
    }
}

/// Every type that this crate speaks with a key, and the path of its calls.
const TYPES: [(&str, &str); 19] = [
    ("anthropic_native", "/v1/messages"),
    ("openai_compat", "/v1/chat/completions"),
    ("openrouter", "/v1/chat/completions"),
    ("groq", "/v1/chat/completions"),
    ("deepseek", "/v1/chat/completions"),
    ("gemini_native", "/v1/chat/completions"),
    ("mistral", "/v1/chat/completions"),
    ("xai", "/v1/chat/completions"),
    ("minimax_native", "/v1/text/chatcompletion_v2"),
    ("cohere", "/v1/chat/completions"),
    ("perplexity", "/v1/chat/completions"),
    ("dashscope", "/v1/chat/completions"),
    ("bailian", "/v1/chat/completions"),
    ("zai", "/v1/chat/completions"),
    ("zai_coding", "/v1/chat/completions"),
    ("ollama", "/v1/chat/completions"),
    ("ollama_cloud", "/v1/chat/completions"),
    ("novita", "/v1/chat/completions"),
    ("yescale", "/v1/chat/completions"),
];

#[tokio::test]
async fn each_type_sends_the_body_of_its_dialect() {
    for (kind, path) in TYPES {
        let anthropic = kind == "anthropic_native";
        let mut upstream = Upstream::start(vec![answer(200, "", if anthropic { ANTHROPIC_OK } else { OPENAI_OK })]).await;
        // Without a model the provider's default stands in.
        let request = ChatRequest { tools: vec![weather()].into(), ..ask("", false) };
        assert_eq!(run(&provider(kind, &upstream), request).await.1.unwrap().content, "Hi", "{kind}");
        let Seen { head, body } = upstream.request().await;
        assert!(head.starts_with(&format!("POST {path} ")), "{kind}: {head}");
        assert!(head.contains(if anthropic { "x-api-key: sk-test-secret" } else { "authorization: bearer " }), "{kind}: {head}");
        assert_eq!((&body["model"], &body["max_tokens"], &body["temperature"]), (&json!("default-model"), &json!(8192), &json!(0.7)), "{kind}");
        let (tool, parameters) = if anthropic { (&body["tools"][0], "input_schema") } else { (&body["tools"][0]["function"], "parameters") };
        // A parameter that is called as a keyword of schemas is one all the same.
        assert_eq!((&tool["name"], tool[parameters]["properties"]["format"].is_object()), (&json!("weather"), true), "{kind}");
        let said: Vec<_> = body["messages"].as_array().unwrap().iter().map(|message| message["role"].as_str().unwrap()).collect();
        assert_eq!(said, if anthropic { vec!["user"] } else { vec!["system", "user"] }, "{kind}");
    }
}

#[tokio::test]
async fn each_dialect_says_when_its_upstream_is_busy_silent_or_left() {
    let piece = r#"{"choices":[{"delta":{"content":"x"}}]}"#;
    let block = [
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}"#,
    ];
    for (kind, begun) in [("openai_compat", vec![piece]), ("anthropic_native", block.to_vec()), ("dashscope", vec![piece])] {
        for (status, headers) in [(429, ""), (429, "retry-after: 0\r\n"), (500, ""), (502, ""), (503, "retry-after: 0\r\n"), (504, "")] {
            let ok = if kind == "anthropic_native" { ANTHROPIC_OK } else { OPENAI_OK };
            let mut upstream = Upstream::start(vec![answer(status, headers, "busy"), answer(200, "", ok)]).await;
            let (events, response) = run(&provider(kind, &upstream), ask("m", false)).await;
            assert_eq!((response.unwrap().content.as_str(), events.len(), upstream.more()), ("Hi", 1, 2), "{kind} {status} {headers}");
        }
        let upstream = Upstream::start(vec![stalled(&begun)]).await;
        let impatient = providers(Duration::from_millis(100)).build(spec(kind, &upstream.base)).unwrap();
        let (events, response) = run(&impatient, ask("m", true)).await;
        assert_eq!((events, response.unwrap_err().kind), (vec![ChatEvent::Text("x".into())], LlmErrorKind::Timeout), "{kind}");
        let mut upstream = Upstream::start(vec![stalled(&begun)]).await;
        let mut stream = provider(kind, &upstream).chat(ask("m", true));
        assert_eq!(stream.next().await.unwrap().unwrap(), ChatEvent::Text("x".into()));
        drop(stream);
        tokio::time::timeout(Duration::from_secs(10), upstream.client_gone()).await.expect("the connection must be closed at once");
    }
}

#[tokio::test]
async fn an_openai_stream_gives_text_thought_calls_and_usage() {
    let upstream = Upstream::start(vec![stream(&[
        r#"{"choices":[{"delta":{"role":"assistant","reasoning_content":"hm"}}]}"#,
        r#"{"choices":[{"delta":{"reasoning":"m","reasoning_details":[{"text":"m"}]}}]}"#,
        r#"{"choices":[{"delta":{"reasoning_details":[{"type":"reasoning.text","text":"!"}]}}]}"#,
        "not json",
        r#"{"choices":[{"delta":{"content":"Hé\n"}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":5,"id":"a","function":{"name":" weather ","arguments":"{\"ci"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":5,"function":{"arguments":"ty\":\"Hue\"}","thought_signature":"s"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"id":"b","function":{"name":"other","arguments":"{oops"}}]}}]}"#,
        r#"{"choices":[{"delta":{"tool_calls":[{"index":5,"id":"c","function":{"name":"third","arguments":{"x":1}}}]}}]}"#,
        r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":5,"total_tokens":14,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}"#,
        "[DONE]",
    ])])
    .await;
    let (events, response) = run(&provider("openai_compat", &upstream), ask("m", true)).await;
    let response = response.unwrap();
    let thought = |text: &str| ChatEvent::Thinking(text.into());
    assert_eq!(events, [thought("hm"), thought("m"), thought("!"), ChatEvent::Text("Hé\n".into())]);
    let names: Vec<_> = response.tool_calls.iter().map(|call| (call.id.as_str(), call.name.as_str(), call.parse_error.is_empty())).collect();
    assert_eq!(names, [("a", "weather", true), ("b", "other", false), ("c", "third", true)]);
    assert_eq!(response.tool_calls[0].arguments["city"], "Hue");
    assert_eq!(response.tool_calls[0].metadata["thought_signature"], "s");
    assert_eq!((response.thinking.as_str(), response.finish_reason), ("hmm!", FinishReason::ToolCalls));
    let usage = response.usage.unwrap();
    assert_eq!((usage.total_tokens, usage.cache_read_tokens, usage.thinking_tokens), (14, 4, 2));
}

#[tokio::test]
async fn cut_arguments_with_length_stay_length() {
    let upstream = Upstream::start(vec![stream(&[
        r#"{"choices":[{"delta":{"tool_calls":[{"index":0,"id":"a","function":{"name":"w","arguments":"{\"ci"}}]},"finish_reason":"length"}]}"#,
        "[DONE]",
    ])])
    .await;
    let response = run(&provider("openai_compat", &upstream), ask("m", true)).await.1.unwrap();
    assert_eq!(response.finish_reason, FinishReason::Length);
    assert!(response.tool_calls[0].parse_error.contains("(4 characters)"));
}

#[tokio::test]
async fn thinking_blocks_go_back_as_they_came() {
    let upstream_events = [
        r#"{"type":"message_start","message":{"usage":{"input_tokens":10,"cache_read_input_tokens":4,"output_tokens":1}}}"#,
        r#"{"type":"ping"}"#,
        r#"{"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":"","signature":""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"I \"think\""}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"c2ln/+=="}}"#,
        r#"{"type":"content_block_stop","index":0}"#,
        r#"{"type":"content_block_start","index":1,"content_block":{"type":"redacted_thinking","data":"b3BhcXVl"}}"#,
        r#"{"type":"content_block_start","index":2,"content_block":{"type":"text","text":""}}"#,
        r#"{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":"Let me see."}}"#,
        r#"{"type":"content_block_start","index":3,"content_block":{"type":"tool_use","id":"toolu_1","name":"weather","input":{}}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"{\"city\":"}}"#,
        r#"{"type":"content_block_delta","index":3,"delta":{"type":"input_json_delta","partial_json":"\"Hue\"}"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":20}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let mut upstream = Upstream::start(vec![stream(&upstream_events), answer(200, "", ANTHROPIC_OK)]).await;
    let anthropic = provider("anthropic_native", &upstream);
    let (events, response) = run(&anthropic, ask("sonnet", true)).await;
    let response = response.unwrap();
    assert_eq!(events, [ChatEvent::Thinking("I \"think\"".into()), ChatEvent::Text("Let me see.".into())]);
    assert_eq!(response.finish_reason, FinishReason::ToolCalls);
    let usage = response.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens, usage.cache_read_tokens, usage.thinking_tokens), (10, 20, 30, 4, 2));
    upstream.request().await;
    let messages = tool_turn("toolu_1", response.raw);
    run(&anthropic, ChatRequest { messages, ..ask("sonnet", false) }).await.1.unwrap();
    assert_eq!(
        upstream.request().await.body["messages"][1]["content"].to_string(),
        concat!(
            r#"[{"type":"thinking","thinking":"I \"think\"","signature":"c2ln/+=="},{"type":"redacted_thinking","data":"b3BhcXVl"},"#,
            r#"{"type":"text","text":"Let me see."},{"type":"tool_use","id":"toolu_1","name":"weather","input":{"city":"Hue"}}]"#
        )
    );
}

#[tokio::test]
async fn passing_failures_are_tried_again_and_told() {
    let mut upstream = Upstream::start(vec![answer(429, "retry-after: 0\r\n", "slow"), answer(503, "", "busy"), answer(200, "", OPENAI_OK)]).await;
    let (events, response) = run(&provider("openai_compat", &upstream), ask("m", false)).await;
    assert_eq!(response.unwrap().content, "Hi");
    let retrying = |attempt, error: &str| ChatEvent::Retrying { attempt, max_attempts: 3, error: error.into() };
    assert_eq!(events, [retrying(1, "HTTP 429: stub: slow"), retrying(2, "HTTP 503: stub: busy")]);
    assert_eq!(upstream.more(), 3);
}

#[tokio::test]
async fn lasting_failures_are_not_tried_again() {
    let mut upstream = Upstream::start(vec![answer(401, "", "bad key sk-test-secret")]).await;
    let (events, response) = run(&provider("openai_compat", &upstream), ask("m", true)).await;
    let error = response.unwrap_err();
    assert_eq!((events.len(), upstream.more(), error.kind), (0, 1, LlmErrorKind::Auth));
    assert_eq!(error.text, "HTTP 401: stub: bad key [redacted]");
}

#[tokio::test]
async fn the_attempts_end() {
    let mut upstream = Upstream::start((0..5).map(|_| answer(529, "", "overloaded")).collect()).await;
    let (events, response) = run(&provider("anthropic_native", &upstream), ask("m", true)).await;
    assert_eq!((events.len(), upstream.more(), response.unwrap_err().kind), (2, 3, LlmErrorKind::Overloaded));
}

#[tokio::test]
async fn a_token_limit_is_learned_from_the_refusal() {
    let refusal = "max_tokens is too large: 8192. This model supports at most 4096 completion tokens";
    let mut upstream = Upstream::start(vec![answer(400, "", refusal), answer(200, "", OPENAI_OK)]).await;
    run(&provider("openai_compat", &upstream), ask("m", false)).await.1.unwrap();
    assert_eq!(upstream.request().await.body["max_tokens"], 8192);
    assert_eq!(upstream.request().await.body["max_tokens"], 4096);
}

#[tokio::test]
async fn refused_keys_are_dropped_and_remembered() {
    let done = r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#;
    let answers = vec![answer(400, "", "unknown key stream_options"), answer(422, "", "reasoning_effort?"), stream(&[done]), stream(&[done])];
    let mut upstream = Upstream::start(answers).await;
    let provider = provider("mistral", &upstream);
    for _ in 0..2 {
        run(&provider, ChatRequest { reasoning_effort: Some("low".into()), ..ask("m", true) }).await.1.unwrap();
    }
    let mut kept = Vec::new();
    for _ in 0..4 {
        let body = upstream.request().await.body;
        kept.push((body.get("stream_options").is_some(), body.get("reasoning_effort").is_some()));
    }
    assert_eq!(kept, [(true, true), (false, true), (false, false), (false, false)]);
}

#[tokio::test]
async fn errors_in_a_stream_and_broken_streams_are_errors() {
    let text = r#"{"choices":[{"delta":{"content":"x"}}]}"#;
    for (kind, events, expected) in [
        ("openai_compat", vec![text, r#"{"error":{"message":"boom","type":"server_error","code":429}}"#], "stub: stream error: server_error: boom"),
        ("openai_compat", vec![text], "stub: the stream broke off before its end"),
        (
            "anthropic_native",
            vec![r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#],
            "stub: anthropic stream error: overloaded_error: Overloaded",
        ),
        ("anthropic_native", vec![r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#], "stub: the stream broke off before its end"),
    ] {
        let mut upstream = Upstream::start(vec![stream(&events)]).await;
        let error = run(&provider(kind, &upstream), ask("m", true)).await.1.unwrap_err();
        assert_eq!((error.text.as_str(), upstream.more()), (expected, 1));
    }
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let words = "word ".repeat(200_000);
    let (text, thought) = (json!({"choices": [{"delta": {"content": words}}]}), json!({"choices": [{"delta": {"reasoning_content": words}}]}));
    let block = json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": words}});
    for (kind, event) in [("openai_compat", text), ("openai_compat", thought), ("anthropic_native", block)] {
        let event = event.to_string();
        let events = [event.as_str(); 12];
        for streamed in [true, false] {
            let ok = if kind == "anthropic_native" { ANTHROPIC_OK } else { OPENAI_OK };
            let whole = answer(200, "", &ok.replace("Hi", &words.repeat(12)));
            let mut upstream = Upstream::start(vec![if streamed { stream(&events) } else { whole }]).await;
            let (told, response) = run(&provider(kind, &upstream), ask("m", streamed)).await;
            assert_eq!((response.unwrap_err().text.as_str(), upstream.more()), ("stub: the answer is too long", 1), "{kind}");
            assert!(told.len() <= LONGEST_ANSWER / words.len() + 1, "{kind}: {}", told.len());
        }
    }
    // What a model writes into a call is told to nobody before it is whole.
    let call = json!({"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "w", "arguments": words}}]}}]}).to_string();
    let upstream = Upstream::start(vec![stream(&[call.as_str(); 70])]).await;
    let (told, response) = run(&provider("openai_compat", &upstream), ask("m", true)).await;
    assert_eq!((told.len(), response.unwrap_err().text.as_str()), (0, "stub: the answer is too long"));
}

#[tokio::test]
async fn a_silent_stream_is_a_timeout() {
    let upstream = Upstream::start(vec![stalled(&[r#"{"choices":[{"delta":{"content":"x"}}]}"#])]).await;
    let provider = providers(Duration::from_millis(100)).build(spec("openai_compat", &upstream.base)).unwrap();
    let (events, response) = run(&provider, ask("m", true)).await;
    assert_eq!((events, response.unwrap_err().kind), (vec![ChatEvent::Text("x".into())], LlmErrorKind::Timeout));
}

#[tokio::test]
async fn dropping_the_stream_ends_the_upstream_call() {
    let mut upstream = Upstream::start(vec![stalled(&[r#"{"choices":[{"delta":{"content":"x"}}]}"#])]).await;
    let mut stream = provider("openai_compat", &upstream).chat(ask("m", true));
    assert_eq!(stream.next().await.unwrap().unwrap(), ChatEvent::Text("x".into()));
    drop(stream);
    tokio::time::timeout(Duration::from_secs(10), upstream.client_gone()).await.expect("the connection must be closed at once");
}

#[tokio::test]
async fn dashscope_streams_with_tools_are_replayed() {
    let mut upstream = Upstream::start(vec![answer(200, "", OPENAI_OK)]).await;
    let (events, response) = run(&provider("dashscope", &upstream), ChatRequest { tools: [weather()].into(), ..ask("qwen3-max", true) }).await;
    assert_eq!((events, response.unwrap().content), (vec![ChatEvent::Text("Hi".into())], "Hi".to_owned()));
    assert_eq!(upstream.request().await.body["stream"], false);
}

#[tokio::test]
async fn models_are_listed_by_their_source() {
    let mut upstream = Upstream::start(vec![answer(200, "", r#"{"data":[{"id":"a"}]}"#)]).await;
    let models = provider("groq", &upstream).models().await.unwrap();
    assert_eq!(serde_json::to_value(models).unwrap(), json!([{"id": "a", "name": "a"}]));
    assert!(upstream.request().await.head.starts_with("GET /v1/models "));
    let mut upstream = Upstream::start(vec![answer(200, "", r#"{"models":[{"name":"models/g","displayName":"G"}]}"#)]).await;
    let models = provider("gemini_native", &upstream).models().await.unwrap();
    assert_eq!(serde_json::to_value(models).unwrap(), json!([{"id": "g", "name": "G"}]));
    let head = upstream.request().await.head;
    assert!(head.contains("x-goog-api-key: sk-test-secret") && !head.lines().next().unwrap().contains("secret"), "{head}");
    let upstream = Upstream::start(vec![answer(500, "", "no")]).await;
    assert_eq!(provider("groq", &upstream).models().await.unwrap_err().status, Some(500));
    assert_eq!(provider("bailian", &upstream).models().await.unwrap().len(), 8);
}

#[tokio::test]
async fn bases_and_types_are_checked() {
    let providers = providers(Duration::from_secs(1));
    assert!(!providers.speaks("claude_cli") && providers.speaks("minimax") && providers.build(spec("suno", "https://example.com")).is_err());
    let text = |base: &str| providers.check_base(base).unwrap_err().to_string();
    assert_eq!(text("http://[::ffff:10.0.0.1]/"), "provider URL cannot point to private network: 10.0.0.1");
    assert_eq!(text("ftp://x"), "provider URL must use http or https scheme, got \"ftp\"");
    assert!(providers.check_base("https://api.example.com/v1").is_ok());
    let tenants = |kind: &str, base: &str| providers.build(ProviderSpec { trusted: false, ..spec(kind, base) });
    assert!(tenants("openai_compat", "http://127.0.0.1:1/v1").is_err());
    assert!(tenants("ollama", "http://localhost:11434").is_ok());
    assert!(tenants("ollama", "http://10.0.0.1:11434").is_err());
}

fn picture(model: &str) -> ChatRequest {
    let mut request = ask(model, false);
    request.messages[1].images = vec![ImagePart { mime_type: "image/jpeg".into(), data: "aGk=".into() }];
    request
}

#[tokio::test]
async fn pictures_are_sent_as_each_vendor_takes_them() {
    let openai = body_sent("openai_compat", picture("gpt-4o")).await;
    let image = json!({"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,aGk="}});
    assert_eq!(openai["messages"][1], json!({"role": "user", "content": [image, {"type": "text", "text": "Hello"}]}));
    let anthropic = body_sent("anthropic_native", picture("claude-x")).await;
    let image = json!({"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "aGk="}});
    assert_eq!(anthropic["messages"][0], json!({"role": "user", "content": [image, {"type": "text", "text": "Hello"}]}));
}

#[tokio::test]
async fn a_model_that_refuses_pictures_gets_words_from_then_on() {
    for (provider_type, ok) in [("openai_compat", OPENAI_OK), ("anthropic_native", ANTHROPIC_OK)] {
        let refusal = answer(400, "", r#"{"error":{"message":"This model does not support image input."}}"#);
        let mut upstream = Upstream::start(vec![refusal, answer(200, "", ok), answer(200, "", ok)]).await;
        let provider = provider(provider_type, &upstream);
        run(&provider, picture("blind")).await.1.unwrap();
        run(&provider, picture("blind")).await.1.unwrap();
        let bodies = [upstream.request().await.body, upstream.request().await.body, upstream.request().await.body];
        let contents = bodies.map(|body| body["messages"].as_array().unwrap().last().unwrap()["content"].clone());
        assert!(contents[0].is_array() && contents[1].is_string() && contents[1] == contents[2], "{contents:?}");
        assert!(contents[1].as_str().unwrap().contains("cannot see images"));
    }
}
