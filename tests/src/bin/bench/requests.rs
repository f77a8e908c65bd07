//! Small requests, against a server that does nothing else and, on PostgreSQL, against the database alone.

use crate::{
    bare::Bare,
    gateway::{Gateway, Site, USER},
    load::{Load, NUMBER, Question, saturate},
    options::Effort,
    table::{Measure, Table, Target, Unit},
    wire::request,
};
use anyhow::{Context, Result, bail};
use goclaw_tests::Edition;
use serde_json::json;
use std::{process::Stdio, time::Duration};
use tokio::{process::Command, time::timeout};
use url::Url;

const CONNECTIONS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_millis(2_500);
/// The two servers take turns, so that a change of the machine's speed meets both.
const ROUNDS: usize = 2;
/// How many agents there are to be listed.
const AGENTS: usize = 10;

/// What is measured of one path.
struct Path {
    path: &'static str,
    rate: Measure,
    bare: Measure,
    share: Measure,
}

const fn rate(what: &'static str, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::PerSecond, lite: Target::Open, standard: Target::Open, comment }
}

const fn share(what: &'static str) -> Measure {
    Measure { what, unit: Unit::Percent, lite: Target::Open, standard: Target::Open, comment: "ratio of the two rates" }
}

const fn errors(what: &'static str, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::Count, lite: Target::AtMost(0.0), standard: Target::AtMost(0.0), comment }
}

static HEALTH: Path = Path {
    path: "/health",
    rate: rate("GET /health", "64 keep-alive connections, p50 / p99"),
    bare: rate("GET /health, bare actix", "the same bytes, in the same run"),
    share: Measure {
        what: "GET /health, of bare actix",
        unit: Unit::Percent,
        lite: Target::AtLeast(50.0),
        standard: Target::AtLeast(50.0),
        comment: "ratio of the two rates",
    },
};
static AGENT_LIST: Path = Path {
    path: "/v1/agents",
    rate: rate("GET /v1/agents", "10 agents, API key; 64 keep-alive connections, p50 / p99"),
    bare: rate("GET /v1/agents, bare actix", "the same bytes, in the same run"),
    share: Measure {
        what: "GET /v1/agents, of bare actix",
        unit: Unit::Percent,
        lite: Target::AtLeast(50.0),
        standard: Target::Open,
        comment: "ratio of the two rates",
    },
};
static ONE_AGENT: Path = Path {
    path: "/v1/agents/bench-0",
    rate: rate("GET /v1/agents/{key}", "API key; 64 keep-alive connections, p50 / p99"),
    bare: rate("GET /v1/agents/{key}, bare actix", "the same bytes, in the same run"),
    share: share("GET /v1/agents/{key}, of bare actix"),
};
static CREATE: Path = Path {
    path: "/v1/agents",
    rate: rate("POST /v1/agents", "a new agent each, with its files, durable; 64 keep-alive connections, p50 / p99"),
    bare: rate("POST /v1/agents, bare actix", "the same bytes both ways, in the same run; nothing is stored"),
    share: share("POST /v1/agents, of bare actix"),
};
static CREATE_ERRORS: Measure = errors("POST, errors", "anything but 201");
static PGBENCH: Measure = rate("pgbench -S", "prepared statements, 16 clients, the same server");
static OF_PGBENCH: Measure = Measure {
    what: "GET /v1/agents, of pgbench -S",
    unit: Unit::Percent,
    lite: Target::Open,
    standard: Target::AtLeast(50.0),
    comment: "ratio of the two rates",
};
static ERRORS: Measure = errors("GET, errors", "anything but 200");

/// Makes the agents that are listed; the first one is who chats are with.
///
/// # Errors
/// If the gateway refuses one.
pub async fn add_agents(gateway: &Gateway, key: &str) -> Result<()> {
    for number in 0..AGENTS {
        let (status, answer) = new_agent(gateway.port, key, &format!("bench-{number}")).ask().await?;
        if status != 201 {
            bail!("POST /v1/agents: {status}: {}", String::from_utf8_lossy(&answer));
        }
    }
    Ok(())
}

/// The request for a new agent.
pub fn new_agent(port: u16, key: &str, name: &str) -> Question {
    let body = json!({"agent_key": name, "display_name": "Bench", "provider": "openai", "model": "stub"});
    Question::new(port, request("POST", CREATE.path, &headers(&bearer(key)), &body.to_string()))
}

/// Measures the rate of creating, on a site of its own.
///
/// # Errors
/// If an answer is not what it should be, or does not come.
pub async fn creates(table: &mut Table, effort: Effort, edition: Edition, site: &Site) -> Result<()> {
    site.launch()?.stop()?;
    let key = site.add_key().await;
    let gateway = site.launch()?;
    let first = new_agent(gateway.port, &key, "first").probe("\"id\"").await?;
    let bare = Bare::start(vec![(CREATE.path, serde_json::from_slice(&first)?)])?;
    let name = format!("made-{NUMBER}");
    let failures = compare(table, effort, edition, &CREATE, &new_agent(gateway.port, &key, &name), &new_agent(bare.port(), &key, &name)).await?.failures;
    table.put(&CREATE_ERRORS, edition, failures.count as f64, failures.first.unwrap_or_default());
    gateway.stop()
}

/// Measures the rates of small requests that read.
///
/// # Errors
/// If an answer is not what it should be, or does not come.
pub async fn measure(table: &mut Table, effort: Effort, edition: Edition, gateway: &Gateway, key: &str, dsn: Option<&str>) -> Result<()> {
    let bearer = bearer(key);
    let question = |port, path: &str| Question::new(port, request("GET", path, &headers(&bearer), ""));
    let health = question(gateway.port, HEALTH.path).probe("\"ok\"").await?;
    let agents = question(gateway.port, AGENT_LIST.path).probe("bench-9").await?;
    let agent = question(gateway.port, ONE_AGENT.path).probe("bench-0").await?;
    let documents = [(HEALTH.path, health), (AGENT_LIST.path, agents), (ONE_AGENT.path, agent)];
    let documents = documents.map(|(path, document)| serde_json::from_slice(&document).map(|document| (path, document)));
    let bare = Bare::start(documents.into_iter().collect::<Result<_, _>>()?)?;

    let mut errors = crate::load::Failures::default();
    let mut list_rate = 0.0;
    for measured in [&HEALTH, &AGENT_LIST, &ONE_AGENT] {
        let ours = compare(table, effort, edition, measured, &question(gateway.port, measured.path), &question(bare.port(), measured.path)).await?;
        if measured.path == AGENT_LIST.path {
            list_rate = ours.rate();
        }
        errors.add(ours.failures);
    }
    drop(bare);
    table.put(&ERRORS, edition, errors.count as f64, errors.first.unwrap_or_default());

    if let Some(dsn) = dsn
        && let Some(tps) = pgbench(dsn, effort).await?
    {
        table.put(&PGBENCH, edition, tps, "");
        table.put(&OF_PGBENCH, edition, list_rate / tps * 100.0, "");
    }
    Ok(())
}

/// The value of the header that holds an API key.
pub fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// The headers of a caller.
pub fn headers(bearer: &str) -> [(&str, &str); 2] {
    [("Authorization", bearer), ("X-GoClaw-User-Id", USER)]
}

/// Measures one path on the gateway and on the bare server, and answers with what came of the gateway's.
async fn compare(table: &mut Table, effort: Effort, edition: Edition, measured: &'static Path, ours: &Question, theirs: &Question) -> Result<Load> {
    let (mut gateway, mut bare) = (Load::default(), Load::default());
    for _ in 0..ROUNDS {
        bare.add(saturate(theirs, CONNECTIONS, effort.time(WARM_UP), effort.time(WINDOW)).await?);
        gateway.add(saturate(ours, CONNECTIONS, effort.time(WARM_UP), effort.time(WINDOW)).await?);
    }
    if bare.failures.count > 0 {
        bail!("the bare server fails: {}", bare.failures.first.unwrap_or_default());
    }
    table.put(&measured.rate, edition, gateway.rate(), gateway.percentiles());
    table.put(&measured.bare, edition, bare.rate(), bare.percentiles());
    table.put(&measured.share, edition, gateway.rate() / bare.rate() * 100.0, "");
    Ok(gateway)
}

/// Selects per second by primary key, as PostgreSQL's own benchmark counts them; `None` if it is not installed.
async fn pgbench(dsn: &str, effort: Effort) -> Result<Option<f64>> {
    let url = Url::parse(dsn).context("the DSN is no URL")?;
    let run = async |arguments: &[&str]| {
        let mut command = Command::new("pgbench");
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        command.env("PGHOST", url.host_str().unwrap_or("127.0.0.1")).env("PGPORT", url.port().unwrap_or(5432).to_string());
        command.env("PGUSER", url.username()).env("PGPASSWORD", url.password().unwrap_or_default());
        command.env("PGDATABASE", url.path().trim_start_matches('/'));
        timeout(Duration::from_secs(60), command.output())
            .await
            .context("pgbench does not end")?
            .map(Some)
            .or_else(|error| if error.kind() == std::io::ErrorKind::NotFound { Ok(None) } else { Err(anyhow::Error::from(error)) })
    };
    if run(&["--initialize", "--quiet", "--scale=1"]).await?.is_none() {
        eprintln!("bench: pgbench is not on the PATH");
        return Ok(None);
    }
    let Some(output) =
        run(&["--select-only", "--protocol=prepared", "--client=16", "--jobs=1", &format!("--time={}", if effort == Effort::Full { 5 } else { 1 })]).await?
    else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok());
    tps.map(Some).with_context(|| format!("pgbench: {text}{}", String::from_utf8_lossy(&output.stderr)))
}
