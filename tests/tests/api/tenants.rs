//! Tenants, their members, and the search for people.

use crate::common::Tenants;
use goclaw_tests::{Server, Setup};
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
        for (status, expected) in [("suspended", 403), ("active", 200), ("archived", 403)] {
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

    async fn the_answers_have_their_shape(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let created = owner.post("/v1/tenants", &json!({"name": "Acme", "slug": "acme", "settings": {"colour": "red"}})).await.expect(201);
        assert_snapshot!("created", created.clone());
        let path = format!("/v1/tenants/{}", created["id"].as_str().unwrap());
        assert_snapshot!("tenant", owner.get(&path).await.expect(200));
        owner.post(&format!("{path}/users"), &json!({"user_id": "mai", "role": "viewer"})).await.expect(201);
        assert_snapshot!("users", owner.get(&format!("{path}/users")).await.expect(200));
        let mut socket = server.owner_socket().await;
        assert_snapshot!("created_over_rpc", socket.call("tenants.create", &json!({"name": "Beta", "slug": "beta"})).await.unwrap());
    }

    async fn the_owners_are_those_that_the_configuration_names(edition) {
        let server = Setup::new(edition).await.env("GOCLAW_OWNER_IDS", "alice").start().await;
        for (user, status) in [("alice", 200), ("system", 403), ("bob", 403)] {
            assert_eq!(server.gateway_user(user).get("/v1/tenants").await.status, status, "{user}");
        }
        assert_eq!(server.gateway_user(&"o".repeat(256)).get("/v1/tenants").await.status, 403, "too long to be anybody");
        let refused = server.socket_as("bob").await.call("tenants.create", &json!({"name": "x", "slug": "x"})).await.unwrap_err();
        assert!(refused.code == "UNAUTHORIZED" && refused.message.contains("tenants.create") && refused.message.contains("owner"), "{refused:?}");
    }

    async fn the_first_mistake_is_told_user_then_role_then_tenant(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        for (params, told) in [
            (json!({"tenant_id": "x", "user_id": "", "role": "boss"}), "user_id"),
            (json!({"tenant_id": "x", "user_id": "u", "role": "boss"}), "role"),
            (json!({"tenant_id": "x", "user_id": "u"}), "tenant"),
        ] {
            let refused = socket.call("tenants.users.add", &params).await.unwrap_err();
            assert!(refused.code == "INVALID_REQUEST" && refused.message.contains(told), "{refused:?}");
        }
        let refused = socket.call("tenants.users.add", &json!({"tenant_id": UNKNOWN, "user_id": "u"})).await.unwrap_err();
        assert_eq!(refused.code, "NOT_FOUND");
        let refused = socket.call("tenants.create", &json!({"name": 5, "slug": "x"})).await.unwrap_err();
        assert_eq!((refused.code.as_str(), refused.message.as_str()), ("INVALID_REQUEST", "invalid JSON"));
    }

    async fn a_user_id_stays_as_it_is(edition) {
        let server = Server::start(edition).await;
        let path = format!("/v1/tenants/{}/users", acme(&server).await);
        for (user, in_path) in [("mai@example.com", "mai@example.com"), ("a/b c", "a%2Fb%20c"), ("người dùng", "ng%C6%B0%E1%BB%9Di%20d%C3%B9ng"), ("50%", "50%25")] {
            server.owner().post(&path, &json!({"user_id": user})).await.expect(201);
            assert_eq!(server.owner().get(&path).await.expect(200)["users"][0]["user_id"], user);
            server.owner().delete(&format!("{path}/{in_path}")).await.expect(200);
            assert_eq!(server.owner().get(&path).await.expect(200), json!({"users": []}), "{user}");
        }
        server.owner().post(&path, &json!({"user_id": "a\u{0}b"})).await.expect_error(400);
    }

    async fn what_owners_do_over_rpc_is_written_down(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        let id = socket.call("tenants.create", &json!({"name": "Acme", "slug": "acme"})).await.unwrap()["id"].take();
        socket.call("tenants.update", &json!({"id": id, "name": "New", "settings": {"token": "a-secret"}})).await.unwrap();
        for role in ["viewer", "admin"] {
            socket.call("tenants.users.add", &json!({"tenant_id": id, "user_id": "mai", "role": role})).await.unwrap();
        }
        for _ in 0..2 {
            socket.call("tenants.users.remove", &json!({"tenant_id": id, "user_id": "mai"})).await.unwrap();
        }
        let logs = server.owner().get("/v1/activity?entity_type=tenant").await.expect(200);
        let entries: Vec<_> = logs["logs"].as_array().unwrap().iter().rev().map(|entry| (entry["action"].as_str().unwrap(), &entry["details"])).collect();
        let expected = [
            ("tenant.created", json!({"name": "Acme", "slug": "acme"})),
            ("tenant.updated", json!({"name": {"before": "Acme", "after": "New"}, "settings": "changed"})),
            ("tenant.user.added", json!({"user_id": "mai", "role": "viewer", "before": null})),
            ("tenant.user.added", json!({"user_id": "mai", "role": "admin", "before": "viewer"})),
            ("tenant.user.removed", json!({"user_id": "mai", "role": "admin"})),
        ];
        assert_eq!(entries, expected.iter().map(|(action, details)| (*action, details)).collect::<Vec<_>>());
        assert!(logs["logs"].as_array().unwrap().iter().all(|entry| entry["entity_id"] == id && entry["actor_id"] == "system"));
    }

    async fn a_tenants_key_learns_of_no_other_tenant(edition) {
        let tenants = Tenants::start(edition).await;
        for tenant in [tenants.a, tenants.b] {
            tenants.server.owner().post(&format!("/v1/tenants/{tenant}/users"), &json!({"user_id": "mai"})).await.expect(201);
        }
        let mine = async |key: &str| tenants.socket(key, "mai").await.call("tenants.mine", &json!({})).await.unwrap();
        assert_eq!(slugs(&mine(&tenants.a_viewer).await), ["a"]);
        assert_eq!(slugs(&mine(&tenants.system).await), ["a", "b"]);
        let anonymous = tenants.server.connected(&json!({"token": tenants.system})).await.call("tenants.mine", &json!({})).await.unwrap();
        assert_eq!(anonymous, json!({"tenants": []}));
        assert_eq!(tenants.client(&tenants.b_admin, "x").tenant("a").get("/v1/tenant-users").await.expect(200)["users"][0]["tenant_id"], json!(tenants.b));
    }

    async fn a_search_asks_for_what_it_knows(edition) {
        let server = Server::start(edition).await;
        let (text, code) = server.owner().get("/v1/users/search?source=everywhere").await.expect_error(400);
        assert!(code == "INVALID_REQUEST" && text.contains("tenant_user"), "{text}");
        for query in ["?limit=many&peer_kind=group", "?source=", "?q="] {
            assert_eq!(server.owner().get(&format!("/v1/users/search{query}")).await.expect(200), json!({"results": []}), "{query}");
        }
        assert_eq!(server.anonymous().get("/v1/users/search").await.status, 401);
    }

    async fn refusals_speak_the_callers_language(edition) {
        let server = Server::start(edition).await;
        let id = acme(&server).await;
        for (method, path, body, status) in [
            ("POST", "/v1/tenants".to_owned(), json!({"name": "x", "slug": "-"}), 400),
            ("POST", "/v1/tenants".to_owned(), json!({"name": "x", "slug": "acme"}), 409),
            ("PATCH", format!("/v1/tenants/{id}"), json!({}), 400),
            ("PATCH", format!("/v1/tenants/{id}"), json!({"status": "asleep"}), 400),
            ("PATCH", format!("/v1/tenants/{MASTER}"), json!({"status": "archived"}), 400),
            ("POST", format!("/v1/tenants/{id}/users"), json!({"user_id": "u", "role": "boss"}), 400),
            ("GET", format!("/v1/tenants/{UNKNOWN}"), Value::Null, 404),
            ("GET", "/v1/tenants/x".to_owned(), Value::Null, 400),
        ] {
            let mut texts = Vec::new();
            for language in ["en", "vi", "zh"] {
                let client = server.owner().header("Accept-Language", language);
                texts.push(client.send(method, &path, "application/json", body.to_string().into_bytes()).await.expect_error(status).0);
            }
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), 3, "{method} {path} {body}: {texts:?}");
        }
    }
}
