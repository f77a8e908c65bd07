//! Hundreds of runs at once: how many a second, in which order, and what each costs in memory.

use crate::{
    chat::{Asking, errors, runs_per_second},
    gateway::{Site, USER, resident, with_peak},
    load::{Failures, Question, saturate, spread},
    requests::{bearer, headers},
    table::{Measure, Table, Target, Unit},
    wire::request,
};
use anyhow::{Context, Result, ensure};
use goclaw_tests::WsClient;
use serde_json::json;
use std::time::Duration;
use tokio::task::JoinSet;

const RUNS: usize = 500;
const WARM_UP: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(4);
/// What the model takes while runs wait for it, so that all of them are there at once.
const WAIT: Duration = Duration::from_secs(3);
/// What the model takes while messages come faster than they are answered.
const TALK: Duration = Duration::from_millis(100);
/// How many sockets share the sessions: each has fewer calls under way (20) than one may have (32).
const SOCKETS: usize = 100;
/// How many messages each session gets, one behind the other: the first starts a run, the others wait for their turn in it.
const MESSAGES: usize = 4;

static RATE: Measure = runs_per_second("500 runs at once, instant model", "runs per second, a new session each; p50 / p99");
static ERRORS: Measure = errors("500 runs at once: errors", "anything but 200");
static MEMORY: Measure = Measure {
    what: "memory per running session",
    unit: Unit::Kb,
    lite: Target::AtMost(200.0),
    standard: Target::AtMost(200.0),
    comment: "(highest RSS while 500 runs wait for the model − before) / 500, new process",
};
static DISORDER: Measure = errors("500 sessions: out of order", "4 messages sent to each without waiting; sessions whose history has them otherwise");

/// Measures very many runs.
///
/// # Errors
/// If they do not end, or the gateway does not start or stop.
pub async fn measure(table: &mut Table, asking: &Asking<'_>, site: &Site) -> Result<()> {
    let (edition, effort, runs) = (asking.edition, asking.effort, asking.effort.count(RUNS));
    let gateway = site.launch()?;
    let question = asking.through(&gateway, false);
    asking.upstream.answer(Duration::ZERO, 1, Duration::ZERO);
    question.probe("choices").await.context("a first chat")?;

    asking.upstream.answer(WAIT, 1, Duration::ZERO);
    let before = resident(gateway.pid())?;
    let (waiting, peak) = with_peak(gateway.pid(), spread(&question, runs, WAIT / 2, Duration::ZERO, WAIT)).await;
    let mut failures = waiting?.failures;
    let each = peak.saturating_sub(before) as f64 / 1e3 / runs as f64;
    table.put(&MEMORY, edition, each, format!("{:.1} to {:.1} MB", before as f64 / 1e6, peak as f64 / 1e6));

    asking.upstream.answer(Duration::ZERO, 1, Duration::ZERO);
    let load = saturate(&question, runs, effort.time(WARM_UP), effort.time(WINDOW)).await?;
    table.put(&RATE, edition, load.rate(), load.percentiles());
    failures.add(load.failures);
    table.put(&ERRORS, edition, failures.count as f64, failures.first.unwrap_or_default());

    asking.upstream.answer(TALK, 1, Duration::ZERO);
    let disorder = order(gateway.port, asking, runs).await?;
    table.put(&DISORDER, edition, disorder.count as f64, disorder.first.unwrap_or_default());
    gateway.stop()
}

/// Sends messages to sessions faster than they are answered, and counts the sessions that did not keep their order.
async fn order(port: u16, asking: &Asking<'_>, sessions: usize) -> Result<Failures> {
    let agent = json!({"agent_key": "shared", "provider": "openai", "model": "stub", "is_default": true}).to_string();
    Question::new(port, request("POST", "/v1/agents", &headers(&bearer(asking.key)), &agent)).probe("\"id\"").await.context("an agent for all")?;
    let sockets = SOCKETS.min(sessions);
    let mut open = Vec::with_capacity(sockets);
    // One after the other: only so many may be there that have not said who they are.
    for number in 0..sockets {
        let mut socket = WsClient::open(&format!("ws://127.0.0.1:{port}/ws")).await;
        // Each is another user who is no admin: nobody but the one who asked is told of a run.
        let connected = socket.call("connect", &json!({"token": asking.clients_key, "user_id": format!("{USER}-{number}")})).await;
        ensure!(connected.is_ok(), "connect: {connected:?}");
        open.push(socket);
    }
    let mut talks = JoinSet::new();
    for (number, socket) in open.into_iter().enumerate() {
        let own = (0..sessions).filter(|session| session % sockets == number).map(|session| format!("agent:shared:ws:direct:order-{session}")).collect();
        talks.spawn(talk(socket, own));
    }
    let mut disorder = Failures::default();
    while let Some(outcome) = talks.join_next().await {
        disorder.add(outcome??);
    }
    Ok(disorder)
}

async fn talk(mut socket: WsClient, sessions: Vec<String>) -> Result<Failures> {
    let mut open = Vec::new();
    for number in 0..MESSAGES {
        for session in &sessions {
            open.push(socket.send("chat.send", &json!({"sessionKey": session, "message": format!("message {number}")})).await);
        }
    }
    for id in open {
        let answer = socket.answer(&id).await;
        ensure!(answer.is_ok(), "chat.send: {answer:?}");
    }
    let mut disorder = Failures::default();
    let expected: Vec<_> = (0..MESSAGES).map(|number| format!("message {number}")).collect();
    for session in sessions {
        let history = socket.call("chat.history", &json!({"sessionKey": session})).await;
        let Ok(history) = history else { anyhow::bail!("chat.history: {history:?}") };
        let messages = history["messages"].as_array().context("messages")?.iter().filter(|message| message["role"] == "user");
        let said: Vec<_> = messages.filter_map(|message| message["content"].as_str()).collect();
        if said != expected {
            disorder.note(format!("{session}: {said:?}"));
        }
    }
    socket.close().await;
    Ok(disorder)
}
