//! Many idle WebSockets, and a steady trickle of calls on them.

use crate::{
    gateway::{Site, USER, resident},
    load::{Failures, Samples},
    machine::file_limit,
    options::Effort,
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

/// What a process has open besides its sockets, generously.
const SPARE_FILES: u64 = 200;
/// How many are opened at once.
const OPENING: usize = 50;
/// Calls per second, on one socket after the other.
const RATE: u64 = 200;
const WINDOW: Duration = Duration::from_secs(15);
/// How long an answer may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is called, in turn.
const CALLS: [&str; 4] = ["agents.list", "sessions.list", "status", "health"];

/// What is measured of a number of sockets.
struct Crowd {
    sockets: usize,
    memory: Measure,
    p50: Measure,
    p99: Measure,
    lost: Measure,
}

const CALLED: &str = "200 calls/s: agents.list, sessions.list, status, health in turn, each on the next socket";
const LOST: &str = "answers that did not come or were errors, and sockets that closed";

const fn at_most(what: &'static str, unit: Unit, limit: f64, comment: &'static str) -> Measure {
    Measure { what, unit, lite: Target::AtMost(limit), standard: Target::AtMost(limit), comment }
}

const fn reported(what: &'static str, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::Ms, lite: Target::Open, standard: Target::Open, comment }
}

static CROWDS: [Crowd; 2] = [
    Crowd {
        sockets: 2_000,
        memory: at_most("memory per idle socket, of 2,000", Unit::Kb, 20.0, "(RSS with all of them authenticated − before) / 2,000, new process"),
        p50: reported("2,000 sockets: a call, p50", CALLED),
        p99: at_most("2,000 sockets: a call, p99", Unit::Ms, 50.0, "the same"),
        lost: at_most("2,000 sockets: lost or failed", Unit::Count, 0.0, LOST),
    },
    Crowd {
        sockets: 5_000,
        memory: at_most("memory per idle socket, of 5,000", Unit::Kb, 20.0, "(RSS with all of them authenticated − before) / 5,000, new process"),
        p50: reported("5,000 sockets: a call, p50", CALLED),
        p99: reported("5,000 sockets: a call, p99", "the same"),
        lost: at_most("5,000 sockets: lost or failed", Unit::Count, 0.0, LOST),
    },
];

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens sockets, calls on them, and measures both.
///
/// # Errors
/// If sockets cannot be opened, or the gateway does not start or stop.
pub async fn measure(table: &mut Table, effort: Effort, edition: Edition, site: &Site, key: &str) -> Result<()> {
    for crowd in &CROWDS {
        measure_crowd(table, effort, edition, site, key, crowd).await?;
    }
    Ok(())
}

async fn measure_crowd(table: &mut Table, effort: Effort, edition: Edition, site: &Site, key: &str, crowd: &'static Crowd) -> Result<()> {
    let count = effort.count(crowd.sockets);
    if file_limit() < count as u64 + SPARE_FILES {
        bail!("{count} sockets need a hard limit of open files (ulimit -Hn) of at least {}; here it is {}", count as u64 + SPARE_FILES, file_limit());
    }
    let gateway = site.launch()?;
    let before = resident(gateway.pid())?;
    let url = format!("ws://127.0.0.1:{}/ws", gateway.port);
    let mut opening = stream::iter((0..count).map(|_| open(&url, key))).buffer_unordered(OPENING);
    let mut sockets = Vec::with_capacity(count);
    while let Some(socket) = opening.next().await {
        sockets.push(socket?);
    }
    drop(opening);
    let memory = (resident(gateway.pid())?.saturating_sub(before)) as f64 / count as f64 / 1e3;
    table.put(&crowd.memory, edition, memory, "");

    let (report, mut reports) = mpsc::channel(count);
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
    let end = Instant::now() + effort.time(WINDOW);
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
    table.put(&crowd.p50, edition, latencies.percentile(0.5), "");
    table.put(&crowd.p99, edition, latencies.percentile(0.99), format!("{} calls", latencies.len()));
    table.put(&crowd.lost, edition, failures.count as f64, failures.first.unwrap_or_default());
    gateway.stop()
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
