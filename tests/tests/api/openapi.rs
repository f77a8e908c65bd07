//! The OpenAPI document is the one that is kept in the repository.

use goclaw_gateway::openapi::document;
use goclaw_tests::{Edition, Server};
use serde_json::{Value, json};
use std::{fs, path::Path};

#[test]
#[expect(clippy::disallowed_methods, reason = "tests have no configuration loader")]
fn the_document_in_the_repository_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var("UPDATE_OPENAPI").is_ok() {
        fs::write(&path, format!("{}\n", serde_json::to_string_pretty(document()).unwrap())).unwrap();
    }
    let kept = fs::read_to_string(&path).expect("docs/openapi.json: write it with `make openapi`");
    assert!(serde_json::from_str::<Value>(&kept).unwrap() == *document(), "docs/openapi.json is old: write it again with `make openapi`");
}

#[test]
fn every_operation_says_what_it_is_and_who_may_use_it() {
    let mut count = 0;
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            if !["get", "post", "put", "delete", "patch"].contains(&method.as_str()) {
                continue;
            }
            count += 1;
            let name = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name} has no summary");
            assert!(!operation["tags"].as_array().unwrap().is_empty(), "{name} has no tag");
            assert!(operation["operationId"].is_string(), "{name} has no operationId");
            assert!(operation["responses"].as_object().is_some_and(|responses| !responses.is_empty()), "{name} has no responses");
            assert!(operation["x-role"].is_string(), "{name} does not say its role");
        }
    }
    assert!(count >= 19, "{count} operations");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_document_lists_exists() {
    let server = Server::start(Edition::Lite).await;
    assert!(server.anonymous().get("/v1/openapi.json").await.expect(200) == *document());
    let placeholder = regex::Regex::new(r"\{[^}]+\}").unwrap();
    for (path, item) in document()["paths"].as_object().unwrap() {
        let concrete = path
            .replace("{id}", "01930000-0000-7000-8000-000000000000")
            .replace("{name}", "exec")
            .replace("{key}", "agent.default_model")
            .replace("{userId}", "mai");
        let concrete = placeholder.replace_all(&concrete, "x");
        for method in item.as_object().unwrap().keys().filter(|method| ["get", "post", "put", "delete", "patch"].contains(&method.as_str())) {
            let reply = server.anonymous().send(&method.to_uppercase(), &concrete, "", Vec::new()).await;
            assert!(![404, 405].contains(&reply.status), "{method} {path}: {}", reply.status);
        }
    }
}

#[test]
fn what_answers_leave_out_when_it_is_empty_is_not_promised() {
    let requires = |schema: &str, field: &str| {
        let schema = &document()["components"]["schemas"][schema];
        assert!(!schema["properties"][field].is_null(), "{schema} has no {field}");
        schema["required"].as_array().is_some_and(|required| required.iter().any(|entry| entry == field))
    };
    for (schema, field) in
        [("ProviderView", "display_name"), ("ProviderView", "api_base"), ("Trace", "session_key"), ("Trace", "output_preview"), ("Span", "model")]
    {
        assert!(!requires(schema, field), "{schema}.{field}");
    }
    for (schema, field) in [("ProviderView", "id"), ("ProviderView", "enabled"), ("Trace", "start_time"), ("Span", "trace_id"), ("FileContent", "content")] {
        assert!(requires(schema, field), "{schema}.{field}");
    }
}

on_both_editions! {
    async fn answers_have_statuses_that_the_document_names(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let provider = json!({"name": "llm", "provider_type": "openai_compat", "api_base": server.llm.base(), "api_key": "x"});
        owner.post("/v1/providers", &provider).await.expect(201);
        let calls = [
            ("get", "/v1/auth/chatgpt/{provider}/status", "/v1/auth/chatgpt/llm/status", 409),
            ("get", "/v1/auth/chatgpt/{provider}/quota", "/v1/auth/chatgpt/llm/quota", 409),
            ("post", "/v1/auth/chatgpt/{provider}/logout", "/v1/auth/chatgpt/llm/logout", 409),
            ("get", "/v1/auth/openai/quota", "/v1/auth/openai/quota", 404),
            ("post", "/v1/responses", "/v1/responses", 404),
        ];
        for (method, path, concrete, status) in calls {
            let body = json!({"model": "goclaw:nobody", "input": "hi"}).to_string();
            let reply = owner.send(&method.to_uppercase(), concrete, if method == "post" { "application/json" } else { "" }, body.into_bytes()).await;
            assert_eq!(reply.status, status, "{method} {path}: {}", reply.text());
            assert!(!document()["paths"][path][method]["responses"][status.to_string()].is_null(), "{method} {path} does not say that it may answer {status}");
        }
    }
}
