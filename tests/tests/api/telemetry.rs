//! What other systems learn: traces at a collector, and newer releases that the gateway learns of.

use crate::common::{ask, create_agent, with_fox};
use goclaw_ports::{TenantId, traces::TraceFilter};
use goclaw_tests::{Collector, Edition, Setup, collector::texts, eventually, fake_llm::DEFAULT_TEXT, server::free_port};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

async fn telling(edition: Edition, endpoint: &str, protocol: &str) -> Setup {
    let telemetry = json!({"telemetry": {"service_name": "my-gateway", "headers": {"x-collector-key": "the-collectors-secret"}}});
    let setup = Setup::new(edition).await.config(telemetry);
    setup
        .env("GOCLAW_TELEMETRY_ENABLED", "true")
        .env("GOCLAW_TELEMETRY_INSECURE", "1")
        .env("GOCLAW_TELEMETRY_ENDPOINT", endpoint)
        .env("GOCLAW_TELEMETRY_PROTOCOL", protocol)
}

on_both_editions! {
    async fn a_trace_reaches_the_collector(edition) {
        for protocol in ["grpc", "http"] {
            let collector = Collector::start().await;
            let mut server = telling(edition, &collector.address(), protocol).await.start().await;
            create_agent(&server.owner(), "fox").await;
            ask(&server.owner(), "fox", "hello").await;
            assert!(server.stop().await.success());
            let exports = collector.requests();
            assert!(!exports.is_empty(), "{protocol}: what waits goes before the end");
            assert_eq!(exports[0].grpc, protocol == "grpc");
            assert_eq!(exports[0].headers["x-collector-key"], "the-collectors-secret");
            let resource = exports[0].resource();
            assert_eq!(resource["service.name"], "my-gateway");
            assert!(resource["service.version"].starts_with(|first: char| first.is_ascii_digit()));

            let spans = collector.spans();
            let roots: Vec<_> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
            let [root] = &roots[..] else { panic!("not one root: {spans:?}") };
            assert!(spans.iter().all(|span| span.trace_id == root.trace_id && span.end_time_unix_nano >= span.start_time_unix_nano));
            let call = spans.iter().find(|span| texts(&span.attributes)["goclaw.span_type"] == "llm_call").unwrap();
            assert_eq!(call.parent_span_id, root.span_id);
            let attributes = texts(&call.attributes);
            assert_eq!((attributes["gen_ai.request.model"].as_str(), attributes["goclaw.output_preview"].as_str()), ("stub", DEFAULT_TEXT));
            assert!(attributes["gen_ai.usage.output_tokens"].parse::<u64>().unwrap() > 0);

            // The ids are those that the database has.
            let stores = server.stores().await;
            let (stored, _) = stores.traces.list(TenantId::MASTER, &TraceFilter { limit: 10, ..TraceFilter::default() }).await.unwrap();
            assert_eq!(stored.iter().map(|trace| trace.id.0.as_bytes().to_vec()).collect::<Vec<_>>(), std::slice::from_ref(&root.trace_id));
            stores.database.close().await;
            assert!(!server.log().contains("the-collectors-secret"));
        }
    }

    async fn a_collector_that_is_not_there_changes_nothing(edition) {
        for (endpoint, protocol) in [(format!("127.0.0.1:{}", free_port()), "grpc"), (format!("127.0.0.1:{}", free_port()), "http"), ("ftp://nowhere".to_owned(), "http")] {
            let mut server = telling(edition, &endpoint, protocol).await.start().await;
            create_agent(&server.owner(), "fox").await;
            assert_eq!(ask(&server.owner(), "fox", "hello").await, DEFAULT_TEXT);
            assert!(server.stop().await.success());
        }
    }

    async fn nothing_is_exported_unless_it_is_switched_on(edition) {
        let collector = Collector::start().await;
        let mut server = telling(edition, &collector.address(), "http").await.env("GOCLAW_TELEMETRY_ENABLED", "false").start().await;
        create_agent(&server.owner(), "fox").await;
        ask(&server.owner(), "fox", "hello").await;
        assert!(server.stop().await.success());
        assert!(collector.requests().is_empty());
    }

    async fn health_tells_of_a_newer_release_if_the_operator_wants_to_know(edition) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/releases", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") && socket.read_buf(&mut request).await.unwrap_or(0) > 0 {}
                let list = json!([{"tag_name": "v99.1.0", "html_url": "https://releases.example/99.1.0", "body": "Better."}]).to_string();
                let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{list}", list.len());
                socket.write_all(answer.as_bytes()).await.ok();
            }
        });
        let server = Setup::new(edition).await.config(json!({"updates": {"enabled": true, "url": url}})).start().await;
        let mut socket = server.owner_socket().await;
        let health = eventually("the release to be known", async || {
            let health = socket.call("health", &json!({})).await.unwrap();
            health["latestVersion"].is_string().then_some(health)
        })
        .await;
        let told = json!([health["latestVersion"], health["updateAvailable"], health["updateUrl"], health["releaseNotes"]]);
        assert_eq!(told, json!(["99.1.0", true, "https://releases.example/99.1.0", "Better."]));
        let silent = with_fox(edition).await.owner_socket().await.call("health", &json!({})).await.unwrap();
        assert!(silent.get("latestVersion").is_none());
    }
}
