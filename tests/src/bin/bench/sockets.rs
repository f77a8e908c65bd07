//! Many idle WebSockets, and a steady trickle of calls on them.

use crate::{
    gateway::{Gateway, USER, resident},
    load::{Failures, Samples},
    table::{Measure, Table, Target, Unit},
};
use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt, stream};
use goclaw_tests::Edition;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

const SOCKETS: usize = 2_000;
/// How many are opened at once.
const OPENING: usize = 50;
/// Calls per second, on one socket after the other.
const RATE: u64 = 200;
const WINDOW: Duration = Duration::from_secs(15);
/// How long an answer may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is called, in turn.
const CALLS: [&str; 4] = ["agents.list", "sessions.list", "status", "health"];

static MEMORY: Measure = Measure {
    what: "memory per idle socket",
    unit: Unit::Kb,
    lite: Target::AtMost(20.0),
    standard: Target::AtMost(20.0),
    comment: "(RSS with 2,000 authenticated sockets − before) / 2,000",
};
static P50: Measure = Measure {
    what: "2,000 sockets: a call, p50",
    unit: Unit::Ms,
    lite: Target::Open,
    standard: Target::Open,
    comment: "200 calls/s: agents.list, sessions.list, status, health in turn, each on the next socket",
};
static P99: Measure =
    Measure { what: "2,000 sockets: a call, p99", unit: Unit::Ms, lite: Target::AtMost(50.0), standard: Target::AtMost(50.0), comment: "the same" };
static LOST: Measure = Measure {
    what: "2,000 sockets: lost or failed",
    unit: Unit::Count,
    lite: Target::AtMost(0.0),
    standard: Target::AtMost(0.0),
    comment: "answers that did not come or were errors, and sockets that closed",
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens the sockets, calls on them, and measures both.
///
/// # Errors
/// If sockets cannot be opened.
pub async fn measure(table: &mut Table, edition: Edition, gateway: &Gateway, key: &str) -> Result<()> {
    let before = resident(gateway.pid())?;
    let url = format!("ws://127.0.0.1:{}/ws", gateway.port);
    let mut opening = stream::iter((0..SOCKETS).map(|_| open(&url, key))).buffer_unordered(OPENING);
    let mut sockets = Vec::with_capacity(SOCKETS);
    while let Some(socket) = opening.next().await {
        sockets.push(socket?);
    }
    drop(opening);
    let memory = (resident(gateway.pid())?.saturating_sub(before)) as f64 / SOCKETS as f64 / 1e3;
    table.put(&MEMORY, edition, memory, "");

    let (report, mut reports) = mpsc::channel(SOCKETS);
    let mut holders = JoinSet::new();
    let callers: Vec<_> = sockets
        .into_iter()
        .map(|socket| {
            let (call, calls) = mpsc::channel(64);
            holders.spawn(hold(socket, calls, report.clone()));
            call
        })
        .collect();
    drop(report);

    let mut ticks = interval(Duration::from_micros(1_000_000 / RATE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = Instant::now() + WINDOW;
    let (mut asked, mut latencies, mut failures) = (0_usize, Vec::new(), Failures::default());
    while Instant::now() < end {
        // The time that counts is when the call was due, so that a generator that falls behind hides nothing.
        let due = ticks.tick().await;
        if callers[asked % callers.len()].try_send((CALLS[asked % CALLS.len()], due)).is_err() {
            failures.note("a socket takes no more calls");
        }
        asked += 1;
    }
    drop(callers);
    while let Ok(Some(answer)) = timeout(PATIENCE, reports.recv()).await {
        match answer {
            Ok(latency) => latencies.push(latency),
            Err(why) => failures.note(why),
        }
    }
    holders.abort_all();
    let answered = latencies.len() + usize::try_from(failures.count).unwrap_or(usize::MAX);
    for _ in answered..asked {
        failures.note("no answer");
    }
    let latencies = Samples::new(latencies);
    table.put(&P50, edition, latencies.percentile(0.5), "");
    table.put(&P99, edition, latencies.percentile(0.99), format!("{} calls", latencies.len()));
    table.put(&LOST, edition, failures.count as f64, failures.first.unwrap_or_default());
    Ok(())
}

async fn open(url: &str, key: &str) -> Result<Socket> {
    let opening = async {
        let (mut socket, _) = connect_async(url).await?;
        let connect = json!({"type": "req", "id": "0", "method": "connect", "params": {"token": key, "user_id": USER}});
        socket.send(Message::text(connect.to_string())).await?;
        let answer = socket.next().await.context("the gateway closed the socket")??;
        let answer: Value = serde_json::from_slice(&answer.into_data())?;
        if answer["ok"] != true {
            bail!("connect: {answer}");
        }
        Ok(socket)
    };
    timeout(PATIENCE, opening).await.context("a socket does not open")?
}

/// Makes the calls of one socket and reports how long each took, in milliseconds, until there are no more calls and all are answered.
async fn hold(mut socket: Socket, mut calls: mpsc::Receiver<(&'static str, Instant)>, report: mpsc::Sender<Result<f64, String>>) {
    let mut waiting: Vec<(String, Instant)> = Vec::new();
    let (mut number, mut open) = (0_u64, true);
    while open || !waiting.is_empty() {
        tokio::select! {
            call = calls.recv(), if open => match call {
                Some((method, due)) => {
                    number += 1;
                    let id = number.to_string();
                    let frame = json!({"type": "req", "id": id, "method": method});
                    waiting.push((id, due));
                    if socket.send(Message::text(frame.to_string())).await.is_err() {
                        break;
                    }
                }
                None => open = false,
            },
            message = socket.next() => {
                let Some(Ok(message)) = message else { break };
                let Message::Text(text) = message else { continue };
                let frame: Value = serde_json::from_str(&text).unwrap_or_default();
                let Some(at) = waiting.iter().position(|(id, _)| frame["id"] == id.as_str()) else { continue };
                let (_, due) = waiting.swap_remove(at);
                let outcome = if frame["ok"] == true { Ok(due.elapsed().as_secs_f64() * 1e3) } else { Err(frame["error"].to_string()) };
                drop(report.send(outcome).await);
            }
        }
    }
    for _ in waiting {
        drop(report.send(Err("the socket closed".to_owned())).await);
    }
}
