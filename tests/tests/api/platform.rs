//! What answers without credentials, and what holds for every request.

use goclaw_tests::Server;
use serde_json::json;

on_both_editions! {
    async fn health_needs_nothing_and_says_two_things(edition) {
        let server = Server::start(edition).await;
        for method in ["GET", "POST", "PUT"] {
            let reply = server.anonymous().send(method, "/health", "", Vec::new()).await;
            assert_eq!(reply.expect(200), json!({"status": "ok", "protocol": 3}), "{method}");
        }
    }

    async fn readiness_looks_at_the_database(edition) {
        let server = Server::start(edition).await;
        let body = server.anonymous().get("/ready").await.expect(200);
        assert_eq!((&body["status"], &body["database"], &body["draining"]), (&json!("ok"), &json!("ok"), &json!(false)));
    }

    async fn the_edition_is_told_as_it_is(edition) {
        let server = Server::start(edition).await;
        let mut body = server.anonymous().get("/v1/edition").await.expect(200);
        assert_eq!(body["name"].take(), edition.name());
        assert_snapshot!("edition", body);
    }

    async fn the_docs_answer_without_credentials(edition) {
        let server = Server::start(edition).await;
        let document = server.anonymous().get("/v1/openapi.json").await;
        assert_eq!((document.header("content-type"), document.header("access-control-allow-origin")), ("application/json", "*"));
        assert!(document.expect(200)["openapi"].as_str().unwrap().starts_with("3.0."));
        for path in ["/docs", "/docs/"] {
            let page = server.anonymous().get(path).await;
            assert_eq!(page.status, 200, "{path}");
            assert!(page.header("content-type").starts_with("text/html"), "{path}");
            assert!(page.header("content-security-policy").contains("default-src"), "{path}");
            assert!(!page.text().contains("://"), "the page loads nothing from elsewhere");
        }
    }

    async fn an_unknown_path_is_a_json_404(edition) {
        let server = Server::start(edition).await;
        for path in ["/v1/nothing", "/v1/agents/x/y/z", "/v1/agents/"] {
            let (_, code) = server.owner().get(path).await.expect_error(404);
            assert_eq!(code, "NOT_FOUND", "{path}");
        }
        assert_eq!(server.anonymous().get("/nothing").await.status, 404);
    }

    async fn a_wrong_verb_is_a_json_405_that_names_the_right_ones(edition) {
        let server = Server::start(edition).await;
        for (method, path, allowed) in [("PATCH", "/v1/agents", "GET"), ("GET", "/v1/tools/invoke", "POST"), ("DELETE", "/v1/edition", "GET"), ("POST", "/v1/providers/x", "PUT")] {
            let reply = server.owner().send(method, path, "", Vec::new()).await;
            assert_eq!(reply.status, 405, "{method} {path}");
            assert!(reply.header("allow").contains(allowed), "{method} {path}: {:?}", reply.header("allow"));
            assert!(reply.json()["error"].is_string(), "{method} {path}");
        }
        assert_eq!(server.owner().get("/v1/chat/completions").await.status, 405);
    }

    async fn bodies_over_the_limit_are_refused_and_the_server_goes_on(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let big = "x".repeat(2 << 20);
        for (method, path) in [("POST", "/v1/agents"), ("POST", "/v1/providers"), ("POST", "/v1/tools/invoke"), ("POST", "/v1/chat/completions")] {
            let body = json!({"agent_key": "big", "name": "big", "tool": "exec", "model": "goclaw:big", "messages": [{"role": "user", "content": big}], "frontmatter": big});
            let reply = owner.send(method, path, "application/json", body.to_string().into_bytes()).await;
            assert_eq!(reply.status, 413, "{path}: {}", reply.text());
        }
        assert_eq!(owner.get("/v1/agents").await.expect(200), json!({"agents": []}));
    }

    async fn malformed_bodies_are_refused(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        for path in ["/v1/agents", "/v1/providers", "/v1/tools/invoke", "/v1/chat/completions"] {
            for body in [&b"{"[..], b"", b"null", b"[]", b"\"text\"", b"{\"agent_key\":1,\"name\":1,\"tool\":1,\"messages\":1}", b"\xff\xfe{}", b"{\"a\":\"\xc3\x28\"}"] {
                let reply = owner.send("POST", path, "application/json", body.to_vec()).await;
                assert_eq!(reply.status, 400, "{path} {:?}: {}", String::from_utf8_lossy(body), reply.text());
                assert!(!reply.json()["error"].is_null(), "{path}");
            }
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(owner.send("POST", "/v1/agents", "application/json", deep.into_bytes()).await.status, 400);
        assert_eq!(owner.get("/v1/agents").await.expect(200), json!({"agents": []}));
    }

    async fn answers_carry_a_request_id_and_the_one_that_came_is_kept(edition) {
        let server = Server::start(edition).await;
        assert!(!server.anonymous().get("/health").await.header("x-request-id").is_empty());
        let reply = server.anonymous().header("X-Request-Id", "req-1234").get("/health").await;
        assert_eq!(reply.header("x-request-id"), "req-1234");
    }

    async fn metrics_are_for_the_machine_itself_and_for_admins(edition) {
        let server = Server::start(edition).await;
        server.anonymous().get("/v1/agents").await;
        let metrics = server.anonymous().get("/metrics").await;
        assert_eq!(metrics.status, 200);
        assert!(metrics.text().contains("# TYPE"), "{}", metrics.text());
        assert_eq!(server.anonymous().header("X-Forwarded-For", "203.0.113.9").get("/metrics").await.status, 401);
    }

    async fn faults_of_the_client_never_look_like_faults_of_the_server(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let odd = ["%00", "%ff", "..%2f..%2fetc%2fpasswd", "'; drop table agents; --", "%F0%9F%A6%80", &"a".repeat(5000), "%25", "null", "00000000-0000-0000-0000-000000000000"];
        for part in odd {
            for path in [format!("/v1/agents/{part}"), format!("/v1/providers/{part}"), format!("/v1/providers/{part}/models"), format!("/v1/tools/builtin/{part}")] {
                let reply = owner.get(&path.replace(' ', "%20")).await;
                assert!((400..500).contains(&reply.status), "{path}: {} {}", reply.status, reply.text());
            }
        }
    }
}
