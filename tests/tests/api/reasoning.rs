//! How hard models are made to think.

use crate::common::{Tenants, ask, create_agent_with};
use goclaw_tests::{Http, Server, eventually};
use serde_json::{Value, json};

/// The metadata of the one call that the agent's run made.
async fn metadata(client: &Http, agent: &Value) -> Value {
    eventually("the call to be written", async || {
        let page = client.get(&format!("/v1/traces?agent_id={}", agent["id"].as_str().unwrap())).await.expect(200);
        let trace = page["traces"].get(0).filter(|trace| trace["llm_call_count"] == 1)?["id"].as_str()?.to_owned();
        let detail = client.get(&format!("/v1/traces/{trace}")).await.expect(200);
        let call = detail["spans"].as_array().unwrap().iter().find(|span| span["span_type"] == "llm_call" && span["status"] == "completed")?.clone();
        Some(call["metadata"].clone())
    })
    .await
}

/// What the model is told, and what the trace says, of an agent with these settings.
async fn told(server: &Server, client: &Http, key: &str, fields: Value) -> (Value, Value) {
    let agent = create_agent_with(client, key, fields).await;
    server.llm.forget();
    ask(client, key, "hello").await;
    let effort = server.llm.questions()[0].body.get("reasoning_effort").cloned().unwrap_or_default();
    (effort, metadata(client, &agent).await["reasoning"].clone())
}

on_both_editions! {
    async fn an_agents_wish_is_fitted_to_what_the_model_knows(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let custom = json!({"provider": "openai", "model": "gpt-5.1-codex", "other_config": {"reasoning": {"override_mode": "custom", "effort": "xhigh"}}});
        let (effort, decision) = told(&server, &owner, "hard", custom).await;
        assert_eq!(effort, "high");
        assert_eq!((&decision["source"], &decision["requested_effort"], &decision["effective_effort"]), (&json!("reasoning"), &json!("xhigh"), &json!("high")));
        assert_eq!((&decision["known_model"], &decision["supported_levels"]), (&json!(true), &json!(["low", "medium", "high"])));

        let inherit = json!({"provider": "openai", "model": "gpt-5.1-codex", "other_config": {"reasoning": {"override_mode": "inherit"}, "thinking_level": "high"}});
        assert_eq!(told(&server, &owner, "inherits", inherit).await, (Value::Null, Value::Null));
        let unknown = json!({"provider": "openai", "model": "stub", "other_config": {"thinking_level": "xhigh"}});
        let (effort, decision) = told(&server, &owner, "unknown", unknown).await;
        assert_eq!((effort, &decision["source"], decision.get("known_model")), (json!("xhigh"), &json!("thinking_level"), None));
        let auto = json!({"provider": "openai", "model": "gpt-5", "other_config": {"reasoning": {"effort": "auto"}}});
        let (effort, decision) = told(&server, &owner, "auto", auto).await;
        assert_eq!((effort, &decision["effective_effort"], &decision["used_provider_default"]), (Value::Null, &json!("medium"), &json!(true)));
    }

    async fn agents_inherit_what_their_tenants_provider_defaults_to(edition) {
        let tenants = Tenants::start(edition).await;
        let (server, a, b) = (&tenants.server, tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.b_admin, "mai"));
        let settings = json!({"reasoning_defaults": {"effort": "minimal", "fallback": "provider_default"}});
        let row = json!({"name": "mine", "provider_type": "openai_compat", "api_key": "sk-x", "enabled": true, "settings": settings});
        let row = a.post("/v1/providers", &row).await.expect(201);
        let fields = json!({"provider": "mine", "model": "gpt-5"});
        let (effort, decision) = told(server, &a, "fox", fields.clone()).await;
        assert_eq!((effort, &decision["source"]), (json!("minimal"), &json!("provider_default")));
        let (effort, decision) = told(server, &a, "codex", json!({"provider": "mine", "model": "gpt-5-codex"})).await;
        assert_eq!((effort, &decision["effective_effort"], &decision["fallback"]), (Value::Null, &json!("medium"), &json!("provider_default")));
        let (effort, decision) = told(server, &a, "calm", json!({"provider": "mine", "model": "gpt-5", "other_config": {"reasoning": {"effort": "off"}}})).await;
        assert_eq!((effort, &decision["effective_effort"]), (Value::Null, &json!("off")));
        // Another tenant's agents know nothing of it.
        assert_eq!(told(server, &b, "fox", json!({"provider": "openai", "model": "gpt-5"})).await, (Value::Null, Value::Null));

        server.llm.models(goclaw_tests::Answer::raw(json!({"data": [{"id": "openai/gpt-5.1"}, {"id": "stub"}]}).to_string()));
        let models = a.get(&format!("/v1/providers/{}/models", row["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(
            models,
            json!({
                "models": [{"id": "openai/gpt-5.1", "name": "openai/gpt-5.1", "reasoning": {"levels": ["none", "low", "medium", "high"], "default_effort": "none"}}, {"id": "stub", "name": "stub"}],
                "reasoning_defaults": {"effort": "minimal", "fallback": "provider_default"}
            })
        );
        server.llm.models(goclaw_tests::Answer::raw(json!({"data": [{"id": "stub"}]}).to_string()));
        let models = a.get(&format!("/v1/providers/{}/models", row["id"].as_str().unwrap())).await.expect(200);
        assert_eq!(models, json!({"models": [{"id": "stub", "name": "stub"}]}));
    }
}
