//! Every operation refuses callers below its role, and API keys whose scopes do not cover it.

use crate::common::{Tenants, create_agent};
use goclaw_gateway::openapi::document;
use goclaw_ports::roles::Scope;
use goclaw_tests::{Server, Setup, fixtures::add_api_key};
use regex::Regex;
use serde_json::{Value, json};

/// An operation of the document.
struct Operation {
    method: String,
    path: String,
    content_type: &'static str,
    body: Vec<u8>,
    role: String,
}

/// Every operation that wants a role, with a body that gets as far as the check.
fn operations() -> Vec<Operation> {
    let document = document();
    let id = "01930000-0000-7000-8000-000000000000";
    let placeholder = Regex::new(r"\{[^}]+\}").unwrap();
    let mut operations = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let role = operation["x-role"].as_str().unwrap().to_owned();
            if role == "none" {
                continue;
            }
            let content = operation["requestBody"]["content"].as_object();
            let json = content.and_then(|content| content.get("application/json"));
            let (content_type, body) = match json {
                Some(json) => {
                    ("application/json", json.get("example").cloned().unwrap_or_else(|| instance(document, &json["schema"])).to_string().into_bytes())
                }
                None => ("", Vec::new()),
            };
            let path = placeholder.replace_all(&path.replace("{id}", id), "x").into_owned();
            operations.push(Operation { method: method.to_uppercase(), path, content_type, body, role });
        }
    }
    operations
}

/// The smallest value that a schema allows.
fn instance(document: &Value, schema: &Value) -> Value {
    if let Some(name) = schema["$ref"].as_str() {
        return instance(document, document.pointer(name.trim_start_matches('#')).unwrap());
    }
    for key in ["enum", "allOf", "anyOf", "oneOf"] {
        if let Some(first) = schema[key].as_array().and_then(|variants| variants.first()) {
            return if key == "enum" { first.clone() } else { instance(document, first) };
        }
    }
    match schema["type"].as_str() {
        Some("array") => json!([instance(document, &schema["items"])]),
        Some("boolean") => json!(true),
        Some("integer" | "number") => json!(1),
        Some("string") if schema["format"] == "uuid" => json!("01930000-0000-7000-8000-000000000000"),
        Some("string") => json!("x"),
        _ => {
            let required = schema["required"].as_array().map_or(&[][..], Vec::as_slice);
            let field = |name: &Value| (name.as_str().unwrap().to_owned(), instance(document, &schema["properties"][name.as_str().unwrap()]));
            Value::Object(required.iter().map(field).collect())
        }
    }
}

on_both_editions! {
    async fn without_credentials_nothing_is_done(edition) {
        let operations: Vec<_> = operations().into_iter().filter(|operation| operation.path != "/metrics").collect();
        // After 60 failures an address is told to slow down.
        for some in operations.chunks(50) {
            let server = Server::start(edition).await;
            for Operation { method, path, content_type, body, .. } in some {
                let reply = server.anonymous().user("mai").send(method, path, content_type, body.clone()).await;
                assert_eq!(reply.status, 401, "{method} {path}: {}", reply.text());
            }
        }
    }

    async fn a_role_below_is_refused_and_told_which_one_it_takes(edition) {
        let tenants = Tenants::start(edition).await;
        let keys = [("viewer", &tenants.a_viewer), ("operator", &tenants.a_operator), ("admin", &tenants.a_admin)];
        let rank = |role: &str| ["viewer", "operator", "admin", "owner"].iter().position(|known| *known == role).unwrap();
        let mut refused = 0;
        for Operation { method, path, content_type, body, role } in operations().into_iter().filter(|operation| operation.path != "/metrics") {
            for (_, key) in keys.iter().filter(|(own, _)| rank(own) < rank(&role)) {
                let reply = tenants.client(key, "mai").send(&method, &path, content_type, body.clone()).await;
                assert_eq!(reply.status, 403, "{method} {path}: {}", reply.text());
                let error = &reply.json()["error"];
                let text = error.as_str().or_else(|| error["message"].as_str()).unwrap().to_owned();
                assert!(text.contains("permission denied"), "{method} {path}: {text}");
                refused += 1;
            }
        }
        assert!(refused > 50, "only {refused} refusals");
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
