//! Small requests, against a server that does nothing else and, on PostgreSQL, against the database alone.

use crate::{
    bare::Bare,
    gateway::{Gateway, USER},
    load::{Load, Question, saturate},
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
static PGBENCH: Measure = rate("pgbench -S", "prepared statements, 16 clients, the same server");
static OF_PGBENCH: Measure = Measure {
    what: "GET /v1/agents, of pgbench -S",
    unit: Unit::Percent,
    lite: Target::Open,
    standard: Target::AtLeast(50.0),
    comment: "ratio of the two rates",
};
static ERRORS: Measure =
    Measure { what: "GET, errors", unit: Unit::Count, lite: Target::AtMost(0.0), standard: Target::AtMost(0.0), comment: "anything but 200" };

/// Makes the agents that are listed; the first one is who chats are with.
///
/// # Errors
/// If the gateway refuses one.
pub async fn add_agents(gateway: &Gateway, key: &str) -> Result<()> {
    for number in 0..AGENTS {
        let body = json!({"agent_key": format!("bench-{number}"), "display_name": format!("Bench {number}"), "provider": "openai", "model": "stub"});
        let bytes = request("POST", "/v1/agents", &headers(&bearer(key)), &body.to_string()).into();
        let (status, answer) = Question { port: gateway.port, bytes }.ask().await?;
        if status != 201 {
            bail!("POST /v1/agents: {status}: {}", String::from_utf8_lossy(&answer));
        }
    }
    Ok(())
}

/// Measures the rates of small requests.
///
/// # Errors
/// If an answer is not what it should be, or does not come.
pub async fn measure(table: &mut Table, edition: Edition, gateway: &Gateway, key: &str, dsn: Option<&str>) -> Result<()> {
    let bearer = bearer(key);
    let question = |port, path: &str| Question { port, bytes: request("GET", path, &headers(&bearer), "").into() };
    let health = question(gateway.port, HEALTH.path).probe("\"ok\"").await?;
    let agents = question(gateway.port, AGENT_LIST.path).probe("bench-9").await?;
    let bare = Bare::start(vec![(HEALTH.path, serde_json::from_slice(&health)?), (AGENT_LIST.path, serde_json::from_slice(&agents)?)])?;

    let mut errors = crate::load::Failures::default();
    let mut list_rate = 0.0;
    for measured in [&HEALTH, &AGENT_LIST] {
        let (mut ours, mut theirs) = (Load::default(), Load::default());
        for _ in 0..ROUNDS {
            theirs.add(saturate(&question(bare.port(), measured.path), CONNECTIONS, WARM_UP, WINDOW).await?);
            ours.add(saturate(&question(gateway.port, measured.path), CONNECTIONS, WARM_UP, WINDOW).await?);
        }
        if theirs.failures.count > 0 {
            bail!("the bare server fails: {}", theirs.failures.first.unwrap_or_default());
        }
        table.put(&measured.rate, edition, ours.rate(), spread(&ours));
        table.put(&measured.bare, edition, theirs.rate(), spread(&theirs));
        table.put(&measured.share, edition, ours.rate() / theirs.rate() * 100.0, "");
        list_rate = ours.rate();
        errors.add(ours.failures);
    }
    drop(bare);
    table.put(&ERRORS, edition, errors.count as f64, errors.first.unwrap_or_default());

    if let Some(dsn) = dsn
        && let Some(tps) = pgbench(dsn).await?
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

fn spread(load: &Load) -> String {
    format!("{:.2} / {:.2} ms", load.latencies.percentile(0.5), load.latencies.percentile(0.99))
}

/// Selects per second by primary key, as PostgreSQL's own benchmark counts them; `None` if it is not installed.
async fn pgbench(dsn: &str) -> Result<Option<f64>> {
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
    let Some(output) = run(&["--select-only", "--protocol=prepared", "--client=16", "--jobs=1", "--time=5"]).await? else { return Ok(None) };
    let text = String::from_utf8_lossy(&output.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next()?.parse().ok());
    tps.map(Some).with_context(|| format!("pgbench: {text}{}", String::from_utf8_lossy(&output.stderr)))
}
