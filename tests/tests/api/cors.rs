//! Which web pages may read answers.

use goclaw_tests::{Reply, Server, Setup};
use serde_json::json;

fn headers(reply: &Reply) -> [&str; 3] {
    ["Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"].map(|name| reply.header(name))
}

on_both_editions! {
    async fn pages_of_other_origins_read_the_document_and_nothing_else(edition) {
        let server = Server::start(edition).await;
        let page = |token: bool| (if token { server.owner() } else { server.anonymous() }).header("Origin", "https://other.example");
        assert_eq!(page(true).get("/v1/openapi.json").await.header("Access-Control-Allow-Origin"), "*");
        for path in ["/v1/agents", "/health", "/nothing"] {
            assert_eq!(headers(&page(true).get(path).await), [""; 3], "{path}");
        }
        let preflight = page(false).header("Access-Control-Request-Method", "POST").send("OPTIONS", "/v1/agents", "", vec![]).await;
        assert_eq!((preflight.status, headers(&preflight)), (405, [""; 3]));
    }

    async fn a_desktop_applications_page_reads_every_answer(edition) {
        let server = Setup::new(edition).await.env("GOCLAW_DESKTOP", "1").start().await;
        let expected = ["*", "GET, POST, PUT, PATCH, DELETE, OPTIONS", "Authorization, Content-Type, X-GoClaw-Tenant-Id, X-GoClaw-User-Id"];
        let page = |token: bool| (if token { server.owner() } else { server.anonymous() }).header("Origin", "http://wails.localhost");
        let replies = [
            (200, page(true).get("/v1/agents").await), (401, page(false).get("/v1/agents").await), (404, page(true).get("/v1/nothing").await), (404, page(true).get("/nothing").await),
            (400, page(true).post("/v1/agents", &json!({})).await), (405, page(true).delete("/v1/edition").await), (200, page(false).get("/health").await),
        ];
        for (status, reply) in &replies {
            assert_eq!((reply.status, headers(reply)), (*status, expected));
        }
        for path in ["/v1/agents", "/v1/chat/completions", "/v1/nothing"] {
            let preflight = page(false).header("Access-Control-Request-Method", "POST").send("OPTIONS", path, "", vec![]).await;
            assert_eq!((preflight.status, preflight.body.len(), headers(&preflight)), (204, 0, expected), "{path}");
        }
    }
}
