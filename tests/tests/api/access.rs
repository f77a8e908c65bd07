//! Who may come in, as whom, and into which tenant.

use crate::common::{Tenants, ask, create_agent, question, with_fox};
use goclaw_ports::{
    api_keys::ApiKey,
    roles::Scope,
    tenants::{MemberRole, TenantPatch, TenantStatus},
};
use goclaw_tests::{
    Edition, Server, Setup,
    fixtures::{add_api_key, add_member, add_tenant, api_key, api_key_hash, at, raw_api_key},
    server::GATEWAY_TOKEN,
};
use serde_json::{Value, json};
use std::{fs, os::unix::fs::PermissionsExt};

fn keys(agents: &Value) -> Vec<&str> {
    agents["agents"].as_array().unwrap().iter().map(|agent| agent["agent_key"].as_str().unwrap()).collect()
}

on_both_editions! {
    async fn only_the_right_token_opens(edition) {
        let server = Server::start(edition).await;
        let user = server.anonymous().user("system");
        let prefix = &GATEWAY_TOKEN[..GATEWAY_TOKEN.len() - 1];
        let wrong = ["", "Bearer", "Bearer ", "Bearer wrong", &format!("bearer {GATEWAY_TOKEN}"), &format!("Bearer  {GATEWAY_TOKEN}"), &format!("Bearer {prefix}"), &format!("Bearer {GATEWAY_TOKEN}x"), &format!("Basic {GATEWAY_TOKEN}"), GATEWAY_TOKEN];
        for header in wrong {
            let (text, code) = user.clone().header("Authorization", header).get("/v1/agents").await.expect_error(401);
            assert_eq!((text.as_str(), code.as_str()), ("unauthorized", "UNAUTHORIZED"), "{header:?}");
        }
        user.clone().token(GATEWAY_TOKEN).get("/v1/agents").await.expect(200);
    }

    async fn a_refusal_speaks_the_callers_language(edition) {
        let server = Server::start(edition).await;
        let text = async |language: &str| server.anonymous().header("Accept-Language", language).get("/v1/agents").await.expect_error(401).0;
        let (english, vietnamese, chinese) = (text("de, en").await, text("fr, vi;q=0.1").await, text("zh-Hant-TW").await);
        assert_eq!(english, "unauthorized");
        assert!(vietnamese != english && chinese != english && vietnamese != chinese, "{vietnamese} {chinese}");
        assert!(vietnamese.chars().any(|c| "ăâđêôơưáàảãạấầậắằặéèẹềệíìịóòọồộớờợúùụứừựýỳ".contains(c.to_lowercase().next().unwrap())), "{vietnamese}");
    }

    async fn the_owner_is_the_gateway_token_with_an_owners_id(edition) {
        let setup = Setup::new(edition).await.env("GOCLAW_OWNER_IDS", "alice");
        let server = setup.start().await;
        for (user, role, is_owner) in [("alice", "owner", true), ("system", "admin", false), ("bob", "admin", false), ("ALICE", "admin", false)] {
            let mut socket = server.socket().await;
            let welcome = socket.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": user})).await.unwrap();
            assert_eq!((&welcome["role"], &welcome["is_owner"]), (&json!(role), &json!(is_owner)), "{user}");
        }
    }

    async fn an_api_key_never_makes_an_owner(edition) {
        let mut setup = Setup::new(edition).await;
        let key = add_api_key(&setup.stores().await, None, &[Scope::Admin], "").await;
        let server = setup.start().await;
        create_agent(&server.gateway_user("bob"), "bobs").await;
        let mut socket = server.socket().await;
        let welcome = socket.call("connect", &json!({"token": key, "user_id": "system"})).await.unwrap();
        assert_eq!((&welcome["role"], &welcome["is_owner"]), (&json!("admin"), &json!(false)));
        assert!(keys(&server.with_key(&key).user("system").get("/v1/agents").await.expect(200)).is_empty(), "an owner would see the agent of bob");
        assert_eq!(keys(&server.owner().get("/v1/agents").await.expect(200)), ["bobs"]);
    }

    async fn a_user_id_over_255_bytes_counts_as_none(edition) {
        let setup = Setup::new(edition).await.env("GOCLAW_OWNER_IDS", &"o".repeat(256));
        let server = setup.start().await;
        let (text, _) = server.gateway_user(&"o".repeat(256)).get("/v1/agents").await.expect_error(400);
        assert!(text.contains("user ID"), "{text}");
        server.gateway_user(&"o".repeat(255)).get("/v1/agents").await.expect(200);
    }

    async fn a_key_acts_as_its_owner_whatever_the_header_says(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let tenant = add_tenant(&stores, "a").await;
        let key = add_api_key(&stores, Some(tenant), &[Scope::Admin], "mai").await;
        drop(stores);
        let server = setup.start().await;
        let made = create_agent(&server.with_key(&key).user("lan"), "fox").await;
        assert_eq!(made["owner_id"], "mai");
    }

    async fn revoked_and_expired_keys_are_refused(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let mut raws = Vec::new();
        for change in [|key: ApiKey| ApiKey { revoked: true, ..key }, |key: ApiKey| ApiKey { expires_at: Some(at(0)), ..key }] {
            let raw = raw_api_key();
            stores.api_keys.insert(&change(api_key(None, "k")), &api_key_hash(&raw)).await.unwrap();
            raws.push(raw);
        }
        drop(stores);
        let server = setup.start().await;
        for raw in raws {
            server.with_key(&raw).user("mai").get("/v1/agents").await.expect_error(401);
            // Again, because misses and hits are cached.
            server.with_key(&raw).user("mai").get("/v1/agents").await.expect_error(401);
        }
        server.with_key(&raw_api_key()).user("mai").get("/v1/agents").await.expect_error(401);
    }

    async fn a_tenants_key_stays_in_its_tenant(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent(&tenants.client(&tenants.a_admin, "mai"), "of-a").await;
        create_agent(&tenants.client(&tenants.b_admin, "mai"), "of-b").await;
        for header in ["b", &tenants.b.to_string(), "master", "unknown"] {
            let list = tenants.client(&tenants.a_admin, "mai").tenant(header).get("/v1/agents").await.expect(200);
            assert_eq!(keys(&list), ["of-a"], "{header}");
        }
    }

    async fn a_system_key_names_its_tenant(edition) {
        let tenants = Tenants::start(edition).await;
        create_agent(&tenants.client(&tenants.a_admin, "mai"), "of-a").await;
        create_agent(&tenants.client(&tenants.b_admin, "mai"), "of-b").await;
        let system = tenants.client(&tenants.system, "mai");
        for (header, expected) in [("b".to_owned(), "of-b"), (tenants.a.to_string(), "of-a")] {
            assert_eq!(keys(&system.clone().tenant(&header).get("/v1/agents").await.expect(200)), [expected]);
        }
        assert!(keys(&system.get("/v1/agents").await.expect(200)).is_empty(), "without a header it is the master tenant");
        let (_, code) = system.clone().tenant("unknown").get("/v1/agents").await.expect_error(404);
        assert_eq!(code, "NOT_FOUND");
        server_owner_unknown(&tenants).await;
    }

    async fn the_gateway_token_opens_a_tenant_to_its_members_only(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let tenant = add_tenant(&stores, "a").await;
        add_member(&stores, tenant, "mai", MemberRole::Member).await;
        drop(stores);
        let server = setup.start().await;
        for tenant in ["a", &tenant.to_string()] {
            server.gateway_user("mai").tenant(tenant).get("/v1/agents").await.expect(200);
            server.owner().tenant(tenant).get("/v1/agents").await.expect(200);
            for client in [server.gateway_user("lan"), server.anonymous().token(GATEWAY_TOKEN)] {
                let (_, code) = client.tenant(tenant).get("/v1/agents").await.expect_error(401);
                assert_eq!(code, "TENANT_ACCESS_REVOKED");
            }
        }
        let (_, code) = server.gateway_user("lan").tenant("master").get("/v1/agents").await.expect_error(401);
        assert_eq!(code, "TENANT_ACCESS_REVOKED", "the rule holds for the master tenant too");
        server.gateway_user("lan").get("/v1/agents").await.expect(200);
    }

    async fn a_suspended_tenant_is_open_to_owners_only(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let mut keys = Vec::new();
        for (slug, status) in [("suspended", TenantStatus::Suspended), ("archived", TenantStatus::Archived)] {
            let tenant = add_tenant(&stores, slug).await;
            add_member(&stores, tenant, "mai", MemberRole::Admin).await;
            keys.push(add_api_key(&stores, Some(tenant), &[Scope::Admin], "").await);
            let suspended = TenantPatch { status: Some(status), ..TenantPatch::default() };
            stores.tenants.update(tenant, &suspended, at(1)).await.unwrap();
        }
        drop(stores);
        let server = setup.start().await;
        for slug in ["suspended", "archived"] {
            assert_eq!(server.gateway_user("mai").tenant(slug).get("/v1/agents").await.expect_error(403).1, "TENANT_ACCESS_REVOKED");
            server.owner().tenant(slug).get("/v1/agents").await.expect(200);
        }
        for key in keys {
            assert_eq!(server.with_key(&key).user("mai").get("/v1/agents").await.expect_error(403).1, "TENANT_ACCESS_REVOKED");
        }
    }

    async fn without_a_gateway_token_lite_makes_one_and_standard_is_open_to_its_own_machine(edition) {
        let server = Setup::new(edition).await.without_env("GOCLAW_GATEWAY_TOKEN").start().await;
        let anybody = server.anonymous().user("mai");
        match edition {
            Edition::Lite => {
                assert_eq!(anybody.get("/v1/agents").await.expect_error(401).1, "UNAUTHORIZED");
                let file = server.dir().join("data/gateway.token");
                assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
                let token = fs::read_to_string(&file).unwrap();
                assert!(!server.log().contains(token.trim()), "the token is not told");
                anybody.token(token.trim()).get("/v1/agents").await.expect(200);
            }
            Edition::Standard => {
                let made = create_agent(&anybody.clone().tenant("nonsense"), "fox").await;
                assert_eq!(made["tenant_id"], json!(goclaw_ports::TenantId::MASTER));
                anybody.token("wrong").get("/v1/agents").await.expect(200);
                let mut socket = server.socket().await;
                let welcome = socket.call("connect", &json!({"user_id": "system"})).await.unwrap();
                assert_eq!((&welcome["role"], &welcome["is_owner"]), (&json!("operator"), &json!(false)));
            }
        }
    }

    async fn requests_over_the_rate_are_refused_and_others_are_not(edition) {
        let mut setup = Setup::new(edition).await.config(json!({"gateway": {"rate_limit_rpm": 1}}));
        let other = add_api_key(&setup.stores().await, None, &[Scope::Write], "").await;
        let server = setup.start().await;
        create_agent_for_all(&server).await;
        for _ in 0..5 {
            ask(&server.owner(), "fox", "hello").await;
        }
        let reply = server.owner().post("/v1/chat/completions", &question("fox", "hello")).await;
        assert_eq!((reply.status, reply.header("retry-after")), (429, "60"));
        assert_eq!(reply.json()["error"]["type"], "rate_limit_error");
        ask(&server.with_key(&other).user("mai"), "fox", "hello").await;

        let mut socket = server.socket_as("lan").await;
        for _ in 0..5 {
            socket.call("chat.send", &json!({"message": "hi", "agentId": "fox"})).await.unwrap();
        }
        let error = socket.call("chat.send", &json!({"message": "hi", "agentId": "fox"})).await.unwrap_err();
        assert!(matches!(error.code.as_str(), "INVALID_REQUEST" | "RESOURCE_EXHAUSTED"), "{error:?}");
    }

    async fn secrets_stay_out_of_the_log(edition) {
        let server = with_fox(edition).await;
        ask(&server.owner(), "fox", "hello").await;
        server.owner_socket().await.close().await;
        server.anonymous().token("a-wrong-token-that-somebody-typed").get("/v1/agents").await;
        server.anonymous().get(&format!("/v1/agents?token={GATEWAY_TOKEN}")).await;
        let log = server.log();
        for secret in [GATEWAY_TOKEN, "a-wrong-token-that-somebody-typed", goclaw_tests::server::UPSTREAM_KEY] {
            assert!(!log.contains(secret), "{secret} is in the log");
        }
    }
}

async fn server_owner_unknown(tenants: &Tenants) {
    let (_, code) = tenants.server.owner().tenant("unknown").get("/v1/agents").await.expect_error(404);
    assert_eq!(code, "NOT_FOUND");
}

/// An agent `fox` that everybody may use.
async fn create_agent_for_all(server: &Server) {
    crate::common::create_agent_with(&server.owner(), "fox", json!({"is_default": true})).await;
}
