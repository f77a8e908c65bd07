//! `GET /metrics`: what operators plot.

use crate::common::{question, with_fox};
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
}
