//! Every method refuses callers below its role, and API keys whose scopes do not cover it.

use crate::common::Tenants;
use goclaw_ports::roles::Scope;
use goclaw_tests::{Setup, fixtures::add_api_key};
use regex::Regex;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::LazyLock};

/// Every method that there is or will be, and the least role; "" for every connected client.
const ROLES: &[(&str, &str)] = &[
    ("health", ""),
    ("status", "viewer"),
    ("agent", "viewer"),
    ("agent.wait", "viewer"),
    ("agent.identity.get", "viewer"),
    ("agents.list", "viewer"),
    ("agents.create", "admin"),
    ("agents.update", "admin"),
    ("agents.delete", "admin"),
    ("agents.files.list", "viewer"),
    ("agents.files.get", "viewer"),
    ("agents.files.set", "admin"),
    ("agents.links.list", "admin"),
    ("agents.links.create", "admin"),
    ("agents.links.update", "admin"),
    ("agents.links.delete", "admin"),
    ("chat.send", "operator"),
    ("chat.history", "viewer"),
    ("chat.abort", "operator"),
    ("chat.inject", "operator"),
    ("chat.session.status", "viewer"),
    ("sessions.list", "viewer"),
    ("sessions.preview", "viewer"),
    ("sessions.patch", "operator"),
    ("sessions.delete", "operator"),
    ("sessions.reset", "operator"),
    ("config.get", "owner"),
    ("config.apply", "owner"),
    ("config.patch", "owner"),
    ("config.schema", "owner"),
    ("config.permissions.list", "admin"),
    ("config.permissions.grant", "admin"),
    ("config.permissions.revoke", "admin"),
    ("skills.list", "viewer"),
    ("skills.get", "viewer"),
    ("skills.update", "admin"),
    ("cron.list", "viewer"),
    ("cron.create", "operator"),
    ("cron.update", "operator"),
    ("cron.delete", "operator"),
    ("cron.toggle", "operator"),
    ("cron.status", "viewer"),
    ("cron.run", "operator"),
    ("cron.runs", "viewer"),
    ("heartbeat.get", "viewer"),
    ("heartbeat.set", "operator"),
    ("heartbeat.toggle", "operator"),
    ("heartbeat.test", "operator"),
    ("heartbeat.logs", "viewer"),
    ("heartbeat.checklist.get", "viewer"),
    ("heartbeat.checklist.set", "operator"),
    ("heartbeat.targets", "viewer"),
    ("channels.list", "viewer"),
    ("channels.status", "viewer"),
    ("channels.toggle", "admin"),
    ("channels.instances.list", "viewer"),
    ("channels.instances.get", "viewer"),
    ("channels.instances.create", "admin"),
    ("channels.instances.update", "admin"),
    ("channels.instances.delete", "admin"),
    ("zalo.personal.qr.start", "admin"),
    ("zalo.personal.contacts", "admin"),
    ("device.pair.request", "operator"),
    ("device.pair.approve", "admin"),
    ("device.pair.deny", "admin"),
    ("device.pair.list", "operator"),
    ("device.pair.revoke", "admin"),
    ("browser.pairing.status", ""),
    ("exec.approval.list", "operator"),
    ("exec.approval.approve", "operator"),
    ("exec.approval.deny", "operator"),
    ("usage.get", "viewer"),
    ("usage.summary", "viewer"),
    ("quota.usage", "viewer"),
    ("send", "operator"),
    ("logs.tail", "owner"),
    ("api_keys.list", "admin"),
    ("api_keys.create", "admin"),
    ("api_keys.revoke", "admin"),
    ("tenants.list", "owner"),
    ("tenants.get", "owner"),
    ("tenants.create", "owner"),
    ("tenants.update", "owner"),
    ("tenants.users.list", "owner"),
    ("tenants.users.add", "owner"),
    ("tenants.users.remove", "owner"),
    ("tenants.mine", "viewer"),
    ("teams.list", "admin"),
    ("teams.create", "admin"),
    ("teams.get", "admin"),
    ("teams.update", "admin"),
    ("teams.delete", "admin"),
    ("teams.members.add", "admin"),
    ("teams.members.remove", "admin"),
    ("teams.known_users", "viewer"),
    ("teams.scopes", "viewer"),
    ("teams.events.list", "viewer"),
    ("teams.tasks.list", "admin"),
    ("teams.tasks.get", "admin"),
    ("teams.tasks.get-light", "viewer"),
    ("teams.tasks.active-by-session", "viewer"),
    ("teams.tasks.create", "operator"),
    ("teams.tasks.assign", "operator"),
    ("teams.tasks.approve", "operator"),
    ("teams.tasks.reject", "operator"),
    ("teams.tasks.comment", "operator"),
    ("teams.tasks.comments", "admin"),
    ("teams.tasks.events", "admin"),
    ("teams.tasks.delete", "admin"),
    ("teams.tasks.delete-bulk", "admin"),
    ("teams.workspace.list", "viewer"),
    ("teams.workspace.read", "viewer"),
    ("teams.workspace.delete", "admin"),
    ("tts.status", "viewer"),
    ("tts.providers", "viewer"),
    ("tts.convert", "operator"),
    ("tts.enable", "admin"),
    ("tts.disable", "admin"),
    ("tts.setProvider", "admin"),
];

/// The registered methods with their least roles.
static METHODS: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    let table = include_str!("../../../src/gateway/src/ws/methods.rs");
    let name = Regex::new(r#""([a-zA-Z_-]+(?:\.[a-zA-Z_-]+)*)" =>"#).unwrap();
    let registered = name.captures_iter(table).map(|found| found.get(1).unwrap().as_str());
    registered.map(|name| *ROLES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name} has no role here"))).collect()
});

/// Parameters with which every method gets as far as its check.
fn parameters() -> Value {
    let id = "01930000-0000-7000-8000-000000000000";
    json!({
        "id": id, "tenant_id": id, "agentId": id, "user_id": "u", "name": "n", "slug": "s", "scopes": ["operator.read"], "raw": "{}",
        "key": "agent:fox:x", "sessionKey": "agent:fox:x", "message": "hi", "senderId": "12345", "channel": "telegram", "code": "ABCDEFGH",
        "scope": "agent", "configType": "cron", "userId": "u", "permission": "allow", "action": "start", "label": "l", "status": "active"
    })
}

fn rank(role: &str) -> usize {
    ["", "viewer", "operator", "admin", "owner"].iter().position(|known| *known == role).unwrap()
}

#[test]
fn every_method_stands_in_the_table_once() {
    let names: BTreeSet<&str> = ROLES.iter().map(|(name, _)| *name).collect();
    assert_eq!(names.len(), ROLES.len());
    let registered: BTreeSet<&str> = METHODS.iter().map(|(name, _)| *name).collect();
    assert!(registered.len() == METHODS.len() && registered.len() > 35, "{registered:?}");
}

on_both_editions! {
    async fn roles_below_are_refused(edition) {
        let tenants = Tenants::start(edition).await;
        let mut sockets = [
            ("viewer", tenants.socket(&tenants.a_viewer, "mai").await),
            ("operator", tenants.socket(&tenants.a_operator, "mai").await),
            ("admin", tenants.socket(&tenants.a_admin, "mai").await),
        ];
        for (method, role) in METHODS.iter() {
            for (own, socket) in &mut sockets {
                if rank(own) < rank(role) {
                    let refused = socket.call(method, &parameters()).await.unwrap_err();
                    assert_eq!(refused.code, "UNAUTHORIZED", "{method} as {own}: {}", refused.message);
                }
            }
        }
        assert!(tenants.server.owner_socket().await.call("tenants.list", &json!({})).await.is_ok());
    }

    async fn nobody_calls_anything_before_connect(edition) {
        let tenants = Tenants::start(edition).await;
        let mut socket = tenants.server.socket().await;
        for (method, _) in METHODS.iter() {
            assert_eq!(socket.call(method, &parameters()).await.unwrap_err().code, "UNAUTHORIZED", "{method}");
        }
    }

    async fn a_key_for_one_thing_does_nothing_else(edition) {
        let mut setup = Setup::new(edition).await;
        let stores = setup.stores().await;
        let keys = [
            (add_api_key(&stores, None, &[Scope::Pairing], "").await, "device.pair."),
            (add_api_key(&stores, None, &[Scope::Approvals], "").await, "exec.approval."),
            (add_api_key(&stores, None, &[Scope::Provision], "").await, "tenants."),
            (add_api_key(&stores, None, &[], "").await, "nothing"),
        ];
        drop(stores);
        let server = setup.start().await;
        for (key, own) in keys {
            let mut socket = server.connected(&json!({"token": key, "user_id": "mai"})).await;
            // What needs no scope: being there, and knowing where one belongs.
            let open = ["health", "browser.pairing.status", "tenants.mine"];
            for (method, _) in METHODS.iter().filter(|(method, _)| !method.starts_with(own) && !open.contains(method)) {
                let refused = socket.call(method, &parameters()).await.unwrap_err();
                assert_eq!(refused.code, "UNAUTHORIZED", "{method} with a key for {own}: {}", refused.message);
            }
        }
    }
}
