//! How long sums of usage take: 90 days of a million spans.

use crate::{
    gateway::Scratch,
    load::Samples,
    table::{Measure, Table, Target, Unit},
};
use anyhow::{Context, Result, ensure};
use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use futures_util::{StreamExt, TryStreamExt, stream};
use goclaw_ports::{
    AgentId, TenantId,
    stores::Stores,
    traces::{Span, Trace, TraceStatus, TraceStore},
    usage::{UsageFilter, UsageKey},
};
use goclaw_postgres::PostgresOptions;
use goclaw_sqlite::SqliteOptions;
use goclaw_tests::{Edition, fixtures};
use secrecy::SecretString;
use std::sync::Arc;
use tokio::{runtime, task::spawn_blocking, time::Instant};
use uuid::Uuid;

const HOURS: i64 = 90 * 24;
/// Runs of an hour; each has [`CALLS`] calls of models.
const RUNS: i64 = 58;
const CALLS: i64 = 8;
const AGENTS: i64 = 20;
const CHANNELS: [&str; 4] = ["ws", "http", "telegram", "slack"];
const MODELS: [(&str, &str); 5] = [("openai", "gpt-4o"), ("openai", "o3-mini"), ("anthropic", "sonnet"), ("anthropic", "haiku"), ("groq", "llama")];
const ROUNDS: usize = 20;

const fn in_100_ms(what: &'static str, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::Ms, lite: Target::AtMost(100.0), standard: Target::AtMost(100.0), comment }
}

static SERIES: Measure = in_100_ms("usage, 90 days by hour", "2,160 points of 1,000,000 spans, through the store; p50, slowest behind it");
static SERIES_OF_AGENT: Measure = in_100_ms("usage, 90 days by hour, of one agent of 20", "the same");
static SERIES_OF_PROVIDER: Measure = in_100_ms("usage, 90 days by hour, of one provider of three", "the same");
static BY_MODEL: Measure = in_100_ms("usage, 90 days by model", "five models");
static BY_AGENT: Measure = in_100_ms("usage, 90 days by agent", "20 agents");

/// Measures sums of usage on a database of their own.
///
/// # Errors
/// If the store fails.
pub async fn measure(table: &mut Table, edition: Edition) -> Result<()> {
    let dir = tempfile::tempdir().context("a temporary directory")?;
    let database = match edition {
        Edition::Lite => None,
        Edition::Standard => Some(Scratch::create().await),
    };
    let (path, dsn) = (dir.path().join("goclaw.db"), database.as_ref().map(|database| SecretString::from(database.dsn())));
    let taken = spawn_blocking(move || {
        runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let stores = match dsn {
                None => goclaw_sqlite::open(SqliteOptions { path, readers: 4 }).await?,
                Some(dsn) => goclaw_postgres::open(PostgresOptions { dsn, max_connections: 20, migrate: true, fallback_limiter: None }).await?.stores,
            };
            let taken = sums(&stores).await;
            stores.database.close().await;
            taken
        })
    });
    for (measure, taken) in taken.await?? {
        table.put(measure, edition, taken.percentile(0.5), format!("{:.2} ms", taken.percentile(1.0)));
    }
    Ok(())
}

/// The beginning of hour number `n`.
fn hour(n: i64) -> Result<DateTime<Utc>> {
    Ok(fixtures::at(0).duration_trunc(TimeDelta::hours(1))? + TimeDelta::hours(n))
}

async fn sums(stores: &Stores) -> Result<Vec<(&'static Measure, Samples)>> {
    let agents: Vec<_> = (0..AGENTS).map(|_| AgentId(Uuid::now_v7())).collect();
    let (first, end) = (hour(0)?, hour(HOURS)?);
    let runs: Arc<dyn TraceStore> = stores.traces.clone();
    let filled = (0..HOURS * RUNS).map(|n| store(runs.clone(), agents[usize::try_from(n % AGENTS).unwrap_or_default()], first, n));
    stream::iter(filled).buffer_unordered(64).try_collect::<()>().await?;
    while stores.usage.all_tenants_count_hour(end + TimeDelta::minutes(30)).await?.is_some() {}

    let all = UsageFilter::between(first, end);
    let mut measured = Vec::new();
    let series = [
        (&SERIES, all.clone()),
        (&SERIES_OF_AGENT, UsageFilter { agent_id: Some(agents[3]), ..all.clone() }),
        (&SERIES_OF_PROVIDER, UsageFilter { provider: Some("openai".into()), ..all.clone() }),
    ];
    for (measure, filter) in series {
        let read = async || {
            let hours = stores.usage.hours(TenantId::MASTER, &filter).await?.len();
            ensure!(hours == usize::try_from(HOURS)?, "{}: {hours} hours", measure.what);
            Ok(())
        };
        measured.push((measure, timed(read).await?));
    }
    for (measure, by, rows) in [(&BY_MODEL, UsageKey::Model, MODELS.len()), (&BY_AGENT, UsageKey::Agent, agents.len())] {
        let read = async || {
            let found = stores.usage.breakdown(TenantId::MASTER, &all, by).await?.len();
            ensure!(found == rows, "{}: {found} rows", measure.what);
            Ok(())
        };
        measured.push((measure, timed(read).await?));
    }
    Ok(measured)
}

/// Stores run number `n` with its calls.
async fn store(traces: Arc<dyn TraceStore>, agent: AgentId, first: DateTime<Utc>, n: i64) -> goclaw_ports::Result<()> {
    let place = |n: i64, all: usize| usize::try_from(n).unwrap_or_default() % all;
    let start = first + TimeDelta::hours(n / RUNS) + TimeDelta::minutes(n % RUNS);
    let trace = Trace {
        agent_id: Some(agent),
        user_id: format!("user{}", n % 200),
        channel: CHANNELS[place(n / AGENTS, CHANNELS.len())].into(),
        start_time: start,
        created_at: start,
        end_time: Some(start),
        duration_ms: Some(1_000),
        status: TraceStatus::Completed,
        ..fixtures::trace()
    };
    let (provider, model) = MODELS[place(n / 7, MODELS.len())];
    let call = |_| Span {
        provider: provider.into(),
        model: model.into(),
        input_tokens: Some(1_000),
        output_tokens: Some(200),
        total_cost: Some(0.01),
        ..fixtures::span(TenantId::MASTER, trace.id, "llm_call")
    };
    let spans: Vec<Span> = (0..CALLS).map(call).collect();
    traces.insert(TenantId::MASTER, &trace).await?;
    traces.put_spans(TenantId::MASTER, &spans).await
}

async fn timed(mut once: impl AsyncFnMut() -> Result<()>) -> Result<Samples> {
    once().await?;
    let mut taken = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        once().await?;
        taken.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Samples::new(taken))
}
