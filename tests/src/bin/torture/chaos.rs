//! Questions to a model that misbehaves in every way: each has a clear end, and nothing stays behind.

use crate::{
    load::setup,
    options::Options,
    report::Outcome,
    upstream::{Mood, Moody},
};
use goclaw_tests::{Edition, Server, census::Census, conversation::paired, eventually};
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

const CALLS: usize = 400;
const AT_ONCE: usize = 16;
/// How long a question may take: a model that says nothing is given up after two minutes, and what passes is tried three times.
const LIMIT: Duration = Duration::from_secs(150);
const SPARE: usize = 40;
/// The code with which a WebSocket client is sent away that does not keep up.
const TOO_SLOW: u16 = 1013;
/// How much more memory may stay with the process, in bytes: allocators keep some.
const KEPT: u64 = 150_000_000;

pub async fn attack(edition: Edition, options: &Options) -> Outcome {
    let model = Moody::start(options.seed).await;
    let server = setup(edition).await.env("GOCLAW_OPENAI_BASE_URL", &model.base()).start().await;
    server.owner().post("/v1/agents", &json!({"agent_key": "fox", "agent_type": "predefined"})).await.expect(201);
    let found = Arc::new(Mutex::new(Outcome::default()));
    model.set(Some(Mood::Good));
    ask(&server, 0, &found).await;
    let before = Census::of(&server).await;
    model.set(None);
    let (calls, begun) = (options.rounds_or(CALLS), Instant::now());
    let peak = watch_memory(server.pid());
    let mut next = 0;
    let mut asking = JoinSet::new();
    let server = Arc::new(server);
    while next < calls || !asking.is_empty() {
        while next < calls && asking.len() < AT_ONCE {
            let (server, found) = (server.clone(), found.clone());
            asking.spawn(async move { ask(&server, next, &found).await });
            next += 1;
        }
        asking.join_next().await.transpose().expect("clients do not fail");
    }
    model.set(Some(Mood::Good));
    eventually("every run to end", async || Census::of(&server).await.runs == 0.0).await;
    let mut outcome = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
    outcome.rounds(calls);
    let mut after = Census::of(&server).await;
    for _ in 0..50 {
        if after.excess(&before, SPARE).is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        after = Census::of(&server).await;
    }
    outcome.find_all(after.excess(&before, SPARE));
    outcome.hold(after.resident < before.resident + KEPT, || format!("memory grew from {} to {} bytes", before.resident, after.resident));
    conversations_go_on(&server, calls, &mut outcome).await;
    let mb = |bytes: u64| bytes / 1_000_000;
    outcome.note(format!("{} s; memory {} → {} MB, at most {} MB", begun.elapsed().as_secs(), mb(before.resident), mb(after.resident), mb(*peak.borrow())));
    outcome
}

/// Asks in one of three ways and judges the end.
async fn ask(server: &Server, n: usize, found: &Mutex<Outcome>) {
    let wrong = match timeout(LIMIT, question(server, n)).await {
        Ok(Ok(())) => return,
        Ok(Err(wrong)) => wrong,
        Err(_) => format!("{} did not end within {LIMIT:?}", ["a completion", "a stream", "chat.send"][n % 3]),
    };
    found.lock().unwrap_or_else(PoisonError::into_inner).find(wrong);
}

async fn question(server: &Server, n: usize) -> Result<(), String> {
    let mut body = json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": "tell me"}]});
    match n % 3 {
        0 => {
            let reply = server.owner().attempt("POST", "/v1/chat/completions", &body).await.ok_or("a completion was cut off")?;
            let clear = reply.status == 200 || (reply.status >= 400 && reply.json()["error"]["message"].is_string());
            if clear { Ok(()) } else { Err(format!("a completion answered {}: {}", reply.status, reply.text())) }
        }
        1 => {
            body["stream"] = json!(true);
            let reply = server.owner().attempt("POST", "/v1/chat/completions", &body).await.ok_or("a stream was cut off")?;
            let text = reply.text();
            let clear = text.trim_end().ends_with("data: [DONE]") || text.contains("\"error\"");
            let tail: String = text.chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
            if clear { Ok(()) } else { Err(format!("a stream ended unclearly ({}): {tail}", reply.status)) }
        }
        _ => {
            let mut socket = server.owner_socket().await;
            let params = json!({"message": "tell me", "agentId": "fox", "sessionKey": session(n), "stream": true});
            match socket.try_call("chat.send", &params).await {
                // An error is a clear end too.
                Some(_) => Ok(()),
                // So is being told to come again because the text came faster than this reads; silence and a mere cut are none.
                None => match socket.wait_for_close().await {
                    Some(TOO_SLOW) => Ok(()),
                    code => Err(format!("a connection ended with {code:?} before an answer")),
                },
            }
        }
    }
}

fn session(n: usize) -> String {
    format!("agent:fox:ws:direct:chaos-{}", n % 30)
}

/// The conversations are in order and can go on.
async fn conversations_go_on(server: &Server, calls: usize, outcome: &mut Outcome) {
    let mut socket = server.owner_socket().await;
    for n in (0..calls.min(90)).filter(|n| n % 3 == 2) {
        let page = socket.call("chat.history", &json!({"sessionKey": session(n)})).await.unwrap_or_else(|error| panic!("chat.history: {error:?}"));
        let messages: Vec<Value> = page["messages"].as_array().cloned().unwrap_or_default();
        if let Err(fault) = paired(&messages) {
            outcome.find(fault);
        }
        let answer = socket.call("chat.send", &json!({"message": "go on", "agentId": "fox", "sessionKey": session(n), "stream": true})).await;
        outcome.hold(answer.as_ref().is_ok_and(|answer| answer["content"] == "fine"), || format!("a conversation does not go on: {answer:?}"));
    }
}

/// The most memory that a process had, looked at now and then until it ends.
fn watch_memory(pid: u32) -> watch::Receiver<u64> {
    let (most, seen) = watch::channel(0);
    tokio::spawn(async move {
        while !most.is_closed() {
            let now = goclaw_tests::census::resident(pid);
            most.send_modify(|most| *most = now.max(*most));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    seen
}
