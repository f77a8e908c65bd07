//! Which provider makes vectors, and whether one does.

use crate::common::Tenants;
use goclaw_tests::{Answer, Http, Server};
use serde_json::{Value, json};

const UNKNOWN: &str = "01930000-0000-7000-8000-000000000000";

async fn provider(client: &Http, name: &str, kind: &str, settings: Value) -> String {
    let body = json!({"name": name, "provider_type": kind, "api_key": "sk-x", "enabled": true, "settings": settings, "display_name": name.to_uppercase()});
    client.post("/v1/providers", &body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

fn vectors(lengths: &[usize]) -> Answer {
    let data: Vec<Value> = lengths.iter().enumerate().map(|(index, length)| json!({"index": index, "embedding": vec![0.5; *length]})).collect();
    Answer::raw(json!({"object": "list", "data": data}).to_string())
}

/// Verifies and answers with what came of it and what the upstream was asked.
async fn verify(server: &Server, id: &str, body: &str, answer: Answer) -> (Value, Vec<Value>) {
    server.llm.forget();
    server.llm.next(answer);
    let reply = server.owner().send("POST", &format!("/v1/providers/{id}/verify-embedding"), "application/json", body.as_bytes().to_vec()).await.expect(200);
    let asked = server.llm.questions();
    assert!(asked.iter().all(|request| request.path.ends_with("/embeddings") && request.header("authorization") == Some("Bearer sk-x")));
    (reply, asked.into_iter().map(|request| request.body).collect())
}

on_both_editions! {
    async fn a_provider_is_tried_with_one_word(edition) {
        let server = Server::start(edition).await;
        let id = provider(&server.owner(), "main", "openai_compat", json!({})).await;
        let (found, asked) = verify(&server, &id, "", vectors(&[1536])).await;
        assert_eq!(found, json!({"valid": true, "dimensions": 1536}));
        assert_eq!(asked, [json!({"input": ["test"], "model": "text-embedding-3-small"})]);
        let (found, asked) = verify(&server, &id, r#"{"model": "tiny", "dimensions": 3}"#, vectors(&[3])).await;
        assert_eq!(found, json!({"valid": true, "dimensions": 3, "dimension_mismatch": true}));
        assert_eq!(asked, [json!({"input": ["test"], "model": "tiny", "dimensions": 3})]);
        for odd in ["{\"dimensions\": 0}", "{\"dimensions\": -1}", "{\"dimensions\": 9000}", "{\"dimensions\": null}"] {
            assert_eq!(verify(&server, &id, odd, vectors(&[1536])).await.1[0].get("dimensions"), None, "{odd}");
        }
        let settings = json!({"embedding": {"enabled": true, "model": "own", "dimensions": 1536}});
        let with_settings = provider(&server.owner(), "own", "openai_compat", settings).await;
        assert_eq!(verify(&server, &with_settings, "{}", vectors(&[1536])).await.1, [json!({"input": ["test"], "model": "own", "dimensions": 1536})]);
    }

    async fn what_goes_wrong_is_told_and_not_tried_again(edition) {
        let server = Server::start(edition).await;
        let id = provider(&server.owner(), "main", "openai_compat", json!({})).await;
        for (answer, error) in [
            (Answer::error(400, "no such model"), "no such model"),
            (Answer::error(503, "busy"), "busy"),
            (vectors(&[]), "main: there are fewer vectors than texts"),
            (vectors(&[1, 1]), "main: there are vectors of no text"),
        ] {
            let (found, asked) = verify(&server, &id, "", answer).await;
            assert_eq!((&found["valid"], asked.len()), (&json!(false), 1), "{found}");
            assert!(found["error"].as_str().unwrap().contains(error.trim_start_matches("main: ")), "{found}");
        }
        let anthropic = provider(&server.owner(), "claude", "anthropic_native", json!({})).await;
        let found = server.owner().post(&format!("/v1/providers/{anthropic}/verify-embedding"), &json!({})).await.expect(200);
        assert_eq!(found, json!({"valid": false, "error": "provider type does not support embeddings"}));
        // A base that a tenant chose is held to the guard.
        let inside = json!({"name": "inside", "provider_type": "openai_compat", "api_key": "sk-x", "settings": {"embedding": {"enabled": true, "api_base": "http://169.254.169.254/v1"}}});
        assert!(server.owner().post("/v1/providers", &inside).await.expect_error(400).0.contains("169.254.169.254"));
        let change = json!({"settings": inside["settings"]});
        assert_eq!(server.owner().put(&format!("/v1/providers/{id}"), &change).await.expect_error(400).1, "INVALID_REQUEST");
        assert_eq!(server.owner().get("/v1/providers").await.expect(200)["providers"].as_array().unwrap().len(), 2);

        let path = format!("/v1/providers/{id}/verify-embedding");
        assert_eq!(server.owner().send("POST", &path, "application/json", b"{".to_vec()).await.expect_error(400).0, "invalid JSON");
        assert_eq!(server.owner().post("/v1/providers/nonsense/verify-embedding", &json!({})).await.expect_error(400).0, "invalid provider ID");
        assert_eq!(server.owner().post(&format!("/v1/providers/{UNKNOWN}/verify-embedding"), &json!({})).await.expect_error(404).1, "NOT_FOUND");
    }

    async fn the_tenants_value_decides_else_the_first_provider_that_is_meant_for_it(edition) {
        let tenants = Tenants::start(edition).await;
        let (a, b) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.b_admin, "mai"));
        let status = async |client: &Http| client.get("/v1/embedding/status").await.expect(200);
        let meant = json!({"embedding": {"enabled": true, "model": "m"}});
        provider(&a, "a-claude", "anthropic_native", meant.clone()).await;
        provider(&a, "b-plain", "openai_compat", json!({})).await;
        assert_eq!(status(&a).await, json!({"configured": false}));
        let c = provider(&a, "c-meant", "openai_compat", meant).await;
        provider(&a, "d-meant", "openai_compat", json!({"embedding": {"enabled": true}})).await;
        assert_eq!(status(&a).await, json!({"configured": true, "provider": "C-MEANT", "provider_name": "c-meant", "model": "m"}));
        a.put(&format!("/v1/providers/{c}"), &json!({"enabled": false})).await.expect(200);
        assert_eq!(status(&a).await["model"], "text-embedding-3-small");
        a.put("/v1/system-configs/embedding.provider", &json!({"value": "elsewhere"})).await.expect(200);
        assert_eq!(status(&a).await, json!({"configured": true, "provider": "elsewhere", "provider_name": "elsewhere", "model": "text-embedding-3-small"}));
        a.put("/v1/system-configs/embedding.model", &json!({"value": "large"})).await.expect(200);
        assert_eq!(status(&a).await["model"], "large");

        assert_eq!(status(&b).await, json!({"configured": false}));
        assert_eq!(b.post(&format!("/v1/providers/{c}/verify-embedding"), &json!({})).await.expect_error(404).1, "NOT_FOUND");
        for key in [&tenants.a_operator, &tenants.a_viewer] {
            assert_eq!(tenants.client(key, "mai").get("/v1/embedding/status").await.status, 403);
            assert_eq!(tenants.client(key, "mai").post(&format!("/v1/providers/{c}/verify-embedding"), &json!({})).await.status, 403);
        }
    }
}
