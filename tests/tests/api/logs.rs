//! `logs.tail`: the gateway's log from afar.

use crate::common::Tenants;
use goclaw_tests::{Server, WsClient, eventually};
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
        // A refused origin is a warning.
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
