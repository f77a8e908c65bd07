//! The whole catalogue of events, each against every kind of socket. The events come from another gateway, over the database.

use crate::common::Tenants;
use goclaw_ports::{TenantId, roles::Scope};
use goclaw_tests::{Edition, Setup, WsClient, fixtures::add_api_key};
use regex::Regex;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use uuid::Uuid;

/// Whom events of one name are for, within their tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum For {
    /// The user they name, or all if they name none, and admins.
    Concerned,
    /// The same, but what names a team is for admins only.
    Team,
    /// Everybody.
    All,
    /// Admins.
    Admins,
    /// Nobody gets them over the bus.
    Nobody,
}
use For::{Admins, All, Concerned, Nobody, Team};

const EVENTS: &[(For, &[&str])] = &[
    (Concerned, &["agent", "chat", "session.updated", "trace.updated", "cron", "heartbeat", "exec.approval.requested", "exec.approval.resolved"]),
    (
        Team,
        &[
            "team.task.created",
            "team.task.claimed",
            "team.task.assigned",
            "team.task.dispatched",
            "team.task.progress",
            "team.task.commented",
            "team.task.completed",
            "team.task.failed",
            "team.task.cancelled",
            "team.task.reviewed",
            "team.task.approved",
            "team.task.rejected",
            "team.task.updated",
            "team.task.deleted",
            "team.task.stale",
            "team.task.attachment_added",
            "team.leader.processing",
            "team.message.sent",
            "team.created",
            "team.updated",
            "team.deleted",
            "team.member.added",
            "team.member.removed",
            "delegation.started",
            "delegation.completed",
            "delegation.failed",
            "delegation.cancelled",
            "delegation.progress",
            "delegation.accumulated",
            "delegation.announce",
        ],
    ),
    (
        All,
        &[
            "skill.deps.checked",
            "skill.deps.complete",
            "skill.deps.installing",
            "skill.deps.installed",
            "skill.dep.item.installing",
            "skill.dep.item.installed",
        ],
    ),
    (
        Admins,
        &[
            "device.pair.requested",
            "device.pair.resolved",
            "agent.summoning",
            "agent_link.created",
            "agent_link.updated",
            "agent_link.deleted",
            "workspace.file.changed",
        ],
    ),
    // To one connection, to a user who loses a tenant, to all at the end; or never.
    (
        Nobody,
        &[
            "log",
            "shutdown",
            "tenant.access.revoked",
            "zalo.personal.qr.code",
            "zalo.personal.qr.done",
            "cache.invalidate",
            "audit.log",
            "health",
            "presence",
            "tick",
            "voicewake.changed",
            "connect.challenge",
            "talk.mode",
            "node.pair.requested",
            "node.pair.resolved",
            "config:changed",
            "system_config:changed",
            "agent.status_changed",
            "agent:deleted",
            "pairing.revoked",
        ],
    ),
];

/// How an event may look, and which of the socket kinds of [`KINDS`] get it.
fn variants(reach: For) -> Vec<(Value, Option<&'static str>, &'static [&'static str])> {
    const EVERYBODY: &[&str] = &["admin", "owner", "u1", "u2", "nameless"];
    const ADMINS: &[&str] = &["admin", "owner"];
    const WITH_U1: &[&str] = &["admin", "owner", "u1"];
    match reach {
        Concerned => vec![(json!({"userId": "u1"}), None, WITH_U1), (json!({}), Some("u1"), WITH_U1), (json!({}), None, EVERYBODY)],
        Team => vec![
            (json!({"team_id": "t"}), None, ADMINS),
            (json!({"teamId": "t", "userId": "u1"}), Some("u1"), ADMINS),
            (json!({"userId": "u1"}), None, WITH_U1),
            (json!({}), None, EVERYBODY),
        ],
        All => vec![(json!({}), None, EVERYBODY)],
        Admins => vec![(json!({"userId": "u1"}), Some("u1"), ADMINS), (json!({}), None, ADMINS)],
        Nobody => vec![(json!({"userId": "u1"}), Some("u1"), &[]), (json!({}), None, &[])],
    }
}

/// A gateway that only talks.
struct Voice {
    client: tokio_postgres::Client,
    origin: Uuid,
    seq: i64,
}

impl Voice {
    async fn new(dsn: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        Self { client, origin: Uuid::new_v4(), seq: 0 }
    }

    async fn say(&mut self, events: &[Value]) {
        self.seq += 1;
        let events = Value::from(events).to_string();
        self.client
            .execute("insert into bus_events (origin, seq, events) values ($1::text::uuid, $2, $3)", &[&self.origin.to_string(), &self.seq, &events])
            .await
            .unwrap();
        self.client.execute("select pg_notify('goclaw_events', '')", &[]).await.unwrap();
    }
}

fn event(tenant: TenantId, name: &str, user: Option<&str>, payload: Value) -> Value {
    json!({"at": 0, "tenant": tenant, "name": name, "user": user, "payload": payload})
}

/// The marks of the events that came before the one that says `end`.
async fn heard(socket: &mut WsClient) -> BTreeSet<u64> {
    let mut marks = BTreeSet::new();
    loop {
        let event = socket.event(|_| true).await;
        match event["payload"]["mark"].as_u64() {
            Some(0) => return marks,
            Some(mark) => drop(marks.insert(mark)),
            None => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_the_catalogue_reaches_exactly_those_whom_it_is_for() {
    let mut setup = Setup::new(Edition::Standard).await;
    let stores = setup.stores().await;
    let pairing_only = add_api_key(&stores, None, &[Scope::Pairing], "").await;
    drop(stores);
    let tenants = Tenants::start_with(setup).await;
    let mut sockets = BTreeMap::from([
        ("admin", tenants.socket(&tenants.a_admin, "admin").await),
        ("owner", tenants.server.connected(&json!({"token": goclaw_tests::server::GATEWAY_TOKEN, "user_id": "system", "tenant_id": "a"})).await),
        ("u1", tenants.socket(&tenants.a_operator, "u1").await),
        ("u2", tenants.socket(&tenants.a_viewer, "u2").await),
        ("nameless", tenants.socket(&tenants.a_viewer, "").await),
    ]);
    let mut strangers = BTreeMap::from([
        ("another tenant's admin", tenants.socket(&tenants.b_admin, "u1").await),
        ("the owner elsewhere", tenants.server.owner_socket().await),
        ("a key for pairing only", tenants.server.connected(&json!({"token": pairing_only, "user_id": "u1", "tenant_id": "a"})).await),
        ("a wrong token", tenants.server.connected(&json!({"token": "wrong", "user_id": "u1"})).await),
        ("nobody", tenants.server.socket().await),
    ]);
    let mut voice = Voice::new(&tenants.server.environment()["GOCLAW_POSTGRES_DSN"]).await;
    let mut expected = BTreeMap::new();
    for (reach, names) in EVENTS {
        let mut batch = Vec::new();
        for name in *names {
            for (mut payload, user, audience) in variants(*reach) {
                let mark = expected.len() as u64 + 1;
                payload["mark"] = mark.into();
                expected.insert(mark, (format!("{name} {payload}"), audience));
                batch.push(event(tenants.a, name, user, payload));
            }
        }
        voice.say(&batch).await;
    }
    voice.say(&[event(tenants.a, "session.updated", None, json!({"mark": 0}))]).await;
    for (kind, socket) in &mut sockets {
        let marks = heard(socket).await;
        for (mark, (what, audience)) in &expected {
            assert_eq!(marks.contains(mark), audience.contains(kind), "{kind}: {what}");
        }
    }
    // Events go to all sockets in one pass, so what these were to get is here by now.
    for (kind, socket) in &mut strangers {
        assert_eq!(socket.events_until_now().await, Vec::<Value>::new(), "{kind}");
    }
}

#[test]
fn the_catalogue_of_this_test_has_every_event() {
    let source = include_str!("../../../src/core/src/delivery.rs");
    let table = &source[source.find("pub fn reach").unwrap()..source.find("/// Whether `caller` gets").unwrap()];
    let forwarded: BTreeSet<&str> = Regex::new(r#""([a-z_.]+)""#).unwrap().captures_iter(table).map(|found| found.get(1).unwrap().as_str()).collect();
    let tested: BTreeSet<&str> = EVENTS.iter().filter(|(reach, _)| *reach != Nobody).flat_map(|(_, names)| *names).copied().collect();
    assert_eq!(forwarded, tested);
}
