//! Tenants, their members, and the search for people.

use crate::common::Tenants;
use goclaw_tests::Server;
use serde_json::{Value, json};

const UNKNOWN: &str = "01930000-0000-7000-8000-000000000000";
const MASTER: &str = "0193a5b0-7000-7000-8000-000000000001";

fn slugs(list: &Value) -> Vec<&str> {
    list["tenants"].as_array().unwrap().iter().map(|tenant| tenant["slug"].as_str().unwrap()).collect()
}

async fn acme(server: &Server) -> String {
    server.owner().post("/v1/tenants", &json!({"name": "Acme", "slug": "acme"})).await.expect(201)["id"].as_str().unwrap().to_owned()
}

on_both_editions! {
    async fn an_owner_makes_shows_and_changes_tenants(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let created = owner.post("/v1/tenants", &json!({"name": " Acme ", "slug": "acme"})).await.expect(201);
        assert_eq!((&created["name"], &created["slug"], &created["status"]), (&json!("Acme"), &json!("acme"), &json!("active")));
        assert!(created.get("settings").is_none());
        let id = created["id"].as_str().unwrap();
        assert!(server.dir().join("workspace/tenants/acme").is_dir());
        assert_eq!(slugs(&owner.get("/v1/tenants").await.expect(200)), ["master", "acme"]);
        let path = format!("/v1/tenants/{id}");
        assert_eq!(owner.get(&path).await.expect(200)["settings"], json!({}));

        assert_eq!(owner.patch(&path, &json!({"name": "Acme Inc", "settings": {"colour": "red"}, "slug": "other"})).await.expect(200), json!({"ok": "true"}));
        let changed = owner.get(&path).await.expect(200);
        assert_eq!((&changed["name"], &changed["settings"], &changed["slug"]), (&json!("Acme Inc"), &json!({"colour": "red"}), &json!("acme")));
        let logs = owner.get("/v1/activity?entity_type=tenant").await.expect(200);
        let actions: Vec<_> = logs["logs"].as_array().unwrap().iter().map(|entry| (entry["action"].as_str().unwrap(), entry["entity_id"].as_str().unwrap())).collect();
        assert_eq!(actions, [("tenant.updated", id), ("tenant.created", id)]);
    }

    async fn bad_requests_are_refused(edition) {
        let server = Server::start(edition).await;
        let (owner, id) = (server.owner(), acme(&server).await);
        for body in [
            json!({"slug": "x"}),
            json!({"name": "x"}),
            json!({"name": "x", "slug": "Bad_Slug"}),
            json!({"name": "x", "slug": "-a"}),
            json!({"name": "x", "slug": "a-"}),
            json!({"name": "x".repeat(256), "slug": "x"}),
            json!({"name": "x", "slug": "s".repeat(101)}),
            json!("x"),
        ] {
            assert_eq!(owner.post("/v1/tenants", &body).await.status, 400, "{body}");
        }
        assert_eq!(owner.post("/v1/tenants", &json!({"name": "Again", "slug": "acme"})).await.expect_error(409).1, "ALREADY_EXISTS");
        for body in [json!({}), json!({"name": "", "status": ""}), json!({"status": "asleep"}), json!({"settings": 5})] {
            assert_eq!(owner.patch(&format!("/v1/tenants/{id}"), &body).await.status, 400, "{body}");
        }
        for status in ["suspended", "archived"] {
            assert_eq!(owner.patch(&format!("/v1/tenants/{MASTER}"), &json!({"status": status})).await.status, 400);
        }
        for path in [format!("/v1/tenants/{UNKNOWN}"), format!("/v1/tenants/{UNKNOWN}/users")] {
            assert_eq!(owner.get(&path).await.expect_error(404).1, "NOT_FOUND");
        }
        assert_eq!(owner.patch(&format!("/v1/tenants/{UNKNOWN}"), &json!({"name": "x"})).await.status, 404);
        assert_eq!(owner.get("/v1/tenants/not-a-uuid").await.expect_error(400).1, "INVALID_REQUEST");
        for body in [json!({}), json!({"user_id": ""}), json!({"user_id": "u".repeat(256)}), json!({"user_id": "u", "role": "boss"})] {
            assert_eq!(owner.post(&format!("/v1/tenants/{id}/users"), &body).await.status, 400, "{body}");
        }
        assert_eq!(owner.post(&format!("/v1/tenants/{UNKNOWN}/users"), &json!({"user_id": "u"})).await.status, 404);
        assert_eq!(slugs(&owner.get("/v1/tenants").await.expect(200)), ["master", "acme"]);
    }

    async fn only_owners_manage_tenants(edition) {
        let tenants = Tenants::start(edition).await;
        let (id, body) = (tenants.a, json!({"name": "x", "slug": "x", "user_id": "u"}));
        for client in [tenants.server.gateway_user("bob"), tenants.client(&tenants.system, "system"), tenants.client(&tenants.a_admin, "system")] {
            for (method, path) in [
                ("GET", "/v1/tenants".to_owned()),
                ("POST", "/v1/tenants".to_owned()),
                ("GET", format!("/v1/tenants/{id}")),
                ("PATCH", format!("/v1/tenants/{id}")),
                ("GET", format!("/v1/tenants/{id}/users")),
                ("POST", format!("/v1/tenants/{id}/users")),
                ("DELETE", format!("/v1/tenants/{id}/users/u")),
            ] {
                assert_eq!(client.send(method, &path, "application/json", body.to_string().into_bytes()).await.status, 403, "{method} {path}");
            }
        }
    }

    async fn a_member_has_one_role_and_can_go(edition) {
        let server = Server::start(edition).await;
        let (owner, id) = (server.owner(), acme(&server).await);
        let path = format!("/v1/tenants/{id}/users");
        for (role, expected) in [(Value::Null, "member"), (json!("admin"), "admin")] {
            let mut body = json!({"user_id": "mai"});
            if !role.is_null() {
                body["role"] = role;
            }
            assert_eq!(owner.post(&path, &body).await.expect(201), json!({"ok": "true"}));
            let users = owner.get(&path).await.expect(200);
            assert_eq!((users["users"].as_array().unwrap().len(), &users["users"][0]["role"], &users["users"][0]["metadata"]), (1, &json!(expected), &json!({})));
            assert!(users["users"][0].get("display_name").is_none());
        }
        let mai = server.gateway_user("mai").tenant("acme");
        assert_eq!(mai.get("/v1/agents").await.status, 200);
        assert_eq!(mai.get("/v1/tenant-users").await.expect(200)["users"][0]["user_id"], "mai");
        for _ in 0..2 {
            assert_eq!(owner.delete(&format!("{path}/mai")).await.expect(200), json!({"ok": "true"}));
            assert_eq!(mai.get("/v1/agents").await.expect_error(401).1, "TENANT_ACCESS_REVOKED");
        }
    }

    async fn a_suspended_tenant_is_closed_to_all_but_owners(edition) {
        let tenants = Tenants::start(edition).await;
        let owner = tenants.server.owner();
        let path = format!("/v1/tenants/{}", tenants.a);
        let member = tenants.client(&tenants.a_admin, "mai");
        assert_eq!(member.get("/v1/agents").await.status, 200);
        for (status, expected) in [("suspended", 401), ("active", 200), ("archived", 401)] {
            owner.patch(&path, &json!({"status": status})).await.expect(200);
            assert_eq!(member.get("/v1/agents").await.status, expected, "{status}");
            assert_eq!(owner.clone().tenant("a").get("/v1/agents").await.status, 200);
        }
        assert_eq!(tenants.client(&tenants.b_admin, "mai").get("/v1/agents").await.status, 200);
    }

    async fn everybody_learns_where_they_belong(edition) {
        let server = Server::start(edition).await;
        let (owner, id) = (server.owner(), acme(&server).await);
        owner.post("/v1/tenants", &json!({"name": "Closed", "slug": "closed"})).await.expect(201);
        let closed = owner.get("/v1/tenants").await.expect(200)["tenants"][2]["id"].as_str().unwrap().to_owned();
        for tenant in [&id, &closed] {
            owner.post(&format!("/v1/tenants/{tenant}/users"), &json!({"user_id": "mai", "role": "operator"})).await.expect(201);
        }
        owner.patch(&format!("/v1/tenants/{closed}"), &json!({"status": "archived"})).await.expect(200);
        let mine = server.socket_as("mai").await.call("tenants.mine", &json!({})).await.unwrap();
        assert_eq!(mine, json!({"tenants": [{"id": id, "name": "Acme", "slug": "acme", "role": "operator", "status": "active"}]}));
        assert_eq!(server.socket_as("nobody").await.call("tenants.mine", &json!({})).await.unwrap(), json!({"tenants": []}));
        let all = server.owner_socket().await.call("tenants.mine", &json!({})).await.unwrap();
        assert_eq!(slugs(&all), ["master", "acme", "closed"]);
        assert!(all["tenants"].as_array().unwrap().iter().all(|tenant| tenant["role"] == "owner"));
    }

    async fn tenants_are_managed_over_rpc_as_well(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        let created = socket.call("tenants.create", &json!({"name": "Acme", "slug": "acme", "settings": {"a": 1}})).await.unwrap();
        let id = &created["id"];
        assert_eq!(socket.call("tenants.get", &json!({"id": id})).await.unwrap()["settings"], json!({"a": 1}));
        assert_eq!(socket.call("tenants.update", &json!({"id": id, "name": "New"})).await.unwrap(), json!({"ok": "true"}));
        assert_eq!(slugs(&socket.call("tenants.list", &json!({})).await.unwrap()), ["master", "acme"]);
        assert_eq!(socket.call("tenants.users.add", &json!({"tenant_id": id, "user_id": "mai"})).await.unwrap(), json!({"ok": "true"}));
        assert_eq!(socket.call("tenants.users.list", &json!({"tenant_id": id})).await.unwrap()["users"][0]["role"], "member");
        assert_eq!(socket.call("tenants.users.remove", &json!({"tenant_id": id, "user_id": "mai"})).await.unwrap(), json!({"ok": "true"}));
        for (method, params, code) in [
            ("tenants.get", json!({"id": "x"}), "INVALID_REQUEST"),
            ("tenants.get", json!({"id": UNKNOWN}), "NOT_FOUND"),
            ("tenants.create", json!({"name": "x", "slug": "acme"}), "ALREADY_EXISTS"),
            ("tenants.create", json!({"slug": "x"}), "INVALID_REQUEST"),
            ("tenants.update", json!({"id": id}), "INVALID_REQUEST"),
            ("tenants.users.add", json!({"tenant_id": id}), "INVALID_REQUEST"),
            ("tenants.users.add", json!({"tenant_id": id, "user_id": "u", "role": "boss"}), "INVALID_REQUEST"),
            ("tenants.users.add", json!({"tenant_id": "x", "user_id": "u"}), "INVALID_REQUEST"),
        ] {
            assert_eq!(socket.call(method, &params).await.unwrap_err().code, code, "{method} {params}");
        }
    }

    async fn people_are_found_in_the_own_tenant_only(edition) {
        let tenants = Tenants::start(edition).await;
        let owner = tenants.server.owner();
        for (tenant, user) in [(tenants.a, "ana@example.com"), (tenants.a, "An_100%"), (tenants.a, "bob"), (tenants.b, "anton")] {
            owner.post(&format!("/v1/tenants/{tenant}/users"), &json!({"user_id": user})).await.expect(201);
        }
        let viewer = tenants.client(&tenants.a_viewer, "x");
        let found = async |query: &str| {
            let results = viewer.get(&format!("/v1/users/search{query}")).await.expect(200)["results"].take();
            results.as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(found("?q=AN").await, ["ana@example.com", "An_100%"]);
        assert_eq!(found("?q=100%25").await, ["An_100%"]);
        assert_eq!(found("?q=_").await, ["An_100%"]);
        assert_eq!(found("").await.len(), 3);
        assert_eq!(found("?limit=1").await, ["ana@example.com"]);
        assert_eq!(found("?source=contact").await, Vec::<String>::new());
        assert_eq!(found("?source=tenant_user&limit=1000").await.len(), 3);
        let hit = viewer.get("/v1/users/search?q=bob").await.expect(200)["results"][0].take();
        assert_eq!(hit, json!({"id": "bob", "source": "tenant_user", "role": "member"}));
    }
}
