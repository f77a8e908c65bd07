//! `logs.tail`: the gateway's log from afar.

use crate::common::{Tenants, create_agent, question};
use goclaw_tests::{Answer, Server, Setup, WsClient, eventually};
use serde_json::{Value, json};

/// The `log` events until one says this.
async fn until(socket: &mut WsClient, needle: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    loop {
        let record = socket.event_named("log").await["payload"].take();
        let found = record["message"].as_str().unwrap().contains(needle);
        seen.push(record);
        if found {
            return seen;
        }
    }
}

/// Makes the gateway write a warning.
async fn warn(server: &Server) {
    server.owner().header("X-GoClaw-User-Id", &"u".repeat(300)).get("/v1/tools/builtin").await;
}

on_both_editions! {
    async fn the_past_comes_first_then_a_mark_then_the_answer_then_the_present(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        let id = socket.send("logs.tail", &json!({"action": "start"})).await;
        let past = until(&mut socket, "following the log").await;
        let mark = past.last().unwrap();
        assert_eq!((&mark["level"], &mark["source"]), (&json!("info"), &json!("gateway")));
        assert!(mark["timestamp"].as_i64().unwrap() > 1_600_000_000_000 && past.len() <= 101);
        assert!(past.iter().all(|record| ["info", "warn", "error"].contains(&record["level"].as_str().unwrap())));
        assert_eq!(socket.answer(&id).await.unwrap(), json!({"status": "tailing", "level": "info"}));
        server.anonymous().header("X-GoClaw-User-Id", &"u".repeat(300)).token("wrong").get("/v1/agents").await;
        let record = until(&mut socket, "user_id_too_long").await.pop().unwrap();
        assert_eq!((&record["level"], &record["attrs"]["bytes"]), (&json!("warn"), &json!("300")));
        assert_eq!(socket.call("logs.tail", &json!({"action": "stop"})).await.unwrap(), json!({"status": "stopped"}));
        server.anonymous().header("X-GoClaw-User-Id", &"u".repeat(300)).token("wrong").get("/v1/agents").await;
        assert!(socket.events_until_now().await.iter().all(|event| event["event"] != "log"));
    }

    async fn debug_lines_come_for_who_wants_them_and_hide_secrets(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        socket.call("logs.tail", &json!({"action": "start", "level": "debug"})).await.unwrap();
        let token = "goclaw_00112233445566778899aabbccddeeff";
        server.with_key(token).get(&format!("/v1/agents?token={token}")).await;
        eventually("a debug line", async || {
            server.owner().get("/v1/edition").await;
            socket.events_until_now().await.iter().any(|event| event["event"] == "log" && event["payload"]["level"] == "debug")
        })
        .await;
        assert!(!server.log().contains(token), "the log has the token of a query");
    }

    async fn the_mark_is_there_before_the_answer(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        for _ in 0..2 {
            warn(&server).await;
        }
        socket.call("logs.tail", &json!({"action": "start", "level": "warn"})).await.unwrap();
        let before: Vec<Value> = socket.events_before_answer().into_iter().filter(|event| event["event"] == "log").collect();
        let levels: Vec<_> = before.iter().map(|event| event["payload"]["level"].as_str().unwrap()).collect();
        assert_eq!(levels.last(), Some(&"info"), "the mark is the last: {before:?}");
        assert!(levels[..levels.len() - 1].iter().all(|level| ["warn", "error"].contains(level)), "{levels:?}");
        assert!(before.iter().filter(|event| event["payload"]["message"].as_str().unwrap().contains("user_id_too_long")).count() >= 2);
    }

    async fn beginning_again_replaces_the_level_and_doubles_nothing(edition) {
        let server = Server::start(edition).await;
        let (mut socket, mut witness) = (server.owner_socket().await, server.owner_socket().await);
        witness.call("logs.tail", &json!({"action": "start", "level": "debug"})).await.unwrap();
        for level in ["debug", "info", "warn"] {
            let answer = socket.call("logs.tail", &json!({"action": "start", "level": level})).await.unwrap();
            assert_eq!(answer, json!({"status": "tailing", "level": level}));
        }
        socket.events_before_answer();
        witness.events_before_answer();
        warn(&server).await;
        until(&mut witness, "user_id_too_long").await;
        let live: Vec<_> = socket.events_until_now().await.into_iter().filter(|event| event["event"] == "log").collect();
        assert_eq!(live.iter().filter(|event| event["payload"]["message"].as_str().unwrap().contains("user_id_too_long")).count(), 1, "{live:?}");
        assert!(live.iter().all(|event| ["warn", "error"].contains(&event["payload"]["level"].as_str().unwrap())), "{live:?}");
    }

    async fn who_is_somebody_else_by_now_gets_nothing_more(edition) {
        let tenants = Tenants::start(edition).await;
        let (mut socket, mut witness) = (tenants.server.owner_socket().await, tenants.server.owner_socket().await);
        for watching in [&mut socket, &mut witness] {
            watching.call("logs.tail", &json!({"action": "start"})).await.unwrap();
            watching.events_before_answer();
        }
        socket.call("connect", &json!({"token": tenants.a_viewer, "user_id": "mai"})).await.unwrap();
        socket.events_before_answer();
        warn(&tenants.server).await;
        until(&mut witness, "user_id_too_long").await;
        assert!(socket.events_until_now().await.iter().all(|event| event["event"] != "log"));
    }

    async fn who_is_no_owner_any_more_gets_nothing_more(edition) {
        let config = json!({"gateway": {"owner_ids": ["system", "alice"]}});
        let server = Setup::new(edition).await.config(config).start().await;
        let (mut socket, mut witness) = (server.socket_as("alice").await, server.owner_socket().await);
        let mut idle = server.socket_as("alice").await;
        for watching in [&mut socket, &mut witness] {
            watching.call("logs.tail", &json!({"action": "start"})).await.unwrap();
            watching.events_before_answer();
        }
        witness.call("config.patch", &json!({"raw": "{gateway: {owner_ids: ['system']}}"})).await.unwrap();
        warn(&server).await;
        until(&mut witness, "user_id_too_long").await;
        for former in [&mut socket, &mut idle] {
            assert_eq!(former.call("status", &json!({})).await.unwrap_err().code, "UNAUTHORIZED");
            let log: Vec<_> = former.events_before_answer().into_iter().filter(|event| event["payload"]["message"].as_str().unwrap_or_default().contains("user_id_too_long")).collect();
            assert_eq!(log, Vec::<Value>::new());
            former.expect_closed_code(1008).await;
        }
        assert_eq!(server.socket().await.call("connect", &json!({"token": goclaw_tests::server::GATEWAY_TOKEN, "user_id": "alice"})).await.unwrap()["role"], "admin");
    }

    async fn debug_lines_do_not_reach_the_console_and_secrets_reach_nobody(edition) {
        let server = Setup::new(edition).await.env("GOCLAW_LOG_LEVEL", "info").start().await;
        create_agent(&server.owner(), "fox").await;
        let mut socket = server.owner_socket().await;
        socket.call("logs.tail", &json!({"action": "start", "level": "debug"})).await.unwrap();
        let line = async |socket: &mut WsClient, id: &str| {
            server.owner().header("X-Request-Id", id).get("/v1/agents?token=shown-in-no-log").await.expect(200);
            loop {
                let record = socket.event_named("log").await["payload"].take();
                if record["attrs"]["request_id"] == id {
                    return record;
                }
            }
        };
        let record = line(&mut socket, "req-0001").await;
        assert_eq!((&record["level"], &record["attrs"]["path"], &record["attrs"]["status"]), (&json!("debug"), &json!("/v1/agents"), &json!("200")));
        let secret = format!("sk-{}", "a1".repeat(20));
        server.llm.next(Answer::error(400, &format!("the key {secret} is not good")));
        server.owner().post("/v1/chat/completions", &question("fox", "hi")).await;
        line(&mut socket, "req-0002").await;
        let (all, log) = (format!("{:?}", socket.events_before_answer()), server.log());
        for hidden in [secret.as_str(), "shown-in-no-log"] {
            assert!(!all.contains(hidden) && !log.contains(hidden), "{hidden}");
        }
        assert!(log.contains("the run failed") && !log.contains("req-0001"), "{log}");
    }

    async fn only_owners_watch_and_nonsense_is_refused(edition) {
        let tenants = Tenants::start(edition).await;
        for mut socket in [tenants.socket(&tenants.a_admin, "mai").await, tenants.socket(&tenants.a_viewer, "mai").await, tenants.server.socket_as("bob").await] {
            assert_eq!(socket.call("logs.tail", &json!({"action": "start"})).await.unwrap_err().code, "UNAUTHORIZED");
        }
        let mut socket = tenants.server.owner_socket().await;
        for params in [json!({}), json!({"action": "pause"}), json!({"action": "start", "level": "loud"})] {
            assert_eq!(socket.call("logs.tail", &params).await.unwrap_err().code, "INVALID_REQUEST", "{params}");
        }
        assert_eq!(socket.call("logs.tail", &json!({"action": "stop"})).await.unwrap(), json!({"status": "stopped"}));
    }
}
