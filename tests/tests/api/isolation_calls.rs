//! Every operation of the OpenAPI document and every RPC method, with names of things at all places where one can stand.

use goclaw_gateway::openapi::document;
use goclaw_tests::one_of_each::{Names, kind_at};
use regex::{Captures, Regex};
use serde_json::{Map, Value, json};
use std::{fmt, sync::LazyLock};

/// Answers to no request: a WebSocket.
const LEFT_OUT: [&str; 1] = ["ws"];

/// What stands in a field of a query or a body that holds text or a list: `$kind` stands for a name of that kind of thing. A line for
/// one operation wins over one for all.
static FIELDS: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "action": "agent.created", "actor_id": "$user", "actor_type": "user", "agentId": "$agent", "agent_id": "$agent_id", "agent_key": "$agent_key", "agent_type": "open",
        "api_base": "$base", "api_key": "sk-of-another", "channel": "ws", "chatId": "chat-of-a", "content": "x", "description": "x", "display_name": "x",
        "download": "true", "entity_id": "$agent_id", "entity_type": "agent", "from": "2026-01-01T00:00:00Z", "frontmatter": "x", "ft": "x.1", "group_by": "agent",
        "include": "config", "input": "hi", "instructions": "x", "messages": [{"role": "user", "content": "hi"}], "model": "stub", "name": "x", "path": "$path",
        "peerKind": "direct", "period": "week", "prompt": "x", "provider": "$provider", "provider_type": "openai_compat", "q": "of-", "redirect_url": "http://localhost/?code=x&state=x",
        "role": "user", "scopes": ["operator.read"], "sections": "config", "sessionKey": "$session", "session_key": "$session", "slug": "$slug", "source": "tenant_user", "status": "active",
        "tenant_id": "$tenant_id", "to": "2027-01-01T00:00:00Z", "token": "x", "tool": "$tool", "user": "$user", "user_id": "$user", "value": "x", "workspace": "",
        "message": "hi",
        "agents_create.provider": "openai", "agents_update.provider": "openai", "agents_update.status": "active",
        "chat_completions.model": "goclaw:$agent", "responses_create.model": "goclaw:$agent",
        "providers_create.name": "$provider", "providers_update.name": "$provider",
        "tools_invoke.args": {"path": "$path"}, "tools_invoke.action": "",
        "traces_list.status": "completed"
    })
});

/// The parameters of RPC methods whose names begin like this; the longest beginning counts.
static PARAMS: LazyLock<Value> = LazyLock::new(|| {
    json!({
        "agent": {"agentId": "$agent", "sessionKey": "$session", "timeoutMs": 1},
        "agents.": {"agentId": "$agent", "name": "x", "deleteFiles": true},
        "agents.create": {"name": "$agent_key", "agentKey": "$agent_key", "agent_key": "$agent_key"},
        "agents.files.": {"agentId": "$agent", "name": "SOUL.md", "content": "x"},
        "agents.links.": {"agentId": "$agent", "linkId": "$link", "sourceAgent": "$agent", "targetAgent": "$agent_key", "status": "disabled", "direction": "outbound"},
        "agents.links.list": {"agentId": "$agent", "direction": "all"},
        "api_keys.": {"id": "$api_key", "name": "x", "scopes": ["operator.read"], "tenant_id": "$tenant_id"},
        "browser.pairing.status": {"sender_id": "$sender"},
        "chat.": {"agentId": "$agent", "sessionKey": "$session", "message": "hi", "runId": "$run"},
        "config.": {"raw": "{}", "baseHash": "x"},
        "config.permissions.": {"agentId": "$agent", "scope": "agent", "configType": "cron", "userId": "$user", "permission": "deny"},
        "device.pair.": {"senderId": "$sender", "channel": "telegram", "chatId": "chat-of-a", "code": "$code"},
        "health": {},
        "heartbeat.": {"agentId": "$agent", "enabled": true, "content": "- x", "limit": 10},
        "logs.": {"action": "start", "level": "debug"},
        "quota.": {"agentId": "$agent", "userId": "$user", "sessionKey": "$session"},
        "sessions.": {"agentId": "$agent", "key": "$session", "sessionKey": "$session", "label": "x", "userId": "$user"},
        "status": {},
        "tenants.": {"id": "$tenant", "tenant_id": "$tenant", "user_id": "$user", "name": "x", "slug": "$slug", "role": "member", "status": "suspended"},
        "tts.": {"provider": "$provider", "text": "hi", "auto": "off", "channel": "ws"},
        "usage.": {"agentId": "$agent", "userId": "$user", "sessionKey": "$session", "limit": 10}
    })
});

/// A call with everything filled in.
pub enum Call {
    Rest { id: &'static str, method: String, path: String, body: Option<Value> },
    Form { id: &'static str, path: String, fields: Vec<(String, String)> },
    Rpc { method: &'static str, params: Value },
}

impl Call {
    /// The operation or method.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rest { id, .. } | Self::Form { id, .. } => id,
            Self::Rpc { method, .. } => method,
        }
    }

    /// Whether it tells of the installation itself, and so something else every time.
    pub fn tells_of_the_moment(&self) -> bool {
        match self {
            Self::Rest { id, .. } => *id == "metrics",
            Self::Form { .. } => false,
            Self::Rpc { method, .. } => *method == "health",
        }
    }

    /// Whether it makes a thing of a name that the caller chooses.
    pub fn makes_something(&self) -> bool {
        match self {
            Self::Rest { id, .. } => id.ends_with("_create") && *id != "responses_create",
            Self::Form { .. } => true,
            Self::Rpc { method, .. } => method.ends_with(".create") || *method == "device.pair.request",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rest { method, path, body: None, .. } => write!(f, "{method} {path}"),
            Self::Rest { method, path, body: Some(body), .. } => write!(f, "{method} {path} {body}"),
            Self::Form { path, fields, .. } => write!(f, "POST {path} {fields:?}"),
            Self::Rpc { method, params } => write!(f, "{method} {params}"),
        }
    }
}

/// Every operation of the document.
pub fn rest(names: &Names, turn: usize) -> Vec<Call> {
    let mut calls = Vec::new();
    for (path, item) in document()["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            if !LEFT_OUT.contains(&id) {
                calls.push(Filler { names, turn, id, path }.call(method, operation));
            }
        }
    }
    assert!(calls.len() > 80, "{} operations", calls.len());
    calls
}

/// Every RPC method.
pub fn rpc(names: &Names, turn: usize) -> Vec<Call> {
    static METHODS: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let table = include_str!("../../../src/gateway/src/ws/methods.rs");
        let name = Regex::new(r#""([a-zA-Z_-]+(?:\.[a-zA-Z_-]+)*)" =>"#).unwrap();
        name.captures_iter(table).map(|found| found.get(1).unwrap().as_str()).collect()
    });
    assert!(METHODS.len() > 60, "{METHODS:?}");
    let call = |method: &&'static str| {
        let known =
            PARAMS.as_object().unwrap().iter().filter(|(beginning, _)| method.starts_with(beginning.as_str())).max_by_key(|(beginning, _)| beginning.len());
        let (_, params) = known.unwrap_or_else(|| panic!("{method} is new: say in PARAMS of isolation_calls.rs what its parameters are"));
        Call::Rpc { method, params: filled(params, names, turn, method) }
    };
    METHODS.iter().map(call).collect()
}

struct Filler<'a> {
    names: &'a Names,
    turn: usize,
    id: &'static str,
    path: &'static str,
}

impl Filler<'_> {
    fn call(&self, method: &str, operation: &Value) -> Call {
        let mut path = self.path.to_owned();
        let mut query = Vec::new();
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            match parameter["in"].as_str().unwrap() {
                "path" => {
                    let kind = kind_at(self.path, name)
                        .unwrap_or_else(|| panic!("{{{name}}} of {} is new: say in PLACES of tests/src/one_of_each.rs what it names", self.path));
                    let value = self.name(kind);
                    // A path may hold slashes.
                    let value = if kind == "path" { value.trim_start_matches('/').to_owned() } else { escaped(value) };
                    path = path.replace(&format!("{{{name}}}"), &value);
                }
                "query" => query.push(format!("{name}={}", escaped(&plain(&self.value(name, &parameter["schema"]))))),
                other => panic!("{name} of {} stands in {other}, where this test puts nothing yet", self.path),
            }
        }
        if !query.is_empty() {
            path = format!("{path}?{}", query.join("&"));
        }
        let content = &operation["requestBody"]["content"];
        if let Some(form) = content.get("multipart/form-data") {
            let fields = properties(&form["schema"]).into_iter().filter(|(name, _)| name.as_str() != "file");
            return Call::Form { id: self.id, path, fields: fields.map(|(name, schema)| (name.clone(), plain(&self.value(name, schema)))).collect() };
        }
        let body = content.get("application/json").map(|body| Value::Object(self.body(&body["schema"])));
        Call::Rest { id: self.id, method: method.to_uppercase(), path, body }
    }

    fn body(&self, schema: &Value) -> Map<String, Value> {
        properties(schema).into_iter().map(|(name, schema)| (name.clone(), self.value(name, schema))).collect()
    }

    /// What stands in a field: what [`FIELDS`] says, else something of its type.
    fn value(&self, name: &str, schema: &Value) -> Value {
        if let Some(known) = FIELDS.get(format!("{}.{name}", self.id)).or_else(|| FIELDS.get(name)) {
            return filled(known, self.names, self.turn, self.id);
        }
        match schema["type"].as_str() {
            Some("integer" | "number") => json!(1),
            Some("boolean") => json!(false),
            Some("object") => json!({}),
            _ => panic!("the field {name} of {} ({}) is new: say in FIELDS of isolation_calls.rs what stands in it", self.id, self.path),
        }
    }

    fn name(&self, kind: &str) -> &str {
        self.names.get(kind, self.turn).unwrap_or_else(|| panic!("{} names a {kind}: make one in tests/src/one_of_each.rs", self.path))
    }
}

/// The fields of a schema.
fn properties(schema: &Value) -> Vec<(&String, &Value)> {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document().pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    schema["properties"].as_object().into_iter().flatten().collect()
}

fn filled(value: &Value, names: &Names, turn: usize, whose: &str) -> Value {
    static PLACEHOLDER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$([a-z_]+)").unwrap());
    let name = |found: &Captures<'_>| {
        names.get(&found[1], turn).unwrap_or_else(|| panic!("{whose} names a {}: make one in tests/src/one_of_each.rs", &found[1])).to_owned()
    };
    match value {
        Value::String(text) => PLACEHOLDER.replace_all(text, name).into_owned().into(),
        Value::Array(items) => items.iter().map(|item| filled(item, names, turn, whose)).collect(),
        Value::Object(fields) => Value::Object(fields.iter().map(|(key, value)| (key.clone(), filled(value, names, turn, whose))).collect()),
        other => other.clone(),
    }
}

/// Text as it is, other values as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() || b"._-~".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
