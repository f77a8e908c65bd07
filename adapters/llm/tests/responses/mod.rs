//! ChatGPT accounts against a scripted upstream.

use super::{
    ask, providers, run, spec,
    support::{Upstream, json as answer, stalled, stream},
    tool_turn, weather,
};
use async_trait::async_trait;
use futures_util::StreamExt;
use goclaw_ports::{
    llm::{Bearer, ChatEvent, ChatRequest, Credentials, FinishReason, LlmError, LlmErrorKind, Provider, ProviderSpec, ToolDefinition},
    sessions::{ChatMessage, MessageRole},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Gives another token each time.
#[derive(Default)]
struct Tokens(AtomicUsize);

#[async_trait]
impl Credentials for Tokens {
    async fn bearer(&self) -> Result<Bearer, LlmError> {
        let turn = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        Ok(Bearer { token: format!("access-token-{turn}").into(), account_id: Some("acct-7".into()) })
    }
}

/// Has none to give.
struct SignedOut;

#[async_trait]
impl Credentials for SignedOut {
    async fn bearer(&self) -> Result<Bearer, LlmError> {
        Err(LlmError { kind: LlmErrorKind::Auth, status: None, text: "sign in again".into(), retry_after: None })
    }
}

pub fn account(upstream: &Upstream) -> Arc<dyn Provider> {
    patient(upstream, Duration::from_secs(30))
}

pub fn patient(upstream: &Upstream, idle: Duration) -> Arc<dyn Provider> {
    let credentials: Arc<dyn Credentials> = Arc::new(Tokens::default());
    providers(idle).build(ProviderSpec { api_key: None, credentials: Some(credentials), ..spec("chatgpt_oauth", &upstream.base) }).unwrap()
}

pub const DONE: &str = r#"{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":3,"output_tokens":1,"total_tokens":4}}}"#;

async fn body_sent(request: ChatRequest) -> Value {
    let mut upstream = Upstream::start(vec![stream(&[DONE])]).await;
    run(&account(&upstream), request).await.1.unwrap();
    upstream.request().await.body
}

#[tokio::test]
async fn bodies_are_what_the_backend_expects() {
    let mut messages = tool_turn("call_1/ü", None);
    messages[1].content = "Let me see.".into();
    messages[1].phase = "commentary".into();
    let switch = json!({"type": "object", "properties": {"action": {"type": "string", "enum": ["a", "b"]}, "x": {"type": "string"}}, "required": ["action"]});
    let tools = [weather(), ToolDefinition { name: "switch".into(), description: "Does one of two things".into(), parameters: switch }].into();
    insta::assert_json_snapshot!("responses_tools", body_sent(ChatRequest { messages, tools, ..ask("gpt-5.4", false) }).await);
    let two = vec![ChatMessage::new(MessageRole::System, "One."), ChatMessage::new(MessageRole::System, "Two."), ChatMessage::new(MessageRole::User, "Hello")];
    let thinking = ChatRequest { messages: two, reasoning_effort: Some("high".into()), ..ask("", true) };
    insta::assert_json_snapshot!("responses_thinking", body_sent(thinking).await);
    let no_system = ChatRequest { messages: vec![ChatMessage::new(MessageRole::User, "Hi")], reasoning_effort: Some("off".into()), ..ask("m", true) };
    let body = body_sent(no_system).await;
    assert!(!body["instructions"].as_str().unwrap().is_empty() && body.get("reasoning").is_none(), "{body}");
}

#[tokio::test]
async fn pictures_go_before_the_text() {
    let body = body_sent(crate::picture("gpt-5.4")).await;
    let expected = json!([{"type": "input_image", "image_url": "data:image/jpeg;base64,aGk="}, {"type": "input_text", "text": "Hello"}]);
    assert_eq!(body["input"][0]["content"], expected);
}

#[tokio::test]
async fn each_attempt_takes_the_token_of_its_moment() {
    let mut upstream = Upstream::start(vec![answer(503, "", "busy"), stream(&[DONE])]).await;
    let (events, response) = run(&account(&upstream), ask("m", true)).await;
    assert_eq!((events.len(), response.unwrap().usage.unwrap().total_tokens), (1, 4));
    for turn in 1..=2 {
        let head = upstream.request().await.head;
        assert!(head.starts_with("POST /v1/codex/responses "), "{head}");
        for header in [format!("authorization: bearer access-token-{turn}"), "openai-beta: responses=v1".into(), "chatgpt-account-id: acct-7".into()] {
            assert!(head.contains(&header), "{header}: {head}");
        }
    }
}

#[tokio::test]
async fn what_passes_is_asked_again_and_nothing_else() {
    for (status, headers) in [(429, ""), (429, "retry-after: 0\r\n"), (500, ""), (502, ""), (503, "retry-after: 0\r\n"), (504, ""), (529, "")] {
        let mut upstream = Upstream::start(vec![answer(status, headers, "busy"), stream(&[DONE])]).await;
        let (events, response) = run(&account(&upstream), ask("m", true)).await;
        let told = [ChatEvent::Retrying { attempt: 1, max_attempts: 3, error: format!("HTTP {status}: stub: busy") }];
        assert_eq!(events, told, "{status} {headers}");
        assert_eq!((response.unwrap().finish_reason, upstream.more()), (FinishReason::Stop, 2), "{status} {headers}");
    }
    for status in [429, 500, 502, 503, 504] {
        let mut upstream = Upstream::start((0..4).map(|_| answer(status, "", "busy")).collect()).await;
        let (events, response) = run(&account(&upstream), ask("m", true)).await;
        assert_eq!((events.len(), response.unwrap_err().status, upstream.more()), (2, Some(status), 3));
    }
    for status in [400, 401, 402, 403, 404, 422, 501] {
        let mut upstream = Upstream::start(vec![answer(status, "", "no"), stream(&[DONE])]).await;
        let (events, response) = run(&account(&upstream), ask("m", true)).await;
        assert_eq!((events.len(), response.unwrap_err().status, upstream.more()), (0, Some(status), 1));
    }
}

#[tokio::test]
async fn nothing_is_sent_without_a_token() {
    let mut upstream = Upstream::start(vec![]).await;
    let signed_out = providers(Duration::from_secs(30))
        .build(ProviderSpec { api_key: None, credentials: Some(Arc::new(SignedOut)), ..spec("chatgpt_oauth", &upstream.base) })
        .unwrap();
    let (events, response) = run(&signed_out, ask("m", true)).await;
    assert_eq!((events.len(), response.unwrap_err().kind, upstream.more()), (0, LlmErrorKind::Auth, 0));
}

#[tokio::test]
async fn errors_do_not_show_the_token() {
    let upstream = Upstream::start(vec![answer(401, "", "no access-token-1 here")]).await;
    let error = run(&account(&upstream), ask("m", true)).await.1.unwrap_err();
    assert_eq!((error.kind, error.text.as_str()), (LlmErrorKind::Auth, "HTTP 401: stub: no [redacted] here"));
}

/// Every kind of event that matters, and some that do not.
const EVENTS: &[&str] = &[
    r#"{"type":"response.created","response":{"id":"r","status":"in_progress","usage":null,"error":null}}"#,
    r#"{"type":"response.output_item.added","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[]}}"#,
    r#"{"type":"response.reasoning_summary_text.delta","item_id":"rs_1","output_index":0,"delta":"I think"}"#,
    r#"{"type":"response.output_item.done","output_index":0,"item":{"id":"rs_1","type":"reasoning","summary":[{"type":"summary_text","text":"I think"}]}}"#,
    r#"{"type":"response.output_item.done","output_index":1,"item":{"id":"rs_2","type":"reasoning","summary":[{"type":"summary_text","text":", so"}]}}"#,
    "not json",
    r#"{"type":"response.unknown","delta":{"an":"object"}}"#,
    r#"{"no":"type"}"#,
    r#"{"type":"response.output_item.added","output_index":2,"item":{"id":"msg_1","type":"message","role":"assistant","content":[]}}"#,
    r#"{"type":"response.output_text.delta","item_id":"msg_1","output_index":2,"delta":"Hé\n"}"#,
    r#"{"type":"response.output_text.delta","item_id":"msg_1","output_index":2,"delta":"there"}"#,
    r#"{"type":"response.output_item.done","output_index":2,"item":{"id":"msg_1","type":"message","phase":"commentary","content":[{"type":"output_text","text":"Hé\nthere"}]}}"#,
    r#"{"type":"response.output_item.done","output_index":3,"item":{"id":"msg_2","type":"message","phase":"final_answer","content":[{"type":"output_text","text":"Whole."}]}}"#,
    r#"{"type":"response.output_item.added","output_index":5,"item":{"id":"fc_b","type":"function_call","call_id":"call_b","name":"other","arguments":""}}"#,
    r#"{"type":"response.output_item.added","output_index":4,"item":{"id":"fc_a","type":"function_call","call_id":"call_a","name":" weather ","arguments":""}}"#,
    r#"{"type":"response.function_call_arguments.delta","item_id":"fc_b","output_index":5,"delta":"{oops"}"#,
    r#"{"type":"response.function_call_arguments.delta","item_id":"fc_a","output_index":4,"delta":"{\"city\":"}"#,
    r#"{"type":"response.output_item.done","output_index":4,"item":{"id":"fc_a","type":"function_call","call_id":"call_a","name":"weather","arguments":"{\"city\":\"Hue\"}"}}"#,
    r#"{"type":"response.completed","response":{"status":"completed","usage":{"input_tokens":9,"output_tokens":5,"total_tokens":14,"input_tokens_details":{"cached_tokens":4},"output_tokens_details":{"reasoning_tokens":2}}}}"#,
];

#[tokio::test]
async fn a_stream_gives_text_thought_calls_phase_and_usage() {
    let upstream = Upstream::start(vec![stream(EVENTS), stream(EVENTS)]).await;
    let account = account(&upstream);
    let (events, response) = run(&account, ask("m", true)).await;
    let (text, thought) = (|text: &str| ChatEvent::Text(text.into()), |text: &str| ChatEvent::Thinking(text.into()));
    assert_eq!(events, [thought("I think"), thought(", so"), text("Hé\n"), text("there"), text("\n\nWhole.")]);
    let response = response.unwrap();
    assert_eq!((response.content.as_str(), response.thinking.as_str(), response.phase.as_str()), ("Hé\nthere\n\nWhole.", "I think, so", "final_answer"));
    let calls: Vec<_> = response.tool_calls.iter().map(|call| (call.id.as_str(), call.name.as_str(), call.parse_error.is_empty())).collect();
    assert_eq!(calls, [("call_a", "weather", true), ("call_b", "other", false)], "in the order of the answer, not of the events");
    assert_eq!((&response.tool_calls[0].arguments["city"], response.finish_reason), (&json!("Hue"), FinishReason::ToolCalls));
    let usage = response.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.total_tokens), (9, 5, 14));
    assert_eq!((usage.cache_read_tokens, usage.thinking_tokens), (4, 2));

    let (events, whole) = run(&account, ask("m", false)).await;
    assert_eq!((events, whole.unwrap()), (vec![], response), "who does not ask for pieces gets the whole only");
}

#[tokio::test]
async fn an_incomplete_answer_says_that_it_is_cut() {
    let cut = r#"{"type":"response.incomplete","response":{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"}}}"#;
    let call = r#"{"type":"response.function_call_arguments.delta","item_id":"f","output_index":0,"delta":"{\"ci"}"#;
    let upstream = Upstream::start(vec![stream(&[call, cut])]).await;
    let response = run(&account(&upstream), ask("m", true)).await.1.unwrap();
    assert_eq!((response.finish_reason, response.usage), (FinishReason::Length, None));
    assert!(response.tool_calls[0].parse_error.contains("(4 characters)"));
}

#[tokio::test]
async fn failures_in_a_stream_and_broken_streams_are_errors() {
    let text = r#"{"type":"response.output_text.delta","item_id":"m","delta":"x"}"#;
    for (last, expected, kind) in [
        (
            Some(r#"{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"slow down"}}}"#),
            "stub: stream error: rate_limit_exceeded: slow down",
            LlmErrorKind::RateLimit,
        ),
        (Some(r#"{"type":"response.failed","response":{"status":"failed"}}"#), "stub: stream error: the response failed", LlmErrorKind::Other),
        (Some(r#"{"type":"error","code":"server_error","message":"boom"}"#), "stub: stream error: server_error: boom", LlmErrorKind::Other),
        (Some(r#"{"type":"error","error":{"type":"overloaded","message":"busy"}}"#), "stub: stream error: overloaded: busy", LlmErrorKind::Overloaded),
        (None, "stub: the stream broke off before its end", LlmErrorKind::Other),
    ] {
        let events: Vec<&str> = [text].into_iter().chain(last).collect();
        let mut upstream = Upstream::start(vec![stream(&events)]).await;
        let (events, response) = run(&account(&upstream), ask("m", true)).await;
        let error = response.unwrap_err();
        assert_eq!((events.len(), error.text.as_str(), error.kind, upstream.more()), (1, expected, kind, 1));
    }
}

#[tokio::test]
async fn a_silent_stream_is_a_timeout() {
    let upstream = Upstream::start(vec![stalled(&[r#"{"type":"response.output_text.delta","item_id":"m","delta":"x"}"#])]).await;
    let (events, response) = run(&patient(&upstream, Duration::from_millis(100)), ask("m", true)).await;
    assert_eq!((events, response.unwrap_err().kind), (vec![ChatEvent::Text("x".into())], LlmErrorKind::Timeout));
}

#[tokio::test]
async fn dropping_the_stream_ends_the_upstream_call() {
    let mut upstream = Upstream::start(vec![stalled(&[r#"{"type":"response.output_text.delta","item_id":"m","delta":"x"}"#])]).await;
    let mut stream = account(&upstream).chat(ask("m", true));
    assert_eq!(stream.next().await.unwrap().unwrap(), ChatEvent::Text("x".into()));
    drop(stream);
    tokio::time::timeout(Duration::from_secs(10), upstream.client_gone()).await.expect("the connection must be closed at once");
}

#[tokio::test]
async fn the_models_are_a_list_of_ours() {
    let upstream = Upstream::start(vec![]).await;
    let models = account(&upstream).models().await.unwrap();
    assert_eq!((models.len(), models[0].id.as_str(), models[9].id.as_str()), (10, "gpt-5.4", "gpt-5.1"));
}

#[tokio::test]
async fn the_quota_is_asked_twice_at_most() {
    let mut upstream = Upstream::start(vec![answer(503, "retry-after: 0\r\n", "busy"), answer(200, "", "{\"plan_type\":\"plus\"}")]).await;
    let told = account(&upstream).quota().await.unwrap().unwrap();
    assert_eq!(told, b"{\"plan_type\":\"plus\"}");
    let head = upstream.request().await.head;
    for part in ["GET /v1/wham/usage ", "authorization: bearer access-token-1", "chatgpt-account-id: acct-7", "user-agent: codex_cli_rs/"] {
        assert!(head.contains(part), "{part}: {head}");
    }
    for (status, asked) in [(403, 1), (429, 2), (500, 2)] {
        let answers = (0..3).map(|_| answer(status, "retry-after: 0\r\n", "no")).collect();
        let mut upstream = Upstream::start(answers).await;
        assert_eq!(account(&upstream).quota().await.unwrap().unwrap_err().status, Some(status));
        assert_eq!(upstream.more(), asked, "{status}");
    }
    let upstream = Upstream::start(vec![super::support::Answer::Stall(vec![]), super::support::Answer::Stall(vec![])]).await;
    assert_eq!(patient(&upstream, Duration::from_millis(50)).quota().await.unwrap().unwrap_err().kind, LlmErrorKind::Timeout);
    assert!(super::provider("openai_compat", &upstream).quota().await.is_none());
}
