//! A tenant that has one of everything, and the places of the API where names of such things can stand.

use crate::{Http, Server, WsClient, eventually, fixtures::at};
use chrono::TimeDelta;
use goclaw_ports::{
    AgentId, SubagentTaskId, TenantId,
    roles::Role,
    subagents::{SubagentTask, TaskCaps, TaskKind, TaskLease, TaskOrigin, TaskStatus},
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::Path};
use uuid::Uuid;

/// What the names at a parameter of a path are: the path up to the parameter, and the kind of thing.
pub const PLACES: &[(&str, &str)] = &[
    ("/v1/agents/{id}", "agent"),
    ("/v1/agents/{id}/export/download/{token}", "export"),
    ("/v1/agents/{id}/instances/{userID}", "user"),
    ("/v1/agents/{id}/instances/{userID}/files/{fileName}", "context_file"),
    ("/v1/agents/{id}/shares/{userID}", "user"),
    ("/v1/api-keys/{id}", "api_key"),
    ("/v1/auth/chatgpt/{provider}", "provider"),
    ("/v1/export/download/{token}", "export"),
    ("/v1/files/{path}", "path"),
    ("/v1/media/{id}", "medium"),
    ("/v1/providers/{id}", "provider_id"),
    ("/v1/system-configs/{key}", "config"),
    ("/v1/tenants/{id}", "tenant"),
    ("/v1/tenants/{id}/users/{userId}", "user"),
    ("/v1/tools/builtin/{name}", "tool"),
    ("/v1/traces/{traceID}", "trace"),
];

/// The kind of thing that a parameter of this path names, if it is known.
#[must_use]
pub fn kind_at(path: &str, parameter: &str) -> Option<&'static str> {
    let parameter = format!("{{{parameter}}}");
    let end = path.find(&parameter)? + parameter.len();
    PLACES.iter().find(|(place, _)| *place == &path[..end]).map(|(_, kind)| *kind)
}

/// Kinds of things that belong to no tenant.
const OF_ALL: [&str; 3] = ["tool", "base", "context_file"];

/// The names of a tenant's things, by kind.
#[derive(Debug, Clone, Default)]
pub struct Names(BTreeMap<&'static str, Vec<String>>);

impl Names {
    /// The `turn`th of the names of this kind, in rotation.
    #[must_use]
    pub fn get(&self, kind: &str, turn: usize) -> Option<&str> {
        let names = self.0.get(kind)?;
        names.get(turn % names.len().max(1)).map(String::as_str)
    }

    /// How many turns it takes until every name was there.
    #[must_use]
    pub fn turns(&self) -> usize {
        self.0.values().map(Vec::len).max().unwrap_or_default()
    }

    /// All names of this kind.
    #[must_use]
    pub fn all(&self, kind: &str) -> &[String] {
        self.0.get(kind).map_or(&[], Vec::as_slice)
    }

    /// Every name with its kind.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().flat_map(|(kind, names)| names.iter().map(|name| (*kind, name.as_str())))
    }

    /// As many names of the same shapes that nothing has, each the same for the same name.
    #[must_use]
    pub fn of_nothing(&self) -> Self {
        let mut number = 0;
        let mut known: BTreeMap<&str, String> = BTreeMap::new();
        let mut other = BTreeMap::new();
        for (kind, name) in self.iter() {
            let name = match OF_ALL.contains(&kind) {
                true => name.to_owned(),
                false => known.entry(name).or_insert_with(|| like(name, &mut number)).clone(),
            };
            other.entry(kind).or_insert_with(Vec::new).push(name);
        }
        Self(other)
    }

    fn add(&mut self, kind: &'static str, name: impl Into<String>) {
        self.0.entry(kind).or_default().push(name.into());
    }
}

/// A name of the same length and alphabet: other digits and letters where ids and names differ.
fn like(name: &str, number: &mut u128) -> String {
    *number += 0x1_0001;
    if Uuid::parse_str(name).is_ok() {
        return Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0000 | *number).to_string();
    }
    match name.contains("of-a") {
        true => name.replace("of-a", "of-z"),
        // A code or a token.
        false => name.chars().map(|letter| if letter.is_ascii_alphanumeric() { shifted(letter) } else { letter }).collect(),
    }
}

fn shifted(letter: char) -> char {
    match letter {
        '9' => '8',
        '0'..='8' => char::from(letter as u8 + 1),
        'Z' => 'Y',
        'z' => 'y',
        other => char::from(other as u8 + 1),
    }
}

/// A mark that stands in every text of the tenant that its users may read, and in no name.
pub const SHARED_MARK: &str = "Quokka";
/// A mark that stands in every text that only one user and the admins of the tenant may read, and in no name.
pub const PRIVATE_MARK: &str = "Axolotl";

/// Fills the tenant of the slug `tenant-of-a`, whose admins have `admin_key`, with one of everything, as the user `mai-of-a`. The gateway is started anew on the way.
///
/// # Panics
/// If something is refused.
pub async fn fill(server: &mut Server, tenant: TenantId, admin_key: &str) -> Names {
    const USER: &str = "mai-of-a";
    let admin = server.with_key(admin_key).user(USER);
    let mut socket = server.connected(&json!({"token": admin_key, "user_id": USER})).await;
    let mut names = Names::default();
    names.add("tenant", tenant.to_string());
    names.add("tenant", "tenant-of-a");
    names.add("tenant_id", tenant.to_string());
    names.add("slug", "tenant-of-a");
    names.add("tool", "read_file");
    names.add("base", server.llm.base());
    names.add("user", USER);
    names.add("user", "lan-of-a");
    people(server, tenant).await;
    let fox = agents(&admin, &mut socket, &mut names).await;
    platform(server, &admin, &mut socket, &mut names).await;
    conversation(server, &admin, &mut socket, &mut names).await;
    files(server, &admin, &mut names).await;
    pairings(&mut socket, &mut names).await;
    drop(socket);
    server.stop().await;
    let stores = server.stores().await;
    let lease = TaskLease { owner: Uuid::now_v7(), lasts: TimeDelta::zero() };
    let task = task(AgentId(fox), names.get("session", 0).unwrap_or_default());
    assert_eq!(stores.subagents.begin(tenant, &task, &TaskCaps::default(), lease).await.expect("the task is stored"), None);
    names.add("task", task.id.to_string());
    stores.database.close().await;
    server.restart().await;
    names
}

/// Makes an export of the tenant's fox. It is forgotten with the process, so this comes last.
///
/// # Panics
/// If it is refused.
pub async fn export(server: &Server, admin_key: &str, names: &mut Names) {
    let fox = names.get("agent_id", 0).unwrap_or_default();
    let told = server.with_key(admin_key).user("mai-of-a").get(&format!("/v1/agents/{fox}/export?stream=true&sections=config,context_files")).await.text();
    let token = told.split("/export/download/").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_else(|| panic!("no link: {told}"));
    names.0.insert("export", vec![token.to_owned()]);
}

async fn people(server: &Server, tenant: TenantId) {
    for user in ["mai-of-a", "lan-of-a"] {
        server.owner().post(&format!("/v1/tenants/{tenant}/users"), &json!({"user_id": user, "role": "member"})).await.expect(201);
    }
}

/// The agents `fox-of-a`, which everybody of the tenant may use, and `owl-of-a`, which only its owner may, with what belongs to them.
/// Answers with the fox's id.
async fn agents(admin: &Http, socket: &mut WsClient, names: &mut Names) -> Uuid {
    let mut ids = Vec::new();
    for (key, fields) in [
        ("fox-of-a", json!({"is_default": true, "display_name": "Quokka's fox", "frontmatter": "Knows Quokka."})),
        ("owl-of-a", json!({"agent_type": "predefined", "display_name": "Axolotl's owl", "frontmatter": "Knows Axolotl."})),
    ] {
        let mut body = fields;
        body["agent_key"] = json!(key);
        let made = admin.post("/v1/agents", &body).await.expect(201);
        let id = text(&made["id"]);
        names.add("agent", &id);
        names.add("agent", key);
        names.add("agent_id", &id);
        names.add("agent_key", key);
        ids.push(id);
    }
    let owl = &ids[1];
    admin.post(&format!("/v1/agents/{owl}/shares"), &json!({"user_id": "lan-of-a", "role": "user"})).await.expect(201);
    names.add("context_file", "USER.md");
    socket.call("agents.files.set", &json!({"agentId": owl, "name": "SOUL.md", "content": "Axolotl is its soul."})).await.expect("a file");
    let reply = admin.put(&format!("/v1/agents/{owl}/instances/mai-of-a/files/USER.md"), &json!({"content": "Axolotl is the user."})).await;
    reply.expect(200);
    let link = json!({"sourceAgent": ids[0], "targetAgent": owl, "description": "Axolotl links."});
    let made = socket.call("agents.links.create", &link).await.expect("a link");
    names.add("link", text(&made["link"]["id"]));
    for (method, params) in [
        ("heartbeat.checklist.set", json!({"agentId": owl, "content": "- Axolotl in the list"})),
        ("heartbeat.set", json!({"agentId": owl, "enabled": false, "prompt": "Axolotl beats."})),
        ("config.permissions.grant", json!({"agentId": owl, "scope": "agent", "configType": "cron", "userId": "lan-of-a", "permission": "allow"})),
    ] {
        socket.call(method, &params).await.unwrap_or_else(|error| panic!("{method}: {error:?}"));
    }
    Uuid::parse_str(&ids[0]).expect("ids are UUIDs")
}

async fn platform(server: &Server, admin: &Http, socket: &mut WsClient, names: &mut Names) {
    let provider = json!({
        "name": "llm-of-a", "display_name": "Axolotl's models", "provider_type": "openai_compat",
        "api_base": server.llm.base(), "api_key": "sk-Axolotl-0123456789", "enabled": true,
    });
    let made = admin.post("/v1/providers", &provider).await.expect(201);
    names.add("provider", "llm-of-a");
    names.add("provider_id", text(&made["id"]));
    let key = admin.post("/v1/api-keys", &json!({"name": "Axolotl's key", "scopes": ["operator.read"]})).await.expect(201);
    names.add("api_key", text(&key["id"]));
    admin.put("/v1/system-configs/key-of-a", &json!({"value": "Quokka"})).await.expect(200);
    names.add("config", "key-of-a");
    let second = json!({"name": "Axolotl's second", "scopes": ["operator.read"]});
    names.add("api_key", text(&socket.call("api_keys.create", &second).await.expect("a key")["id"]));
}

/// A session of `mai-of-a` with the owl, and what it left behind.
async fn conversation(server: &Server, admin: &Http, socket: &mut WsClient, names: &mut Names) {
    let session = "agent:owl-of-a:ws:direct:mai-of-a";
    server.llm.next(crate::Answer::text("Axolotl is the answer."));
    let said = json!({"message": "What is Axolotl?", "agentId": "owl-of-a", "sessionKey": session});
    let answer = socket.call("chat.send", &said).await.expect("an answer");
    names.add("session", session);
    names.add("run", text(&answer["runId"]));
    socket.call("sessions.patch", &json!({"key": session, "label": "Axolotl's talk"})).await.expect("a label");
    let trace = eventually("the trace to be there", async || {
        let traces = admin.get("/v1/traces?status=completed").await.expect(200);
        traces["traces"].as_array().and_then(|traces| traces.iter().find(|trace| trace["session_key"] == session)).map(|trace| text(&trace["id"]))
    });
    names.add("trace", trace.await);
}

/// An upload and a file of the owl's workspace.
async fn files(server: &Server, admin: &Http, names: &mut Names) {
    let taken = admin.upload("/v1/media/upload", &[], "Axolotl.txt", b"Axolotl in a file").await.expect(200);
    let path = text(&taken["path"]);
    names.add("medium", Path::new(&path).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default());
    names.add("path", path);
    let call = json!({"tool": "write_file", "args": {"path": "notes-of-a.txt", "content": "Axolotl notes"}, "agentId": "owl-of-a"});
    admin.post("/v1/tools/invoke", &call).await.expect(200);
    names.add("path", find(&server.dir().join("workspace"), "notes-of-a.txt").expect("the tool wrote it"));
}

fn find(directory: &Path, name: &str) -> Option<String> {
    std::fs::read_dir(directory).ok()?.flatten().find_map(|entry| match entry.path() {
        path if path.is_dir() => find(&path, name),
        path => (entry.file_name() == name).then(|| path.to_string_lossy().into_owned()),
    })
}

/// Somebody in a channel who waits, and somebody who was let in.
async fn pairings(socket: &mut WsClient, names: &mut Names) {
    for sender in ["waiting-of-a", "paired-of-a"] {
        let asked = json!({"senderId": sender, "channel": "telegram", "chatId": "chat-of-a"});
        let code = text(&socket.call("device.pair.request", &asked).await.expect("a code")["code"]);
        names.add("sender", sender);
        if sender == "paired-of-a" {
            socket.call("device.pair.approve", &json!({"code": code})).await.expect("it is let in");
        } else {
            names.add("code", code);
        }
    }
}

fn task(agent: AgentId, session: &str) -> SubagentTask {
    SubagentTask {
        id: SubagentTaskId(Uuid::now_v7()),
        kind: TaskKind::Subagent,
        parent_agent_id: agent,
        parent_agent_key: "fox-of-a".to_owned(),
        session_key: session.to_owned(),
        agent_id: agent,
        agent_key: "fox-of-a".to_owned(),
        link_id: None,
        subject: "Axolotl".to_owned(),
        description: "Find Axolotl.".to_owned(),
        status: TaskStatus::Completed,
        result: "Axolotl was found.".to_owned(),
        depth: 1,
        model: String::new(),
        provider: String::new(),
        iterations: 1,
        input_tokens: 1,
        output_tokens: 1,
        origin: TaskOrigin {
            channel: "ws".to_owned(),
            chat_id: "mai-of-a".to_owned(),
            peer_kind: "direct".to_owned(),
            user_id: "mai-of-a".to_owned(),
            role: Role::Operator,
        },
        spawned_by: String::new(),
        told_at: Some(at(1)),
        completed_at: Some(at(1)),
        archive_at: None,
        metadata: serde_json::Map::new(),
        created_at: at(0),
        updated_at: at(1),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
