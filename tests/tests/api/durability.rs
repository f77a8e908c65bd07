//! Nothing that was acknowledged is lost, even by kill -9.

use crate::behind::Database;
use crate::common::{assert_paired, create_agent, create_agent_with, fox_session, history, lines, message, with_fox};
use goclaw_ports::{
    TenantId,
    activity::ActivityFilter,
    traces::{TraceFilter, TraceStatus},
};
use goclaw_tests::{Answer, Edition, Server, WsClient, census::with_argument, eventually, fixtures::trace, within};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};
use tokio::{sync::mpsc, task::JoinSet};

fn ten() -> TraceFilter {
    TraceFilter { limit: 10, ..TraceFilter::default() }
}

type Acknowledged = Arc<Mutex<HashMap<String, Vec<String>>>>;

/// Talks in one session until the gateway is gone, and notes what was acknowledged: by `run.started`, or by the answer.
async fn talk(mut socket: WsClient, name: String, acknowledged: Acknowledged, count: mpsc::UnboundedSender<()>) {
    let session = fox_session(&name);
    for n in 0.. {
        let text = format!("{name}: message {n}");
        socket.send("chat.send", &message(&session, &text)).await;
        loop {
            let Some(event) = socket.try_event().await else { return };
            let payload = &event["payload"];
            if payload["sessionKey"] != session {
                continue;
            }
            if payload["type"] == "run.started" {
                assert_eq!(payload["payload"]["message"], text);
                acknowledged.lock().unwrap().entry(session.clone()).or_default().push(text.clone());
                count.send(()).ok();
            }
            if payload["type"] == "run.completed" || payload["type"] == "run.failed" {
                break;
            }
        }
    }
}

on_both_editions! {
    async fn a_crash_under_load_loses_nothing_that_was_acknowledged(edition) {
        const WRITERS: usize = 8;
        let mut server = with_fox(edition).await;
        server.llm.on(|asked| {
            let last = asked.messages().last().unwrap();
            let first = last["role"] == "user" && last["content"].as_str().unwrap().ends_with(['2', '5', '8']);
            Some(if first { Answer::text("I look.").and_tool("list_files", &json!({})) } else { Answer::echo().chunks(4) })
        });
        let acknowledged = Acknowledged::default();
        let (count, mut counted) = mpsc::unbounded_channel();
        let mut writers = JoinSet::new();
        for n in 0..WRITERS {
            writers.spawn(talk(server.owner_socket().await, format!("w{n}"), acknowledged.clone(), count.clone()));
        }
        for _ in 0..WRITERS * 12 {
            within("acknowledged messages", counted.recv()).await.unwrap();
        }
        server.crash().await;
        within("the writers to notice", async { while writers.join_next().await.transpose().unwrap().is_some() {} }).await;
        server.restart().await;

        let mut socket = server.owner_socket().await;
        let acknowledged = acknowledged.lock().unwrap().clone();
        assert_eq!(acknowledged.len(), WRITERS);
        for (session, texts) in acknowledged {
            let stored = history(&mut socket, &session).await;
            let said: Vec<_> = stored.iter().filter(|message| message["role"] == "user").map(|message| message["content"].as_str().unwrap()).collect();
            assert!(said.len() == texts.len() || said.len() == texts.len() + 1, "at most the one in flight is more: {said:?} {texts:?}");
            assert_eq!(&said[..texts.len()], texts, "in the order in which they were sent, each once");
            socket.call("chat.send", &message(&session, "go on")).await.unwrap();
            let asked = server.llm.questions().pop().unwrap();
            assert_paired_for_model(asked.messages());
            assert_paired(&history(&mut socket, &session).await);
        }
    }

    async fn an_answer_is_stored_before_it_is_given(edition) {
        let mut server = with_fox(edition).await;
        let session = fox_session("1");
        let mut socket = server.owner_socket().await;
        for n in 0..5 {
            let answer = socket.call("chat.send", &message(&session, &format!("message {n}"))).await.unwrap();
            server.crash().await;
            server.restart().await;
            socket = server.owner_socket().await;
            let stored = history(&mut socket, &session).await;
            assert_eq!(stored.len(), 2 * (n + 1));
            assert_eq!(stored.last().unwrap()["content"], answer["content"]);
        }
    }

    async fn what_is_created_survives_a_crash(edition) {
        let mut server = Server::start(edition).await;
        let agent = create_agent_with(&server.owner(), "fox", json!({"display_name": "Fox", "other_config": {"emoji": "🦊"}})).await;
        let provider = server.owner().post("/v1/providers", &json!({"name": "p", "provider_type": "openai_compat", "api_key": "sk-x", "enabled": true})).await.expect(201);
        server.crash().await;
        server.restart().await;
        assert_eq!(server.owner().get("/v1/agents/fox").await.expect(200), agent);
        assert_eq!(server.owner().get("/v1/providers").await.expect(200)["providers"][0]["id"], provider["id"]);
    }

    async fn what_an_agent_started_ends_with_a_killed_gateway(edition) {
        let mut server = with_fox(edition).await;
        // A number that no other process has among its arguments.
        let pause = format!("{}.{}", if edition == Edition::Lite { 601 } else { 602 }, std::process::id());
        server.llm.next(Answer::tool("exec", &json!({"command": format!("sleep {pause} & sleep {pause}")})));
        let mut socket = server.owner_socket().await;
        socket.send("chat.send", &message(&fox_session("1"), "hello")).await;
        eventually("both to run", async || with_argument(&pause).len() == 2).await;
        server.crash().await;
        eventually("both to end", async || with_argument(&pause).is_empty()).await;
    }

    async fn a_run_that_died_is_reported_as_failed(edition) {
        let mut server = with_fox(edition).await;
        server.llm.next(Answer::hang());
        let mut socket = server.owner_socket().await;
        socket.send("chat.send", &message(&fox_session("1"), "hello")).await;
        server.llm.wait_for_questions(1).await;
        server.crash().await;
        server.restart().await;
        assert_eq!(server.owner_socket().await.call("chat.session.status", &json!({"sessionKey": fox_session("1")})).await.unwrap()["isRunning"], false);
        assert_eq!(lines(&history(&mut server.owner_socket().await, &fox_session("1")).await), ["user: hello"]);
        server.stop().await;
        let stores = server.stores().await;
        let trace = stores.traces.list(TenantId::MASTER, &ten()).await.unwrap().0.remove(0);
        stores.database.close().await;
        match edition {
            Edition::Lite => assert!(trace.status == TraceStatus::Error && !trace.error.is_empty(), "{trace:?}"),
            // Another replica may be at work on it: only age tells that nobody is.
            Edition::Standard => assert_eq!(trace.status, TraceStatus::Running),
        }
    }

    async fn a_run_that_nobody_can_be_at_work_on_any_more_has_failed(edition) {
        let mut server = Server::start(edition).await;
        server.stop().await;
        let (stores, old) = (server.stores().await, trace());
        stores.traces.insert(TenantId::MASTER, &old).await.unwrap();
        stores.database.close().await;
        let database = Database::of(&server, edition).await;
        // SQLite belongs to one gateway: what runs there at its start runs no more, whatever its lease.
        database.run("", "update traces set lease_until = lease_until - interval '1 minute'").await;
        database.close().await;
        server.restart().await;
        server.stop().await;
        let stores = server.stores().await;
        let found = stores.traces.find(TenantId::MASTER, old.id).await.unwrap().unwrap().0;
        stores.database.close().await;
        assert!(found.status == TraceStatus::Error && !found.error.is_empty(), "{found:?}");
    }

    async fn a_run_leaves_a_trace_with_its_costs(edition) {
        let mut server = with_fox(edition).await;
        server.llm.next(Answer::tool("list_files", &json!({})).usage(100, 10)).next(Answer::text("Done.").usage(200, 20));
        server.owner_socket().await.call("chat.send", &message(&fox_session("1"), "hello")).await.unwrap();
        assert!(server.stop().await.success());
        let stores = server.stores().await;
        let (traces, total) = stores.traces.list(TenantId::MASTER, &ten()).await.unwrap();
        let (trace, spans) = stores.traces.find(TenantId::MASTER, traces[0].id).await.unwrap().unwrap();
        stores.database.close().await;
        assert_eq!(total, 1);
        assert_eq!((trace.name.as_str(), trace.channel.as_str(), trace.user_id.as_str(), trace.session_key), ("chat fox", "ws", "system", fox_session("1")));
        assert_eq!((trace.status, trace.span_count, trace.llm_call_count, trace.tool_call_count), (TraceStatus::Completed, 4, 2, 1));
        assert_eq!((trace.total_input_tokens, trace.total_output_tokens), (300, 30));
        let root = spans.iter().find(|span| span.span_type == "agent").unwrap();
        assert!(spans.iter().filter(|span| span.id != root.id).all(|span| span.parent_span_id == Some(root.id)));
        assert!(spans.iter().all(|span| span.status == TraceStatus::Completed && span.end_time.is_some()));
    }

    async fn changes_are_in_the_audit_log_of_their_tenant(edition) {
        let mut server = Server::start(edition).await;
        let made = create_agent(&server.owner(), "fox").await;
        let path = format!("/v1/agents/{}", made["id"].as_str().unwrap());
        server.owner().put(&path, &json!({"display_name": "Fox"})).await.expect(200);
        server.owner().delete(&path).await.expect(200);
        assert!(server.stop().await.success());
        let stores = server.stores().await;
        let filter = ActivityFilter { limit: 10, ..ActivityFilter::default() };
        let (entries, _) = stores.activity.list(TenantId::MASTER, &filter).await.unwrap();
        stores.database.close().await;
        let actions: Vec<_> = entries.iter().map(|entry| entry.action.as_str()).collect();
        assert_eq!(actions, ["agent.deleted", "agent.updated", "agent.created"]);
        for entry in &entries {
            assert_eq!((entry.actor_id.as_str(), entry.entity_type.as_str(), entry.entity_id.as_str(), entry.ip_address.as_str()), ("system", "agent", made["id"].as_str().unwrap(), "127.0.0.1"));
        }
    }
}

/// Asserts that the model got every call with its result.
fn assert_paired_for_model(messages: &[Value]) {
    let called: Vec<_> = messages.iter().filter_map(|message| message["tool_calls"].as_array()).flatten().map(|call| call["id"].clone()).collect();
    let answered: Vec<_> = messages.iter().filter(|message| message["role"] == "tool").map(|message| message["tool_call_id"].clone()).collect();
    assert_eq!(called, answered);
}
