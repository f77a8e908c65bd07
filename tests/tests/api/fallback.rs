//! Providers that stand in for an agent's own.

use crate::common::{Tenants, ask, create_agent_with, question};
use goclaw_tests::{Answer, Http, Server, eventually};
use serde_json::{Value, json};

/// The steps of the one run of an agent, when it has ended.
async fn spans(client: &Http, agent: &Value) -> Vec<Value> {
    eventually("the trace of a run", async || {
        let page = client.get(&format!("/v1/traces?agent_id={}", agent["id"].as_str().unwrap())).await.expect(200);
        let trace = page["traces"].get(0).filter(|trace| trace["status"] != "running" && trace["llm_call_count"] != 0)?["id"].as_str()?.to_owned();
        let spans = client.get(&format!("/v1/traces/{trace}")).await.expect(200)["spans"].as_array().unwrap().clone();
        spans.iter().all(|span| span["status"] != "running").then_some(spans)
    })
    .await
}

fn of_kind<'s>(spans: &'s [Value], kind: &str) -> &'s Value {
    spans.iter().find(|span| span["span_type"] == kind).unwrap()
}

/// OpenAI answers so; Anthropic says who it is.
fn script(server: &Server, openai: Answer) {
    server.llm.on(move |request| Some(if request.path.ends_with("/messages") { Answer::text("Anthropic here.") } else { openai.clone() }));
}

on_both_editions! {
    async fn what_may_pass_goes_on_to_the_next_provider(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        script(&server, Answer::error(503, "busy"));
        let named = json!([{"provider": "nowhere"}, {"provider": "anthropic", "model": "claude-x"}]);
        let fox = create_agent_with(&owner, "fox", json!({"provider": "openai", "model": "stub", "other_config": {"fallback_providers": named}})).await;
        assert_eq!(ask(&owner, "fox", "hello").await, "Anthropic here.");
        let asked = server.llm.questions();
        assert_eq!((asked.len(), asked.last().unwrap().body["model"].as_str()), (4, Some("claude-x")));
        let spans = spans(&owner, &fox).await;
        let call = of_kind(&spans, "llm_call");
        assert_eq!((&call["provider"], &call["model"], &call["status"]), (&json!("anthropic"), &json!("claude-x"), &json!("completed")));
        let fallback = &call["metadata"]["fallback"][0];
        assert_eq!((&fallback["instead_of"], &fallback["provider"]), (&json!("openai"), &json!("anthropic")));
        assert!(fallback["error"].as_str().unwrap().contains("503"), "{fallback}");
        let records = server.owner_socket().await.call("usage.get", &json!({})).await.unwrap();
        assert_eq!((&records["records"][0]["provider"], &records["records"][0]["model"]), (&json!("anthropic"), &json!("claude-x")));
    }

    async fn what_will_not_pass_or_has_begun_does_not(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        create_agent_with(&owner, "fox", json!({"provider": "openai", "model": "stub", "other_config": {"fallback_providers": ["anthropic"]}})).await;
        script(&server, Answer::error(401, "bad key"));
        assert_ne!(owner.post("/v1/chat/completions", &question("fox", "hello")).await.status, 200);
        assert_eq!(server.llm.questions().len(), 1);
        server.llm.forget();
        script(&server, Answer::text("I was just").chunks(2).then_cut());
        let mut socket = server.owner_socket().await;
        socket.call("chat.send", &json!({"message": "hello", "agentId": "fox", "stream": true})).await.unwrap_err();
        assert!(server.llm.questions().iter().all(|request| !request.path.ends_with("/messages")));
    }

    async fn a_provider_that_is_not_there_is_stood_in_for_and_the_trace_says_so(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        script(&server, Answer::text("OpenAI here."));
        let fields = json!({"provider": "gone", "model": "stub", "other_config": {"fallback_providers": ["openai"]}});
        let fox = create_agent_with(&owner, "fox", fields).await;
        assert_eq!(ask(&owner, "fox", "hello").await, "OpenAI here.");
        let spans = spans(&owner, &fox).await;
        assert_eq!(of_kind(&spans, "agent")["metadata"]["provider"], json!({"wanted": "gone", "used": "openai"}));
        assert_eq!(of_kind(&spans, "llm_call")["provider"], "openai");
        // Without a word about who stands in, the first there is does.
        let wolf = create_agent_with(&owner, "wolf", json!({"provider": "gone", "model": "stub"})).await;
        assert_eq!(ask(&owner, "wolf", "hello").await, "Anthropic here.");
        let wolf = self::spans(&owner, &wolf).await;
        assert_eq!(of_kind(&wolf, "agent")["metadata"]["provider"], json!({"wanted": "gone", "used": "anthropic"}));
    }

    async fn who_stands_in_must_be_named_well_and_of_the_own_tenant(edition) {
        let tenants = Tenants::start(edition).await;
        let (a, b) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.b_admin, "mai"));
        for wrong in [json!("anthropic"), json!([1]), json!([{"model": "m"}]), json!(["a", "b", "c", "d", "e", "f"])] {
            let body = json!({"agent_key": "fox", "other_config": {"fallback_providers": wrong}});
            assert!(b.post("/v1/agents", &body).await.expect_error(400).0.contains("fallback_providers"), "{wrong}");
        }
        assert_eq!(b.get("/v1/agents").await.expect(200)["agents"], json!([]));
        let row = json!({"name": "mine", "provider_type": "anthropic_native", "api_key": "sk-x", "enabled": true});
        a.post("/v1/providers", &row).await.expect(201);
        script(&tenants.server, Answer::error(503, "busy"));
        let fields = json!({"provider": "openai", "model": "stub", "other_config": {"fallback_providers": ["mine"]}});
        create_agent_with(&b, "fox", fields.clone()).await;
        assert_ne!(b.post("/v1/chat/completions", &question("fox", "hello")).await.status, 200);
        create_agent_with(&a, "fox", fields).await;
        assert_eq!(ask(&a, "fox", "hello").await, "Anthropic here.");
    }
}
