//! Browsers and people in channels who are let in without a token.

use crate::common::{Tenants, create_agent_with};
use chrono::TimeDelta;
use goclaw_ports::{
    TenantId,
    activity::{Activity, ActivityFilter},
    clock::{Clock, SystemClock},
    pairing::{BROWSER, PairingRequest, PendingLimits},
    roles::Scope,
    stores::Stores,
    tenants::MemberRole,
};
use goclaw_tests::{
    Server, Setup, WsClient, eventually,
    fixtures::{add_api_key, add_member, add_tenant, api_key_hash},
    server::GATEWAY_TOKEN,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A browser that asked to be let in.
struct Browser {
    socket: WsClient,
    code: String,
    secret: String,
}

impl Browser {
    async fn asks(server: &Server, user: &str) -> Self {
        let mut socket = server.socket().await;
        let pending = socket.call("connect", &json!({"user_id": user, "protocolVersion": 3})).await.unwrap();
        Self { socket, code: text(&pending["pairing_code"]), secret: text(&pending["sender_id"]) }
    }

    /// Lets one in.
    async fn paired(server: &Server, user: &str) -> Self {
        let browser = Self::asks(server, user).await;
        server.owner_socket().await.call("device.pair.approve", &json!({"code": browser.code})).await.unwrap();
        browser
    }

    async fn status(&mut self) -> Value {
        self.socket.call("browser.pairing.status", &json!({"sender_id": self.secret})).await.unwrap()
    }

    fn alias(&self) -> String {
        alias_of(&self.secret)
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn alias_of(secret: &str) -> String {
    format!("browser-{}", &api_key_hash(secret)[..32])
}

fn code_of(list: &Value, sender: &str) -> Option<String> {
    list["pending"].as_array().unwrap().iter().find(|entry| entry["sender_id"] == sender).map(|entry| text(&entry["code"]))
}

/// A request as it was made so many minutes ago, and is void after so many more.
fn request(sender: &str, code: &str, minutes_ago: i64, ttl: i64) -> PairingRequest {
    let created_at = SystemClock.now() - TimeDelta::minutes(minutes_ago);
    PairingRequest {
        code: code.into(),
        sender: sender.into(),
        channel: BROWSER.into(),
        chat_id: String::new(),
        account_id: "default".into(),
        user_id: "mai".into(),
        counted_as: "203.0.113.9".into(),
        metadata: BTreeMap::new(),
        created_at,
        expires_at: created_at + TimeDelta::minutes(ttl),
    }
}

async fn seed(stores: &Stores, request: &PairingRequest) {
    let limits = PendingLimits { together: 3, channel: 100 };
    stores.pairing.request(TenantId::MASTER, request, limits, request.created_at).await.unwrap();
}

/// The audit log of a stopped gateway.
async fn audit_log(server: &Server) -> Vec<Activity> {
    let stores = server.stores().await;
    let filter = ActivityFilter { limit: 500, ..ActivityFilter::default() };
    let (entries, _) = stores.activity.list(TenantId::MASTER, &filter).await.unwrap();
    stores.database.close().await;
    entries
}

on_both_editions! {
    async fn a_browser_is_let_in_by_an_admin_and_shut_out_again(edition) {
        let server = Server::start(edition).await;
        create_agent_with(&server.owner(), "fox", json!({"is_default": true})).await;
        let mut admin = server.owner_socket().await;
        let (mut nobody, mut waiting) = (server.socket().await, Browser::asks(&server, "lan").await);
        let mut browser = Browser::asks(&server, "mai").await;
        assert!(browser.code.len() == 8 && browser.code.chars().all(|c| "ABCDEFGHJKLMNPQRSTUVWXYZ23456789".contains(c)), "{}", browser.code);
        assert!(browser.secret.len() == 64 && browser.secret.chars().all(|c| c.is_ascii_hexdigit()), "{}", browser.secret);

        let asked = admin.event(|event| event["payload"]["code"] == browser.code.as_str()).await;
        let expected = json!({"code": browser.code, "sender_id": browser.alias(), "channel": "browser", "chat_id": ""});
        assert_eq!((&asked["event"], &asked["payload"]), (&json!("device.pair.requested"), &expected));
        for (name, socket) in [("nobody", &mut nobody), ("another browser", &mut waiting.socket), ("itself", &mut browser.socket)] {
            assert_eq!(socket.events_until_now().await, Vec::<Value>::new(), "{name}");
        }
        assert_eq!(browser.status().await, json!({"status": "pending", "approved": false}));
        for method in ["agents.list", "health", "device.pair.list", "device.pair.approve", "ping"] {
            assert_eq!(browser.socket.call(method, &json!({"code": browser.code})).await.unwrap_err().code, "UNAUTHORIZED", "{method}");
        }

        let list = admin.call("device.pair.list", &json!({})).await.unwrap();
        let entry = list["pending"].as_array().unwrap().iter().find(|entry| entry["code"] == browser.code.as_str()).unwrap();
        assert_eq!((&entry["sender_id"], &entry["channel"], &entry["account_id"], &entry["metadata"]["user_id"]), (&json!(browser.alias()), &json!("browser"), &json!("default"), &json!("mai")));
        assert_eq!(entry["expires_at"].as_i64().unwrap() - entry["created_at"].as_i64().unwrap(), 3_600_000);
        let approved = admin.call("device.pair.approve", &json!({"code": browser.code, "approvedBy": "somebody else"})).await.unwrap();
        assert_eq!((&approved["paired"]["sender_id"], &approved["paired"]["paired_by"], &approved["paired"]["channel"]), (&json!(browser.alias()), &json!("system"), &json!("browser")));
        assert_eq!(admin.event_named("device.pair.resolved").await["payload"], json!({"action": "approved"}));
        assert_eq!(browser.status().await, json!({"status": "approved", "approved": true}));
        assert_eq!(admin.call("device.pair.approve", &json!({"code": browser.code})).await.unwrap_err().code, "NOT_FOUND");

        let mut paired = server.socket().await;
        let welcome = paired.call("connect", &json!({"sender_id": browser.secret, "user_id": "system"})).await.unwrap();
        assert_eq!((&welcome["role"], &welcome["user_id"], &welcome["is_owner"], &welcome["tenant_slug"]), (&json!("operator"), &json!("mai"), &json!(false), &json!("master")));
        paired.call("agents.list", &json!({})).await.unwrap();
        assert_eq!(paired.call("config.permissions.list", &json!({})).await.unwrap_err().code, "UNAUTHORIZED", "it is an operator");
        let http = server.anonymous().sender(&browser.secret);
        http.get("/v1/agents").await.expect(200);

        let shown = [admin.call("device.pair.list", &json!({})).await.unwrap(), admin.call("health", &json!({})).await.unwrap(), approved, list, asked];
        for shown in shown {
            assert!(!shown.to_string().contains(&browser.secret), "{shown}");
        }

        admin.call("device.pair.revoke", &json!({"senderId": browser.alias(), "channel": "browser"})).await.unwrap();
        assert_eq!(admin.event_named("device.pair.resolved").await["payload"], json!({"action": "revoked"}));
        paired.expect_closed_code(1008).await;
        assert_eq!(http.get("/v1/agents").await.expect_error(401).1, "UNAUTHORIZED");
        assert_eq!(browser.status().await["status"], "expired");
        assert_eq!(admin.call("device.pair.revoke", &json!({"senderId": browser.alias(), "channel": "browser"})).await.unwrap_err().code, "NOT_FOUND");
        for socket in [&mut nobody, &mut waiting.socket] {
            assert_eq!(socket.events_until_now().await, Vec::<Value>::new());
        }
        assert!(!server.log().contains(&browser.secret), "the secret is in the log");
    }

    async fn answers_have_their_shape(edition) {
        let server = Server::start(edition).await;
        let mut socket = server.socket().await;
        let pending = socket.call("connect", &json!({"user_id": "mai"})).await.unwrap();
        let keys: Vec<&String> = pending.as_object().unwrap().keys().collect();
        assert_eq!((&pending["protocol"], &pending["status"], &pending["server"]["name"]), (&json!(3), &json!("pending_pairing"), &json!("goclaw")));
        assert_eq!(keys.len(), 5, "{keys:?}");
        let mut admin = server.owner_socket().await;
        let list = admin.call("device.pair.list", &json!({})).await.unwrap();
        let fields = |entry: &Value| {
            let mut fields: Vec<String> = entry.as_object().unwrap().keys().cloned().collect();
            fields.sort();
            fields.join(" ")
        };
        assert_eq!(fields(&list), "paired pending");
        assert_eq!(fields(&list["pending"][0]), "account_id channel chat_id code created_at expires_at metadata sender_id");
        let approved = admin.call("device.pair.approve", &json!({"code": pending["pairing_code"]})).await.unwrap();
        assert_eq!(fields(&approved["paired"]), "channel chat_id metadata paired_at paired_by sender_id");
    }

    async fn a_denied_browser_looks_expired(edition) {
        let server = Server::start(edition).await;
        let mut browser = Browser::asks(&server, "mai").await;
        let mut admin = server.owner_socket().await;
        let code = format!(" {} ", browser.code.to_lowercase());
        assert_eq!(admin.call("device.pair.deny", &json!({"code": code})).await.unwrap(), json!({"denied": true}));
        assert_eq!(admin.event_named("device.pair.resolved").await["payload"], json!({"action": "denied"}));
        assert_eq!(browser.status().await, json!({"status": "expired", "approved": false}));
        for method in ["device.pair.deny", "device.pair.approve"] {
            assert_eq!(admin.call(method, &json!({"code": browser.code})).await.unwrap_err().code, "NOT_FOUND", "{method}");
        }
        assert_eq!(server.anonymous().sender(&browser.secret).get("/v1/agents").await.status, 401);
    }

    async fn ten_anonymous_connects_never_become_anybody(edition) {
        let server = Server::start(edition).await;
        let mut sockets = Vec::new();
        let mut outcomes = Vec::new();
        for _ in 0..10 {
            let mut socket = server.socket().await;
            outcomes.push(match socket.call("connect", &json!({"user_id": "system"})).await {
                Ok(pending) => {
                    assert!(pending.get("role").is_none() && pending["status"] == "pending_pairing", "{pending}");
                    "pending"
                }
                Err(error) => {
                    assert_eq!(error.code, "RESOURCE_EXHAUSTED");
                    "refused"
                }
            });
            assert_eq!(socket.call("agents.list", &json!({})).await.unwrap_err().code, "UNAUTHORIZED");
            sockets.push(socket);
        }
        assert_eq!((&outcomes[..3], outcomes.iter().filter(|outcome| **outcome == "refused").count()), (&["pending"; 3][..], 7));
        let list = server.owner_socket().await.call("device.pair.list", &json!({})).await.unwrap();
        assert_eq!(list["pending"].as_array().unwrap().len(), 3);
    }

    async fn a_browser_that_still_waits_gets_its_code_again_and_any_other_a_new_secret(edition) {
        let server = Server::start(edition).await;
        let first = Browser::asks(&server, "mai").await;
        let mut socket = server.socket().await;
        let again = socket.call("connect", &json!({"user_id": "mai", "sender_id": first.secret})).await.unwrap();
        assert_eq!((&again["pairing_code"], &again["sender_id"]), (&json!(first.code), &json!(first.secret)));
        let chosen = "0".repeat(64);
        let other = socket.call("connect", &json!({"user_id": "mai", "sender_id": chosen})).await.unwrap();
        assert_eq!(other["status"], "pending_pairing");
        assert_ne!(other["sender_id"], json!(chosen), "nobody chooses their own secret");
    }

    async fn a_paired_browser_acts_as_the_user_that_was_approved(edition) {
        let server = Server::start(edition).await;
        let (named, nameless) = (Browser::paired(&server, "mai").await, Browser::paired(&server, "").await);
        let posing = Browser::paired(&server, &nameless.alias()).await;
        for (browser, user) in [(&named, "mai".to_owned()), (&nameless, nameless.alias()), (&posing, posing.alias())] {
            for claimed in ["system", "lan", ""] {
                let welcome = server.socket().await.call("connect", &json!({"sender_id": browser.secret, "user_id": claimed})).await.unwrap();
                assert_eq!((&welcome["user_id"], &welcome["role"]), (&json!(user), &json!("operator")), "{claimed}");
            }
        }
        let http = server.anonymous().sender(&named.secret).user("system");
        http.clone().token("wrong").get("/v1/agents").await.expect(200);
        assert_eq!(http.clone().get("/v1/providers").await.status, 403, "it is an operator");
        assert_eq!(server.anonymous().sender(&named.alias()).get("/v1/agents").await.status, 401, "an alias opens nothing");
        assert_eq!(server.anonymous().sender(&named.secret[1..]).get("/v1/agents").await.status, 401);
        let mut wrong = server.socket().await;
        let welcome = wrong.call("connect", &json!({"token": "wrong", "sender_id": named.secret})).await.unwrap();
        assert_eq!(welcome["role"], "operator", "the browser counts even beside a wrong token");
    }

    async fn a_paired_browser_enters_tenants_by_membership(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let a = add_tenant(&stores, "a").await;
        add_tenant(&stores, "b").await;
        add_member(&stores, a, "mai", MemberRole::Member).await;
        drop(stores);
        let server = setup.start().await;
        let browser = Browser::paired(&server, "mai").await;
        let http = server.anonymous().sender(&browser.secret);
        for hint in ["a".to_owned(), a.to_string()] {
            http.clone().tenant(&hint).get("/v1/agents").await.expect(200);
            for key in ["tenant_id", "tenant_hint"] {
                let welcome = server.socket().await.call("connect", &json!({"sender_id": browser.secret, key: hint})).await.unwrap();
                assert_eq!((&welcome["tenant_slug"], &welcome["role"]), (&json!("a"), &json!("operator")), "{key}");
            }
        }
        for hint in ["b", "master"] {
            assert_eq!(http.clone().tenant(hint).get("/v1/agents").await.expect_error(401).1, "TENANT_ACCESS_REVOKED", "{hint}");
            let refused = server.socket().await.call("connect", &json!({"sender_id": browser.secret, "tenant_hint": hint})).await;
            assert_eq!(refused.unwrap_err().code, "TENANT_ACCESS_REVOKED", "{hint}");
        }
        http.tenant("nowhere").get("/v1/agents").await.expect(200);
    }

    async fn what_has_expired_counts_as_absent(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let (asked, let_in, good) = ("a".repeat(64), "b".repeat(64), "c".repeat(64));
        seed(&stores, &request(&alias_of(&asked), "AAAAAAAA", 61, 60)).await;
        for (secret, code, days) in [(&let_in, "BBBBBBBB", 30), (&good, "CCCCCCCC", 29)] {
            let request = request(&alias_of(secret), code, days * 24 * 60 + 1, 60);
            seed(&stores, &request).await;
            stores.pairing.approve(TenantId::MASTER, code, "seed", request.created_at, request.created_at + TimeDelta::days(30)).await.unwrap().unwrap();
        }
        drop(stores);
        let server = setup.start().await;
        let mut admin = server.owner_socket().await;
        for method in ["device.pair.approve", "device.pair.deny"] {
            assert_eq!(admin.call(method, &json!({"code": "AAAAAAAA"})).await.unwrap_err().code, "NOT_FOUND", "{method}");
        }
        for (secret, status) in [(&asked, "expired"), (&let_in, "expired"), (&good, "approved")] {
            assert_eq!(admin.call("browser.pairing.status", &json!({"sender_id": secret})).await.unwrap()["status"], status);
        }
        assert_eq!(server.anonymous().sender(&let_in).get("/v1/agents").await.status, 401);
        server.anonymous().sender(&good).get("/v1/agents").await.expect(200);
        let list = admin.call("device.pair.list", &json!({})).await.unwrap();
        assert_eq!((list["pending"].as_array().unwrap().len(), list["paired"].as_array().unwrap().len()), (0, 1), "{list}");
        assert_eq!(server.socket().await.call("connect", &json!({"sender_id": let_in})).await.unwrap()["status"], "pending_pairing");
    }

    async fn people_of_a_channel_are_paired_within_their_tenant(edition) {
        let tenants = Tenants::start(edition).await;
        let mut operator = tenants.socket(&tenants.a_admin, "mai").await;
        let mut other = tenants.socket(&tenants.b_admin, "lan").await;
        let mut owner = tenants.server.owner_socket().await;
        let new = json!({"senderId": "group:-100", "channel": "telegram", "chatId": "-100"});
        let code = text(&operator.call("device.pair.request", &new).await.unwrap()["code"]);
        assert_eq!(operator.call("device.pair.request", &new).await.unwrap()["code"], json!(code), "it waits already");
        assert_eq!(operator.event_named("device.pair.requested").await["payload"], json!({"code": code, "sender_id": "group:-100", "channel": "telegram", "chat_id": "-100"}));
        for method in ["device.pair.approve", "device.pair.deny"] {
            assert_eq!(other.call(method, &json!({"code": code})).await.unwrap_err().code, "NOT_FOUND", "{method} of another tenant");
        }
        for socket in [&mut other, &mut owner] {
            assert_eq!(code_of(&socket.call("device.pair.list", &json!({})).await.unwrap(), "group:-100"), None);
            assert!(!socket.events_until_now().await.iter().any(|event| event["event"] == "device.pair.requested"));
        }
        assert_eq!(code_of(&operator.call("device.pair.list", &json!({})).await.unwrap(), "group:-100"), Some(code.clone()));
        let approved = operator.call("device.pair.approve", &json!({"code": code})).await.unwrap();
        assert_eq!((&approved["paired"]["sender_id"], &approved["paired"]["paired_by"]), (&json!("group:-100"), &json!("mai")));
        let revoke = json!({"senderId": "group:-100", "channel": "telegram"});
        assert_eq!(other.call("device.pair.revoke", &revoke).await.unwrap_err().code, "NOT_FOUND");
        assert_eq!(operator.call("device.pair.revoke", &revoke).await.unwrap(), json!({"revoked": true}));
        // Owners answer codes of any tenant.
        let code = text(&operator.call("device.pair.request", &new).await.unwrap()["code"]);
        owner.call("device.pair.approve", &json!({"code": code})).await.unwrap();
        let list = operator.call("device.pair.list", &json!({})).await.unwrap();
        assert_eq!((&list["paired"][0]["sender_id"], &list["paired"][0]["paired_by"]), (&json!("group:-100"), &json!("system")));
    }

    async fn only_the_installations_admins_let_browsers_in(edition) {
        let tenants = Tenants::start(edition).await;
        let mut admin = tenants.socket(&tenants.a_admin, "mai").await;
        let secret = "s3cret-of-a-browser-that-somebody-chose";
        let code = text(&admin.call("device.pair.request", &json!({"senderId": secret, "channel": "browser"})).await.unwrap()["code"]);
        assert_eq!(admin.call("device.pair.approve", &json!({"code": code})).await.unwrap_err().code, "NOT_FOUND");
        assert_eq!(tenants.server.anonymous().sender(secret).get("/v1/agents").await.status, 401);
        let mut owner = tenants.server.owner_socket().await;
        assert_eq!(code_of(&owner.call("device.pair.list", &json!({})).await.unwrap(), &alias_of(secret)), Some(code.clone()));
        owner.call("device.pair.approve", &json!({"code": code})).await.unwrap();
        tenants.server.anonymous().sender(secret).get("/v1/agents").await.expect(200);
        assert_eq!(owner.call("device.pair.revoke", &json!({"senderId": secret, "channel": "browser"})).await.unwrap(), json!({"revoked": true}), "the secret names it too");
        assert_eq!(tenants.server.anonymous().sender(secret).get("/v1/agents").await.status, 401);
    }

    async fn requests_are_checked_and_limited(edition) {
        let tenants = Tenants::start(edition).await;
        let mut admin = tenants.socket(&tenants.a_admin, "mai").await;
        let long = "x".repeat(256);
        let bad = [
            json!({}),
            json!({"senderId": "1"}),
            json!({"channel": "telegram"}),
            json!({"senderId": long, "channel": "telegram"}),
            json!({"senderId": "1", "channel": long}),
            json!({"senderId": "too short for a secret", "channel": "browser"}),
            json!({"senderId": alias_of("x"), "channel": "browser"}),
        ];
        for params in bad {
            assert_eq!(admin.call("device.pair.request", &params).await.unwrap_err().code, "INVALID_REQUEST", "{params}");
        }
        for sender in 0..3 {
            admin.call("device.pair.request", &json!({"senderId": sender.to_string(), "channel": "telegram"})).await.unwrap();
        }
        let fourth = json!({"senderId": "4", "channel": "telegram"});
        assert_eq!(admin.call("device.pair.request", &fourth).await.unwrap_err().code, "INVALID_REQUEST");
        admin.call("device.pair.request", &json!({"senderId": "4", "channel": "telegram", "accountId": "second"})).await.unwrap();
        for (method, params) in [
            ("device.pair.approve", json!({})),
            ("device.pair.deny", json!({"code": "  "})),
            ("device.pair.revoke", json!({"senderId": "1"})),
            ("device.pair.revoke", json!({"channel": "telegram"})),
            ("browser.pairing.status", json!({})),
        ] {
            assert_eq!(admin.call(method, &params).await.unwrap_err().code, "INVALID_REQUEST", "{method} {params}");
        }
        for code in ["AAAAAAAA", "x", &long] {
            assert_eq!(admin.call("device.pair.approve", &json!({"code": code})).await.unwrap_err().code, "NOT_FOUND", "{code}");
        }
    }

    async fn scopes_and_roles_are_told_apart(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let pairing = add_api_key(&stores, None, &[Scope::Pairing], "").await;
        let write = add_api_key(&stores, None, &[Scope::Write], "").await;
        let read = add_api_key(&stores, None, &[Scope::Read], "").await;
        drop(stores);
        let server = setup.start().await;
        let new = json!({"senderId": "1", "channel": "telegram"});
        let mut keeper = server.connected(&json!({"token": pairing, "user_id": "mai"})).await;
        let code = keeper.call("device.pair.request", &new).await.unwrap()["code"].clone();
        keeper.call("device.pair.list", &json!({})).await.unwrap();
        for (method, params) in [("device.pair.approve", json!({"code": code})), ("device.pair.deny", json!({"code": code})), ("device.pair.revoke", new.clone())] {
            let refused = keeper.call(method, &params).await.unwrap_err();
            assert_eq!(refused.code, "UNAUTHORIZED", "{method}");
            assert!(refused.message.contains(method) && refused.message.contains("admin"), "{}", refused.message);
        }
        for key in [&write, &read] {
            let mut socket = server.connected(&json!({"token": key, "user_id": "mai"})).await;
            for (method, params) in [("device.pair.request", &new), ("device.pair.list", &json!({}))] {
                assert_eq!(socket.call(method, params).await.unwrap_err().code, "UNAUTHORIZED", "{method}");
            }
        }
        assert_eq!(keeper.events_until_now().await, Vec::<Value>::new(), "codes are for admins");
    }

    async fn asking_again_and_again_is_refused_after_a_while(edition) {
        let server = Server::start(edition).await;
        let mut browser = Browser::asks(&server, "mai").await;
        let mut refused = 0;
        for _ in 0..15 {
            if let Err(error) = browser.socket.call("browser.pairing.status", &json!({"sender_id": browser.secret})).await {
                assert_eq!(error.code, "RESOURCE_EXHAUSTED");
                refused += 1;
            }
        }
        assert!((1..=5).contains(&refused), "{refused}");
        server.owner_socket().await.call("device.pair.list", &json!({})).await.unwrap();
    }

    async fn the_audit_log_tells_who_came_and_who_was_let_in(edition) {
        let mut server = Server::start(edition).await;
        let mut admin = server.owner_socket().await;
        let browser = Browser::asks(&server, "mai").await;
        admin.call("device.pair.approve", &json!({"code": browser.code})).await.unwrap();
        server.connected(&json!({"sender_id": browser.secret})).await.close().await;
        admin.call("device.pair.revoke", &json!({"senderId": browser.alias(), "channel": "browser"})).await.unwrap();
        let code = admin.call("device.pair.request", &json!({"senderId": "stranger", "channel": "telegram"})).await.unwrap()["code"].clone();
        admin.call("device.pair.deny", &json!({"code": code})).await.unwrap();
        for attempt in 0..20 {
            server.anonymous().token(&format!("wrong-{attempt}")).user("mallory").get("/v1/agents").await.expect_error(401);
        }
        server.anonymous().get("/v1/agents").await.expect_error(401);
        admin.close().await;
        assert!(server.stop().await.success());
        let log = audit_log(&server).await;
        let of = |action: &str| log.iter().filter(|entry| entry.action == action).collect::<Vec<_>>();
        let one = |action: &str| {
            let found = of(action);
            assert_eq!(found.len(), 1, "{action}: {log:?}");
            (found[0].actor_id.clone(), found[0].entity_type.clone(), found[0].entity_id.clone())
        };
        let alias = browser.alias();
        let requested: Vec<_> = of("pairing.requested").iter().map(|entry| entry.entity_id.clone()).collect();
        assert!(requested.len() == 2 && requested.contains(&alias) && requested.contains(&"stranger".to_owned()), "{requested:?}");
        assert_eq!(one("pairing.denied").1, "pairing");
        assert_eq!(one("pairing.approved"), ("system".into(), "pairing".into(), browser.code.clone()));
        assert_eq!(one("pairing.revoked"), ("system".into(), "pairing".into(), alias.clone()));
        let logins: Vec<_> = of("auth.login").iter().map(|entry| (entry.actor_id.as_str(), entry.entity_id.as_str())).collect();
        assert!(logins.contains(&("system", "gateway_token")) && logins.contains(&("mai", "paired_device")), "{logins:?}");
        let failed = of("auth.failed");
        assert!((1..=6).contains(&failed.len()), "one address fills the log: {}", failed.len());
        assert!(failed.iter().all(|entry| entry.actor_id == "system" && entry.ip_address == "127.0.0.1"));
        let whole = serde_json::to_string(&log).unwrap();
        for secret in [browser.secret.as_str(), GATEWAY_TOKEN, "wrong-"] {
            assert!(!whole.contains(secret), "{secret}");
        }
    }

    async fn a_revocation_is_known_at_once_and_its_secret_never_opens_again(edition) {
        let server = Server::start(edition).await;
        let browser = Browser::paired(&server, "mai").await;
        let http = server.anonymous().sender(&browser.secret);
        http.get("/v1/agents").await.expect(200);
        let mut admin = server.owner_socket().await;
        admin.call("device.pair.revoke", &json!({"senderId": browser.alias(), "channel": "browser"})).await.unwrap();
        assert_eq!(http.get("/v1/agents").await.status, 401, "a revocation is known at once");
        let back = Browser::paired(&server, "mai").await;
        eventually("the new secret to open", async || server.anonymous().sender(&back.secret).get("/v1/agents").await.status == 200).await;
        assert_eq!(http.get("/v1/agents").await.status, 401, "the old secret stays shut out");
    }
}
