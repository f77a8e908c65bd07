//! `/v1/agents/{id}/instances`.

use crate::common::{Tenants, ask, create_agent, create_agent_with};
use serde_json::{Value, json};

fn path(agent: &Value, rest: &str) -> String {
    format!("/v1/agents/{}/instances{rest}", agent["id"].as_str().unwrap())
}

on_both_editions! {
    async fn a_users_file_is_set_listed_and_read(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        let fox = create_agent(&mai, "fox").await;
        assert_eq!(mai.get(&path(&fox, "")).await.expect(200), json!({"instances": []}));
        let refused = mai.put(&path(&fox, "/u1/files/SOUL.md"), &json!({"content": "x"})).await;
        assert_eq!(refused.expect_error(400).1, "INVALID_REQUEST");
        for content in ["old", "Likes tea 🍵"] {
            let reply = mai.put(&path(&fox, "/u1/files/USER.md"), &json!({"content": content})).await;
            assert_eq!(reply.expect(200), json!({"status": "updated"}));
        }
        let listed = mai.get(&path(&fox, "")).await.expect(200);
        let users = listed["instances"].as_array().unwrap();
        assert_eq!((users.len(), &users[0]["user_id"], &users[0]["file_count"], users[0].get("metadata")), (1, &json!("u1"), &json!(1), None));
        for key in ["first_seen_at", "last_seen_at"] {
            let time = users[0][key].as_str().unwrap();
            assert!(time.len() == 20 && time.ends_with('Z'), "{time}");
        }
        let file = json!({"agent_id": fox["id"], "user_id": "u1", "file_name": "USER.md", "content": "Likes tea 🍵"});
        assert_eq!(mai.get(&path(&fox, "/u1/files")).await.expect(200), json!({"files": [file]}));
        assert_eq!(mai.get(&path(&fox, "/u1/files/USER.md")).await.expect(200), file);
        assert_eq!(mai.get(&path(&fox, "/u1/files/SOUL.md")).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(mai.get(&path(&fox, "/u2/files")).await.expect(200), json!({"files": []}));
        assert_eq!(mai.get(&path(&fox, "/u2/files/USER.md")).await.expect_error(404).1, "NOT_FOUND");
        let log = mai.get("/v1/activity?action=agent_instance.file_set").await.expect(200);
        assert_eq!((&log["total"], &log["logs"][0]["entity_id"]), (&json!(2), &fox["id"]));
    }

    async fn what_is_set_reaches_the_model(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        let fox = create_agent_with(&mai, "fox", json!({"agent_type": "predefined"})).await;
        mai.put(&path(&fox, "/mai/files/USER.md"), &json!({"content": "Calls herself Captain."})).await.expect(200);
        ask(&mai, "fox", "hi").await;
        assert!(tenants.server.llm.questions()[0].system().contains("Calls herself Captain."));
        let users = mai.get(&path(&fox, "")).await.expect(200);
        assert_eq!(users["instances"].as_array().unwrap().len(), 1);
    }

    async fn users_of_groups_have_colons_in_their_ids(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        let fox = create_agent(&mai, "fox").await;
        mai.put(&path(&fox, "/group%3Atelegram%3A-100/files/USER.md"), &json!({"content": "x"})).await.expect(200);
        let files = mai.get(&path(&fox, "/group:telegram:-100/files")).await.expect(200);
        assert_eq!(files["files"][0]["user_id"], "group:telegram:-100");
    }

    async fn metadata_is_merged(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        let fox = create_agent(&mai, "fox").await;
        let metadata = path(&fox, "/u1/metadata");
        assert_eq!(mai.patch(&metadata, &json!({"metadata": {"a": "1"}})).await.expect_error(404).1, "NOT_FOUND", "nobody is there yet");
        mai.put(&path(&fox, "/u1/files/USER.md"), &json!({"content": ""})).await.expect(200);
        for entries in [json!({"a": "1", "b": "Lan"}), json!({"a": "2"})] {
            assert_eq!(mai.patch(&metadata, &json!({"metadata": entries})).await.expect(200), json!({"status": "updated"}));
        }
        assert_eq!(mai.get(&path(&fox, "")).await.expect(200)["instances"][0]["metadata"], json!({"a": "2", "b": "Lan"}));
        for body in [json!({}), json!({"metadata": {}}), json!({"metadata": {"a": 1}}), json!({"metadata": "x"}), json!({"metadata": null})] {
            assert_eq!(mai.patch(&metadata, &body).await.expect_error(400).1, "INVALID_REQUEST", "{body}");
        }
    }

    async fn bad_requests_are_refused(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        let fox = create_agent(&mai, "fox").await;
        for body in [json!({}), json!({"content": 5}), json!([])] {
            assert_eq!(mai.put(&path(&fox, "/u1/files/USER.md"), &body).await.expect_error(400).1, "INVALID_REQUEST", "{body}");
        }
        for name in ["user.md", "..%2FUSER.md", "AGENTS.md", "%00"] {
            assert_eq!(mai.put(&path(&fox, &format!("/u1/files/{name}")), &json!({"content": "x"})).await.expect_error(400).1, "INVALID_REQUEST", "{name}");
        }
        let long = path(&fox, &format!("/{}/files/USER.md", "u".repeat(256)));
        assert_eq!(mai.put(&long, &json!({"content": "x"})).await.expect_error(400).1, "INVALID_REQUEST");
        let large = json!({"content": "x".repeat(1 << 20)});
        assert_eq!(mai.put(&path(&fox, "/u1/files/USER.md"), &large).await.status, 413);
        assert_eq!(mai.get("/v1/agents/fox/instances").await.expect_error(400).1, "INVALID_REQUEST", "only ids name agents here");
        assert_eq!(mai.get(&path(&fox, "")).await.expect(200), json!({"instances": []}), "nothing was stored");
    }

    async fn users_are_for_the_owner_of_the_agent(edition) {
        let tenants = Tenants::start(edition).await;
        let mai = tenants.client(&tenants.a_admin, "mai");
        let fox = create_agent_with(&mai, "fox", json!({"is_default": true})).await;
        mai.put(&path(&fox, "/u1/files/USER.md"), &json!({"content": "private"})).await.expect(200);
        for (client, status) in [(tenants.client(&tenants.a_admin, "lan"), 403), (tenants.client(&tenants.b_admin, "mai"), 404)] {
            for rest in ["", "/u1/files", "/u1/files/USER.md"] {
                client.get(&path(&fox, rest)).await.expect_error(status);
            }
            client.put(&path(&fox, "/u1/files/USER.md"), &json!({"content": "x"})).await.expect_error(status);
            client.patch(&path(&fox, "/u1/metadata"), &json!({"metadata": {"a": "b"}})).await.expect_error(status);
        }
        assert_eq!(mai.get(&path(&fox, "/u1/files/USER.md")).await.expect(200)["content"], "private");
    }
}
