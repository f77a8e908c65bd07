//! Every operation refuses callers below its role, and API keys whose scopes do not cover it.

use crate::common::{Tenants, create_agent};
use goclaw_ports::roles::Scope;
use goclaw_tests::{Setup, fixtures::add_api_key};
use serde_json::{Value, json};

/// Method, path, body, the least role.
fn operations(agent: &str) -> Vec<(&'static str, String, Value, &'static str)> {
    let provider = "01930000-0000-7000-8000-000000000000";
    vec![
        ("POST", "/v1/chat/completions".into(), json!({"messages": [{"role": "user", "content": "hi"}]}), "operator"),
        ("GET", "/v1/agents".into(), Value::Null, "viewer"),
        ("POST", "/v1/agents".into(), json!({"agent_key": "wolf"}), "admin"),
        ("GET", format!("/v1/agents/{agent}"), Value::Null, "viewer"),
        ("PUT", format!("/v1/agents/{agent}"), json!({"display_name": "x"}), "admin"),
        ("DELETE", format!("/v1/agents/{agent}"), Value::Null, "admin"),
        ("GET", "/v1/providers".into(), Value::Null, "admin"),
        ("POST", "/v1/providers".into(), json!({"name": "p", "provider_type": "openai_compat"}), "admin"),
        ("GET", format!("/v1/providers/{provider}"), Value::Null, "admin"),
        ("PUT", format!("/v1/providers/{provider}"), json!({"display_name": "x"}), "admin"),
        ("DELETE", format!("/v1/providers/{provider}"), Value::Null, "admin"),
        ("GET", format!("/v1/providers/{provider}/models"), Value::Null, "admin"),
        ("POST", format!("/v1/providers/{provider}/verify"), json!({"model": "m"}), "admin"),
        ("GET", "/v1/tools/builtin".into(), Value::Null, "viewer"),
        ("GET", "/v1/tools/builtin/exec".into(), Value::Null, "viewer"),
        ("POST", "/v1/tools/invoke".into(), json!({"tool": "exec", "dryRun": true}), "operator"),
    ]
}

on_both_editions! {
    async fn without_credentials_nothing_is_done(edition) {
        let tenants = Tenants::start(edition).await;
        let agent = create_agent(&tenants.client(&tenants.a_admin, "mai"), "fox").await["id"].as_str().unwrap().to_owned();
        for (method, path, body, _) in operations(&agent) {
            let reply = tenants.server.anonymous().user("mai").send(method, &path, "application/json", body.to_string().into_bytes()).await;
            assert_eq!(reply.status, 401, "{method} {path}: {}", reply.text());
        }
    }

    async fn a_role_below_is_refused_and_told_which_one_it_takes(edition) {
        let tenants = Tenants::start(edition).await;
        let agent = create_agent(&tenants.client(&tenants.a_admin, "mai"), "fox").await["id"].as_str().unwrap().to_owned();
        for (method, path, body, role) in operations(&agent) {
            let below = match role {
                "operator" => vec![&tenants.a_viewer],
                "admin" => vec![&tenants.a_viewer, &tenants.a_operator],
                _ => vec![],
            };
            for key in below {
                let reply = tenants.client(key, "mai").send(method, &path, "application/json", body.to_string().into_bytes()).await;
                assert_eq!(reply.status, 403, "{method} {path}: {}", reply.text());
                let error = &reply.json()["error"];
                let text = error.as_str().or_else(|| error["message"].as_str()).unwrap().to_owned();
                assert!(text.contains("permission denied"), "{method} {path}: {text}");
            }
        }
        assert_eq!(tenants.client(&tenants.a_admin, "mai").get("/v1/agents").await.expect(200)["agents"][0]["agent_key"], "fox");
    }

    async fn scopes_are_checked_and_not_only_the_role_they_add_up_to(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let pairing = add_api_key(&stores, None, &[Scope::Pairing], "").await;
        let provision = add_api_key(&stores, None, &[Scope::Provision], "").await;
        let nothing = add_api_key(&stores, None, &[], "").await;
        drop(stores);
        let server = setup.start().await;
        crate::common::create_agent_with(&server.owner(), "fox", json!({"is_default": true})).await;
        let body = crate::common::question("fox", "hi");
        for key in [&pairing, &provision, &nothing] {
            let client = server.with_key(key).user("mai");
            assert_eq!(client.post("/v1/chat/completions", &body).await.status, 403);
            assert_eq!(client.get("/v1/tools/builtin").await.status, 403);
            assert_eq!(client.post("/v1/agents", &json!({"agent_key": "wolf"})).await.status, 403);
        }
        let mut socket = server.connected(&json!({"token": pairing, "user_id": "mai"})).await;
        assert_eq!(socket.call("chat.send", &json!({"message": "hi", "agentId": "fox"})).await.unwrap_err().code, "UNAUTHORIZED");
    }

    async fn methods_of_the_socket_need_the_same_roles(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent(&tenants.client(&tenants.a_admin, "mai"), "fox").await;
        let mut viewer = tenants.socket(&tenants.a_viewer, "mai").await;
        for (method, params) in [("chat.send", json!({"message": "hi", "agentId": "fox"})), ("chat.abort", json!({"sessionKey": "agent:fox:ws:direct:1"}))] {
            let error = viewer.call(method, &params).await.unwrap_err();
            assert_eq!(error.code, "UNAUTHORIZED", "{method}");
            assert!(error.message.contains(method) && error.message.contains("operator"), "{}", error.message);
        }
        for (method, params) in [("agents.list", json!({})), ("sessions.list", json!({})), ("status", json!({})), ("health", json!({})), ("chat.history", json!({"sessionKey": "x"}))] {
            viewer.call(method, &params).await.unwrap_or_else(|error| panic!("{method}: {error:?}"));
        }
    }
}
