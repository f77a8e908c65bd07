//! Load: keep-alive connections that ask as fast as they are answered, and streams that are listened to. All of it runs on the
//! thread that calls.

use crate::{upstream::micros, wire::Wire};
use anyhow::{Context, Result, bail};
use std::{
    borrow::Cow,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};

/// How much longer than planned a load may take before it is given up.
const GRACE: Duration = Duration::from_secs(30);
/// A connection that fails this often is not tried again.
const MOST_FAILURES: u64 = 20;

/// Durations in milliseconds, in order.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Brings durations into order.
    pub fn new(mut milliseconds: Vec<f64>) -> Self {
        milliseconds.sort_unstable_by(f64::total_cmp);
        Self(milliseconds)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The duration that this share (0 to 1) of all does not exceed; 0 if there is none.
    pub fn percentile(&self, share: f64) -> f64 {
        let rank = (self.0.len() as f64 * share).ceil() as usize;
        self.0.get(rank.clamp(1, self.0.len().max(1)) - 1).copied().unwrap_or_default()
    }

    fn add(&mut self, other: Self) {
        let mut all = std::mem::take(&mut self.0);
        all.extend(other.0);
        *self = Self::new(all);
    }
}

/// What failed.
#[derive(Debug, Clone, Default)]
pub struct Failures {
    /// How often.
    pub count: u64,
    /// The first of them.
    pub first: Option<String>,
}

impl Failures {
    /// Counts one.
    pub fn note(&mut self, what: impl ToString) {
        self.count += 1;
        self.first.get_or_insert_with(|| what.to_string());
    }

    /// Counts those of another part as well.
    pub fn add(&mut self, other: Self) {
        self.count += other.count;
        self.first = self.first.take().or(other.first);
    }
}

/// What came of asking.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// How long each answer took.
    pub latencies: Samples,
    /// How long was asked, in seconds.
    pub seconds: f64,
    /// Answers that were no success, and connections that broke.
    pub failures: Failures,
}

impl Load {
    /// Answers per second.
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 { self.latencies.len() as f64 / self.seconds } else { 0.0 }
    }

    /// The median and the 99th percentile, as they stand behind a rate.
    pub fn percentiles(&self) -> String {
        format!("{:.2} / {:.2} ms", self.latencies.percentile(0.5), self.latencies.percentile(0.99))
    }

    /// Adds another round of the same.
    pub fn add(&mut self, other: Self) {
        self.latencies.add(other.latencies);
        self.seconds += other.seconds;
        self.failures.add(other.failures);
    }
}

/// What stands in a request for a number of eight digits that differs each time it is asked.
pub const NUMBER: &str = "########";

/// Where a load goes, and what it asks.
#[derive(Debug, Clone)]
pub struct Question {
    port: u16,
    bytes: Arc<[u8]>,
    /// Where [`NUMBER`] stands, and the next one.
    number: Option<(usize, Arc<AtomicU64>)>,
}

impl Question {
    /// A complete request to a port of this machine.
    pub fn new(port: u16, bytes: Vec<u8>) -> Self {
        let at = bytes.windows(NUMBER.len()).position(|window| window == NUMBER.as_bytes());
        Self { port, bytes: bytes.into(), number: at.map(|at| (at, Arc::default())) }
    }

    /// The request as it is asked the next time.
    fn next(&self) -> Cow<'_, [u8]> {
        let Some((at, number)) = &self.number else { return Cow::Borrowed(&self.bytes) };
        let mut bytes = self.bytes.to_vec();
        let number = format!("{:08}", number.fetch_add(1, Ordering::Relaxed));
        bytes[*at..at + NUMBER.len()].copy_from_slice(&number.as_bytes()[..NUMBER.len()]);
        Cow::Owned(bytes)
    }

    /// Asks once, on a connection of its own, and answers with status and body.
    ///
    /// # Errors
    /// If the connection breaks or nothing comes.
    pub async fn ask(&self) -> Result<(u16, Vec<u8>)> {
        let exchange = async {
            let mut wire = Wire::connect(self.port).await?;
            wire.send(&self.next()).await?;
            let head = wire.head().await?;
            let body = wire.body(head).await?;
            anyhow::Ok((head.status, body))
        };
        timeout(GRACE, exchange).await.context("no answer in time")?
    }

    /// Asks once and takes nothing but success with a text that holds `expected`.
    ///
    /// # Errors
    /// If something else is answered.
    pub async fn probe(&self, expected: &str) -> Result<Vec<u8>> {
        let (status, body) = self.ask().await?;
        if !is_success(status) || !(expected.is_empty() || crate::wire::contains(&body, expected.as_bytes())) {
            bail!("expected success with {expected:?}, got {status}: {}", String::from_utf8_lossy(&body).chars().take(300).collect::<String>());
        }
        Ok(body)
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

/// Keeps `connections` busy: each asks again as soon as it is answered. What is asked during `warm_up` does not count.
///
/// # Errors
/// If it does not end in time.
pub async fn saturate(question: &Question, connections: usize, warm_up: Duration, window: Duration) -> Result<Load> {
    spread(question, connections, Duration::ZERO, warm_up, window).await
}

/// The same, with connections that do not begin all at once but one after the other within `step`: callers that wait for the same
/// model would otherwise ask in step for ever, which no callers do.
///
/// # Errors
/// If it does not end in time.
pub async fn spread(question: &Question, connections: usize, step: Duration, warm_up: Duration, window: Duration) -> Result<Load> {
    let start = Instant::now();
    let from = start + warm_up;
    let until = from + window;
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let begin = start + step.mul_f64(number as f64 / connections as f64);
        let question = question.clone();
        tasks.spawn(async move {
            sleep_until(begin).await;
            repeat(question, from, until).await
        });
    }
    let outcomes = timeout(warm_up + window + GRACE, tasks.join_all()).await.context("the answers stopped coming")?;
    let mut failures = Failures::default();
    let mut latencies = Vec::new();
    for (taken, failed) in outcomes {
        latencies.extend(taken);
        failures.add(failed);
    }
    Ok(Load { latencies: Samples::new(latencies), seconds: window.as_secs_f64(), failures })
}

async fn repeat(question: Question, from: Instant, until: Instant) -> (Vec<f64>, Failures) {
    let (mut latencies, mut failures) = (Vec::new(), Failures::default());
    while failures.count < MOST_FAILURES && Instant::now() < until {
        let mut wire = match Wire::connect(question.port).await {
            Ok(wire) => wire,
            Err(error) => {
                failures.note(error);
                continue;
            }
        };
        loop {
            let started = Instant::now();
            if started >= until {
                break;
            }
            match exchange(&mut wire, &question.next()).await {
                Ok(status) if is_success(status) && started >= from => latencies.push(started.elapsed().as_secs_f64() * 1e3),
                Ok(status) if is_success(status) => {}
                Ok(status) => {
                    failures.note(format!("status {status}"));
                    break;
                }
                Err(error) => {
                    failures.note(error);
                    break;
                }
            }
        }
    }
    (latencies, failures)
}

async fn exchange(wire: &mut Wire, request: &[u8]) -> std::io::Result<u16> {
    wire.send(request).await?;
    let head = wire.head().await?;
    wire.skip_body(head).await?;
    Ok(head.status)
}

/// Streams that run at the same time.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// How many.
    pub streams: u32,
    /// How many pieces each has.
    pub chunks: u32,
    /// How often a piece comes.
    pub every: Duration,
    /// How far apart they begin. Best no multiple of the pace of the pieces, so that streams do not tick in step.
    pub step: Duration,
    /// How many streams each listener opens, one after the other. Of more than one, only that time counts in which all listeners have one.
    pub turns: u32,
}

impl Plan {
    fn ramp(self) -> Duration {
        self.step * self.streams
    }

    fn turn(self) -> Duration {
        self.every * (self.chunks + 1)
    }

    /// Which time counts, from the beginning on.
    fn counted(self) -> Range<Duration> {
        if self.turns > 1 { self.ramp()..self.turn() * self.turns } else { Duration::ZERO..Duration::MAX }
    }
}

/// What came of listening.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    /// From the model's write of a piece to its arrival here.
    pub delays: Samples,
    /// Streams that were refused, broke, or missed a piece.
    pub failures: Failures,
}

/// Opens the streams one after the other and listens to all of them. Every stream has a connection of its own.
///
/// # Errors
/// If they do not end in time.
pub async fn listen(question: &Question, plan: Plan) -> Result<Heard> {
    let (start, zero) = (Instant::now(), micros());
    let counted = plan.counted();
    let at = |after: Duration| zero.saturating_add(u64::try_from(after.as_micros()).unwrap_or(u64::MAX));
    let counted = at(counted.start)..at(counted.end);
    let mut tasks = JoinSet::new();
    for number in 0..plan.streams {
        let (question, counted) = (question.clone(), counted.clone());
        tasks.spawn(async move {
            sleep_until(start + plan.step * number).await;
            let (mut delays, mut failures) = (Vec::with_capacity(plan.chunks as usize), Failures::default());
            for _ in 0..plan.turns {
                if let Err(error) = follow(&question, plan.chunks, &counted, &mut delays).await {
                    failures.note(format!("{error:#}"));
                }
            }
            (delays, failures)
        });
    }
    let outcomes = timeout(plan.ramp() + plan.turn() * plan.turns + GRACE, tasks.join_all()).await.context("the streams did not end")?;
    let (mut all, mut failures) = (Vec::new(), Failures::default());
    for (delays, failed) in outcomes {
        all.extend(delays);
        failures.add(failed);
    }
    Ok(Heard { delays: Samples::new(all), failures })
}

async fn follow(question: &Question, chunks: u32, counted: &Range<u64>, delays: &mut Vec<f64>) -> Result<()> {
    let mut wire = Wire::connect(question.port).await.context("connecting")?;
    wire.send(&question.next()).await?;
    let head = wire.head().await?;
    if head.status != 200 {
        bail!("status {}", head.status);
    }
    let mut stamps = Stamps { line: Vec::new(), stamp: 0, digits: 0, pieces: 0, done: false, counted, delays };
    while let Some(bytes) = wire.chunk().await.context("in the stream")? {
        stamps.take(bytes, micros())?;
    }
    if !stamps.done {
        bail!("the stream ended without [DONE]");
    }
    if stamps.pieces != chunks {
        bail!("{} of {chunks} pieces came", stamps.pieces);
    }
    Ok(())
}

/// Finds the model's stamps in a stream of chat chunks, however the records and the text are cut.
struct Stamps<'a> {
    line: Vec<u8>,
    stamp: u64,
    digits: usize,
    pieces: u32,
    done: bool,
    /// When pieces must come to be counted.
    counted: &'a Range<u64>,
    delays: &'a mut Vec<f64>,
}

impl Stamps<'_> {
    fn take(&mut self, bytes: &[u8], now: u64) -> Result<()> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.record(&line, now)?;
                self.line = line;
                self.line.clear();
            }
        }
        Ok(())
    }

    fn record(&mut self, line: &[u8], now: u64) -> Result<()> {
        const CONTENT: &[u8] = br#""content":""#;
        let Some(data) = line.strip_prefix(b"data: ") else { return Ok(()) };
        if data.starts_with(b"[DONE]") {
            self.done = true;
            return Ok(());
        }
        let Some(at) = data.windows(CONTENT.len()).position(|window| window == CONTENT) else { return Ok(()) };
        let text = &data[at + CONTENT.len()..];
        for byte in text.iter().take_while(|byte| **byte != b'"') {
            match byte {
                b'0'..=b'9' => {
                    self.stamp = self.stamp.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                    self.digits += 1;
                }
                b' ' if self.digits > 0 => {
                    self.pieces += 1;
                    if self.counted.contains(&now) {
                        self.delays.push(Duration::from_micros(now.saturating_sub(self.stamp)).as_secs_f64() * 1e3);
                    }
                    (self.stamp, self.digits) = (0, 0);
                }
                b' ' => {}
                _ => bail!("unexpected text: {}", String::from_utf8_lossy(text).chars().take(200).collect::<String>()),
            }
        }
        Ok(())
    }
}
