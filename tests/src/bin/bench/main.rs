//! Measures the shipped binary on both editions and prints a table. BENCH.md says how, and holds dated results.

mod appends;
mod bare;
mod chat;
mod gateway;
mod lists;
mod load;
mod machine;
mod requests;
mod sockets;
mod startup;
mod table;
mod upstream;
mod usage;
mod wire;

use anyhow::{Context, Result, bail};
use chat::Asking;
use goclaw_tests::{Edition, database::POSTGRES_VARIABLE};
use machine::{Machine, Postgres};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use table::Table;
use tokio::signal::unix::{SignalKind, signal};
use upstream::Upstream;

const USAGE: &str = "usage: bench [--json]

Measures target/release/goclaw on the lite edition and, if GOCLAW_TEST_POSTGRES_DSN names a PostgreSQL server, on the
standard edition. GOCLAW_TEST_BINARY names another binary. Ends with 1 if something could not be measured; a missed
target is only marked.

  --json    print JSON instead of a table";

fn main() -> ExitCode {
    let mut json = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--json" => json = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            other => {
                eprintln!("bench: unknown argument {other}\n{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    // The load comes from this one thread, so that it leaves as much of the machine as it can to what is measured.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(until_interrupted()) {
        Ok(table) => {
            if json {
                println!("{:#}", table.to_json());
            } else {
                println!("{}", table.to_text());
            }
            if table.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures everything. A signal ends it in an orderly way: dropping what runs takes the children and databases with it.
async fn until_interrupted() -> Result<Table> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        table = run() => table,
        _ = terminate.recv() => bail!("terminated"),
        _ = interrupt.recv() => bail!("interrupted"),
    }
}

async fn run() -> Result<Table> {
    let binary = binary()?;
    let postgres = match variable(POSTGRES_VARIABLE) {
        Some(dsn) => Some(Postgres::ask(&dsn).await.context("the PostgreSQL server")?),
        None => None,
    };
    let warning = postgres.as_ref().map_or("", Postgres::durability_note);
    let upstream = Upstream::start()?;
    let mut editions = vec![(Edition::Lite, "")];
    if postgres.is_some() {
        editions.push((Edition::Standard, warning));
    }
    let mut table = Table::new(Machine::here(postgres));
    for (edition, warning) in editions {
        if let Err(error) = gateway_of(&mut table, &binary, edition, &upstream).await {
            table.fail(edition, "start", &error);
        }
        progress(edition, "message appends");
        if let Err(error) = appends::measure(&mut table, edition, warning).await {
            table.fail(edition, "message appends", &error);
        }
        progress(edition, "lists");
        if let Err(error) = lists::measure(&mut table, edition).await {
            table.fail(edition, "lists", &error);
        }
        progress(edition, "usage");
        if let Err(error) = usage::measure(&mut table, edition).await {
            table.fail(edition, "usage", &error);
        }
    }
    Ok(table)
}

/// Measures all that needs a running gateway. What fails leaves its place empty; only without a gateway there is nothing.
async fn gateway_of(table: &mut Table, binary: &Path, edition: Edition, upstream: &Upstream) -> Result<()> {
    progress(edition, "start");
    let site = startup::starts(table, binary, edition, &upstream.base()).await?;
    let key = site.add_key().await;
    let gateway = site.launch()?;
    startup::idle(table, edition, &gateway).await?;
    requests::add_agents(&gateway, &key).await?;

    progress(edition, "requests");
    if let Err(error) = requests::measure(table, edition, &gateway, &key, site.dsn()).await {
        table.fail(edition, "requests", &error);
    }
    let asking = Asking { edition, upstream, key: &key };
    progress(edition, "chat");
    if let Err(error) = asking.whole(table, &gateway).await {
        table.fail(edition, "chat", &error);
    }
    progress(edition, "200 streams");
    if let Err(error) = asking.streams(table, &gateway).await {
        table.fail(edition, "200 streams", &error);
    }
    startup::loaded(table, edition, &gateway).await?;
    gateway.stop()?;
    progress(edition, "2,000 sockets");
    let gateway = site.launch()?;
    if let Err(error) = sockets::measure(table, edition, &gateway, &key).await {
        table.fail(edition, "2,000 sockets", &error);
    }
    gateway.stop()?;
    progress(edition, "1,000 streams");
    if let Err(error) = asking.crowd(table, &site).await {
        table.fail(edition, "1,000 streams", &error);
    }
    Ok(())
}

fn progress(edition: Edition, what: &str) {
    eprintln!("bench: {}: {what}", edition.name());
}

/// The binary that is measured: the one that is named, else the release build.
fn binary() -> Result<PathBuf> {
    let path = match variable("GOCLAW_TEST_BINARY") {
        Some(path) => PathBuf::from(path),
        None => {
            let own = std::env::current_exe().context("the benchmark's own path")?;
            own.ancestors().nth(2).context("the target directory")?.join("release/goclaw")
        }
    };
    if !path.exists() {
        bail!("{} does not exist: run `cargo build --release -p goclaw` first, or set GOCLAW_TEST_BINARY", path.display());
    }
    Ok(path)
}

#[expect(clippy::disallowed_methods, reason = "the benchmark has no configuration loader")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
