//! Rules about who may change what of an agent.

use crate::common::{Tenants, create_agent};
use serde_json::{Value, json};

struct Agents {
    tenants: Tenants,
    a: String,
    b: String,
}

async fn with_agents(edition: goclaw_tests::Edition) -> Agents {
    let tenants = Tenants::start(edition).await;
    let a = create_agent(&tenants.client(&tenants.a_admin, "mai"), "fox").await["id"].as_str().unwrap().to_owned();
    let b = create_agent(&tenants.client(&tenants.b_admin, "mai"), "wolf").await["id"].as_str().unwrap().to_owned();
    Agents { tenants, a, b }
}

fn rule(agent: &str, scope: &str, config_type: &str, user: &str, permission: &str) -> Value {
    json!({"agentId": agent, "scope": scope, "configType": config_type, "userId": user, "permission": permission})
}

fn told(rules: &Value) -> Vec<String> {
    let text = |rule: &Value, key: &str| rule[key].as_str().unwrap().to_owned();
    rules["permissions"].as_array().unwrap().iter().map(|rule| ["scope", "configType", "userId", "permission"].map(|key| text(rule, key)).join(" ")).collect()
}

on_both_editions! {
    async fn rules_are_made_changed_listed_and_removed(edition) {
        let Agents { tenants, a, .. } = with_agents(edition).await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        assert_eq!(socket.call("config.permissions.list", &json!({"agentId": a})).await.unwrap(), json!({"permissions": []}));
        let mut first = rule(&a, "group:telegram:-100", "file_writer", "u1", "allow");
        first["metadata"] = json!({"displayName": "Mai", "username": "mai"});
        first["grantedBy"] = json!("somebody else");
        assert_eq!(socket.call("config.permissions.grant", &first).await.unwrap(), json!({"ok": true}));
        socket.call("config.permissions.grant", &rule(&a, "*", "cron", "*", "deny")).await.unwrap();
        let before = socket.call("config.permissions.list", &json!({"agentId": a})).await.unwrap();
        assert_snapshot!("config_permissions", before.clone());
        first["permission"] = json!("deny");
        socket.call("config.permissions.grant", &first).await.unwrap();
        let after = socket.call("config.permissions.list", &json!({"agentId": a})).await.unwrap();
        assert_eq!(told(&after), ["group:telegram:-100 file_writer u1 deny", "* cron * deny"], "it is changed, not added");
        assert_eq!((&after["permissions"][0]["id"], &after["permissions"][0]["createdAt"]), (&before["permissions"][0]["id"], &before["permissions"][0]["createdAt"]));
        let some = socket.call("config.permissions.list", &json!({"agentId": a, "configType": "cron"})).await.unwrap();
        assert_eq!(told(&some), ["* cron * deny"]);
        for _ in 0..2 {
            assert_eq!(socket.call("config.permissions.revoke", &first).await.unwrap(), json!({"ok": true}), "also when there is none");
        }
        assert_eq!(told(&socket.call("config.permissions.list", &json!({"agentId": a})).await.unwrap()), ["* cron * deny"]);
    }

    async fn every_value_is_checked(edition) {
        let Agents { tenants, a, b } = with_agents(edition).await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        let good = rule(&a, "agent", "cron", "u1", "allow");
        for field in ["agentId", "scope", "configType", "userId", "permission"] {
            for value in [json!(null), json!(""), json!(5)] {
                let mut params = good.clone();
                params[field] = value;
                assert_eq!(socket.call("config.permissions.grant", &params).await.unwrap_err().code, "INVALID_REQUEST", "grant without {field}");
                if field != "permission" {
                    assert_eq!(socket.call("config.permissions.revoke", &params).await.unwrap_err().code, "INVALID_REQUEST", "revoke without {field}");
                }
            }
        }
        let long = "x".repeat(256);
        let bad = [("agentId", "fox"), ("scope", "group:telegram"), ("scope", "everywhere"), ("configType", "memory"), ("permission", "maybe"), ("permission", "Allow"), ("userId", &long)];
        for (field, value) in bad {
            let mut params = good.clone();
            params[field] = json!(value);
            assert_eq!(socket.call("config.permissions.grant", &params).await.unwrap_err().code, "INVALID_REQUEST", "{field} = {value}");
        }
        let mut params = good.clone();
        params["metadata"] = json!({"note": "x".repeat(5_000)});
        assert_eq!(socket.call("config.permissions.grant", &params).await.unwrap_err().code, "INVALID_REQUEST");
        for params in [json!({}), json!({"agentId": "fox"}), json!({"agentId": a, "configType": "memory"})] {
            assert_eq!(socket.call("config.permissions.list", &params).await.unwrap_err().code, "INVALID_REQUEST", "{params}");
        }
        // Another tenant's agent is as good as none.
        for agent in [b.as_str(), "01930000-0000-7000-8000-000000000000"] {
            assert_eq!(socket.call("config.permissions.grant", &rule(agent, "agent", "cron", "u1", "allow")).await.unwrap_err().code, "NOT_FOUND");
            assert_eq!(socket.call("config.permissions.list", &json!({"agentId": agent})).await.unwrap_err().code, "NOT_FOUND");
        }
        assert_eq!(socket.call("config.permissions.list", &json!({"agentId": a})).await.unwrap(), json!({"permissions": []}), "nothing was stored");
    }

    async fn only_admins_see_and_make_rules_and_only_their_tenants(edition) {
        let Agents { tenants, a, b } = with_agents(edition).await;
        let good = rule(&a, "agent", "cron", "u1", "allow");
        for key in [&tenants.a_viewer, &tenants.a_operator] {
            let mut socket = tenants.socket(key, "mai").await;
            for method in ["config.permissions.list", "config.permissions.grant", "config.permissions.revoke"] {
                assert_eq!(socket.call(method, &good).await.unwrap_err().code, "UNAUTHORIZED", "{method}");
            }
        }
        let (mut admin, mut other) = (tenants.socket(&tenants.a_admin, "mai").await, tenants.socket(&tenants.b_admin, "lan").await);
        admin.call("config.permissions.grant", &good).await.unwrap();
        other.call("config.permissions.grant", &rule(&b, "agent", "cron", "u1", "deny")).await.unwrap();
        other.call("config.permissions.revoke", &good).await.unwrap();
        assert_eq!(told(&admin.call("config.permissions.list", &json!({"agentId": a})).await.unwrap()), ["agent cron u1 allow"]);
        assert_eq!(told(&other.call("config.permissions.list", &json!({"agentId": b})).await.unwrap()), ["agent cron u1 deny"]);
    }

    async fn changes_are_in_the_audit_log(edition) {
        let Agents { tenants, a, .. } = with_agents(edition).await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        let good = rule(&a, "agent", "cron", "u1", "allow");
        socket.call("config.permissions.grant", &good).await.unwrap();
        socket.call("config.permissions.revoke", &good).await.unwrap();
        socket.call("config.permissions.revoke", &good).await.unwrap();
        let log = tenants.client(&tenants.a_admin, "mai").get("/v1/activity?entity_type=config_permission").await.expect(200);
        let told: Vec<_> = log["logs"].as_array().unwrap().iter().map(|entry| (entry["action"].as_str().unwrap(), entry["actor_id"].as_str().unwrap(), entry["entity_id"].as_str().unwrap())).collect();
        assert_eq!(told, [("config_permission.revoked", "mai", a.as_str()), ("config_permission.granted", "mai", &a)]);
        let other = tenants.client(&tenants.b_admin, "mai").get("/v1/activity?entity_type=config_permission").await.expect(200);
        assert_eq!(other["logs"], json!([]));
    }
}
