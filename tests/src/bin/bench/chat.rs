//! What the gateway adds to the model's own time: for whole answers, and for each piece of a streamed one.

use crate::{
    bare::Bare,
    gateway::{Gateway, Site, resident, with_peak},
    load::{Failures, Heard, Load, Plan, Question, listen, spread},
    options::Effort,
    requests::{bearer, headers},
    table::{Measure, Table, Target, Unit},
    upstream::{TEXT, Upstream},
    wire::request,
};
use anyhow::{Context, Result};
use goclaw_tests::Edition;
use serde_json::json;
use std::time::Duration;

const PATH: &str = "/v1/chat/completions";
const CONCURRENT: usize = 50;
const WARM_UP: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(3);
const ROUNDS: usize = 2;
/// What a fast model takes, and what most models take at least. With the second, 50 callers ask 50 times a second, so that what is added
/// is the gateway's own time and not the queue for its cores.
const FAST: Duration = Duration::from_millis(100);
const USUAL_TIME: Duration = Duration::from_secs(1);
/// How many pieces an answer has that is streamed at once.
const PIECES: u32 = 8;

/// At any time as many streams, which begin and end one by one, as those of many users do: 20 of each a second.
const MANY: Plan = Plan { streams: 200, chunks: 500, every: Duration::from_millis(20), step: Duration::from_micros(50_100), turns: 2 };
/// As many that all begin within half a second, so that for a quarter of their time the gateway opens others.
const BURST: Plan = Plan { streams: 200, chunks: 100, every: Duration::from_millis(20), step: Duration::from_micros(2_600), turns: 1 };
const WARMING: Plan = Plan { chunks: 5, ..BURST };
const CROWD: Plan = Plan { streams: 1_000, chunks: 60, every: Duration::from_millis(50), ..BURST };

const fn added(what: &'static str, limit: f64, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::Ms, lite: Target::AtMost(limit), standard: Target::AtMost(limit), comment }
}

const fn reported(what: &'static str, unit: Unit, comment: &'static str) -> Measure {
    Measure { what, unit, lite: Target::Open, standard: Target::Open, comment }
}

/// What the gateway must do at the least with a model that answers at once.
pub const fn runs_per_second(what: &'static str, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::PerSecond, lite: Target::AtLeast(150.0), standard: Target::AtLeast(100.0), comment }
}

/// What must never happen.
pub const fn errors(what: &'static str, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::Count, lite: Target::AtMost(0.0), standard: Target::AtMost(0.0), comment }
}

const BARE: &str = "actix and reqwest with nothing in between, in the same run";

/// What is measured of whole answers.
struct Whole {
    /// What the model takes.
    delay: Duration,
    window: Duration,
    stream: bool,
    p50: Measure,
    p99: Measure,
    /// What the least adds that can stand in between.
    bare: Measure,
    rate: Measure,
    bare_rate: Measure,
    errors: Measure,
}

static USUAL: Whole = Whole {
    delay: USUAL_TIME,
    window: Duration::from_secs(10),
    stream: false,
    p50: added("chat, model takes 1 s: added p50", 2.0, "50 callers without a pause; through the gateway − direct"),
    p99: added("chat, model takes 1 s: added p99", 10.0, "the same"),
    bare: reported("chat, model takes 1 s: added p50, bare proxy", Unit::Ms, BARE),
    rate: reported("chat, model takes 1 s", Unit::PerSecond, "at most 50/s by construction; p50 / p99"),
    bare_rate: reported("chat, model takes 1 s, bare proxy", Unit::PerSecond, BARE),
    errors: errors("chat, model takes 1 s: errors", "anything but 200"),
};
static FAST_MODEL: Whole = Whole {
    delay: FAST,
    window: WINDOW,
    stream: false,
    p50: reported("chat, model takes 100 ms: added p50", Unit::Ms, "50 callers without a pause; through the gateway − direct"),
    p99: reported("chat, model takes 100 ms: added p99", Unit::Ms, "the same"),
    bare: reported("chat, model takes 100 ms: added p50, bare proxy", Unit::Ms, BARE),
    rate: reported("chat, model takes 100 ms", Unit::PerSecond, "at most 500/s by construction; p50 / p99"),
    bare_rate: reported("chat, model takes 100 ms, bare proxy", Unit::PerSecond, BARE),
    errors: errors("chat, model takes 100 ms: errors", "anything but 200"),
};
static INSTANT: Whole = Whole {
    delay: Duration::ZERO,
    window: WINDOW,
    stream: false,
    p50: reported("chat, instant model: added p50", Unit::Ms, "50 callers without a pause: the cores are full; through the gateway − direct"),
    p99: reported("chat, instant model: added p99", Unit::Ms, "the same"),
    bare: reported("chat, instant model: added p50, bare proxy", Unit::Ms, BARE),
    rate: runs_per_second("chat, instant model", "runs per second, each stored with session and trace; p50 / p99"),
    bare_rate: reported("chat, instant model, bare proxy", Unit::PerSecond, BARE),
    errors: errors("chat, instant model: errors", "anything but 200"),
};
static STREAMED: Whole = Whole {
    delay: Duration::ZERO,
    window: WINDOW,
    stream: true,
    p50: reported("chat as SSE, instant model: added p50", Unit::Ms, "50 callers without a pause, 8 chunks at once; until the stream has ended"),
    p99: reported("chat as SSE, instant model: added p99", Unit::Ms, "the same"),
    bare: reported("chat as SSE, instant model: added p50, bare proxy", Unit::Ms, BARE),
    rate: reported("chat as SSE, instant model", Unit::PerSecond, "runs per second; p50 / p99"),
    bare_rate: reported("chat as SSE, instant model, bare proxy", Unit::PerSecond, BARE),
    errors: errors("chat as SSE, instant model: errors", "anything but 200"),
};

static PIECE_P50: Measure =
    reported("200 streams: added per chunk, p50", Unit::Ms, "answers of 10 s, a chunk every 20 ms, 20 begin and end each second; through the gateway − direct");
static PIECE_P99: Measure = added("200 streams: added per chunk, p99", 1.0, "the same");
static BARE_P99: Measure = reported("200 streams: added per chunk, p99, bare proxy", Unit::Ms, BARE);
static BURST_P50: Measure =
    reported("200 streams begun at once: added per chunk, p50", Unit::Ms, "answers of 2 s, all begun within 0.5 s; through the gateway − direct");
static BURST_P99: Measure = reported("200 streams begun at once: added per chunk, p99", Unit::Ms, "the same");
static STREAM_ERRORS: Measure = errors("200 streams: errors", "of both: refused, broken, or a chunk missing");
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
    /// How much load there is.
    pub effort: Effort,
    /// The model.
    pub upstream: &'a Upstream,
    /// The API key for the gateway.
    pub key: &'a str,
    /// Another one, with which anybody may chat.
    pub clients_key: &'a str,
}

impl Asking<'_> {
    /// A question to the gateway.
    pub fn through(&self, gateway: &Gateway, stream: bool) -> Question {
        let body = json!({"model": "goclaw:bench-0", "messages": [{"role": "user", "content": "Say hello."}], "stream": stream});
        Question::new(gateway.port, request("POST", PATH, &headers(&bearer(self.key)), &body.to_string()))
    }

    fn direct(&self, stream: bool) -> Question {
        self.to(self.upstream.port(), stream)
    }

    fn to(&self, port: u16, stream: bool) -> Question {
        let body = json!({"model": "stub", "messages": [{"role": "user", "content": "Say hello."}], "stream": stream});
        Question::new(port, request("POST", PATH, &[], &body.to_string()))
    }

    /// Measures whole answers.
    ///
    /// # Errors
    /// If they do not come.
    pub async fn whole(&self, table: &mut Table, gateway: &Gateway) -> Result<()> {
        let bare = Bare::proxy(self.upstream.port(), PATH)?;
        for measured in [&USUAL, &FAST_MODEL, &INSTANT, &STREAMED] {
            let (through, direct) = (self.through(gateway, measured.stream), self.direct(measured.stream));
            let past = self.to(bare.port(), measured.stream);
            self.upstream.answer(Duration::ZERO, PIECES, Duration::ZERO);
            // The first run prepares the user's files.
            self.through(gateway, false).probe("choices").await.context("a first chat")?;
            self.direct(false).probe(TEXT).await.context("the model")?;
            self.upstream.answer(measured.delay, PIECES, Duration::ZERO);
            let (mut ours, mut models, mut passed) = (Load::default(), Load::default(), Load::default());
            let (warm_up, window) = (measured.delay + self.effort.time(WARM_UP), measured.delay + self.effort.time(measured.window));
            for _ in 0..ROUNDS {
                models.add(spread(&direct, CONCURRENT, measured.delay, warm_up, window).await?);
                ours.add(spread(&through, CONCURRENT, measured.delay, warm_up, window).await?);
                passed.add(spread(&past, CONCURRENT, measured.delay, warm_up, window).await.context("through the bare proxy")?);
            }
            let mut put = |measure: &'static Measure, share: f64, load: &Load| {
                let (with, without) = (load.latencies.percentile(share), models.latencies.percentile(share));
                table.put(measure, self.edition, with - without, format!("{with:.2} − {without:.2}"));
            };
            put(&measured.p50, 0.5, &ours);
            put(&measured.p99, 0.99, &ours);
            put(&measured.bare, 0.5, &passed);
            table.put(&measured.rate, self.edition, ours.rate(), ours.percentiles());
            table.put(&measured.bare_rate, self.edition, passed.rate(), passed.percentiles());
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
        let (mut failures, mut steady) = ([Failures::default(), Failures::default()], Heard::default());
        for (plan, p50, p99) in [(MANY, &PIECE_P50, &PIECE_P99), (BURST, &BURST_P50, &BURST_P99)] {
            let (ours, models) = self.both(gateway, self.sized(plan)).await?;
            self.delay(table, p50, 0.5, &ours, &models);
            self.delay(table, p99, 0.99, &ours, &models);
            failures[0].add(ours.failures);
            failures[1].add(models.failures.clone());
            if plan.turns > 1 {
                steady = models;
            }
        }
        let bare = Bare::proxy(self.upstream.port(), PATH)?;
        let ours = listen(&self.to(bare.port(), true), self.pace(self.sized(MANY))).await.context("through the bare proxy")?;
        self.delay(table, &BARE_P99, 0.99, &ours, &steady);
        failures[0].add(ours.failures);
        let [ours, models] = failures;
        self.failures(table, &STREAM_ERRORS, ours, models);
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
        let crowd = self.sized(CROWD);
        let (heard, peak) = with_peak(gateway.pid(), self.both(&gateway, crowd)).await;
        let (ours, models) = heard?;
        self.delay(table, &CROWD_P99, 0.99, &ours, &models);
        self.failures(table, &CROWD_ERRORS, ours.failures, models.failures);
        let each = peak.saturating_sub(before) as f64 / 1e3 / f64::from(crowd.streams);
        let note = format!("{:.1} to {:.1} MB", before as f64 / 1e6, peak as f64 / 1e6);
        table.put(&CROWD_MEMORY, self.edition, each, note);
        gateway.stop()
    }

    /// With less effort there are fewer streams, as far apart that they begin in the same time.
    fn sized(&self, plan: Plan) -> Plan {
        let streams = self.effort.count(plan.streams as usize).try_into().unwrap_or(plan.streams);
        Plan { streams, step: plan.step * plan.streams / streams.max(1), ..plan }
    }

    fn pace(&self, plan: Plan) -> Plan {
        self.upstream.answer(Duration::ZERO, plan.chunks, plan.every);
        plan
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
