//! Secrets at rest.

use crate::common::{create_agent_with, question};
use goclaw_ports::{TenantId, providers::ProviderPatch};
use goclaw_tests::{Server, eventually};
use serde_json::json;

on_both_editions! {
    async fn a_key_that_was_copied_to_another_provider_opens_nothing(edition) {
        let mut server = Server::start(edition).await;
        // The first one is off, so that whoever stands in for the other has a key of its own.
        for (name, key, enabled) in [("mine", "sk-of-mine", false), ("other", "sk-of-other", true)] {
            let body = json!({"name": name, "provider_type": "openai_compat", "api_base": server.llm.base(), "api_key": key, "enabled": enabled});
            server.owner().post("/v1/providers", &body).await.expect(201);
        }
        server.stop().await;

        let stores = server.stores().await;
        let (mine, other) = {
            let find = async |name: &str| stores.providers.find_by_name(TenantId::MASTER, name).await.unwrap().unwrap();
            (find("mine").await, find("other").await)
        };
        let sealed = mine.api_key.clone().unwrap();
        for row in [&mine, &other] {
            let kept = &row.api_key.as_ref().unwrap().0;
            assert!(kept.starts_with("x1:") && !kept.contains("sk-of"), "{kept}");
        }
        let patch = ProviderPatch { api_key: Some(sealed.clone()), ..ProviderPatch::default() };
        stores.providers.update(TenantId::MASTER, other.id, &patch, other.updated_at).await.unwrap().unwrap();
        stores.database.close().await;

        server.restart().await;
        let owner = server.owner();
        create_agent_with(&owner, "owl", json!({"provider": "other", "model": "m"})).await;
        owner.post("/v1/chat/completions", &question("owl", "hi")).await;
        let sent: Vec<_> = server.llm.questions().iter().filter_map(|question| question.header("authorization").map(str::to_owned)).collect();
        assert!(!sent.iter().any(|header| header.contains("sk-of") || header.contains("x1:")), "{sent:?}");
        let shown = owner.get("/v1/providers").await.text();
        assert!(!shown.contains("x1:") && !shown.contains("sk-of"), "{shown}");
        assert!(!server.log().contains(&sealed.0));
    }

    async fn when_a_key_was_last_used_is_told(edition) {
        let server = Server::start(edition).await;
        let created = server.owner().post("/v1/api-keys", &json!({"name": "ci", "scopes": ["operator.read"]})).await.expect(201);
        let listed = async || server.owner().get("/v1/api-keys").await.expect(200)[0]["last_used_at"].clone();
        assert!(listed().await.is_null());
        server.with_key(created["key"].as_str().unwrap()).user("mai").get("/v1/agents").await.expect(200);
        eventually("the use is noted", async || listed().await.is_string()).await;
    }
}
