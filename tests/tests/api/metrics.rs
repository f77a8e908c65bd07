//! `GET /metrics`: what operators plot.

use crate::common::{ask, create_agent_with, question, with_fox};
use goclaw_tests::{Server, eventually, server::GATEWAY_TOKEN};
use serde_json::json;

on_both_editions! {
    async fn every_part_counts_what_it_does(edition) {
        let server = with_fox(edition).await;
        server.owner().post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
        let mut socket = server.owner_socket().await;
        socket.call("status", &json!({})).await.unwrap();
        socket.call("no.such.method", &json!({})).await.unwrap_err();
        let metrics = server.anonymous().get("/metrics").await.text();
        for family in [
            "goclaw_http_requests_total",
            "goclaw_http_request_duration_seconds",
            "goclaw_ws_connections",
            "goclaw_rpc_requests_total",
            "goclaw_rpc_request_duration_seconds",
            "goclaw_ws_unauthenticated_connections",
            "goclaw_ws_slow_client_closes_total",
            "goclaw_runs_started_total",
            "goclaw_runs_active",
            "goclaw_run_first_token_seconds",
            "goclaw_trace_spans_dropped_total",
            "goclaw_audit_notes_dropped_total",
            "goclaw_events_missed_total",
            "goclaw_process_threads",
            "goclaw_runs_total",
            "goclaw_run_seconds",
            "goclaw_llm_calls_total",
            "goclaw_llm_call_seconds",
            "goclaw_llm_tokens_total",
            "goclaw_process_resident_memory_bytes",
            "goclaw_process_open_fds",
            "goclaw_build_info",
        ] {
            assert!(metrics.contains(&format!("# TYPE {family} ")), "{family} is missing:\n{metrics}");
        }
        let database = if edition == goclaw_tests::Edition::Lite { "goclaw_db_commit_seconds" } else { "goclaw_db_statement_seconds" };
        assert!(metrics.contains(database), "{database}");
        assert!(metrics.contains(r#"method="status""#) && !metrics.contains("no.such.method"), "names that clients make up are no labels");
    }

    async fn no_label_is_chosen_by_a_client(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        owner.post("/v1/providers", &json!({"name": "named-by-somebody", "provider_type": "openai_compat", "api_key": "sk-x", "enabled": true})).await.expect(201);
        create_agent_with(&owner, "called-by-somebody", json!({"provider": "named-by-somebody", "model": "model-of-somebody", "is_default": true})).await;
        ask(&owner.user("user-of-somebody"), "called-by-somebody", "hi").await;
        server.owner().get("/v1/path-of-somebody").await;
        server.owner().send("PURGE", "/v1/agents", "", Vec::new()).await;
        let metrics = server.anonymous().get("/metrics").await.text();
        assert!(metrics.contains(r#"provider_type="openai_compat""#) && metrics.contains(r#"channel="http""#), "{metrics}");
        let chosen: Vec<_> = metrics.lines().filter(|line| line.contains("somebody") || line.contains("PURGE")).collect();
        assert!(chosen.is_empty(), "{chosen:?}");
    }

    async fn sockets_are_counted_while_nobody_knows_them(edition) {
        let server = Server::start(edition).await;
        let count = async || {
            let metrics = server.anonymous().get("/metrics").await.text();
            let of = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).unwrap();
            (of("goclaw_ws_connections "), of("goclaw_ws_unauthenticated_connections "))
        };
        assert_eq!(count().await, (0.0, 0.0));
        let mut socket = server.socket().await;
        eventually("the socket is counted", async || count().await == (1.0, 1.0)).await;
        socket.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": "system"})).await.unwrap();
        eventually("the socket is known", async || count().await == (1.0, 0.0)).await;
        socket.close().await;
        eventually("the socket is gone", async || count().await == (0.0, 0.0)).await;
    }
}
