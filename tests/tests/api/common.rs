//! What several test modules need.

use goclaw_ports::{TenantId, roles::Scope};
use goclaw_tests::{
    Edition, Http, Server, Setup, WsClient,
    fixtures::{add_api_key, add_tenant},
};
use regex::Regex;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// A gateway with two tenants and keys to them.
pub struct Tenants {
    pub server: Server,
    pub a: TenantId,
    pub b: TenantId,
    pub a_admin: String,
    pub a_operator: String,
    pub a_viewer: String,
    pub b_admin: String,
    pub system: String,
}

impl Tenants {
    /// Starts it.
    pub async fn start(edition: Edition) -> Self {
        Self::start_with(Setup::new(edition).await).await
    }

    /// Starts what was set up.
    pub async fn start_with(mut setup: Setup) -> Self {
        let stores = setup.stores().await;
        let (a, b) = (add_tenant(&stores, "a").await, add_tenant(&stores, "b").await);
        let a_admin = add_api_key(&stores, Some(a), &[Scope::Admin], "").await;
        let a_operator = add_api_key(&stores, Some(a), &[Scope::Write], "").await;
        let a_viewer = add_api_key(&stores, Some(a), &[Scope::Read], "").await;
        let b_admin = add_api_key(&stores, Some(b), &[Scope::Admin], "").await;
        let system = add_api_key(&stores, None, &[Scope::Admin], "").await;
        drop(stores);
        Self { server: setup.start().await, a, b, a_admin, a_operator, a_viewer, b_admin, system }
    }

    /// A client with one of the keys, as this user.
    pub fn client(&self, key: &str, user: &str) -> Http {
        self.server.with_key(key).user(user)
    }

    /// A WebSocket with one of the keys, as this user.
    pub async fn socket(&self, key: &str, user: &str) -> WsClient {
        self.server.connected(&json!({"token": key, "user_id": user})).await
    }
}

/// Starts a gateway whose owner has an agent `fox`.
pub async fn with_fox(edition: Edition) -> Server {
    let server = Server::start(edition).await;
    create_agent(&server.owner(), "fox").await;
    server
}

/// Creates an agent and answers with it.
pub async fn create_agent(client: &Http, key: &str) -> Value {
    create_agent_with(client, key, json!({})).await
}

/// Creates an agent with these fields beside its key.
pub async fn create_agent_with(client: &Http, key: &str, fields: Value) -> Value {
    let mut body = json!({"agent_key": key});
    let Value::Object(fields) = fields else { panic!("fields are an object") };
    body.as_object_mut().unwrap().extend(fields);
    client.post("/v1/agents", &body).await.expect(201)
}

/// The body of a chat completion.
pub fn question(agent: &str, text: &str) -> Value {
    json!({"model": format!("goclaw:{agent}"), "messages": [{"role": "user", "content": text}]})
}

/// The same, streamed.
pub fn streamed(agent: &str, text: &str) -> Value {
    let mut body = question(agent, text);
    body["stream"] = json!(true);
    body
}

/// Asks and answers with the text.
pub async fn ask(client: &Http, agent: &str, text: &str) -> String {
    let reply = client.post("/v1/chat/completions", &question(agent, text)).await.expect(200);
    reply["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

/// The parameters of `chat.send` into a session of the agent `fox`.
pub fn message(session: &str, text: &str) -> Value {
    json!({"message": text, "agentId": "fox", "sessionKey": session, "stream": true})
}

/// A session key of the agent `fox`.
pub fn fox_session(name: &str) -> String {
    format!("agent:fox:ws:direct:{name}")
}

/// The stored messages of a session.
pub async fn history(socket: &mut WsClient, session: &str) -> Vec<Value> {
    let result = socket.call("chat.history", &json!({"sessionKey": session})).await.unwrap();
    let messages = result["messages"].as_array().unwrap().clone();
    for message in &messages {
        assert!(message["created_at"].is_string(), "nobody knows when this was said: {message}");
    }
    messages
}

/// The texts of messages as `role: text`.
pub fn lines(messages: &[Value]) -> Vec<String> {
    messages.iter().map(|message| format!("{}: {}", message["role"].as_str().unwrap(), message["content"].as_str().unwrap())).collect()
}

/// Asserts that every tool call has its one result, after it, and that there is no other result.
pub fn assert_paired(messages: &[Value]) {
    if let Err(fault) = goclaw_tests::conversation::paired(messages) {
        panic!("{fault}");
    }
}

/// The same value without what differs from run to run: ids, times, paths, ports.
pub fn stable(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().map(|(key, value)| stable_entry(key, value)).collect();
            entries.sort_by(|one, other| one.0.cmp(&other.0));
            Value::Object(Map::from_iter(entries))
        }
        Value::Array(items) => items.into_iter().map(stable).collect(),
        Value::String(text) => Value::String(stable_text(&text)),
        other => other,
    }
}

fn stable_entry(key: String, value: Value) -> (String, Value) {
    let varies = ["created", "uptime", "connectedAt", "remoteAddr", "version", "edition", "estimatedTokens"];
    let value = if varies.contains(&key.as_str()) && !value.is_object() { json!("[varies]") } else { stable(value) };
    (stable_text(&key), value)
}

/// A text without what differs from run to run: ids, times, paths, ports, keys.
pub fn mask(text: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"goclaw_[0-9a-f]+", "[key]"),
            // What starts a sign-in, lets a device in, and says when.
            (r"(code_challenge|state)=[\w-]+", "$1=[secret]"),
            (r#""code":"[A-Z0-9]{8}""#, r#""code":"[code]""#),
            (r"\b1\d{12}\b", "[time]"),
        ]
        .map(|(pattern, with)| (Regex::new(pattern).unwrap(), with))
        .into()
    });
    RULES.iter().fold(stable_text(text), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
}

fn stable_text(text: &str) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "[id]"),
            (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", "[time]"),
            (r"chatcmpl-[0-9a-f]{8}", "chatcmpl-[id]"),
            (r"resp-[0-9a-f]{8}", "resp-[id]"),
            (r"call_[0-9a-f]{35}", "call_[id]"),
            (r"http-([^-]*)-[0-9a-f]{8,12}", "http-$1-[id]"),
            (r"/tmp/\.tmp\w+", "[dir]"),
            (r"\?ft=[\w.-]+", "?ft=[token]"),
            (r"127\.0\.0\.1:\d+", "[address]"),
        ]
        .map(|(pattern, with)| (Regex::new(pattern).unwrap(), with))
        .into()
    });
    RULES.iter().fold(text.to_owned(), |text, (pattern, with)| pattern.replace_all(&text, *with).into_owned())
}
