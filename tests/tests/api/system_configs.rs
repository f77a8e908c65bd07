//! `/v1/system-configs`: a tenant's own configuration values.

use crate::common::{Tenants, create_agent_with, question};
use goclaw_tests::Server;
use serde_json::{Value, json};

const MODEL: &str = "/v1/system-configs/agent.default_model";

async fn model_asked(tenants: &Tenants, key: &str) -> Value {
    tenants.client(key, "mai").post("/v1/chat/completions", &question("fox", "hi")).await.expect(200);
    tenants.server.llm.questions().last().unwrap().body["model"].clone()
}

on_both_editions! {
    async fn a_value_is_set_shown_and_removed(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let path = "/v1/system-configs/my.own-key_1";
        assert_eq!(owner.get(path).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(owner.put(path, &json!({"value": "x"})).await.expect(200), json!({"key": "my.own-key_1", "value": "x"}));
        assert_eq!(owner.get(path).await.expect(200), json!({"key": "my.own-key_1", "value": "x"}));
        assert_eq!(owner.get("/v1/system-configs").await.expect(200)["my.own-key_1"], "x");
        for _ in 0..2 {
            let gone = owner.delete(path).await;
            assert_eq!((gone.status, gone.body.len()), (204, 0));
        }
        assert_eq!(owner.get(path).await.status, 404);
        let actions = owner.get("/v1/activity?entity_type=system_config").await.expect(200);
        let told: Vec<_> = actions["logs"].as_array().unwrap().iter().map(|entry| (entry["action"].as_str().unwrap(), entry["details"].clone())).collect();
        assert_eq!(told, [("system_config.deleted", json!({"before": "x"})), ("system_config.set", json!({"before": null, "after": "x"}))]);
    }

    async fn what_the_configuration_gives_is_shown_until_it_is_overridden(edition) {
        let tenants = Tenants::start(edition).await;
        let (a, owner) = (tenants.client(&tenants.a_admin, "mai"), tenants.server.owner());
        assert_eq!(a.get("/v1/system-configs").await.expect(200)["agent.default_model"], "stub");
        owner.put(MODEL, &json!({"value": "masters"})).await.expect(200);
        assert_eq!(a.get(MODEL).await.expect(200)["value"], "masters");
        a.put(MODEL, &json!({"value": "own"})).await.expect(200);
        assert_eq!(a.get(MODEL).await.expect(200)["value"], "own");
        assert_eq!(owner.get(MODEL).await.expect(200)["value"], "masters");
        assert_eq!(a.delete(MODEL).await.status, 204);
        assert_eq!(owner.delete(MODEL).await.status, 204);
        assert_eq!(a.get(MODEL).await.expect(200)["value"], "stub");
    }

    async fn a_tenants_values_are_its_own(edition) {
        let tenants = Tenants::start(edition).await;
        let (a, b) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.b_admin, "mai"));
        a.put("/v1/system-configs/mine", &json!({"value": "x"})).await.expect(200);
        assert_eq!(b.get("/v1/system-configs/mine").await.status, 404);
        assert!(b.get("/v1/system-configs").await.expect(200).get("mine").is_none());
        assert_eq!(b.delete("/v1/system-configs/mine").await.status, 204);
        assert_eq!(a.get("/v1/system-configs/mine").await.expect(200)["value"], "x");
        assert_eq!(a.clone().tenant("b").get("/v1/system-configs/mine").await.status, 200, "the header is ignored");
    }

    async fn new_runs_of_the_tenant_follow_its_values_and_no_others_do(edition) {
        let tenants = Tenants::start(edition).await;
        for key in [&tenants.a_admin, &tenants.b_admin] {
            create_agent_with(&tenants.client(key, "mai"), "fox", json!({"model": ""})).await;
        }
        assert_eq!(model_asked(&tenants, &tenants.a_admin).await, "stub");
        tenants.client(&tenants.a_admin, "mai").put(MODEL, &json!({"value": "own"})).await.expect(200);
        assert_eq!(model_asked(&tenants, &tenants.a_admin).await, "own");
        assert_eq!(model_asked(&tenants, &tenants.b_admin).await, "stub");
        tenants.client(&tenants.a_admin, "mai").delete(MODEL).await;
        assert_eq!(model_asked(&tenants, &tenants.a_admin).await, "stub");
    }

    async fn a_tenants_rate_limit_is_its_own(edition) {
        let tenants = Tenants::start(edition).await;
        for key in [&tenants.a_admin, &tenants.b_admin] {
            create_agent_with(&tenants.client(key, "mai"), "fox", json!({})).await;
        }
        tenants.client(&tenants.a_admin, "mai").put("/v1/system-configs/gateway.rate_limit_rpm", &json!({"value": "1"})).await.expect(200);
        let mut statuses = Vec::new();
        for _ in 0..6 {
                    statuses.push(tenants.client(&tenants.a_admin, "mai").post("/v1/chat/completions", &question("fox", "hi")).await.status);
        }
        assert_eq!(statuses.last(), Some(&429), "{statuses:?}");
        for _ in 0..6 {
                    assert_eq!(tenants.client(&tenants.b_admin, "mai").post("/v1/chat/completions", &question("fox", "hi")).await.status, 200);
        }
    }

    async fn bad_requests_and_roles_below_are_refused(edition) {
        let tenants = Tenants::start(edition).await;
        let admin = tenants.client(&tenants.a_admin, "mai");
        for key in ["a%2Fb", "a%20b", &"k".repeat(101)] {
            assert_eq!(admin.put(&format!("/v1/system-configs/{key}"), &json!({"value": "x"})).await.status, 400, "{key}");
        }
        for body in [json!({"value": 5}), json!({}), json!([])] {
            assert_eq!(admin.put("/v1/system-configs/k", &body).await.expect_error(400).1, "INVALID_REQUEST", "{body}");
        }
        assert!([400, 413].contains(&admin.put("/v1/system-configs/k", &json!({"value": "x".repeat(70_000)})).await.status));
        assert_eq!(admin.get("/v1/system-configs/k").await.status, 404);
        for key in [&tenants.a_viewer, &tenants.a_operator] {
            let client = tenants.client(key, "mai");
            assert_eq!(client.get("/v1/system-configs").await.status, 200);
            assert_eq!(client.put("/v1/system-configs/k", &json!({"value": "x"})).await.status, 403);
            assert_eq!(client.delete("/v1/system-configs/k").await.status, 403);
        }
        assert_eq!(tenants.server.anonymous().get("/v1/system-configs").await.status, 401);
    }

    async fn a_patch_of_the_configuration_wins_over_the_own_value(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        owner.put(MODEL, &json!({"value": "own"})).await.expect(200);
        let mut socket = server.owner_socket().await;
        socket.call("config.patch", &json!({"raw": "{agents: {defaults: {model: 'patched'}}}"})).await.unwrap();
        assert_eq!(owner.get(MODEL).await.expect(200)["value"], "patched");
    }
}
