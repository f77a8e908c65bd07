//! How long and how often upstreams are waited for.

use super::{
    OPENAI_OK, answer, ask, provider, providers, responses, run, spec,
    support::{Upstream, paced},
};
use futures_util::future;
use goclaw_llm::{LlmOptions, RetryPolicy, factory};
use goclaw_outbound::{Outbound, OutboundOptions};
use goclaw_ports::llm::{LlmErrorKind, Provider};
use std::{
    iter,
    sync::Arc,
    time::{Duration, Instant},
};

/// One type of each dialect.
const DIALECTS: [&str; 3] = ["openai_compat", "anthropic_native", "chatgpt_oauth"];

fn patient(kind: &str, upstream: &Upstream, idle: Duration) -> Arc<dyn Provider> {
    match kind {
        "chatgpt_oauth" => responses::patient(upstream, idle),
        _ => providers(idle).build(spec(kind, &upstream.base)).unwrap(),
    }
}

fn of(kind: &str, upstream: &Upstream) -> Arc<dyn Provider> {
    patient(kind, upstream, Duration::from_secs(30))
}

#[tokio::test]
async fn the_pause_that_an_upstream_asks_for_takes_the_place_of_ours() {
    let hour = Duration::from_secs(3600);
    let retry = RetryPolicy { base: hour, cap: hour, ..RetryPolicy::default() };
    let providers = factory(Arc::new(Outbound::new(OutboundOptions::default()).unwrap()), LlmOptions { retry, ..LlmOptions::default() });
    let mut upstream = Upstream::start(vec![answer(429, "retry-after: 0\r\n", "slow down"), answer(200, "", OPENAI_OK)]).await;
    let provider = providers.build(spec("openai_compat", &upstream.base)).unwrap();
    let answered = tokio::time::timeout(Duration::from_secs(10), run(&provider, ask("m", false))).await.expect("nobody waits for an hour");
    assert_eq!((answered.1.unwrap().content.as_str(), upstream.more()), ("Hi", 2));
}

#[tokio::test]
async fn an_upstream_that_asks_for_more_patience_than_there_is_is_left_at_once() {
    for kind in DIALECTS {
        for (status, headers, asked) in [
            (429, "retry-after: 3600\r\n", 3600),
            (503, "retry-after: 61\r\n", 61),
            // Without a date of the answer's own.
            (429, "retry-after: Fri, 01 Jan 2100 00:00:00 GMT\r\n", 3600),
        ] {
            let mut upstream = Upstream::start((0..3).map(|_| answer(status, headers, "slow down")).collect()).await;
            let (events, response) = run(&of(kind, &upstream), ask("m", true)).await;
            let error = response.unwrap_err();
            assert_eq!((events.len(), upstream.more(), error.status), (0, 1, Some(status)), "{kind} {headers}");
            // Whoever hears of it may ask another provider, and knows when this one wants to be asked again.
            assert!(error.may_pass() && error.retry_after.unwrap() >= Duration::from_secs(asked), "{kind} {headers}: {:?}", error.retry_after);
        }
    }
}

#[tokio::test]
async fn an_account_with_nothing_left_is_not_asked_again() {
    let of_codex = r#"{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","resets_in_seconds":9000}}"#;
    let of_openai = r#"{"error":{"message":"You exceeded your current quota, please check your plan.","type":"insufficient_quota"}}"#;
    for kind in DIALECTS {
        for (body, resets) in [(of_codex, Some(9000)), (of_openai, None)] {
            let mut upstream = Upstream::start((0..3).map(|_| answer(429, "", body)).collect()).await;
            let (events, response) = run(&of(kind, &upstream), ask("m", true)).await;
            let error = response.unwrap_err();
            assert_eq!((events.len(), upstream.more(), error.kind), (0, 1, LlmErrorKind::RateLimit), "{kind} {body}");
            assert_eq!((error.quota_used_up(), error.may_pass(), error.retry_after), (true, true, resets.map(Duration::from_secs)), "{kind} {body}");
        }
    }
}

#[tokio::test]
async fn a_limit_by_the_minute_is_waited_for() {
    let body = r#"{"error":{"code":429,"message":"You exceeded your current quota. Please retry in 0.1s.","status":"RESOURCE_EXHAUSTED"}}"#;
    let mut upstream = Upstream::start(vec![answer(429, "", body), answer(200, "", OPENAI_OK)]).await;
    let (events, response) = run(&provider("gemini_native", &upstream), ask("m", false)).await;
    assert_eq!((events.len(), response.unwrap().content.as_str(), upstream.more()), (1, "Hi", 2));
}

#[tokio::test]
async fn a_slow_stream_is_not_cut_as_long_as_something_comes() {
    const SILENCE: Duration = Duration::from_secs(1);
    const BEAT: Duration = Duration::from_millis(125);
    const PIECES: usize = 12;
    let slow: [(&str, &str, &str, &[&str]); 3] = [
        (
            "openai_compat",
            r#"{"choices":[{"delta":{"role":"assistant"}}]}"#,
            r#"{"choices":[{"delta":{"content":"x"}}]}"#,
            &[r#"{"choices":[{"delta":{},"finish_reason":"stop"}]}"#, "[DONE]"],
        ),
        (
            "anthropic_native",
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}"#,
            &[r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#, r#"{"type":"message_stop"}"#],
        ),
        ("chatgpt_oauth", r#"{"type":"response.created"}"#, r#"{"type":"response.output_text.delta","item_id":"m","delta":"x"}"#, &[responses::DONE]),
    ];
    let heard = slow.map(|(kind, first, piece, last)| async move {
        let events: Vec<&str> = iter::once(first).chain(iter::repeat_n(piece, PIECES)).chain(last.iter().copied()).collect();
        let upstream = Upstream::start(vec![paced(&events, BEAT)]).await;
        let begun = Instant::now();
        let (told, response) = run(&patient(kind, &upstream, SILENCE), ask("m", true)).await;
        assert_eq!((told.len(), response.unwrap().content), (PIECES, "x".repeat(PIECES)), "{kind}");
        assert!(begun.elapsed() > SILENCE, "{kind}: all of it took longer than one silence may");
    });
    future::join_all(heard).await;
}
