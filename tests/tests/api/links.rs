//! Links between agents.

use crate::common::{Tenants, create_agent, create_agent_with};
use goclaw_tests::Edition;
use serde_json::{Value, json};

/// The agents `fox` (open) and `owl` (predefined) of one tenant, and `wolf` (predefined) of another.
struct Agents {
    tenants: Tenants,
    fox: String,
    owl: String,
    wolf: String,
}

async fn with_agents(edition: Edition) -> Agents {
    let tenants = Tenants::start(edition).await;
    let id = |agent: Value| agent["id"].as_str().unwrap().to_owned();
    let (a, b) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.b_admin, "mai"));
    let fox = id(create_agent(&a, "fox").await);
    let owl = id(create_agent_with(&a, "owl", json!({"agent_type": "predefined", "display_name": "Owl", "frontmatter": "Knows the night."})).await);
    let wolf = id(create_agent_with(&b, "wolf", json!({"agent_type": "predefined"})).await);
    Agents { tenants, fox, owl, wolf }
}

fn link(source: &str, target: &str) -> Value {
    json!({"sourceAgent": source, "targetAgent": target})
}

on_both_editions! {
    async fn links_are_made_changed_listed_and_removed(edition) {
        let Agents { tenants, fox, owl, .. } = with_agents(edition).await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        assert_eq!(socket.call("agents.links.list", &json!({"agentId": "fox"})).await.unwrap(), json!({"count": 0, "links": []}));
        let settings = json!({"require_role": "operator", "user_allow": ["mai"], "user_deny": [], "note": 5});
        let new = json!({"sourceAgent": "fox", "targetAgent": owl, "direction": "bidirectional", "description": "Asks about nights.", "maxConcurrent": 0, "settings": settings});
        let made = socket.call("agents.links.create", &new).await.unwrap();
        assert_snapshot!("agent_link", made.clone());
        let id = made["link"]["id"].as_str().unwrap();
        assert_eq!((&made["link"]["source_agent_id"], &made["link"]["target_agent_id"]), (&json!(fox), &json!(owl)));
        assert_snapshot!("agent_links", socket.call("agents.links.list", &json!({"agentId": fox})).await.unwrap());
        for (agent, direction, count) in [("fox", "from", 1), ("fox", "to", 0), ("fox", "all", 1), ("owl", "from", 0), ("owl", "to", 1), ("owl", "all", 1)] {
            let listed = socket.call("agents.links.list", &json!({"agentId": agent, "direction": direction})).await.unwrap();
            assert_eq!(listed["count"], json!(count), "{direction} {agent}");
        }
        let change = json!({"linkId": id, "status": "disabled", "direction": "outbound", "maxConcurrent": 1, "description": "", "settings": {}});
        assert_eq!(socket.call("agents.links.update", &change).await.unwrap(), json!({"ok": true}));
        let changed = &socket.call("agents.links.list", &json!({"agentId": "fox"})).await.unwrap()["links"][0];
        assert_eq!(
            (&changed["status"], &changed["direction"], &changed["max_concurrent"], changed.get("description"), &changed["settings"]),
            (&json!("disabled"), &json!("outbound"), &json!(1), None, &json!({}))
        );
        for _ in 0..2 {
            assert_eq!(socket.call("agents.links.delete", &json!({"linkId": id})).await.unwrap(), json!({"ok": true}), "also when there is none");
        }
        assert_eq!(socket.call("agents.links.list", &json!({"agentId": "owl", "direction": "all"})).await.unwrap()["count"], json!(0));
    }

    async fn every_value_is_checked(edition) {
        let Agents { tenants, fox, wolf, .. } = with_agents(edition).await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        let with = |field: &str, value: Value| {
            let mut params = link("fox", "owl");
            params[field] = value;
            params
        };
        let long = "x".repeat(20_000);
        let bad = [
            json!({}), json!({"sourceAgent": "fox"}), json!({"targetAgent": "owl"}), link("fox", "fox"), link("owl", "owl"), link("owl", "fox"), link("nobody", "owl"),
            link("fox", "nobody"), link("fox", &wolf), link("fox", "wolf"), link(&wolf, "owl"), with("direction", json!("sideways")), with("direction", json!(5)),
            with("maxConcurrent", json!(1_001)), with("maxConcurrent", json!("many")), with("settings", json!([])), with("settings", json!({"user_allow": "mai"})),
            with("settings", json!({"user_deny": [5]})), with("settings", json!({"require_role": 5})), with("settings", json!({"x": long})), with("description", json!(long)),
        ];
        for params in bad {
            assert_eq!(socket.call("agents.links.create", &params).await.unwrap_err().code, "INVALID_REQUEST", "{params}");
        }
        for params in [json!({}), json!({"agentId": "nobody"}), json!({"agentId": wolf}), json!({"agentId": "fox", "direction": "outbound"})] {
            assert_eq!(socket.call("agents.links.list", &params).await.unwrap_err().code, "INVALID_REQUEST", "{params}");
        }
        assert_eq!(socket.call("agents.links.list", &json!({"agentId": fox, "direction": "all"})).await.unwrap()["count"], json!(0), "nothing was stored");
        let made = socket.call("agents.links.create", &link("fox", "owl")).await.unwrap();
        assert_eq!((&made["link"]["direction"], &made["link"]["max_concurrent"], &made["link"]["status"]), (&json!("outbound"), &json!(3), &json!("active")));
        assert_eq!(socket.call("agents.links.create", &link("fox", "owl")).await.unwrap_err().code, "ALREADY_EXISTS");
        let id = made["link"]["id"].as_str().unwrap();
        let bad = [
            json!({}), json!({"linkId": "fox", "status": "active"}), json!({"linkId": id}), json!({"linkId": id, "status": "", "direction": ""}), json!({"linkId": id, "status": "gone"}),
            json!({"linkId": id, "direction": "sideways"}), json!({"linkId": id, "maxConcurrent": 0}), json!({"linkId": id, "maxConcurrent": -1}), json!({"linkId": id, "settings": 5}),
            json!({"linkId": id, "description": long}),
        ];
        for params in bad {
            assert_eq!(socket.call("agents.links.update", &params).await.unwrap_err().code, "INVALID_REQUEST", "{params}");
        }
        assert_eq!(socket.call("agents.links.update", &json!({"linkId": wolf, "status": "active"})).await.unwrap_err().code, "NOT_FOUND");
        for params in [json!({}), json!({"linkId": "fox"})] {
            assert_eq!(socket.call("agents.links.delete", &params).await.unwrap_err().code, "INVALID_REQUEST", "{params}");
        }
    }

    async fn another_tenants_links_are_out_of_reach(edition) {
        let Agents { tenants, .. } = with_agents(edition).await;
        let (mut admin, mut other) = (tenants.socket(&tenants.a_admin, "mai").await, tenants.socket(&tenants.b_admin, "mai").await);
        let made = admin.call("agents.links.create", &link("fox", "owl")).await.unwrap();
        let id = &made["link"]["id"];
        assert_eq!(other.call("agents.links.list", &json!({"agentId": made["link"]["source_agent_id"]})).await.unwrap_err().code, "INVALID_REQUEST");
        assert_eq!(other.call("agents.links.update", &json!({"linkId": id, "status": "disabled"})).await.unwrap_err().code, "NOT_FOUND");
        assert_eq!(other.call("agents.links.delete", &json!({"linkId": id})).await.unwrap(), json!({"ok": true}));
        let kept = admin.call("agents.links.list", &json!({"agentId": "fox"})).await.unwrap();
        assert_eq!((&kept["links"][0]["id"], &kept["links"][0]["status"]), (id, &json!("active")));
    }

    async fn changes_are_told_to_the_tenants_admins_and_in_the_audit_log(edition) {
        let Agents { tenants, fox, owl, .. } = with_agents(edition).await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        let mut strangers = [tenants.socket(&tenants.a_operator, "mai").await, tenants.socket(&tenants.b_admin, "mai").await];
        let made = socket.call("agents.links.create", &link("fox", "owl")).await.unwrap();
        let id = made["link"]["id"].as_str().unwrap();
        socket.call("agents.links.update", &json!({"linkId": id, "status": "disabled", "description": "Nights."})).await.unwrap();
        socket.call("agents.links.delete", &json!({"linkId": id})).await.unwrap();
        socket.call("agents.links.delete", &json!({"linkId": id})).await.unwrap();
        let keys = json!({"link_id": id, "source_agent_key": "fox", "target_agent_key": "owl"});
        let with = |more: Value| {
            let mut payload = keys.clone();
            payload.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            payload
        };
        let expected = [
            ("agent_link.created", with(json!({"source_agent_id": fox, "target_agent_id": owl, "direction": "outbound", "status": "active"}))),
            ("agent_link.updated", with(json!({"status": "disabled", "changes": ["description", "status"]}))),
            ("agent_link.deleted", keys.clone()),
        ];
        for (name, payload) in &expected {
            let event = socket.event(|event| event["event"].as_str().is_some_and(|name| name.starts_with("agent_link."))).await;
            assert_eq!((&event["event"], &event["payload"]), (&json!(name), payload));
        }
        for stranger in &mut strangers {
            assert_eq!(stranger.events_until_now().await, Vec::<Value>::new());
        }
        let log = tenants.client(&tenants.a_admin, "mai").get("/v1/activity?entity_type=agent_link").await.expect(200);
        let told: Vec<_> = log["logs"].as_array().unwrap().iter().map(|entry| (entry["action"].as_str().unwrap(), entry["entity_id"].as_str().unwrap())).collect();
        assert_eq!(told, [("agent_link.deleted", id), ("agent_link.updated", id), ("agent_link.created", id)]);
        let other = tenants.client(&tenants.b_admin, "mai").get("/v1/activity?entity_type=agent_link").await.expect(200);
        assert_eq!(other["logs"], json!([]));
    }
}
