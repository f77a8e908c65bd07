//! Reads everything back that was acknowledged.

use crate::{
    load::{Load, TALKERS, session},
    recorder::Place,
};
use goclaw_tests::{Server, WsClient, conversation::paired};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// A page of the session list.
const PAGE: usize = 100;

/// Compares what the gateway holds with what it acknowledged. Answers with what is wrong.
pub async fn read_back(server: &Server, load: &Load) -> Vec<String> {
    let mut wrong = load.recorder.take_faults();
    let mut socket = server.owner_socket().await;
    wrong.extend(places(server, &mut socket, load).await);
    for session in load.recorder.sessions() {
        let stored = history(&mut socket, &session).await;
        if let Err(fault) = paired(&stored) {
            wrong.push(format!("{session}: {fault}"));
        }
        let lines: Vec<_> = stored.iter().filter_map(said).collect();
        if let Err(fault) = load.recorder.check_lines(&session, &lines) {
            let all: Vec<_> = stored.iter().map(|message| format!("{}: {}", message["role"], message["content"])).collect();
            wrong.push(format!("{fault}; the conversation is {all:?}"));
        }
    }
    wrong.extend(loose(&mut socket, load.recorder.take_loose()).await);
    socket.close().await;
    wrong
}

/// What people and the agent said in the clients' turns: no calls, no results, nothing that sub-agents brought about, no answer to
/// what came into a run that went on already. What waited behind other work is asked with a note above it, which the model echoes.
fn said(message: &Value) -> Option<String> {
    let (role, content) = (message["role"].as_str()?, message["content"].as_str()?);
    if role == "user" {
        return Some(format!("user: {content}"));
    }
    let echoed = content.strip_prefix("echo: ").filter(|_| role == "assistant")?;
    let echoed = if echoed.starts_with("[Some messages of the user ") { echoed.rsplit('\n').next().unwrap_or_default() } else { echoed };
    echoed.starts_with("message ").then(|| format!("assistant: echo: {echoed}"))
}

/// The stored messages of a conversation.
pub async fn history(socket: &mut WsClient, session: &str) -> Vec<Value> {
    let page = socket.call("chat.history", &json!({"sessionKey": session})).await.unwrap_or_else(|error| panic!("chat.history: {error:?}"));
    page["messages"].as_array().cloned().unwrap_or_default()
}

async fn places(server: &Server, socket: &mut WsClient, load: &Load) -> Vec<String> {
    let owner = server.owner();
    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or_default().to_owned();
    let agents = owner.get("/v1/agents").await.expect(200);
    let agents: BTreeMap<_, _> =
        agents["agents"].as_array().into_iter().flatten().map(|agent| (text(agent, "agent_key"), text(agent, "display_name"))).collect();
    let keys = owner.get("/v1/api-keys").await.expect(200);
    let state = |key: &Value| if key["revoked"] == true { "revoked".to_owned() } else { "active".to_owned() };
    let keys: BTreeMap<_, _> = keys.as_array().into_iter().flatten().map(|key| (text(key, "id"), state(key))).collect();
    let config = socket.call("config.get", &json!({})).await.unwrap_or_else(|error| panic!("config.get: {error:?}"));
    let labels = labels(socket).await;

    let mut wrong = Vec::new();
    for place in load.recorder.places() {
        let found = match &place {
            Place::Agent(key) => agents.get(key).cloned(),
            Place::Key(id) => keys.get(id).cloned(),
            Place::Config => config["config"]["mine"]["mark"].as_str().map(str::to_owned),
            Place::Label(session) => labels.get(session).cloned(),
            Place::Upload(path) => {
                let reply = owner.get(&format!("/v1/files{path}")).await;
                (reply.status == 200).then(|| reply.text())
            }
        };
        wrong.extend(load.recorder.check(&place, found.as_deref()).err());
    }
    wrong
}

/// The labels of all conversations that have one.
async fn labels(socket: &mut WsClient) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    for session in sessions(socket, "ws").await {
        if let (Some(key), Some(label)) = (session["key"].as_str(), session["label"].as_str().filter(|label| label.starts_with("Label "))) {
            labels.insert(key.to_owned(), label.to_owned());
        }
    }
    labels
}

async fn sessions(socket: &mut WsClient, channel: &str) -> Vec<Value> {
    let mut all = Vec::new();
    loop {
        let params = json!({"channel": channel, "limit": PAGE, "offset": all.len()});
        let page = socket.call("sessions.list", &params).await.unwrap_or_else(|error| panic!("sessions.list: {error:?}"));
        let page = page["sessions"].as_array().cloned().unwrap_or_default();
        let last = page.len() < PAGE;
        all.extend(page);
        if last {
            return all;
        }
    }
}

/// The texts that are in no conversation of REST clients. Each answered question has one of its own, the newest first.
async fn loose(socket: &mut WsClient, texts: Vec<String>) -> Vec<String> {
    let mut missing: BTreeSet<_> = texts.into_iter().collect();
    let mut offset = 0;
    while !missing.is_empty() {
        let page = socket.call("sessions.list", &json!({"limit": PAGE, "offset": offset})).await.unwrap_or_else(|error| panic!("sessions.list: {error:?}"));
        let page = page["sessions"].as_array().cloned().unwrap_or_default();
        if page.is_empty() {
            break;
        }
        offset += page.len();
        for found in page.iter().filter(|session| session["channel"] == "http") {
            for message in history(socket, found["key"].as_str().unwrap_or_default()).await {
                missing.remove(message["content"].as_str().unwrap_or_default());
            }
            if missing.is_empty() {
                break;
            }
        }
    }
    missing.into_iter().map(|text| format!("{text:?} was answered over REST, and is in no conversation")).collect()
}

/// The conversations in which sub-agents were started, in all eras up to this one.
pub fn sessions_with_tasks(eras: usize) -> Vec<String> {
    (0..=eras).flat_map(|era| (0..TALKERS).map(move |n| session(&format!("t{n}-e{era}")))).collect()
}
