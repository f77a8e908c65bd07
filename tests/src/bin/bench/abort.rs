//! How fast a run ends that somebody aborts while one of its tools has a process running.

use crate::{
    chat::Asking,
    gateway::{Site, USER},
    load::Samples,
    options::Effort,
    table::{Measure, Table, Target, Unit},
    upstream::RUN,
};
use anyhow::{Context, Result, bail, ensure};
use goclaw_tests::WsClient;
use serde_json::json;
use std::{fs, time::Duration};
use tokio::time::{Instant, interval, timeout};

const ROUNDS: usize = 20;
/// How long a process may take to come or to go before it is given up.
const PATIENCE: Duration = Duration::from_secs(10);

const fn in_100_ms(what: &'static str, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::Ms, lite: Target::AtMost(100.0), standard: Target::AtMost(100.0), comment }
}

static CANCELLED: Measure = in_100_ms("abort: until run.cancelled", "chat.abort while the tool exec waits for a process; slowest of 20, median behind it");
static GONE: Measure = in_100_ms("abort: until the tool's process is gone", "the same");

/// Measures aborts.
///
/// # Errors
/// If a run does not start its process, or does not end.
pub async fn measure(table: &mut Table, asking: &Asking<'_>, site: &Site) -> Result<()> {
    let gateway = site.launch()?;
    asking.upstream.answer(Duration::ZERO, 1, Duration::ZERO);
    let rounds = if asking.effort == Effort::Full { ROUNDS } else { 2 };
    let (url, key) = (format!("ws://127.0.0.1:{}/ws", gateway.port), asking.key.to_owned());
    // The client panics where the gateway breaks the protocol; in a task that is an error like others.
    let aborting = tokio::spawn(async move {
        let mut socket = WsClient::open(&url).await;
        let connected = socket.call("connect", &json!({"token": key, "user_id": USER})).await;
        ensure!(connected.is_ok(), "connect: {connected:?}");
        let (mut cancelled, mut gone) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            // The number tells this process from all others.
            let seconds = 100_000 + round * 10_000 + std::process::id() as usize % 10_000;
            let (session, message) = (format!("agent:bench-0:ws:direct:abort-{round}"), format!("{RUN}sleep {seconds}"));
            let run = socket.send("chat.send", &json!({"sessionKey": session, "message": message, "stream": true})).await;
            socket.agent_event("tool.call").await;
            let command = ["sleep".to_owned(), seconds.to_string()];
            let process = tokio::select! {
                process = timeout(PATIENCE, process(&command)) => process.context("the tool starts no process")?,
                result = socket.agent_event("tool.result") => bail!("the tool does not wait: {result}"),
            };
            let started = Instant::now();
            socket.send("chat.abort", &json!({"sessionKey": session})).await;
            socket.agent_event("run.cancelled").await;
            cancelled.push(started.elapsed().as_secs_f64() * 1e3);
            timeout(PATIENCE, end_of(process)).await.context("the tool's process does not end")?;
            gone.push(started.elapsed().as_secs_f64() * 1e3);
            let answer = socket.answer(&run).await;
            ensure!(answer == Ok(json!({"cancelled": true})), "the aborted run answers {answer:?}");
        }
        socket.close().await;
        Ok((Samples::new(cancelled), Samples::new(gone)))
    });
    let (cancelled, gone) = aborting.await??;
    for (measure, taken) in [(&CANCELLED, cancelled), (&GONE, gone)] {
        table.put(measure, asking.edition, taken.percentile(1.0), format!("{:.2} ms", taken.percentile(0.5)));
    }
    gateway.stop()
}

/// Waits for a process with this command line and answers with its id.
async fn process(command: &[String]) -> u32 {
    let wanted = command.iter().map(|word| format!("{word}\0")).collect::<String>();
    let mut ticks = interval(Duration::from_millis(1));
    loop {
        ticks.tick().await;
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mut ids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        if let Some(id) = ids.find(|id| fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| line == wanted.as_bytes())) {
            return id;
        }
    }
}

/// Waits until a process has ended.
///
/// One that has ended but was not waited for yet counts: when that happens is up to the machine's first process.
async fn end_of(process: u32) {
    let mut ticks = interval(Duration::from_millis(1));
    while fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z")) {
        ticks.tick().await;
    }
}
