//! Clients of every kind that write at once, each into places of its own, and record what is acknowledged.

use crate::recorder::{Place, Recorder};
use goclaw_tests::{
    Answer, Edition, Http, Reply, Server, Setup, WsClient,
    conversation::paired,
    fake_llm::{FakeLlm, Request},
};
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// Clients that talk over WebSocket.
pub const TALKERS: usize = 4;
/// Clients that ask over REST.
const ASKERS: usize = 2;

/// A gateway whose agents meet new users without ceremony: what they are told about first meetings would get into the way of the scripts.
pub async fn setup(edition: Edition) -> Setup {
    Setup::new(edition).await.env("GOCLAW_LOG_LEVEL", "info").config(json!({"agents": {"defaults": {"onboarding": false}}}))
}

/// What all clients share.
pub struct Load {
    pub recorder: Arc<Recorder>,
    /// Whether the gateway may refuse because of something else that is broken: then it is no fault that it says so, and the client
    /// goes on. That it does not know what is wrong (500) is one.
    pub tolerant: bool,
    /// A command of agents runs this long: a number that no other process has among its arguments.
    pub pause: String,
    unique: AtomicU64,
}

impl Load {
    pub fn new(tolerant: bool) -> Arc<Self> {
        let pause = format!("600.{}", std::process::id());
        Arc::new(Self { recorder: Arc::new(Recorder::new()), tolerant, pause, unique: AtomicU64::new(0) })
    }

    /// A number that was never used.
    fn next(&self) -> u64 {
        self.unique.fetch_add(1, Ordering::Relaxed)
    }

    /// Has the model answer as the clients expect, and complain about conversations that are out of order.
    pub fn script(&self, llm: &FakeLlm) {
        let (recorder, pause) = (self.recorder.clone(), self.pause.clone());
        llm.on(move |asked| Some(answer(asked, &recorder, &pause)));
    }

    /// Starts every client. In `era` they talk in conversations that bear its number. They end when the gateway does, or when the
    /// set is dropped.
    pub async fn begin(self: &Arc<Self>, server: &Server, era: usize) -> JoinSet<()> {
        let mut clients = JoinSet::new();
        for n in 0..TALKERS {
            if let Some(socket) = server.try_socket_as("system").await {
                clients.spawn(talk(self.clone(), socket, session(&format!("t{n}-e{era}")), &["list", "plain", "plain", "spawn"]));
            }
        }
        if let Some(socket) = server.try_socket_as("system").await {
            clients.spawn(talk(self.clone(), socket, session(&format!("runner-e{era}")), &["plain", "run"]));
        }
        if let Some(socket) = server.try_socket_as("system").await {
            clients.spawn(configure(self.clone(), socket));
        }
        if let Some(socket) = server.try_socket_as("system").await {
            clients.spawn(label(self.clone(), socket, session(&format!("t0-e{era}"))));
        }
        for _ in 0..ASKERS {
            clients.spawn(ask(self.clone(), server.owner()));
        }
        clients.spawn(agents(self.clone(), server.owner()));
        clients.spawn(keys(self.clone(), server.owner()));
        clients.spawn(uploads(self.clone(), server.owner()));
        clients.spawn(exports(self.clone(), server.owner()));
        clients
    }

    /// The body of an answer with this status; `None` if the client should try something else. `Err` if it should end.
    async fn body(&self, what: &str, reply: Option<Reply>, status: u16) -> Result<Option<Value>, Gone> {
        match reply {
            None if self.tolerant => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(None)
            }
            None => Err(Gone),
            Some(reply) if reply.status == status => Ok(Some(if reply.body.is_empty() { Value::Null } else { reply.json() })),
            Some(reply) => {
                if !(self.tolerant && reply.status > 500) {
                    self.recorder.fault(format!("{what} answered {}: {}", reply.status, reply.text()));
                }
                // Not to ask again and again while it cannot answer.
                tokio::time::sleep(Duration::from_millis(50)).await;
                Ok(None)
            }
        }
    }
}

/// The gateway is gone.
struct Gone;

/// A conversation of the agent that everybody talks to.
pub fn session(name: &str) -> String {
    format!("agent:fox:ws:direct:{name}")
}

fn answer(asked: &Request, recorder: &Recorder, pause: &str) -> Answer {
    let messages: Vec<Value> = asked
        .messages()
        .iter()
        .map(|message| json!({"role": message["role"], "tool_calls": message["tool_calls"], "tool_call_id": message["tool_call_id"]}))
        .collect();
    if let Err(fault) = paired(&messages) {
        recorder.fault(format!("the model got {fault}"));
    }
    let said = asked.last_user_text();
    if asked.system().contains("You are a sub-agent") {
        return Answer::text("Seven.");
    }
    if said.starts_with("[System]") {
        return Answer::text("The work is done.");
    }
    let fresh = asked.messages().last().is_some_and(|message| message["role"] == "user");
    match said.rsplit(' ').next() {
        Some("list") if fresh => Answer::text("I look.").and_tool("list_files", &json!({})),
        Some("spawn") if fresh => Answer::tool("spawn", &json!({"task": "Count."})),
        Some("run") if fresh => Answer::tool("exec", &json!({"command": format!("sleep {pause} & sleep {pause}")})),
        _ => Answer::echo().chunks(4),
    }
}

async fn talk(load: Arc<Load>, mut socket: WsClient, session: String, kinds: &'static [&'static str]) {
    loop {
        let n = load.next();
        let text = format!("message {n} {}", kinds[usize::try_from(n).unwrap_or(0) % kinds.len()]);
        let (user, assistant) = (format!("user: {text}"), format!("assistant: echo: {text}"));
        for line in [&user, &assistant] {
            load.recorder.saying(&session, line);
        }
        socket.send("chat.send", &json!({"message": text, "agentId": "fox", "sessionKey": session, "stream": true})).await;
        let (mut started, mut ended) = (false, false);
        while !ended {
            let Some(event) = socket.try_event().await else { return };
            let payload = &event["payload"];
            if payload["sessionKey"] != session.as_str() || !payload["runKind"].is_null() {
                continue;
            }
            match payload["type"].as_str() {
                Some("run.started") if !started && payload["payload"]["message"] == text.as_str() => {
                    started = true;
                    load.recorder.said(&session, &user);
                }
                Some("run.completed") if started => {
                    ended = true;
                    load.recorder.said(&session, &assistant);
                }
                Some("run.failed" | "run.cancelled") if started => {
                    ended = true;
                    if !load.tolerant {
                        load.recorder.fault(format!("a run failed: {payload}"));
                    }
                }
                _ => {}
            }
        }
    }
}

async fn ask(load: Arc<Load>, client: Http) {
    loop {
        let text = format!("question {} plain", load.next());
        let body = json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": text}]});
        match load.body("a completion", client.attempt("POST", "/v1/chat/completions", &body).await, 200).await {
            Err(Gone) => return,
            Ok(None) => {}
            Ok(Some(reply)) => {
                let said = reply["choices"][0]["message"]["content"].as_str().unwrap_or_default();
                if said == format!("echo: {text}") {
                    load.recorder.asked(&text);
                } else {
                    load.recorder.fault(format!("{text:?} was answered with {said:?}"));
                }
            }
        }
    }
}

async fn agents(load: Arc<Load>, client: Http) {
    loop {
        let n = load.next();
        let (key, name) = (format!("a{}", n % 7), format!("Name {n}"));
        let place = Place::Agent(key.clone());
        let Ok(listed) = load.body("the list of agents", client.attempt("GET", "/v1/agents", &Value::Null).await, 200).await else { return };
        let Some(listed) = listed else { continue };
        let known = listed["agents"].as_array().into_iter().flatten().find(|agent| agent["agent_key"] == key.as_str());
        let path = known.map(|agent| format!("/v1/agents/{}", agent["id"].as_str().unwrap_or_default()));
        let outcome = match path {
            None => {
                load.recorder.trying(&place, Some(&name));
                load.body("making an agent", client.attempt("POST", "/v1/agents", &json!({"agent_key": key, "display_name": name})).await, 201).await
            }
            Some(path) if n.is_multiple_of(3) => {
                load.recorder.trying(&place, None);
                load.body("deleting an agent", client.attempt("DELETE", &path, &Value::Null).await, 200).await
            }
            Some(path) => {
                load.recorder.trying(&place, Some(&name));
                load.body("changing an agent", client.attempt("PUT", &path, &json!({"display_name": name})).await, 200).await
            }
        };
        match outcome {
            Err(Gone) => return,
            Ok(Some(_)) => load.recorder.done(&place),
            Ok(None) => {}
        }
    }
}

async fn keys(load: Arc<Load>, client: Http) {
    loop {
        let body = json!({"name": format!("key {}", load.next()), "scopes": ["operator.read"]});
        let Ok(made) = load.body("making a key", client.attempt("POST", "/v1/api-keys", &body).await, 201).await else { return };
        let Some(id) = made.as_ref().and_then(|made| made["id"].as_str()) else { continue };
        let place = Place::Key(id.to_owned());
        load.recorder.made(&place, "active");
        load.recorder.trying(&place, Some("revoked"));
        match load.body("revoking a key", client.attempt("POST", &format!("/v1/api-keys/{id}/revoke"), &json!({})).await, 200).await {
            Err(Gone) => return,
            Ok(Some(_)) => load.recorder.done(&place),
            Ok(None) => {}
        }
    }
}

async fn configure(load: Arc<Load>, mut socket: WsClient) {
    loop {
        let mark = load.next().to_string();
        load.recorder.trying(&Place::Config, Some(&mark));
        match socket.try_call("config.patch", &json!({"raw": json!({"mine": {"mark": mark}}).to_string()})).await {
            None => return,
            Some(Ok(_)) => load.recorder.done(&Place::Config),
            Some(Err(error)) if !load.tolerant => load.recorder.fault(format!("config.patch: {error:?}")),
            Some(Err(_)) => {}
        }
        // The file is read and written as a whole: not to do only that.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn label(load: Arc<Load>, mut socket: WsClient, session: String) {
    loop {
        // The conversation has to be there.
        let label = format!("Label {}", load.next());
        let place = Place::Label(session.clone());
        load.recorder.trying(&place, Some(&label));
        match socket.try_call("sessions.patch", &json!({"key": session, "label": label})).await {
            None => return,
            Some(Ok(_)) => load.recorder.done(&place),
            Some(Err(error)) if error.code == "NOT_FOUND" || load.tolerant => {}
            Some(Err(error)) => load.recorder.fault(format!("sessions.patch: {error:?}")),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn uploads(load: Arc<Load>, client: Http) {
    loop {
        let n = load.next();
        let content = format!("content {n} ").repeat(1 + usize::try_from(n % 500).unwrap_or(0));
        let reply = client.attempt_upload("/v1/media/upload", &format!("file {n}.txt"), content.as_bytes()).await;
        match load.body("an upload", reply, 200).await {
            Err(Gone) => return,
            Ok(Some(taken)) => load.recorder.made(&Place::Upload(taken["path"].as_str().unwrap_or_default().to_owned()), &content),
            Ok(None) => {}
        }
    }
}

/// Takes the agent out as an archive and brings it in again under other names, which are deleted at once.
async fn exports(load: Arc<Load>, client: Http) {
    loop {
        let reply = client.attempt("GET", "/v1/agents/fox/export?sections=config,context_files,workspace", &Value::Null).await;
        match reply {
            None if load.tolerant => tokio::time::sleep(Duration::from_millis(50)).await,
            None => return,
            Some(reply) if reply.status == 200 => {
                let made = client.attempt_upload("/v1/agents/import", "fox.tar.gz", &reply.body).await;
                let Ok(made) = load.body("an import", made, 201).await else { return };
                let Some(id) = made.as_ref().and_then(|made| made["agent_id"].as_str().or_else(|| made["id"].as_str())) else { continue };
                if load.body("deleting an import", client.attempt("DELETE", &format!("/v1/agents/{id}"), &Value::Null).await, 200).await.is_err() {
                    return;
                }
            }
            Some(reply) if load.tolerant && reply.status > 500 => tokio::time::sleep(Duration::from_millis(50)).await,
            Some(reply) => {
                load.recorder.fault(format!("an export answered {}: {}", reply.status, reply.text()));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}
