//! What the gateway adds to the model's own time: for whole answers, and for each piece of a streamed one.

use crate::{
    gateway::{Gateway, Site, resident},
    load::{Failures, Heard, Load, Plan, Question, listen, saturate},
    requests::{bearer, headers},
    table::{Measure, Table, Target, Unit},
    upstream::{TEXT, Upstream},
    wire::request,
};
use anyhow::{Context, Result};
use goclaw_tests::Edition;
use serde_json::json;
use std::{pin::pin, time::Duration};
use tokio::time::interval;

const PATH: &str = "/v1/chat/completions";
const CONCURRENT: usize = 50;
const WARM_UP: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(3);
const ROUNDS: usize = 2;
/// What a fast model takes.
const MODEL_TIME: Duration = Duration::from_millis(100);

const MANY: Plan = Plan { streams: 200, chunks: 100, every: Duration::from_millis(20) };
const WARMING: Plan = Plan { streams: 200, chunks: 5, every: Duration::from_millis(20) };
const CROWD: Plan = Plan { streams: 1_000, chunks: 60, every: Duration::from_millis(50) };

const fn added(what: &'static str, limit: f64, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::Ms, lite: Target::AtMost(limit), standard: Target::AtMost(limit), comment }
}

const fn reported(what: &'static str, unit: Unit, comment: &'static str) -> Measure {
    Measure { what, unit, lite: Target::Open, standard: Target::Open, comment }
}

const fn errors(what: &'static str, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::Count, lite: Target::AtMost(0.0), standard: Target::AtMost(0.0), comment }
}

/// What is measured of whole answers.
struct Whole {
    delay: Duration,
    p50: Measure,
    p99: Measure,
    rate: Measure,
    errors: Measure,
}

static INSTANT: Whole = Whole {
    delay: Duration::ZERO,
    p50: added("chat, instant model: added p50", 2.0, "50 callers without a pause: the cores are full; through the gateway − direct"),
    p99: added("chat, instant model: added p99", 10.0, "the same"),
    rate: reported("chat, instant model", Unit::PerSecond, "runs per second, each stored with session and trace"),
    errors: errors("chat, instant model: errors", "anything but 200"),
};
static USUAL: Whole = Whole {
    delay: MODEL_TIME,
    p50: added("chat, model takes 100 ms: added p50", 2.0, "50 callers without a pause; through the gateway − direct"),
    p99: added("chat, model takes 100 ms: added p99", 10.0, "the same"),
    rate: reported("chat, model takes 100 ms", Unit::PerSecond, "at most 500/s by construction"),
    errors: errors("chat, model takes 100 ms: errors", "anything but 200"),
};

static PIECE_P50: Measure = reported("200 streams: added per chunk, p50", Unit::Ms, "100 chunks each, one every 20 ms; through the gateway − direct");
static PIECE_P99: Measure = added("200 streams: added per chunk, p99", 1.0, "the same");
static STREAM_ERRORS: Measure = errors("200 streams: errors", "refused, broken, or a chunk missing");
static CROWD_P99: Measure = reported("1,000 streams: added per chunk, p99", Unit::Ms, "60 chunks each, one every 50 ms, no connection warm");
static CROWD_ERRORS: Measure = errors("1,000 streams: errors", "refused, broken, or a chunk missing");
static CROWD_MEMORY: Measure = Measure {
    what: "memory per running stream",
    unit: Unit::Kb,
    lite: Target::AtMost(60.0),
    standard: Target::AtMost(60.0),
    comment: "(highest RSS during 1,000 streams − before) / 1,000, new process",
};

/// Who asks the model: a client of the gateway, or nobody in between.
pub struct Asking<'a> {
    /// The edition of the gateway.
    pub edition: Edition,
    /// The model.
    pub upstream: &'a Upstream,
    /// The API key for the gateway.
    pub key: &'a str,
}

impl Asking<'_> {
    fn through(&self, gateway: &Gateway, stream: bool) -> Question {
        let body = json!({"model": "goclaw:bench-0", "messages": [{"role": "user", "content": "Say hello."}], "stream": stream});
        Question { port: gateway.port, bytes: request("POST", PATH, &headers(&bearer(self.key)), &body.to_string()).into() }
    }

    fn direct(&self, stream: bool) -> Question {
        let body = json!({"model": "stub", "messages": [{"role": "user", "content": "Say hello."}], "stream": stream});
        Question { port: self.upstream.port(), bytes: request("POST", PATH, &[], &body.to_string()).into() }
    }

    /// Measures whole answers.
    ///
    /// # Errors
    /// If they do not come.
    pub async fn whole(&self, table: &mut Table, gateway: &Gateway) -> Result<()> {
        let (through, direct) = (self.through(gateway, false), self.direct(false));
        for measured in [&INSTANT, &USUAL] {
            self.upstream.answer(Duration::ZERO, 1, Duration::ZERO);
            // The first run prepares the user's files.
            through.probe("choices").await.context("a first chat")?;
            direct.probe(TEXT).await.context("the model")?;
            self.upstream.answer(measured.delay, 1, Duration::ZERO);
            let (mut ours, mut models) = (Load::default(), Load::default());
            for _ in 0..ROUNDS {
                models.add(saturate(&direct, CONCURRENT, WARM_UP, WINDOW).await?);
                ours.add(saturate(&through, CONCURRENT, WARM_UP, WINDOW).await?);
            }
            for (measure, share) in [(&measured.p50, 0.5), (&measured.p99, 0.99)] {
                let (with, without) = (ours.latencies.percentile(share), models.latencies.percentile(share));
                table.put(measure, self.edition, with - without, format!("{with:.2} − {without:.2}"));
            }
            table.put(&measured.rate, self.edition, ours.rate(), "");
            self.failures(table, &measured.errors, ours.failures, models.failures);
        }
        Ok(())
    }

    /// Measures streamed answers at the pace of a usual model.
    ///
    /// # Errors
    /// If they do not end.
    pub async fn streams(&self, table: &mut Table, gateway: &Gateway) -> Result<()> {
        self.pace(WARMING);
        listen(&self.through(gateway, true), WARMING).await.context("warming up")?;
        let (ours, models) = self.both(gateway, MANY).await?;
        for (measure, share) in [(&PIECE_P50, 0.5), (&PIECE_P99, 0.99)] {
            self.delay(table, measure, share, &ours, &models);
        }
        self.failures(table, &STREAM_ERRORS, ours.failures, models.failures);
        Ok(())
    }

    /// Measures a thousand streams at once, on a new process.
    ///
    /// # Errors
    /// If they do not end, or the gateway does not start.
    pub async fn crowd(&self, table: &mut Table, site: &Site) -> Result<()> {
        let gateway = site.launch()?;
        self.upstream.answer(Duration::ZERO, 1, Duration::ZERO);
        self.through(&gateway, false).probe("choices").await.context("a first chat")?;
        let before = resident(gateway.pid())?;
        let (heard, peak) = with_peak(gateway.pid(), self.both(&gateway, CROWD)).await;
        let (ours, models) = heard?;
        self.delay(table, &CROWD_P99, 0.99, &ours, &models);
        self.failures(table, &CROWD_ERRORS, ours.failures, models.failures);
        let each = peak.saturating_sub(before) as f64 / 1e3 / f64::from(CROWD.streams);
        let note = format!("{:.1} to {:.1} MB", before as f64 / 1e6, peak as f64 / 1e6);
        table.put(&CROWD_MEMORY, self.edition, each, note);
        gateway.stop()
    }

    fn pace(&self, plan: Plan) {
        self.upstream.answer(Duration::ZERO, plan.chunks, plan.every);
    }

    async fn both(&self, gateway: &Gateway, plan: Plan) -> Result<(Heard, Heard)> {
        self.pace(plan);
        let models = listen(&self.direct(true), plan).await.context("direct")?;
        let ours = listen(&self.through(gateway, true), plan).await.context("through the gateway")?;
        Ok((ours, models))
    }

    fn delay(&self, table: &mut Table, measure: &'static Measure, share: f64, ours: &Heard, models: &Heard) {
        let (with, without) = (ours.delays.percentile(share), models.delays.percentile(share));
        table.put(measure, self.edition, with - without, format!("{with:.2} − {without:.2}"));
    }

    fn failures(&self, table: &mut Table, measure: &'static Measure, mut ours: Failures, models: Failures) {
        ours.add(Failures { count: models.count, first: models.first.map(|first| format!("direct: {first}")) });
        table.put(measure, self.edition, ours.count as f64, ours.first.unwrap_or_default());
    }
}

/// Does the work, and answers with the most memory that the process had meanwhile, in bytes.
async fn with_peak<T>(pid: u32, work: impl Future<Output = T>) -> (T, u64) {
    let mut work = pin!(work);
    let mut ticks = interval(Duration::from_millis(100));
    let mut peak = 0;
    loop {
        tokio::select! {
            outcome = &mut work => return (outcome, peak),
            _ = ticks.tick() => peak = peak.max(resident(pid).unwrap_or_default()),
        }
    }
}
