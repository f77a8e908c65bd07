//! `/v1/agents/{id}/shares`.

use crate::common::{Tenants, create_agent, create_agent_with};
use goclaw_tests::Http;
use serde_json::{Value, json};

const NOBODYS: &str = "/v1/agents/01930000-0000-7000-8000-000000000000/shares";

fn path(agent: &Value) -> String {
    format!("/v1/agents/{}/shares", agent["id"].as_str().unwrap())
}

async fn visible(client: &Http) -> Vec<String> {
    let list = client.get("/v1/agents").await.expect(200);
    list["agents"].as_array().unwrap().iter().map(|agent| agent["agent_key"].as_str().unwrap().to_owned()).collect()
}

async fn actions(client: &Http) -> Vec<String> {
    let log = client.get("/v1/activity").await.expect(200);
    log["logs"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
}

on_both_editions! {
    async fn a_share_opens_an_agent_until_it_ends(edition) {
        let tenants = Tenants::start(edition).await;
        let (mai, lan) = (tenants.client(&tenants.a_admin, "mai"), tenants.client(&tenants.a_operator, "lan"));
        let fox = create_agent(&mai, "fox").await;
        assert_eq!(lan.get("/v1/agents/fox").await.expect_error(403).1, "UNAUTHORIZED");
        assert_eq!(mai.post(&path(&fox), &json!({"user_id": "lan"})).await.expect(201), json!({"ok": "true"}));
        assert_eq!(visible(&lan).await, ["fox"]);
        lan.get("/v1/agents/fox").await.expect(200);

        let gone = format!("{}/lan", path(&fox));
        for _ in 0..2 {
            assert_eq!(mai.delete(&gone).await.expect(200), json!({"ok": "true"}), "there being none is no error");
        }
        assert!(visible(&lan).await.is_empty());
        assert_eq!(lan.get("/v1/agents/fox").await.expect_error(403).1, "UNAUTHORIZED");
        let actions = actions(&mai).await;
        assert_eq!(actions.iter().filter(|action| *action == "agent.share_revoked").count(), 1, "{actions:?}");
        assert_eq!(actions.iter().filter(|action| *action == "agent.shared").count(), 1, "{actions:?}");
    }

    async fn shares_are_listed_with_their_last_role(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        let fox = create_agent(&mai, "fox").await;
        assert_eq!(mai.get(&path(&fox)).await.expect(200), json!({"shares": []}));
        for (user, role) in [("lan", json!("viewer")), ("a/b:c d", json!("admin")), ("lan", json!("operator")), ("lan", json!(""))] {
            mai.post(&path(&fox), &json!({"user_id": user, "role": role})).await.expect(201);
        }
        let shares = mai.get(&path(&fox)).await.expect(200)["shares"].clone();
        let seen: Vec<_> = shares.as_array().unwrap().iter().map(|share| (share["user_id"].as_str().unwrap(), share["role"].as_str().unwrap())).collect();
        assert_eq!(seen, [("lan", "user"), ("a/b:c d", "admin")]);
        let lan = &shares[0];
        assert_eq!((&lan["agent_id"], &lan["granted_by"]), (&fox["id"], &json!("mai")));
        assert_eq!(lan["id"].as_str().map(str::len), Some(36));
        assert!(lan["created_at"].as_str().unwrap() < lan["updated_at"].as_str().unwrap());
        mai.delete(&format!("{}/a%2Fb%3Ac%20d", path(&fox))).await.expect(200);
        assert_eq!(mai.get(&path(&fox)).await.expect(200)["shares"].as_array().unwrap().len(), 1);
    }

    async fn bad_shares_are_refused(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        let fox = create_agent(&mai, "fox").await;
        for body in [json!({}), json!({"user_id": ""}), json!({"user_id": "u".repeat(256)}), json!({"user_id": 5}), json!({"user_id": "lan", "role": "owner"}), json!([])] {
            assert_eq!(mai.post(&path(&fox), &body).await.expect_error(400).1, "INVALID_REQUEST", "{body}");
        }
        mai.post(&path(&fox), &json!({"user_id": "u".repeat(255)})).await.expect(201);
        assert_eq!(mai.post("/v1/agents/fox/shares", &json!({"user_id": "lan"})).await.expect_error(400).1, "INVALID_REQUEST", "only ids name agents here");
        assert_eq!(mai.get("/v1/agents/fox/shares").await.expect_error(400).1, "INVALID_REQUEST");
        assert_eq!(mai.get(NOBODYS).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(mai.post(NOBODYS, &json!({"user_id": "lan"})).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(mai.delete(&format!("{NOBODYS}/lan")).await.expect_error(404).1, "NOT_FOUND");
    }

    async fn only_the_owner_shares(edition) {
        let tenants = Tenants::start(edition).await;
        let fox = create_agent_with(&tenants.client(&tenants.a_admin, "mai"), "fox", json!({"is_default": true})).await;
        tenants.client(&tenants.a_admin, "mai").post(&path(&fox), &json!({"user_id": "lan", "role": "admin"})).await.expect(201);
        for user in ["lan", "stranger"] {
            let other = tenants.client(&tenants.a_admin, user);
            assert_eq!(other.get(&path(&fox)).await.expect_error(403).1, "UNAUTHORIZED");
            assert_eq!(other.post(&path(&fox), &json!({"user_id": "eve"})).await.expect_error(403).1, "UNAUTHORIZED");
            assert_eq!(other.delete(&format!("{}/lan", path(&fox))).await.expect_error(403).1, "UNAUTHORIZED");
        }
        let nobody = tenants.server.with_key(&tenants.a_admin);
        assert_eq!(nobody.get(&path(&fox)).await.expect_error(403).1, "UNAUTHORIZED", "nobody in particular owns nothing");
        tenants.client(&tenants.a_viewer, "mai").get(&path(&fox)).await.expect(200);
    }

    async fn shares_do_not_exist_for_another_tenant(edition) {
        let tenants = Tenants::start(edition).await;
        let fox = create_agent(&tenants.client(&tenants.a_admin, "mai"), "fox").await;
        let other = tenants.client(&tenants.b_admin, "mai");
        assert_eq!(other.get(&path(&fox)).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(other.post(&path(&fox), &json!({"user_id": "eve"})).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(other.delete(&format!("{}/eve", path(&fox))).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(tenants.client(&tenants.a_admin, "mai").get(&path(&fox)).await.expect(200), json!({"shares": []}));
    }
}
