//! Memory over time, under a mixed load that the gateway can bear for ever.

use crate::{
    chat::Asking,
    gateway::{Gateway, Site, USER, resident},
    load::{Failures, Question},
    plot,
    requests::{bearer, headers, new_agent},
    table::{Measure, Table, Target, Unit},
    wire::request,
};
use anyhow::{Context, Result, bail, ensure};
use goclaw_tests::WsClient;
use serde_json::{Value, json};
use std::{path::Path, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

/// How long it lasts if nobody says.
pub const TIME: Duration = Duration::from_mins(10);
/// How often something is done.
const EVERY: Duration = Duration::from_millis(50);
const SAMPLE: Duration = Duration::from_secs(1);
/// More than this at once is a gateway that does not keep up.
const MOST_AT_ONCE: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);
/// In how many sessions the talks go on that never end.
const TALKS: u64 = 8;
/// From here on the slope is taken: before, caches fill and the allocator finds its size.
const SETTLED: f64 = 1.0 / 3.0;
/// A slope over less than this is held to nothing: SQLite's page caches are still filling, 2 MB for each of its connections.
const LONG: Duration = Duration::from_secs(29 * 60);

const fn reported(what: &'static str, unit: Unit, comment: &'static str) -> Measure {
    Measure { what, unit, lite: Target::Open, standard: Target::Open, comment }
}

static FIRST: Measure = reported("soak: memory before", Unit::Mb, "RSS one second after the start");
static TEN: Measure = reported("soak: memory after 10 minutes", Unit::Mb, "RSS then");
static LAST: Measure = reported("soak: memory after", Unit::Mb, "RSS after mixed load, 20 requests/s of ten kinds; how long, and the highest, behind it");
static SLOPE: Measure = Measure {
    what: "soak: growth",
    unit: Unit::KbPerMinute,
    lite: Target::AtMost(20.0),
    standard: Target::AtMost(20.0),
    comment: "slope of the RSS over the last two thirds, least squares",
};
static SHORT_SLOPE: Measure = reported("soak: growth, short run", Unit::KbPerMinute, "the same over a time too short for a verdict");
static ERRORS: Measure = Measure {
    what: "soak: errors",
    unit: Unit::Count,
    lite: Target::AtMost(0.0),
    standard: Target::AtMost(0.0),
    comment: "other answers than expected, and work that was late",
};

/// Measures memory while mixed load lasts, and leaves a plot of it in `plots`.
///
/// # Errors
/// If the gateway does not start or stop, or the plot cannot be written.
pub async fn measure(table: &mut Table, asking: &Asking<'_>, site: &Site, time: Duration, plots: &Path) -> Result<()> {
    asking.upstream.answer(Duration::from_millis(20), 8, Duration::from_millis(5));
    let gateway = site.launch()?;
    tokio::time::sleep(SAMPLE).await;
    let before = resident(gateway.pid())? as f64 / 1e6;
    let (samples, failures) = load(asking, &gateway, time).await?;
    gateway.stop()?;

    let settled = samples.partition_point(|(minute, _)| *minute < time.as_secs_f64() / 60.0 * SETTLED);
    let (slope, at_zero) = line(&samples[settled..]).context("too few samples for a slope")?;
    let (first, last) = (samples[settled], *samples.last().context("no sample")?);
    let highest = samples.iter().map(|sample| sample.1).fold(0.0, f64::max);
    let minutes = time.as_secs_f64() / 60.0;
    let name = asking.edition.name();
    let path = plots.join(format!("soak-{name}.png"));
    let title = format!("goclaw, {name}: RSS under mixed load for {minutes:.1} min; the line grows by {:.1} kB/min", slope * 1e3);
    plot::write(&path, &title, &samples, [first, last].map(|(minute, _)| (minute, at_zero + slope * minute)))?;
    eprintln!("bench: {name}: {}", path.display());

    let measure = if time >= LONG { &SLOPE } else { &SHORT_SLOPE };
    table.put(&FIRST, asking.edition, before, "");
    // The last sample may be a moment short of the whole time.
    if let Some((_, memory)) = samples.iter().rev().find(|(minute, _)| (9.9..=10.0).contains(minute)) {
        table.put(&TEN, asking.edition, *memory, "");
    }
    table.put(&LAST, asking.edition, last.1, format!("{minutes:.1} min, {highest:.1} MB"));
    table.put(measure, asking.edition, slope * 1e3, "");
    table.put(&ERRORS, asking.edition, failures.count as f64, failures.first.unwrap_or_default());
    Ok(())
}

/// Slope and value at zero of the line that fits best.
fn line(points: &[(f64, f64)]) -> Option<(f64, f64)> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let (mut both, mut square) = (0.0, 0.0);
    for point in points {
        both += (point.0 - x) * (point.1 - y);
        square += (point.0 - x) * (point.0 - x);
    }
    (square > 0.0).then(|| (both / square, y - both / square * x))
}

/// Keeps the load up and answers with the memory in MB by the minute.
async fn load(asking: &Asking<'_>, gateway: &Gateway, time: Duration) -> Result<(Vec<(f64, f64)>, Failures)> {
    let start = Instant::now();
    let (mut ticks, mut looks) = (interval(EVERY), interval(SAMPLE));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut samples, mut failures, mut work) = (Vec::new(), Failures::default(), JoinSet::new());
    let visitor = Visitor { json: asking.through(gateway, false), sse: asking.through(gateway, true), port: gateway.port, key: asking.key.to_owned() };
    let mut number = 0;
    while start.elapsed() < time {
        tokio::select! {
            _ = ticks.tick() => {
                number += 1;
                if work.len() < MOST_AT_ONCE {
                    work.spawn(visitor.clone().visit(number));
                } else {
                    failures.note("the gateway does not keep up");
                }
            }
            _ = looks.tick() => {
                let memory = resident(gateway.pid())? as f64 / 1e6;
                samples.push((start.elapsed().as_secs_f64() / 60.0, memory));
            }
            Some(outcome) = work.join_next() => note(&mut failures, outcome),
        }
    }
    while let Some(outcome) = work.join_next().await {
        note(&mut failures, outcome);
    }
    Ok((samples, failures))
}

fn note(failures: &mut Failures, outcome: Result<Result<()>, tokio::task::JoinError>) {
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(error)) => failures.note(format!("{error:#}")),
        Err(error) => failures.note(error),
    }
}

/// Somebody who does one thing and goes.
#[derive(Clone)]
struct Visitor {
    json: Question,
    sse: Question,
    port: u16,
    key: String,
}

impl Visitor {
    async fn visit(self, number: u64) -> Result<()> {
        timeout(PATIENCE, self.act(number)).await.context("no end in time")?
    }

    async fn act(self, number: u64) -> Result<()> {
        let get = |path: &str, key: &str| Question::new(self.port, request("GET", path, &headers(&bearer(key)), ""));
        match number % 10 {
            0 | 5 => self.json.probe("choices").await.map(drop),
            1 => self.sse.probe("[DONE]").await.map(drop),
            2 => get("/v1/agents", &self.key).probe("bench-0").await.map(drop),
            3 => get("/v1/agents/bench-3", &self.key).probe("bench-3").await.map(drop),
            4 => self.agent(number).await,
            6 => expect(&get("/v1/agents", "wrong"), &[401, 429]).await,
            7 => expect(&get("/v1/agents/nobody", &self.key), &[404]).await,
            8 => get("/v1/traces?limit=20", &self.key).probe("traces").await.map(drop),
            _ => self.talk(number / 10 % TALKS).await,
        }
    }

    /// Makes an agent and takes it away.
    async fn agent(&self, number: u64) -> Result<()> {
        let made = new_agent(self.port, &self.key, &format!("soak-{number}")).probe("\"id\"").await?;
        let made: Value = serde_json::from_slice(&made)?;
        let id = made["id"].as_str().context("the id of an agent")?;
        let delete = request("DELETE", &format!("/v1/agents/{id}"), &headers(&bearer(&self.key)), "");
        Question::new(self.port, delete).probe("").await.map(drop)
    }

    /// Goes on with a talk over a WebSocket of its own, and starts it anew at times.
    async fn talk(&self, session: u64) -> Result<()> {
        let mut socket = WsClient::open(&format!("ws://127.0.0.1:{}/ws", self.port)).await;
        let session = format!("agent:bench-2:ws:direct:soak-{session}");
        let calls = [
            ("connect", json!({"token": self.key, "user_id": USER})),
            ("sessions.list", json!({"limit": 20})),
            ("chat.send", json!({"sessionKey": session, "message": "Go on.", "stream": true})),
            ("chat.history", json!({"sessionKey": session})),
        ];
        for (method, params) in calls {
            let answer = socket.call(method, &params).await;
            let Ok(answer) = answer else { bail!("{method}: {answer:?}") };
            if answer["messages"].as_array().is_some_and(|messages| messages.len() > 100) {
                let reset = socket.call("sessions.reset", &json!({"key": session})).await;
                ensure!(reset.is_ok(), "sessions.reset: {reset:?}");
            }
        }
        socket.close().await;
        Ok(())
    }
}

async fn expect(question: &Question, expected: &[u16]) -> Result<()> {
    let (status, _) = question.ask().await?;
    ensure!(expected.contains(&status), "expected {expected:?}, got {status}");
    Ok(())
}
