//! Lets schemathesis loose on both editions, as everybody from a stranger to the owner: nothing may end in a failure of the
//! gateway's, or in an answer that the OpenAPI document does not promise.

use anyhow::{Context, Result, bail};
use futures_util::future::join_all;
use goclaw_ports::roles::Scope;
use goclaw_tests::{
    Edition, Server, Setup,
    fixtures::{add_api_key, add_tenant},
    one_of_each::{self, Names, PLACES},
    server::{GATEWAY_TOKEN, free_port},
};
use std::{collections::BTreeMap, path::Path, process::ExitCode, time::Duration};
use tokio::{process::Command, time::Instant};

const USAGE: &str = "usage: fuzz-api [--quick] [--seed N] [--examples N] [--edition lite|standard] [--role NAME] [--operation ID]

Runs schemathesis against both editions as none, viewer, operator, admin and owner, and fails if an answer is a server error or is
not what the OpenAPI document says.

  --quick          the short run of .ci/run: few examples, a fixed seed
  --seed N         the same requests as another run with this seed; otherwise it is random, and told
  --examples N     how many requests per operation are made up, 100 if absent
  --edition NAME   only this edition
  --role NAME      only as this role
  --operation ID   only this operation of the document";

/// Who asks, from those who may do nothing to those who may do everything and end the tenant.
const ROLES: [&str; 5] = ["none", "viewer", "operator", "admin", "owner"];
/// What an answer is held against.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance";
/// A WebSocket is no answer to a request.
const EXCLUDED: &str = "ws";
/// How long one role on one edition may take at most.
const LIMIT: Duration = Duration::from_secs(3_600);

struct Plan {
    seed: u32,
    examples: u32,
    quick: bool,
    edition: Option<String>,
    role: Option<String>,
    operation: Option<String>,
}

/// What schemathesis said.
struct Outcome {
    what: String,
    passed: bool,
    text: String,
    took: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    let plan = match plan(std::env::args().skip(1)) {
        Ok(Some(plan)) => plan,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("fuzz-api: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    println!("seed {}", plan.seed);
    let wanted = |edition: Edition| plan.edition.as_deref().is_none_or(|name| name == edition.name());
    let editions = [Edition::Lite, Edition::Standard].into_iter().filter(|edition| wanted(*edition));
    let mut failed = false;
    for run in join_all(editions.map(|edition| fuzz(edition, &plan))).await {
        match run {
            Ok(outcomes) => failed |= outcomes.iter().any(|outcome| !outcome.passed),
            Err(error) => {
                eprintln!("fuzz-api: {error:#}");
                failed = true;
            }
        }
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Result<Option<Plan>> {
    let mut plan = Plan { seed: rand_seed(), examples: 100, quick: false, edition: None, role: None, operation: None };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} needs a value"));
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--quick" => plan = Plan { seed: 1, examples: 3, quick: true, ..plan },
            "--seed" => plan.seed = value()?.parse().context("--seed needs a number")?,
            "--examples" => plan.examples = value()?.parse().context("--examples needs a number")?,
            "--edition" => plan.edition = Some(value()?),
            "--role" => plan.role = Some(value()?),
            "--operation" => plan.operation = Some(value()?),
            other => bail!("unknown argument {other}"),
        }
    }
    if plan.edition.as_deref().is_some_and(|name| ![Edition::Lite.name(), Edition::Standard.name()].contains(&name)) {
        bail!("there is no edition of this name");
    }
    if plan.role.as_deref().is_some_and(|role| !ROLES.contains(&role)) {
        bail!("there is no role of this name");
    }
    Ok(Some(plan))
}

fn rand_seed() -> u32 {
    u32::from_le_bytes(uuid::Uuid::new_v4().into_bytes()[..4].try_into().unwrap_or_default())
}

/// All roles on one gateway, one after the other.
async fn fuzz(edition: Edition, plan: &Plan) -> Result<Vec<Outcome>> {
    let mut setup = Setup::new(edition).await;
    // Nothing of this leaves the machine.
    for (variable, path) in [("GOCLAW_OAUTH_AUTHORIZE_URL", "/authorize"), ("GOCLAW_OAUTH_TOKEN_URL", "/token")] {
        let url = format!("{}{path}", setup.llm.base());
        setup = setup.env(variable, &url);
    }
    setup = setup.env("GOCLAW_OAUTH_CALLBACK_PORT", &free_port().to_string());
    let stores = setup.stores().await;
    let tenant = add_tenant(&stores, "tenant-of-a").await;
    let mut tokens = BTreeMap::from([("owner", GATEWAY_TOKEN.to_owned())]);
    for (role, scope) in [("viewer", Scope::Read), ("operator", Scope::Write), ("admin", Scope::Admin)] {
        tokens.insert(role, add_api_key(&stores, Some(tenant), &[scope], "").await);
    }
    drop(stores);
    let mut server = setup.start().await;
    let mut names = one_of_each::fill(&mut server, tenant, &tokens["admin"]).await;
    one_of_each::export(&server, &tokens["admin"], &mut names).await;
    let mut outcomes = Vec::new();
    for role in ROLES.into_iter().filter(|role| plan.role.as_deref().is_none_or(|only| only == *role)) {
        let outcome = ask(edition, &server, role, tokens.get(role).map(String::as_str), &names, plan).await?;
        println!("{} {} in {:.1} s", outcome.what, if outcome.passed { "passed" } else { "FAILED" }, outcome.took.as_secs_f64());
        if !outcome.passed {
            println!("{}", outcome.text);
        }
        outcomes.push(outcome);
    }
    let log = server.log();
    if outcomes.iter().any(|outcome| !outcome.passed) {
        for line in log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).take(40) {
            println!("{} log: {line}", edition.name());
        }
    }
    Ok(outcomes)
}

/// One role.
async fn ask(edition: Edition, server: &Server, role: &str, token: Option<&str>, names: &Names, plan: &Plan) -> Result<Outcome> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known: BTreeMap<&str, &[String]> = PLACES.iter().map(|(place, kind)| (*place, names.all(kind))).collect();
    let mut command = Command::new(root.join("../scripts/schemathesis.sh"));
    command.arg("run").arg(format!("http://127.0.0.1:{}/v1/openapi.json", server.port()));
    command.args(["--no-color", "--checks", CHECKS, "--exclude-operation-id", EXCLUDED, "--generation-database", "none"]);
    command.args(["--generation-with-security-parameters", "false", "--suppress-health-check", "all", "--warnings", "off", "--request-timeout", "20"]);
    command.args(["--output-sanitize", "false", "--seed", &plan.seed.to_string(), "--max-examples", &plan.examples.to_string()]);
    command.args(["--continue-on-failure", "--header", "Accept-Language: en", "--phases"]);
    // Who may do nothing meets the same refusal everywhere.
    command.arg(if plan.quick && role != "admin" { "examples,fuzzing" } else { "examples,coverage,fuzzing" });
    if plan.quick {
        command.arg("--no-shrink");
    }
    if let Some(operation) = &plan.operation {
        command.args(["--include-operation-id", operation]);
    }
    if let Some(token) = token {
        command.args(["--header", &format!("Authorization: Bearer {token}")]);
    }
    command.args([
        "--header",
        &format!("X-GoClaw-User-Id: {}", if role == "owner" { "system" } else { "mai-of-a" }),
        "--header",
        "X-GoClaw-Tenant-Id: tenant-of-a",
    ]);
    command
        .env("SCHEMATHESIS_HOOKS", "hooks")
        .env("FUZZ_KNOWN_NAMES", serde_json::to_string(&known)?)
        .env("FUZZ_MODELS", server.llm.base())
        .current_dir(server.dir())
        .kill_on_drop(true);
    let begun = Instant::now();
    let output = tokio::time::timeout(LIMIT, command.output()).await.context("schemathesis does not end")?.context("schemathesis does not start")?;
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Ok(Outcome { what: format!("{} {role}", edition.name()), passed: output.status.success(), text, took: begun.elapsed() })
}
