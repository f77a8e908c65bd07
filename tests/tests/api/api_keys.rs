//! API keys over REST and RPC.

use crate::common::{Tenants, create_agent};
use goclaw_ports::roles::Scope;
use goclaw_tests::{
    Server, Setup, eventually,
    fixtures::{add_api_key, add_tenant},
};
use regex::Regex;
use serde_json::{Value, json};

fn key(scopes: &[&str]) -> Value {
    json!({"name": "ci", "scopes": scopes})
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}

const NIL: &str = "00000000-0000-0000-0000-000000000000";
const UNKNOWN: &str = "01930000-0000-7000-8000-000000000000";

const MASTER: &str = "0193a5b0-7000-7000-8000-000000000001";

/// A key's answer without what is random in it.
fn without_key(mut answer: Value) -> Value {
    for (name, pattern) in [("key", "^goclaw_[0-9a-f]{32}$"), ("prefix", "^goclaw_[0-9a-f]{8}$")] {
        if let Some(value) = answer.get_mut(name) {
            assert!(Regex::new(pattern).unwrap().is_match(value.as_str().unwrap()), "{value}");
            *value = json!(format!("[{name}]"));
        }
    }
    answer
}

on_both_editions! {
    async fn a_key_is_told_once_and_opens_what_its_scopes_allow(edition) {
        let server = Server::start(edition).await;
        let created = server.owner().post("/v1/api-keys", &key(&["operator.read", "operator.read"])).await.expect(201);
        let secret = text(&created, "key");
        assert!(Regex::new("^goclaw_[0-9a-f]{32}$").unwrap().is_match(&secret));
        assert_eq!((&created["scopes"], &created["expires_at"]), (&json!(["operator.read"]), &Value::Null));
        assert!(secret.starts_with(&text(&created, "prefix")) && text(&created, "prefix").len() == 15);

        let listed = server.owner().get("/v1/api-keys").await.expect(200);
        assert!(listed[0]["id"] == created["id"] && !listed.to_string().contains(&secret) && listed[0].get("key_hash").is_none());
        assert_eq!((&listed[0]["tenant_id"], &listed[0]["created_by"], &listed[0]["revoked"]), (&json!(NIL), &json!("system"), &json!(false)));
        assert!(listed[0].get("owner_id").is_none() && listed[0]["expires_at"].is_null());

        let client = server.with_key(&secret).user("mai");
        assert_eq!(client.get("/v1/agents").await.status, 200);
        assert_eq!(client.post("/v1/api-keys", &key(&["operator.read"])).await.status, 403);
        assert_eq!(client.get("/v1/api-keys").await.status, 403);
    }

    async fn bad_requests_are_refused_and_nothing_is_stored(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        for body in [
            json!({"scopes": ["operator.read"]}),
            json!({"name": "  ", "scopes": ["operator.read"]}),
            json!({"name": "x".repeat(101), "scopes": ["operator.read"]}),
            json!({"name": "x"}),
            json!({"name": "x", "scopes": []}),
            json!({"name": "x", "scopes": ["foo"]}),
            json!({"name": "x", "scopes": "operator.read"}),
            json!({"name": "x", "scopes": ["operator.read"], "tenant_id": "not-a-uuid"}),
            json!({"name": "x", "scopes": ["operator.read"], "expires_in": i64::MAX}),
        ] {
            assert_eq!(owner.post("/v1/api-keys", &body).await.expect_error(400).1, "INVALID_REQUEST", "{body}");
        }
        assert_eq!(owner.post("/v1/api-keys", &json!({"name": "x", "scopes": ["operator.read"], "tenant_id": UNKNOWN})).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(owner.get("/v1/api-keys").await.expect(200), json!([]));
    }

    async fn a_key_ends_when_its_time_is_over_though_it_is_cached(edition) {
        let server = Server::start(edition).await;
        let created = server.owner().post("/v1/api-keys", &json!({"name": "short", "scopes": ["operator.read"], "expires_in": 2})).await.expect(201);
        let client = server.with_key(&text(&created, "key")).user("mai");
        assert_eq!(client.get("/v1/agents").await.status, 200, "from here on it is cached");
        eventually("the key ends", async || client.get("/v1/agents").await.status == 401).await;
        let never = server.owner().post("/v1/api-keys", &json!({"name": "long", "scopes": ["operator.read"], "expires_in": 0})).await.expect(201);
        assert!(never["expires_at"].is_null());
    }

    async fn a_revoked_key_is_refused_at_once(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        for path in ["rpc", "post", "delete"] {
            let created = server.owner().post("/v1/api-keys", &key(&["operator.read"])).await.expect(201);
            let (client, id) = (server.with_key(&text(&created, "key")).user("mai"), text(&created, "id"));
            assert_eq!(client.get("/v1/agents").await.status, 200);
            for _ in 0..2 {
                let answer = match path {
                    "rpc" => socket.call("api_keys.revoke", &json!({"id": id})).await.unwrap(),
                    "post" => server.owner().post(&format!("/v1/api-keys/{id}/revoke"), &json!({})).await.expect(200),
                    _ => server.owner().delete(&format!("/v1/api-keys/{id}")).await.expect(200),
                };
                assert_eq!(answer, json!({"status": "revoked"}));
                assert_eq!(client.get("/v1/agents").await.status, 401, "{path}");
            }
        }
        assert_eq!(server.owner().post(&format!("/v1/api-keys/{UNKNOWN}/revoke"), &json!({})).await.expect_error(404).1, "NOT_FOUND");
        assert_eq!(server.owner().delete("/v1/api-keys/not-a-uuid").await.expect_error(400).1, "INVALID_REQUEST");
        assert_eq!(socket.call("api_keys.revoke", &json!({"id": UNKNOWN})).await.unwrap_err().code, "NOT_FOUND");
        assert_eq!(socket.call("api_keys.revoke", &json!({})).await.unwrap_err().code, "INVALID_REQUEST");
    }

    async fn an_admin_sees_and_makes_keys_of_the_own_tenant_only(edition) {
        let tenants = Tenants::start(edition).await;
        let admin = tenants.client(&tenants.a_admin, "mai");
        let created = admin.post("/v1/api-keys", &json!({"name": "mine", "scopes": ["operator.write"], "tenant_id": tenants.b})).await.expect(201);
        let listed = admin.get("/v1/api-keys").await.expect(200);
        let tenant = tenants.a.to_string();
        assert!(listed.as_array().unwrap().iter().all(|key| key["tenant_id"] == tenant), "{listed}");
        assert!(listed.as_array().unwrap().iter().any(|key| key["id"] == created["id"] && key["created_by"] == "mai"));
        let other = tenants.client(&tenants.b_admin, "mai");
        assert_eq!(other.post(&format!("/v1/api-keys/{}/revoke", text(&created, "id")), &json!({})).await.status, 404);
        assert!(!other.get("/v1/api-keys").await.text().contains(&text(&created, "id")));
        assert_eq!(tenants.server.with_key(&text(&created, "key")).user("mai").tenant("b").get("/v1/agents").await.status, 200, "the header is ignored");
        // System keys are the owner's business.
        let system = tenants.server.owner().get("/v1/api-keys").await.expect(200);
        let id = text(system.as_array().unwrap().iter().find(|key| key["tenant_id"] == NIL).unwrap(), "id");
        assert_eq!(admin.post(&format!("/v1/api-keys/{id}/revoke"), &json!({})).await.status, 404);
        assert_eq!(tenants.client(&tenants.system, "x").get("/v1/agents").await.status, 200);
        let entry = admin.get("/v1/activity?action=api_key.created").await.expect(200);
        assert!(entry["logs"][0]["entity_id"] == created["id"] && !entry.to_string().contains(&text(&created, "key")));
    }

    async fn nobody_gives_more_than_they_have(edition) {
        let tenants = Tenants::start(edition).await;
        for (client, scope, status) in [
            (tenants.client(&tenants.a_admin, "mai"), "operator.provision", 403),
            (tenants.client(&tenants.a_admin, "mai"), "operator.admin", 201),
            (tenants.server.gateway_user("bob"), "operator.provision", 403),
            (tenants.server.gateway_user("bob"), "operator.admin", 201),
            (tenants.server.owner(), "operator.provision", 201),
        ] {
            assert_eq!(client.post("/v1/api-keys", &key(&[scope])).await.status, status, "{scope}");
        }
    }

    async fn a_bound_key_acts_as_its_user_whatever_it_says(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        let created = socket.call("api_keys.create", &json!({"name": "bound", "scopes": ["operator.admin"], "owner_id": "ana"})).await.unwrap();
        let bound = server.with_key(&text(&created, "key"));
        let agent = create_agent(&bound.clone().user("mallory"), "fox").await;
        assert_eq!(agent["owner_id"], "ana");
        let listed = socket.call("api_keys.list", &json!({})).await.unwrap();
        assert_eq!((&listed[0]["owner_id"], &listed[0]["created_by"]), (&json!("ana"), &json!("system")));
        let mut other = server.connected(&json!({"token": text(&created, "key"), "user_id": "mallory"})).await;
        assert_eq!(other.call("connect", &json!({"token": text(&created, "key"), "user_id": "mallory"})).await.unwrap()["user_id"], "ana");
        assert_eq!(socket.call("api_keys.create", &json!({"name": "x", "scopes": ["operator.read"], "owner_id": "u".repeat(256)})).await.unwrap_err().code, "INVALID_REQUEST");
        assert_eq!(socket.call("api_keys.create", &json!({"name": "x".repeat(101), "scopes": ["operator.read"]})).await.unwrap_err().code, "INVALID_REQUEST");
    }

    async fn a_provisioning_key_sets_up_tenants_and_a_bound_one_only_its_own(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let (a, b) = (add_tenant(&stores, "a").await, add_tenant(&stores, "b").await);
        let everywhere = add_api_key(&stores, None, &[Scope::Admin, Scope::Provision], "").await;
        let bound = add_api_key(&stores, Some(a), &[Scope::Admin, Scope::Provision], "").await;
        drop(stores);
        let server = setup.start().await;
        let (mut everywhere, mut bound) =
            (server.connected(&json!({"token": everywhere})).await, server.connected(&json!({"token": bound})).await);
        let new = |tenant| json!({"name": "k", "scopes": ["operator.write"], "tenant_id": tenant});
        let created = everywhere.call("api_keys.create", &new(b)).await.unwrap();
        assert_eq!(server.with_key(&text(&created, "key")).user("mai").get("/v1/agents").await.status, 200);
        assert_eq!(bound.call("api_keys.create", &new(b)).await.unwrap_err().code, "UNAUTHORIZED");
        bound.call("api_keys.create", &new(a)).await.unwrap();

        let tenant = everywhere.call("tenants.create", &json!({"name": "C", "slug": "c"})).await.unwrap();
        everywhere.call("tenants.users.add", &json!({"tenant_id": tenant["id"], "user_id": "mai"})).await.unwrap();
        assert_eq!(bound.call("tenants.create", &json!({"name": "D", "slug": "d"})).await.unwrap_err().code, "UNAUTHORIZED");
        bound.call("tenants.users.add", &json!({"tenant_id": a, "user_id": "mai"})).await.unwrap();
        assert_eq!(bound.call("tenants.users.add", &json!({"tenant_id": b, "user_id": "mai"})).await.unwrap_err().code, "UNAUTHORIZED");
    }

    async fn the_answers_have_their_shape(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        let params = json!({"name": "  build server ", "scopes": ["operator.write", "operator.read"], "expires_in": 3600, "owner_id": "ana", "tenant_id": MASTER});
        let created = socket.call("api_keys.create", &params).await.unwrap();
        assert_snapshot!("created", without_key(created));
        assert_snapshot!("listed", without_key(server.owner().get("/v1/api-keys").await.expect(200)[0].take()));
    }

    async fn only_admins_whose_key_covers_it_may(edition) {
        let tenants = Tenants::start(edition).await;
        let path = format!("/v1/api-keys/{UNKNOWN}");
        for (name, client) in [("operator", tenants.client(&tenants.a_operator, "mai")), ("viewer", tenants.client(&tenants.a_viewer, "mai"))] {
            for (method, path) in [("GET", "/v1/api-keys"), ("POST", "/v1/api-keys"), ("DELETE", &path), ("POST", &format!("{path}/revoke"))] {
                let reply = client.send(method, path, "application/json", key(&["operator.read"]).to_string().into_bytes()).await;
                let (text, code) = reply.expect_error(403);
                assert!(code == "UNAUTHORIZED" && text.contains("admin"), "{method} {path} as {name}: {text}");
            }
        }
        assert_eq!(tenants.server.anonymous().user("system").get("/v1/api-keys").await.status, 401);
    }

    async fn an_owner_chooses_the_tenant_and_rest_binds_to_nobody(edition) {
        let tenants = Tenants::start(edition).await;
        let body = json!({"name": "of b", "scopes": ["operator.admin"], "tenant_id": tenants.b, "owner_id": "ana"});
        let created = tenants.server.owner().post("/v1/api-keys", &body).await.expect(201);
        let listed = tenants.client(&tenants.b_admin, "mai").get("/v1/api-keys").await.expect(200);
        assert!(listed[0]["id"] == created["id"] && listed[0]["tenant_id"] == json!(tenants.b) && listed[0].get("owner_id").is_none(), "{listed}");
        // The key of B is B's wherever its header points, and the owner reaches it in B only.
        let fox = create_agent(&tenants.server.with_key(&text(&created, "key")).user("lan").tenant("a"), "fox").await;
        assert_eq!((&fox["tenant_id"], &fox["owner_id"]), (&json!(tenants.b), &json!("lan")));
        let path = format!("/v1/api-keys/{}", text(&created, "id"));
        assert_eq!(tenants.server.owner().delete(&path).await.status, 404);
        assert_eq!(tenants.server.owner().tenant("b").delete(&path).await.status, 200);
    }

    async fn provisioning_is_for_rpc_only(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let a = add_tenant(&stores, "a").await;
        let provisioner = add_api_key(&stores, None, &[Scope::Admin, Scope::Provision], "").await;
        drop(stores);
        let server = setup.start().await;
        let client = server.with_key(&provisioner).user("mai");
        let created = client.post("/v1/api-keys", &json!({"name": "k", "scopes": ["operator.provision"], "tenant_id": a})).await.expect(201);
        let listed = server.owner().get("/v1/api-keys").await.expect(200);
        let tenant = &listed.as_array().unwrap().iter().find(|key| key["id"] == created["id"]).unwrap()["tenant_id"];
        assert_eq!(tenant, MASTER, "the tenant that the key acts in");
        assert_eq!(client.post("/v1/tenants", &json!({"name": "C", "slug": "c"})).await.status, 403);
        assert_eq!(client.post(&format!("/v1/tenants/{a}/users"), &json!({"user_id": "u"})).await.status, 403);
    }

    async fn who_gave_and_took_a_key_is_written_down_without_the_key(edition) {
        let tenants = Tenants::start(edition).await;
        let mut socket = tenants.socket(&tenants.a_admin, "mai").await;
        let created = socket.call("api_keys.create", &json!({"name": "k", "scopes": ["operator.read"], "owner_id": "ana"})).await.unwrap();
        socket.call("api_keys.revoke", &json!({"id": created["id"]})).await.unwrap();
        let logs = tenants.client(&tenants.a_admin, "lan").get("/v1/activity?entity_type=api_key").await.expect(200);
        let secret = text(&created, "key");
        assert!(!logs.to_string().contains(&secret) && !tenants.server.log().contains(&secret));
        let entries = logs["logs"].as_array().unwrap();
        assert_eq!(entries.iter().map(|entry| (text(entry, "action"), &entry["entity_id"])).collect::<Vec<_>>(), [("api_key.revoked".to_owned(), &created["id"]), ("api_key.created".to_owned(), &created["id"])]);
        let details = json!({"name": "k", "scopes": ["operator.read"], "tenant_id": tenants.a, "owner_id": "ana", "expires_at": null});
        assert_eq!((&entries[1]["details"], &entries[1]["actor_id"], &entries[1]["ip_address"]), (&details, &json!("mai"), &json!("127.0.0.1")));
    }

    async fn refusals_speak_the_callers_language(edition) {
        let tenants = Tenants::start(edition).await;
        for (body, status) in [
            (json!({"name": "k", "scopes": []}), 400),
            (json!({"name": "k", "scopes": ["foo"]}), 400),
            (json!({"name": "k", "scopes": ["operator.provision"]}), 403),
            (json!({"name": "", "scopes": ["operator.read"]}), 400),
            (json!({"name": "k", "scopes": ["operator.read"], "expires_in": i64::MAX}), 400),
        ] {
            let mut texts = Vec::new();
            for language in ["en", "vi", "zh"] {
                let admin = tenants.client(&tenants.a_admin, "mai");
                let (text, _) = admin.header("Accept-Language", language).post("/v1/api-keys", &body).await.expect_error(status);
                let mut socket = tenants.server.connected(&json!({"token": tenants.a_admin, "user_id": "mai", "locale": language})).await;
                assert_eq!(socket.call("api_keys.create", &body).await.unwrap_err().message, text, "{body}");
                texts.push(text);
            }
            texts.sort();
            texts.dedup();
            assert_eq!(texts.len(), 3, "{texts:?}");
        }
    }

    async fn parameters_of_a_wrong_type_are_invalid_json(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.owner_socket().await;
        for (method, params) in [
            ("api_keys.create", json!({"name": 5, "scopes": ["operator.read"]})),
            ("api_keys.create", json!({"name": "k", "scopes": "operator.read"})),
            ("api_keys.create", json!([])),
            ("api_keys.revoke", json!({"id": 5})),
        ] {
            let refused = socket.call(method, &params).await.unwrap_err();
            assert_eq!((refused.code.as_str(), refused.message.as_str()), ("INVALID_REQUEST", "invalid JSON"), "{method} {params}");
        }
        assert_eq!(socket.call("api_keys.list", &json!({})).await.unwrap(), json!([]));
    }
}
