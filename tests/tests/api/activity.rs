//! `GET /v1/activity`: who changed what.

use crate::common::{Tenants, create_agent};
use goclaw_tests::{
    Server,
    fixtures::{activity, at},
};
use serde_json::{Value, json};

fn actions(answer: &Value) -> Vec<&str> {
    answer["logs"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect()
}

on_both_editions! {
    async fn changes_are_listed_newest_first_with_who_and_from_where(edition) {
        let tenants = Tenants::start(edition).await;
        let admin = tenants.client(&tenants.a_admin, "mai");
        let agent = create_agent(&admin, "fox").await;
        let id = agent["id"].as_str().unwrap();
        admin.put(&format!("/v1/agents/{id}"), &json!({"display_name": "Reynard"})).await.expect(200);
        let answer = admin.get("/v1/activity?entity_type=agent").await.expect(200);
        assert_eq!(actions(&answer), ["agent.updated", "agent.created"]);
        let entry = &answer["logs"][0];
        assert_eq!(entry["details"]["display_name"]["after"], "Reynard");
        assert_eq!((&entry["actor_type"], &entry["actor_id"], &entry["entity_id"], &entry["ip_address"]), (&json!("user"), &json!("mai"), &json!(id), &json!("127.0.0.1")));
        assert_eq!((&answer["total"], &answer["limit"], &answer["offset"]), (&json!(2), &json!(50), &json!(0)));
        assert_eq!(actions(&admin.get("/v1/activity?entity_type=agent&limit=1&offset=1").await.expect(200)), ["agent.created"]);
        assert_eq!(actions(&admin.get(&format!("/v1/activity?action=agent.created&actor_id=mai&entity_id={id}")).await.expect(200)), ["agent.created"]);
        // Another tenant sees nothing of it.
        assert_eq!(tenants.client(&tenants.b_admin, "mai").get("/v1/activity?entity_type=agent").await.expect(200)["logs"], json!([]));
    }

    async fn below_admin_everybody_sees_the_own_changes_only(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent(&tenants.client(&tenants.a_admin, "mai"), "fox").await;
        let seen = async |key: &str, user: &str, query: &str| {
            let client = if user.is_empty() { tenants.server.with_key(key) } else { tenants.client(key, user) };
            client.get(&format!("/v1/activity?entity_type=agent{query}")).await.expect(200)["total"].as_u64().unwrap()
        };
        assert_eq!(seen(&tenants.a_operator, "mai", "").await, 1);
        assert_eq!(seen(&tenants.a_operator, "bob", "").await, 0);
        assert_eq!(seen(&tenants.a_operator, "bob", "&actor_id=mai").await, 0);
        assert_eq!(seen(&tenants.a_operator, "", "").await, 0);
        assert_eq!(seen(&tenants.a_viewer, "", "&actor_id=mai").await, 0);
        assert_eq!(seen(&tenants.a_admin, "bob", "").await, 1);
    }

    async fn a_page_has_50_unless_it_is_asked_for_1_to_200(edition) {
        let mut setup = goclaw_tests::Setup::new(edition).await;
        let stores = setup.stores().await;
        let entries: Vec<_> = (0..60).map(|n| goclaw_ports::activity::Activity { created_at: at(n), ..activity("test.done") }).collect();
        stores.activity.append(goclaw_ports::TenantId::MASTER, &entries).await.unwrap();
        drop(stores);
        let server = setup.start().await;
        for (query, limit, count) in [("", 50, 50), ("&limit=500", 50, 50), ("&limit=0", 50, 50), ("&limit=-1", 50, 50), ("&limit=200", 200, 60), ("&limit=5", 5, 5)] {
            let answer = server.owner().get(&format!("/v1/activity?action=test.done{query}")).await.expect(200);
            assert_eq!((&answer["limit"], answer["logs"].as_array().unwrap().len()), (&json!(limit), count), "{query}");
        }
        assert_eq!(server.owner().get("/v1/activity?action=test.done&offset=-3").await.expect(200)["offset"], 0);
    }

    async fn what_is_done_over_rpc_in_a_tenant_is_listed_there(edition) {
        let tenants = Tenants::start(edition).await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        socket.call("api_keys.create", &json!({"name": "k", "scopes": ["operator.read"]})).await.unwrap();
        let own = tenants.client(&tenants.a_admin, "mai").get("/v1/activity?action=api_key.created").await.expect(200);
        assert_eq!((&own["total"], &own["logs"][0]["actor_id"], &own["logs"][0]["ip_address"]), (&json!(1), &json!("mai"), &json!("127.0.0.1")));
        assert_eq!(tenants.server.owner().get("/v1/activity?action=api_key.created").await.expect(200)["total"], 0);
    }

    async fn logins_and_failures_are_noted(edition) {
        let server = Server::start(edition).await;
        drop(server.socket_as("mai").await);
        server.anonymous().token("wrong").user("eve").get("/v1/agents").await;
        for action in ["auth.login", "auth.failed"] {
            goclaw_tests::eventually(action, async || server.owner().get(&format!("/v1/activity?action={action}")).await.expect(200)["total"] != 0).await;
        }
        assert!(!server.owner().get("/v1/activity").await.text().contains("wrong"));
    }

    async fn it_takes_a_credential(edition) {
        assert_eq!(Server::start(edition).await.anonymous().get("/v1/activity").await.status, 401);
    }

    async fn an_entry_has_its_shape(edition) {
        let tenants = Tenants::start(edition).await;
        let admin = tenants.client(&tenants.a_admin, "mai");
        create_agent(&admin, "fox").await;
        assert_snapshot!("page", admin.get("/v1/activity?action=agent.created&limit=x&offset=y").await.expect(200));
    }

    async fn every_change_of_agents_and_providers_is_written_down(edition) {
        let tenants = Tenants::start(edition).await;
        let admin = tenants.client(&tenants.a_admin, "mai");
        let agent = format!("/v1/agents/{}", create_agent(&admin, "fox").await["id"].as_str().unwrap());
        admin.put(&agent, &json!({"display_name": "Fox"})).await.expect(200);
        admin.delete(&agent).await.expect(200);
        let body = json!({"name": "p", "provider_type": "openai_compat", "api_base": tenants.server.llm.base(), "api_key": "sk-secret-of-a-provider"});
        let provider = format!("/v1/providers/{}", admin.post("/v1/providers", &body).await.expect(201)["id"].as_str().unwrap());
        admin.put(&provider, &json!({"display_name": "P", "api_key": "sk-secret-too"})).await.expect(200);
        admin.delete(&provider).await.expect(200);
        let updated = admin.get("/v1/activity?action=provider.updated").await.expect(200);
        assert_eq!(updated["logs"][0]["details"], json!({"display_name": {"before": "", "after": "P"}, "api_key": "changed"}));
        for (entity, expected) in [("agent", ["agent.deleted", "agent.updated", "agent.created"]), ("provider", ["provider.deleted", "provider.updated", "provider.created"])] {
            let page = admin.get(&format!("/v1/activity?entity_type={entity}")).await.expect(200);
            assert_eq!(actions(&page), expected);
            assert!(page["logs"].as_array().unwrap().iter().all(|entry| entry["actor_id"] == "mai" && entry["ip_address"] == "127.0.0.1"), "{page}");
            assert!(!page.to_string().contains("sk-secret"), "{page}");
        }
    }

    async fn a_key_without_the_scope_for_reading_sees_nothing(edition) {
        let mut setup = goclaw_tests::Setup::new(edition).await;
        let key = goclaw_tests::fixtures::add_api_key(&setup.stores().await, None, &[goclaw_ports::roles::Scope::Provision], "").await;
        let client = setup.start().await;
        let reply = client.with_key(&key).user("mai").get("/v1/activity").await;
        assert_eq!(reply.expect_error(403).1, "UNAUTHORIZED");
    }
}
