//! Starting and stopping.

use crate::common::{fox_session, history, lines, message, streamed, with_fox};
use goclaw_tests::{Answer, Edition, Server, Setup, fake_llm::Gate, sse::joined_text};
use nix::sys::signal::Signal;
use serde_json::json;
use tokio::net::TcpStream;

on_both_editions! {
    async fn a_stop_lets_running_answers_end(edition) {
        let mut server = with_fox(edition).await;
        let gate = Gate::closed();
        server.llm.always(Answer::text("the whole answer").chunks(4).gated(&gate));
        let mut stream = server.owner().stream("/v1/chat/completions", &streamed("fox", "hi")).await;
        let (mut socket, mut watcher) = (server.owner_socket().await, server.owner_socket().await);
        let call = socket.send("chat.send", &message(&fox_session("1"), "hello")).await;
        server.llm.wait_for_open_answers(2).await;
        server.signal(Signal::SIGTERM);
        watcher.event_named("shutdown").await;
        gate.open();
        let mut records = Vec::new();
        while let Some(record) = stream.next().await {
            records.push(record);
        }
        assert_eq!(records.last().map(String::as_str), Some("[DONE]"));
        assert_eq!(joined_text(&records), "the whole answer");
        drop(call);
        assert!(server.wait_for_exit().await.success());

        server.restart().await;
        let mut socket = server.owner_socket().await;
        assert_eq!(lines(&history(&mut socket, &fox_session("1")).await), ["user: hello", "assistant: the whole answer"]);
    }

    async fn while_it_stops_nothing_new_begins(edition) {
        let mut server = with_fox(edition).await;
        let gate = Gate::closed();
        server.llm.always(Answer::text("late").gated(&gate));
        let (mut first, mut second) = (server.owner_socket().await, server.owner_socket().await);
        first.send("chat.send", &message(&fox_session("1"), "hello")).await;
        server.llm.wait_for_questions(1).await;
        server.signal(Signal::SIGTERM);
        second.event_named("shutdown").await;
        let late = second.try_call("chat.send", &message(&fox_session("2"), "too late")).await;
        assert!(late.is_none_or(|answer| answer.unwrap_err().code == "UNAVAILABLE"));
        gate.open();
        assert!(server.wait_for_exit().await.success());
        assert_eq!(server.llm.questions().len(), 1);
        assert!(TcpStream::connect(("127.0.0.1", server.port())).await.is_err());
    }

    async fn a_second_signal_ends_it_at_once(edition) {
        let mut server = with_fox(edition).await;
        server.llm.always(Answer::hang());
        let (mut socket, mut watcher) = (server.owner_socket().await, server.owner_socket().await);
        socket.send("chat.send", &message(&fox_session("1"), "hello")).await;
        server.llm.wait_for_questions(1).await;
        server.signal(Signal::SIGTERM);
        watcher.event_named("shutdown").await;
        let begun = std::time::Instant::now();
        server.signal(Signal::SIGTERM);
        server.wait_for_exit().await;
        assert!(begun.elapsed() < std::time::Duration::from_secs(3), "{:?}", begun.elapsed());
    }

    async fn sockets_are_closed_as_going_away(edition) {
        let mut server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        server.signal(Signal::SIGTERM);
        socket.event_named("shutdown").await;
        assert_eq!(socket.wait_for_close().await, Some(1001));
        assert!(server.wait_for_exit().await.success());
    }

    async fn another_encryption_key_stops_the_start_and_the_old_one_still_works(edition) {
        let mut server = with_fox(edition).await;
        server.owner().post("/v1/providers", &json!({"name": "p", "provider_type": "openai_compat", "api_key": "sk-x", "enabled": true})).await.expect(201);
        assert!(server.stop().await.success());
        let key = server.set_env("GOCLAW_ENCRYPTION_KEY", &"ab".repeat(32)).unwrap();
        let (status, log) = server.restart_and_fail().await;
        assert!(!status.success());
        assert!(log.contains("encryption key") && !log.contains(&key), "{log}");
        server.set_env("GOCLAW_ENCRYPTION_KEY", &key);
        server.restart().await;
        server.owner().get("/v1/providers").await.expect(200);
    }

    async fn an_unknown_backend_stops_the_start(edition) {
        let (status, log) = Setup::new(edition).await.env("GOCLAW_STORAGE_BACKEND", "oracle").start_and_fail().await;
        assert!(!status.success());
        assert!(log.contains("oracle"), "{log}");
    }

    async fn a_broken_configuration_stops_the_start(edition) {
        let setup = Setup::new(edition).await.config(json!({"gateway": "nonsense"}));
        let (status, log) = setup.start_and_fail().await;
        assert!(!status.success());
        assert!(log.contains("gateway"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn standard_needs_an_encryption_key_and_a_database() {
    let (status, log) = Setup::new(Edition::Standard).await.without_env("GOCLAW_ENCRYPTION_KEY").start_and_fail().await;
    assert!(!status.success() && log.contains("GOCLAW_ENCRYPTION_KEY"), "{log}");
    let (status, log) = Setup::new(Edition::Standard).await.without_env("GOCLAW_POSTGRES_DSN").start_and_fail().await;
    assert!(!status.success() && log.contains("GOCLAW_POSTGRES_DSN"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_data_directory_serves_one_gateway() {
    let server = Server::start(Edition::Lite).await;
    let data = server.dir().join("data");
    let second = Setup::new(Edition::Lite).await.env("GOCLAW_DATA_DIR", &data.to_string_lossy());
    let (status, log) = second.start_and_fail().await;
    assert!(!status.success());
    assert!(log.contains("lock"), "{log}");
    server.owner().get("/v1/agents").await.expect(200);
}
