//! Models that fail, stall and talk nonsense.

use crate::common::{assert_paired, create_agent_with, fox_session, history, lines, message, question, streamed, with_fox};
use goclaw_tests::{Answer, Server, WsClient, eventually, fake_llm::DEFAULT_TEXT, server::UPSTREAM_KEY, sse::joined_text};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// What an upstream says that must never reach a user.
const RAW: &str = "internal host db7.corp.example says no";

/// Asserts that the conversation is in order and can go on.
async fn assert_usable(server: &Server, socket: &mut WsClient, session: &str) {
    let before = history(socket, session).await;
    assert_paired(&before);
    assert_eq!(before[0]["content"], "hello", "the user's message was kept");
    server.llm.forget();
    assert_eq!(socket.call("chat.send", &message(session, "go on")).await.unwrap()["content"], DEFAULT_TEXT);
    let asked = &server.llm.questions()[0];
    assert!(asked.texts_of("user").contains(&"hello".to_owned()), "{:?}", asked.texts_of("user"));
    assert_eq!(asked.last_user_text(), "go on");
    let after = history(socket, session).await;
    assert_paired(&after);
    assert_eq!(after.last().unwrap()["content"], DEFAULT_TEXT);
}

/// Sends `hello`, expects the run to fail, and answers with the text that the user got.
async fn fail(socket: &mut WsClient, session: &str) -> String {
    let id = socket.send("chat.send", &message(session, "hello")).await;
    let events = socket.run_events_of(session).await;
    let last = events.last().unwrap();
    assert_eq!((&events[0]["type"], &last["type"]), (&json!("run.started"), &json!("run.failed")), "{events:?}");
    let error = socket.answer(&id).await.unwrap_err();
    assert_eq!(error.code, "INTERNAL");
    let told = last["payload"]["error"].as_str().unwrap();
    for text in [told, &error.message] {
        assert!(!text.is_empty() && !text.contains("corp.example") && !text.contains(UPSTREAM_KEY), "{text}");
    }
    error.message
}

on_both_editions! {
    async fn failures_are_told_by_their_class_and_the_session_goes_on(edition) {
        let server = with_fox(edition).await;
        let mut socket = server.owner_socket().await;
        let cases = [
            (Answer::error(401, RAW), "key"),
            (Answer::error(402, RAW), "billing"),
            (Answer::error(404, RAW), ""),
            (Answer::error(400, &format!("maximum context length is 8192 tokens; {RAW}")), "too long"),
            (Answer::error(400, &format!("roles must alternate; {RAW}")), "history"),
            (Answer::status(418, RAW), ""),
            (Answer::garbage(), ""),
            (Answer::text("part").chunks(1).then_error(RAW), ""),
        ];
        for (n, (answer, word)) in cases.into_iter().enumerate() {
            server.llm.next(answer);
            let session = fox_session(&n.to_string());
            let text = fail(&mut socket, &session).await;
            assert!(text.contains(word), "case {n}: {text:?} says nothing of {word:?}");
            assert_usable(&server, &mut socket, &session).await;
        }
    }

    async fn a_refused_key_is_tried_once(edition) {
        let server = with_fox(edition).await;
        server.llm.always(Answer::error(401, RAW));
        let reply = server.owner().post("/v1/chat/completions", &question("fox", "hi")).await;
        assert_eq!(reply.status, 500);
        assert!(!reply.text().contains("corp.example"), "{}", reply.text());
        assert!(reply.json()["error"]["message"].is_string());
        assert_eq!(server.llm.questions().len(), 1);
    }

    async fn passing_failures_are_tried_again(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::error(429, "slow down").retry_after("1")).next(Answer::error(503, "busy"));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let begun = Instant::now();
        let id = socket.send("chat.send", &message(&session, "hello")).await;
        let events = socket.run_events().await;
        assert_eq!(socket.answer(&id).await.unwrap()["content"], DEFAULT_TEXT);
        assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After is kept");
        assert_eq!(server.llm.questions().len(), 3);
        let retries: Vec<_> = events.iter().filter(|event| event["type"] == "run.retrying").map(|event| &event["payload"]).collect();
        assert_eq!(retries.len(), 2);
        assert_eq!((&retries[0]["attempt"], &retries[1]["attempt"], &retries[0]["maxAttempts"]), (&json!("1"), &json!("2"), &json!("3")));
        assert_eq!(lines(&history(&mut socket, &session).await), ["user: hello".to_owned(), format!("assistant: {DEFAULT_TEXT}")]);
    }

    async fn after_three_attempts_it_is_enough(edition) {
        let server = with_fox(edition).await;
        for _ in 0..3 {
            server.llm.next(Answer::error(503, "busy"));
        }
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        fail(&mut socket, &session).await;
        assert_eq!(server.llm.questions().len(), 3);
        assert_usable(&server, &mut socket, &session).await;
    }

    async fn a_stream_that_is_cut_fails_the_run_and_keeps_what_came(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("the beginning of an answer").chunks(2).then_cut());
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        fail(&mut socket, &session).await;
        assert_eq!(server.llm.questions().len(), 1, "what has begun is not tried again");
        let kept = lines(&history(&mut socket, &session).await);
        assert!(kept.len() == 2 && kept[1].contains("the beginning of an answer"), "{kept:?}");
        assert_usable(&server, &mut socket, &session).await;
    }

    async fn a_cut_answer_over_http_says_so(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("part of it").chunks(2).then_cut());
        let mut records = server.owner().stream("/v1/chat/completions", &streamed("fox", "hi")).await.rest().await;
        assert_eq!(records.pop().unwrap(), "[DONE]");
        let text = joined_text(&records);
        assert!(text.contains("part of it") && text.contains("Error: "), "{text}");
    }

    async fn an_upstream_that_is_not_there_fails_the_run(edition) {
        let dead = format!("http://127.0.0.1:{}/v1", goclaw_tests::server::free_port());
        let server = goclaw_tests::Setup::new(edition).await.env("GOCLAW_OPENAI_BASE_URL", &dead).start().await;
        create_agent_with(&server.owner(), "fox", json!({})).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let text = fail(&mut socket, &session).await;
        assert!(!text.contains("127.0.0.1"), "{text}");
        assert_eq!(lines(&history(&mut socket, &session).await)[0], "user: hello");
    }

    async fn a_hanging_upstream_is_let_go_when_the_client_goes(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::hang());
        let mut stream = server.owner().stream("/v1/chat/completions", &streamed("fox", "hi")).await;
        stream.next().await.unwrap();
        server.llm.wait_for_questions(1).await;
        drop(stream);
        server.llm.wait_for_lost_clients(1).await;
    }

    async fn a_stalled_upstream_is_let_go_when_the_run_is_aborted(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("some words").then_stall());
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let id = socket.send("chat.send", &message(&session, "hello")).await;
        socket.agent_event("chunk").await;
        socket.call("chat.abort", &json!({"sessionKey": session})).await.unwrap();
        assert_eq!(socket.answer(&id).await.unwrap(), json!({"cancelled": true}));
        server.llm.wait_for_lost_clients(1).await;
        assert_usable(&server, &mut socket, &session).await;
    }

    async fn arguments_that_are_no_json_are_asked_for_again(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::text("").and_raw_tool("t1", "write_file", "{\"path\": \"a.txt\", \"cont").finish("length")).next(Answer::text("done"));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let result = socket.call("chat.send", &message(&session, "hello")).await.unwrap();
        assert_eq!((&result["content"], server.llm.questions().len()), (&json!("done"), 2));
        let history = history(&mut socket, &session).await;
        assert_paired(&history);
        let written = walk(&server.dir().join("workspace"));
        assert!(!written.iter().any(|path| path.ends_with("a.txt")), "{written:?}");
        let owner = server.owner();
        let reasons = eventually("the spans of both calls", async || {
            let traces = owner.get("/v1/traces").await.expect(200);
            let spans = owner.get(&format!("/v1/traces/{}", traces["traces"][0]["id"].as_str()?)).await.expect(200)["spans"].clone();
            let calls = spans.as_array()?.iter().filter(|span| span["span_type"] == "llm_call" && span["status"] == "completed");
            let reasons: Vec<_> = calls.map(|call| call["finish_reason"].clone()).collect();
            (reasons.len() == 2).then_some(reasons)
        })
        .await;
        assert_eq!(reasons, ["length", "stop"]);
    }

    async fn a_model_that_never_stops_calling_broken_tools_is_stopped(edition) {
        let server = with_fox(edition).await;
        server.llm.always(Answer::text("so far").and_raw_tool("t1", "write_file", "{").finish("length"));
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        let id = socket.send("chat.send", &message(&session, "hello")).await;
        let events = socket.run_events().await;
        drop(socket.answer(&id).await);
        assert!(["run.completed", "run.failed"].contains(&events.last().unwrap()["type"].as_str().unwrap()));
        assert!(server.llm.questions().len() <= 5, "{}", server.llm.questions().len());
        assert_paired(&history(&mut socket, &session).await);
    }

    async fn an_answer_limit_that_is_too_high_is_lowered(edition) {
        let server = with_fox(edition).await;
        server.llm.next(Answer::error(400, "max_tokens is too large: 8192. This model supports at most 4096 completion tokens"));
        server.owner().post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
        let limits: Vec<Value> = server.llm.questions().iter().map(|asked| asked.body["max_tokens"].clone()).collect();
        assert_eq!(limits, [8192, 4096]);
    }

    async fn an_anthropic_stream_error_fails_the_run(edition) {
        let server = Server::start(edition).await;
        create_agent_with(&server.owner(), "fox", json!({"provider": "anthropic", "model": "claude-stub"})).await;
        let (mut socket, session) = (server.owner_socket().await, fox_session("1"));
        server.llm.next(Answer::text("some words").then_error(RAW));
        fail(&mut socket, &session).await;
        server.llm.next(Answer::text("some words").then_cut());
        let other = fox_session("2");
        fail(&mut socket, &other).await;
        assert_usable(&server, &mut socket, &session).await;
        assert_usable(&server, &mut socket, &other).await;
    }
}

/// Every file below a directory.
pub fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).flat_map(|path| if path.is_dir() && !path.is_symlink() { walk(&path) } else { vec![path] }).collect()
}
