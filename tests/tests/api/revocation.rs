//! Open sockets whose grounds are taken away.

use crate::common::create_agent_with;
use goclaw_ports::{TenantId, tenants::MemberRole};
use goclaw_tests::{
    Edition, Http, Server, Setup, WsClient,
    fixtures::{add_member, add_tenant},
    server::GATEWAY_TOKEN,
};
use serde_json::{Value, json};

/// Makes a key of the master tenant and answers with its id and the key.
async fn make_key(client: &Http, fields: Value) -> (String, String) {
    let mut body = json!({"name": "k", "scopes": ["operator.read"]});
    body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    let made = client.post("/v1/api-keys", &body).await.expect(201);
    (made["id"].as_str().unwrap().to_owned(), made["key"].as_str().unwrap().to_owned())
}

/// A gateway with the tenants `a` and `b`, in both of which `mai` is a member, and `lan` in `a`.
async fn with_members(edition: Edition) -> (Server, TenantId, TenantId) {
    let mut setup = Setup::new(edition).await;
    let stores = setup.stores().await;
    let (a, b) = (add_tenant(&stores, "a").await, add_tenant(&stores, "b").await);
    for (tenant, user) in [(a, "mai"), (a, "lan"), (b, "mai")] {
        add_member(&stores, tenant, user, MemberRole::Member).await;
    }
    drop(stores);
    (setup.start().await, a, b)
}

async fn member(server: &Server, user: &str, tenant: &str) -> WsClient {
    server.connected(&json!({"token": GATEWAY_TOKEN, "user_id": user, "tenant_id": tenant})).await
}

/// It is told of the loss, its next call is refused for it, and then it is closed.
async fn assert_lost(socket: &mut WsClient, user: &str, tenant: TenantId) {
    let told = socket.event_named("tenant.access.revoked").await;
    assert_eq!(told["payload"], json!({"user_id": user, "tenant_id": tenant}));
    assert_eq!(socket.call("agents.list", &json!({})).await.unwrap_err().code, "TENANT_ACCESS_REVOKED");
    socket.expect_closed_code(1008).await;
}

/// It heard of no loss and still works.
async fn assert_stays(socket: &mut WsClient) {
    let heard: Vec<_> = socket.events_until_now().await.into_iter().filter(|event| event["event"] == "tenant.access.revoked").collect();
    assert_eq!(heard, Vec::<Value>::new());
    socket.call("agents.list", &json!({})).await.unwrap();
}

/// Lets a browser in and answers with its secret and its alias.
async fn pair(server: &Server, user: &str) -> (String, String) {
    let mut admin = server.owner_socket().await;
    let pending = server.socket().await.call("connect", &json!({"user_id": user})).await.unwrap();
    let approved = admin.call("device.pair.approve", &json!({"code": pending["pairing_code"]})).await.unwrap();
    (pending["sender_id"].as_str().unwrap().to_owned(), approved["paired"]["sender_id"].as_str().unwrap().to_owned())
}

on_both_editions! {
    async fn the_sockets_of_a_revoked_key_are_closed_and_all_others_stay(edition) {
        let server = Server::start(edition).await;
        let owner = server.owner();
        let ((first, first_key), (second, second_key), (_, other_key)) = (make_key(&owner, json!({})).await, make_key(&owner, json!({})).await, make_key(&owner, json!({})).await);
        let mut by_http = server.connected(&json!({"token": first_key, "user_id": "mai"})).await;
        let mut by_socket = [server.connected(&json!({"token": second_key, "user_id": "mai"})).await, server.connected(&json!({"token": second_key})).await];
        let mut others = [server.connected(&json!({"token": other_key, "user_id": "mai"})).await, server.socket_as("mai").await];
        owner.post(&format!("/v1/api-keys/{first}/revoke"), &json!({})).await.expect(200);
        by_http.expect_closed_code(1008).await;
        assert_eq!(server.with_key(&first_key).user("mai").get("/v1/agents").await.status, 401, "at once, although it was known");
        server.owner_socket().await.call("api_keys.revoke", &json!({"id": second})).await.unwrap();
        for socket in &mut by_socket {
            socket.expect_closed_code(1008).await;
        }
        assert_eq!(server.with_key(&second_key).user("mai").get("/v1/agents").await.status, 401);
        make_key(&owner, json!({})).await;
        for socket in &mut others {
            assert_stays(socket).await;
        }
        assert_eq!(server.socket().await.call("connect", &json!({"token": first_key})).await.unwrap()["role"], "viewer", "as with any wrong token");
    }

    async fn a_socket_ends_with_the_time_of_its_key(edition) {
        let server = Server::start(edition).await;
        let (_, key) = make_key(&server.owner(), json!({"expires_in": 4})).await;
        let mut socket = server.connected(&json!({"token": key, "user_id": "mai"})).await;
        socket.call("agents.list", &json!({})).await.unwrap();
        socket.expect_closed_code(1008).await;
        assert_eq!(server.with_key(&key).user("mai").get("/v1/agents").await.status, 401);
    }

    async fn a_removed_member_loses_its_sockets_in_that_tenant_only(edition) {
        let (server, a, b) = with_members(edition).await;
        let (_, key) = make_key(&server.owner().tenant("a"), json!({"tenant_id": a})).await;
        let mut lost = [member(&server, "mai", "a").await, member(&server, "mai", &a.to_string()).await];
        let mut others = [
            member(&server, "lan", "a").await,
            member(&server, "mai", "b").await,
            server.socket_as("mai").await,
            server.connected(&json!({"token": key, "user_id": "mai"})).await,
            server.connected(&json!({"token": GATEWAY_TOKEN, "user_id": "system", "tenant_id": "a"})).await,
        ];
        server.owner().delete(&format!("/v1/tenants/{a}/users/mai")).await.expect(200);
        for socket in &mut lost {
            assert_lost(socket, "mai", a).await;
        }
        for socket in &mut others {
            assert_stays(socket).await;
        }
        let again = server.socket().await.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": "mai", "tenant_id": "a"})).await;
        assert_eq!(again.unwrap_err().code, "TENANT_ACCESS_REVOKED");
        let mut other = member(&server, "mai", "b").await;
        server.owner_socket().await.call("tenants.users.remove", &json!({"tenant_id": b, "user_id": "mai"})).await.unwrap();
        assert_lost(&mut other, "mai", b).await;
    }

    async fn a_lost_socket_hears_nothing_more_and_may_connect_elsewhere(edition) {
        let (server, a, _) = with_members(edition).await;
        create_agent_with(&server.owner().tenant("a"), "fox", json!({"is_default": true})).await;
        let (mut lost, mut owner) = (member(&server, "mai", "a").await, server.connected(&json!({"token": GATEWAY_TOKEN, "user_id": "system", "tenant_id": "a"})).await);
        server.owner().delete(&format!("/v1/tenants/{a}/users/mai")).await.expect(200);
        lost.event_named("tenant.access.revoked").await;
        owner.call("chat.send", &json!({"message": "hi", "agentId": "fox", "stream": true})).await.unwrap();
        owner.run_events().await;
        let welcome = lost.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": "mai", "tenant_id": "b"})).await.unwrap();
        assert_eq!(welcome["tenant_slug"], "b");
        assert_stays(&mut lost).await;
        assert!(lost.events_until_now().await.is_empty(), "admins would have heard the run");
    }

    async fn a_suspended_tenant_loses_all_but_owners(edition) {
        for status in ["suspended", "archived"] {
            let (server, a, _) = with_members(edition).await;
            let (_, key) = make_key(&server.owner().tenant("a"), json!({"tenant_id": a})).await;
            let mut mai = member(&server, "mai", "a").await;
            let mut keyed = server.connected(&json!({"token": key, "user_id": "k"})).await;
            let mut owner = server.connected(&json!({"token": GATEWAY_TOKEN, "user_id": "system", "tenant_id": "a"})).await;
            let mut elsewhere = member(&server, "mai", "b").await;
            server.owner().patch(&format!("/v1/tenants/{a}"), &json!({"name": "Another name"})).await.expect(200);
            for socket in [&mut mai, &mut keyed, &mut owner] {
                assert_stays(socket).await;
            }
            server.owner().patch(&format!("/v1/tenants/{a}"), &json!({"status": status})).await.expect(200);
            assert_lost(&mut mai, "mai", a).await;
            assert_lost(&mut keyed, "k", a).await;
            assert_stays(&mut owner).await;
            assert_stays(&mut elsewhere).await;
        }
    }

    async fn a_new_gateway_token_ends_what_the_old_one_opened(edition) {
        let config = json!({"gateway": {"token": GATEWAY_TOKEN}});
        let server = Setup::new(edition).await.without_env("GOCLAW_GATEWAY_TOKEN").config(config).start().await;
        let (_, key) = make_key(&server.owner(), json!({})).await;
        let mut old = server.socket_as("mai").await;
        let mut keyed = server.connected(&json!({"token": key, "user_id": "mai"})).await;
        let mut owner = server.owner_socket().await;
        let new = "another-gateway-token-that-is-long-enough";
        drop(owner.try_call("config.patch", &json!({"raw": json!({"gateway": {"token": new}}).to_string()})).await);
        for socket in [&mut owner, &mut old] {
            assert_eq!(socket.call("agents.list", &json!({})).await.unwrap_err().code, "UNAUTHORIZED");
            socket.expect_closed_code(1008).await;
        }
        assert_eq!(server.owner().get("/v1/agents").await.status, 401);
        assert_stays(&mut keyed).await;
        server.connected(&json!({"token": new, "user_id": "mai"})).await.call("agents.list", &json!({})).await.unwrap();
    }

    async fn a_call_under_way_is_done_although_its_socket_is_cut_off(edition) {
        let server = Server::start(edition).await;
        let (id, key) = make_key(&server.owner(), json!({"scopes": ["operator.admin"], "tenant_id": TenantId::MASTER})).await;
        let mut own = server.connected(&json!({"token": key, "user_id": "mai"})).await;
        // The answer may be lost with the socket, the revocation may not.
        drop(own.try_call("api_keys.revoke", &json!({"id": id})).await);
        own.wait_for_close().await;
        assert_eq!(server.with_key(&key).user("mai").get("/v1/agents").await.status, 401);
    }
}

/// What happens on one gateway ends sockets on the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_of_the_other_gateway_are_closed_too() {
    let (server, a, b) = with_members(Edition::Standard).await;
    let twin = server.twin().await;
    let (id, key) = make_key(&server.owner(), json!({})).await;
    let (secret, alias) = pair(&server, "mai").await;
    let mut keyed = twin.connected(&json!({"token": key, "user_id": "mai"})).await;
    let mut paired = twin.connected(&json!({"sender_id": secret})).await;
    let (mut mai, mut lan, mut stays) = (member(&twin, "mai", "a").await, member(&twin, "lan", "a").await, member(&twin, "mai", "b").await);
    twin.anonymous().sender(&secret).get("/v1/agents").await.expect(200);

    server.owner().post(&format!("/v1/api-keys/{id}/revoke"), &json!({})).await.expect(200);
    keyed.expect_closed_code(1008).await;
    server.owner_socket().await.call("device.pair.revoke", &json!({"senderId": alias, "channel": "browser"})).await.unwrap();
    paired.expect_closed_code(1008).await;
    assert_eq!(twin.anonymous().sender(&secret).get("/v1/agents").await.status, 401, "its caches have forgotten");
    server.owner().delete(&format!("/v1/tenants/{a}/users/mai")).await.expect(200);
    assert_lost(&mut mai, "mai", a).await;
    server.owner().patch(&format!("/v1/tenants/{a}"), &json!({"status": "suspended"})).await.expect(200);
    assert_lost(&mut lan, "lan", a).await;
    assert_stays(&mut stays).await;
    assert_eq!(stays.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": "mai", "tenant_id": b})).await.unwrap()["tenant_slug"], "b");
    drop(twin);
}
