//! Which events reach which sockets.

use crate::common::{Tenants, create_agent_with};
use goclaw_ports::roles::Scope;
use goclaw_tests::{Setup, WsClient, fixtures::add_api_key};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The names of the events that came so far.
async fn names(socket: &mut WsClient) -> BTreeSet<String> {
    socket.events_until_now().await.iter().map(|event| event["event"].as_str().unwrap().to_owned()).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

on_both_editions! {
    async fn each_event_reaches_exactly_those_whom_it_is_for(edition) {
        let mut setup = Setup::new(edition).await;
        let pairing_only = add_api_key(&setup.stores().await, None, &[Scope::Pairing], "").await;
        let tenants = Tenants::start_with(setup).await;
        create_agent_with(&tenants.client(&tenants.a_admin, "admin"), "fox", json!({"is_default": true})).await;
        let mut a_admin = tenants.socket(&tenants.a_admin, "admin").await;
        let mut b_admin = tenants.socket(&tenants.b_admin, "admin").await;
        let mut u1 = tenants.socket(&tenants.a_operator, "u1").await;
        let mut u2 = tenants.socket(&tenants.a_viewer, "u2").await;
        let mut nameless = tenants.socket(&tenants.a_viewer, "").await;
        let mut keeper = tenants.server.connected(&json!({"token": pairing_only, "user_id": "u1", "tenant_id": "a"})).await;
        let mut owner = tenants.server.owner_socket().await;
        let mut nobody = tenants.server.socket().await;
        let mut waiting = tenants.server.socket().await;
        let mut wrong = tenants.server.connected(&json!({"token": "wrong", "user_id": "u1"})).await;

        // A run of u1, a request to pair in tenant a, and a browser's, which is the master tenant's.
        u1.call("chat.send", &json!({"message": "hi", "agentId": "fox", "stream": true})).await.unwrap();
        keeper.call("device.pair.request", &json!({"senderId": "1", "channel": "telegram"})).await.unwrap();
        waiting.call("connect", &json!({"user_id": "u1"})).await.unwrap();
        a_admin.event(|event| event["payload"]["type"] == "run.completed").await;
        let asked = a_admin.event_named("device.pair.requested").await;
        assert_eq!(asked["payload"]["channel"], "telegram");
        let browser = owner.event_named("device.pair.requested").await;
        assert_eq!(browser["payload"]["channel"], "browser", "another tenant's request is not for the owner of the installation");
        let of_run: Vec<Value> = u1.run_events().await;
        assert!(of_run.len() > 2);

        for (name, socket) in [("another tenant's admin", &mut b_admin), ("another user", &mut u2), ("no user", &mut nameless), ("a key for pairing only", &mut keeper), ("nobody", &mut nobody), ("a browser that waits", &mut waiting), ("a wrong token", &mut wrong)] {
            assert_eq!(names(socket).await, set([]), "{name}");
        }
        let rest = names(&mut u1).await;
        assert!(rest.is_subset(&set(["agent", "session.updated", "trace.updated"])), "{rest:?}");
        let rest = names(&mut owner).await;
        assert_eq!(rest, set([]), "the run was in another tenant");
    }

    async fn nothing_internal_ever_leaves(edition) {
        let tenants = Tenants::start(edition).await;
        let mut owner = tenants.server.owner_socket().await;
        let mut admin = tenants.socket(&tenants.a_admin, "admin").await;
        let client = tenants.client(&tenants.a_admin, "admin");
        client.put("/v1/system-configs/some.key", &json!({"value": "v"})).await.expect(200);
        let agent = create_agent_with(&client, "fox", json!({"is_default": true})).await;
        client.put(&format!("/v1/agents/{}", agent["id"].as_str().unwrap()), &json!({"display_name": "Fox"})).await.expect(200);
        admin.call("config.permissions.grant", &json!({"agentId": agent["id"], "scope": "*", "configType": "cron", "userId": "*", "permission": "deny"})).await.unwrap();
        tenants.server.owner().post("/v1/api-keys", &json!({"name": "k", "scopes": ["operator.read"]})).await.expect(201);
        admin.call("device.pair.request", &json!({"senderId": "1", "channel": "telegram"})).await.unwrap();
        admin.event_named("device.pair.requested").await;
        for socket in [&mut owner, &mut admin] {
            assert_eq!(names(socket).await, set([]));
        }
    }
}
