//! Every change leaves its line in the audit log.
//!
//! The calls are those of the sweep over tenants: every operation of the OpenAPI document and every RPC method, on a tenant that has
//! one of everything. What reads must leave nothing there, what is refused neither, and what changes something exactly one line. So a
//! new call is looked at by itself; one that does not succeed here is to be named in [`ELSEWHERE`], with the test that shows its line.

use crate::isolation_calls::{Call, rest, rpc};
use goclaw_ports::roles::Scope;
use goclaw_tests::{
    Http, Setup, WsClient,
    fixtures::{add_api_key, add_tenant},
    one_of_each::{self, Names},
    server::{GATEWAY_TOKEN, free_port},
};
use serde_json::{Value, json};
use std::{cmp::Reverse, collections::HashSet, time::Duration};
use tokio::time::interval;

/// How often a call is tried, each time with other names, before it is tried with names of nothing, as what makes things wants them.
const TURNS: usize = 4;

/// Operations that are no GET and change nothing.
const HARMLESS: [&str; 3] = ["agents_import_preview", "providers_verify", "providers_verify_embedding"];
/// Calls that leave sessions and traces, which tell more than a line would.
const RUNS: [&str; 6] = ["agents_wake", "chat_completions", "responses_create", "tools_invoke", "chat.send", "chat.abort"];
/// What methods that only read end with.
const READING: [&str; 14] =
    ["list", "get", "status", "history", "preview", "mine", "logs", "tail", "targets", "usage", "summary", "schema", "providers", "convert"];
/// Methods that only read, whatever they are called.
const READERS: [&str; 3] = ["agent", "agent.wait", "health"];

/// What only reads, and is told of all the same: it gives away all that an agent has.
const TOLD: &str = "agents_export";

/// Calls that change nothing here, or do not succeed, and what shows their line: a test, or a call whose line is written in the same place.
const ELSEWHERE: &[(&str, &str)] = &[
    ("agents_resummon", "agents_regenerate"),
    ("agents.links.create", "links::changes_are_told_to_the_tenants_admins_and_in_the_audit_log"),
    ("device.pair.request", "pairing::the_audit_log_tells_who_came_and_who_was_let_in"),
    ("device.pair.deny", "pairing::the_audit_log_tells_who_came_and_who_was_let_in"),
    ("tenants.users.remove", "tenants::what_owners_do_over_rpc_is_written_down"),
    ("tts.enable", "tts.disable"),
    ("tts.setProvider", "tts.disable"),
    ("oauth_callback", "oauth::a_sign_in_ends_with_the_address_that_the_browser_was_sent_to"),
    ("oauth_openai_callback", "oauth::a_sign_in_ends_with_the_address_that_the_browser_was_sent_to"),
];

/// Whether the call is one that changes nothing of which the audit log tells.
fn leaves_nothing(call: &Call) -> bool {
    let name = name_of(call);
    let reads = match call {
        Call::Rest { method, .. } => method == "GET" || method == "HEAD",
        Call::Form { .. } => false,
        Call::Rpc { method, .. } => READERS.contains(method) || READING.contains(&method.rsplit('.').next().unwrap_or(method)),
    };
    reads || HARMLESS.contains(&name.as_str()) || RUNS.contains(&name.as_str())
}

/// The call with what it needs in order to succeed.
fn able(call: Call) -> Call {
    match call {
        Call::Rpc { method: method @ ("config.apply" | "config.patch"), .. } => {
            let raw =
                "{gateway: {rate_limit_rpm: 0}, tools: {rate_limit_per_hour: 0}, agents: {defaults: {provider: 'openai', model: 'stub', onboarding: false}}}";
            Call::Rpc { method, params: json!({"raw": raw}) }
        }
        Call::Rpc { method: method @ "tenants.create", .. } => Call::Rpc { method, params: json!({"name": "New", "slug": "made-over-rpc"}) },
        Call::Rest { id, method, path, body: Some(body) } => {
            let body = match id {
                "agents_create" => json!({"agent_key": "made-here", "provider": "openai", "model": "stub"}),
                "agents_instances_metadata_update" => json!({"metadata": {"note": "x"}}),
                "tenants_users_add" => json!({"user_id": "mai-of-a", "role": "member"}),
                _ => body,
            };
            Call::Rest { id, method, path, body: Some(body) }
        }
        other => other,
    }
}

fn name_of(call: &Call) -> String {
    match call {
        Call::Rest { id, .. } | Call::Form { id, .. } => (*id).to_owned(),
        Call::Rpc { method, .. } => (*method).to_owned(),
    }
}

/// When a call is made: what takes something away comes after what needs it, what is inside of others before these, agents last.
fn order(call: &Call) -> (usize, bool, Reverse<usize>) {
    let name = name_of(call);
    let deletes = matches!(call, Call::Rest { method, .. } if method == "DELETE");
    let takes = usize::from(["revoke", "deny", "reset"].iter().any(|word| name.contains(word)))
        + 2 * usize::from(deletes || ["delete", "remove"].iter().any(|word| name.contains(word)));
    let depth = match call {
        Call::Rest { path, .. } | Call::Form { path, .. } => path.split('?').next().unwrap_or(path).matches('/').count(),
        Call::Rpc { method, .. } => method.matches('.').count(),
    };
    (takes, ["agents_delete", "agents.delete"].contains(&name.as_str()), Reverse(depth))
}

struct Sweep {
    http: Http,
    socket: WsClient,
    /// An archive of an agent, as forms bring along.
    archive: Vec<u8>,
    seen: HashSet<String>,
}

impl Sweep {
    /// Whether it succeeded.
    async fn make(&mut self, call: &Call) -> Result<(), String> {
        let reply = match call {
            Call::Rest { method, path, body, .. } => {
                let body = body.as_ref().map_or_else(Vec::new, |body| body.to_string().into_bytes());
                self.http.send(method, path, "application/json", body).await
            }
            Call::Form { path, fields, .. } => {
                let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                self.http.upload(path, &fields, "form.tar.gz", &self.archive).await
            }
            Call::Rpc { method, params } => {
                return self.socket.call(method, params).await.map(drop).map_err(|error| format!("{}: {}", error.code, error.message));
            }
        };
        if reply.status < 400 { Ok(()) } else { Err(format!("{}: {}", reply.status, reply.text())) }
    }

    /// The lines that are new, other than who came in.
    async fn lines(&mut self) -> Vec<Value> {
        let log = self.http.get("/v1/activity?limit=50").await.expect(200);
        let new: Vec<Value> =
            log["logs"].as_array().unwrap().iter().filter(|line| self.seen.insert(line["id"].as_str().unwrap().to_owned())).cloned().collect();
        new.into_iter().filter(|line| !line["action"].as_str().unwrap().starts_with("auth.")).collect()
    }
}

on_both_editions! {
    async fn every_change_leaves_one_line_and_nothing_else_does(edition) {
        let mut setup = Setup::new(edition).await.env("GOCLAW_OAUTH_CALLBACK_PORT", &free_port().to_string());
        let stores = setup.stores().await;
        let tenant = add_tenant(&stores, "tenant-of-a").await;
        let key = add_api_key(&stores, Some(tenant), &[Scope::Admin], "").await;
        drop(stores);
        let mut server = setup.start().await;
        let mut names = one_of_each::fill(&mut server, tenant, &key).await;
        one_of_each::export(&server, &key, &mut names).await;
        let nothings = names.of_nothing();
        let socket = server.connected(&json!({"token": GATEWAY_TOKEN, "user_id": "system", "tenant_id": tenant})).await;
        let http = server.owner().tenant(&tenant.to_string());
        let [fox, export] = ["agent_id", "export"].map(|kind| names.get(kind, 0).unwrap());
        let archive = server.with_key(&key).user("mai-of-a").get(&format!("/v1/agents/{fox}/export/download/{export}")).await.body;
        let mut sweep = Sweep { http, socket, archive, seen: HashSet::new() };
        sweep.lines().await;

        let all = |names: &Names, turn: usize| rest(names, turn).into_iter().chain(rpc(names, turn)).map(able).collect::<Vec<_>>();
        let mut tries: Vec<_> = (0..TURNS).map(|turn| all(&names, turn).into_iter()).chain([all(&nothings, 0).into_iter()]).collect();
        let mut calls = Vec::new();
        while let Some(first) = tries[0].next() {
            let others = tries[1..].iter_mut().map(|others| others.next().unwrap());
            calls.push([first].into_iter().chain(others).collect::<Vec<_>>());
        }
        calls.sort_by_key(|tries| order(&tries[0]));

        let mut wrong = Vec::new();
        for tries in calls {
            let name = name_of(&tries[0]);
            let mut refusals = Vec::new();
            for call in &tries {
                match sweep.make(call).await {
                    Ok(()) => break,
                    Err(refusal) => refusals.push(format!("{call}: {refusal}")),
                }
            }
            let done = refusals.len() < tries.len();
            let changes = !leaves_nothing(&tries[0]);
            let known = ELSEWHERE.iter().any(|(known, _)| *known == name);
            let mut lines = sweep.lines().await;
            if done && changes && !known && lines.is_empty() {
                // What is only noted is written a moment later.
                let mut ticks = interval(Duration::from_millis(50));
                for _ in 0..40 {
                    ticks.tick().await;
                    lines = sweep.lines().await;
                    if !lines.is_empty() {
                        break;
                    }
                }
            }
            let told: Vec<&str> = lines.iter().map(|line| line["action"].as_str().unwrap()).collect();
            match (done, changes) {
                (true, true) if known && told.is_empty() => {}
                (true, true) if known => wrong.push(format!("{name} succeeds: it needs no entry in ELSEWHERE")),
                (true, true) if told.len() != 1 => wrong.push(format!("{name} leaves {told:?}")),
                (true, true) => {
                    let line = &lines[0];
                    let filled = ["entity_type", "entity_id"].iter().all(|key| line[key].as_str().is_some_and(|text| !text.is_empty()));
                    if !filled || line["actor_id"] != "system" || line["ip_address"] != "127.0.0.1" {
                        wrong.push(format!("{name} leaves {line}"));
                    }
                }
                (false, true) if !known => wrong.push(format!("{name} does not succeed; name in ELSEWHERE the test that shows its line\n  {}", refusals.join("\n  "))),
                _ if !told.is_empty() && name != TOLD => wrong.push(format!("{name} changes nothing (done: {done}) and leaves {told:?}")),
                _ => {}
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
