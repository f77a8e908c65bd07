//! Measures the shipped binary on both editions and prints a table. BENCH.md says how, and holds dated results.

mod abort;
mod bare;
mod chat;
mod gateway;
mod lists;
mod load;
mod machine;
mod options;
mod plot;
mod requests;
mod runs;
mod soak;
mod sockets;
mod startup;
mod store;
mod table;
mod upstream;
mod usage;
mod wire;

use anyhow::{Context, Result, bail};
use chat::Asking;
use gateway::Site;
use goclaw_tests::{Edition, database::POSTGRES_VARIABLE};
use machine::{Machine, Postgres};
use options::{Effort, Options, Section, USAGE};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};
use table::Table;
use tokio::signal::unix::{SignalKind, signal};
use upstream::Upstream;

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            eprintln!("bench: {wrong}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    // The load comes from this one thread, so that it leaves as much of the machine as it can to what is measured.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(until_interrupted(&options)) {
        Ok(table) => {
            if options.json {
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
async fn until_interrupted(options: &Options) -> Result<Table> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        table = run(options) => table,
        _ = terminate.recv() => bail!("terminated"),
        _ = interrupt.recv() => bail!("interrupted"),
    }
}

async fn run(options: &Options) -> Result<Table> {
    let binary = binary()?;
    machine::raise_file_limit()?;
    let postgres = match variable(POSTGRES_VARIABLE) {
        Some(dsn) if options.covers(Edition::Standard) => Some(Postgres::ask(&dsn).await.context("the PostgreSQL server")?),
        _ => None,
    };
    let mut editions = vec![(Edition::Lite, "")];
    if let Some(postgres) = &postgres {
        editions.push((Edition::Standard, postgres.durability_note()));
    }
    editions.retain(|(edition, _)| options.covers(*edition));
    let upstream = Upstream::start()?;
    let mut table = Table::new(Machine::here(postgres), options.effort == Effort::Quick);
    for (edition, warning) in editions {
        let mut bench = Bench { table: &mut table, options, binary: &binary, edition, upstream: &upstream };
        if let Err(error) = bench.gateways().await {
            bench.table.fail(edition, "gateway", &error);
        }
        let effort = options.effort;
        bench.section(Section::Store, async |table| store::measure(table, edition, effort, warning).await).await;
        bench.section(Section::Lists, async |table| lists::measure(table, edition, effort).await).await;
        bench.section(Section::Usage, async |table| usage::measure(table, edition).await).await;
    }
    Ok(table)
}

/// One edition that is measured.
struct Bench<'a> {
    table: &'a mut Table,
    options: &'a Options,
    binary: &'a Path,
    edition: Edition,
    upstream: &'a Upstream,
}

impl Bench<'_> {
    /// Measures a section, if it is asked for. What fails leaves its place empty.
    async fn section(&mut self, section: Section, measure: impl AsyncFnOnce(&mut Table) -> Result<()>) {
        if !self.options.wants(section) {
            return;
        }
        eprintln!("bench: {}: {}", self.edition.name(), section.name());
        if let Err(error) = measure(self.table).await {
            self.table.fail(self.edition, section.name(), &error);
        }
    }

    /// Measures all that needs a running gateway; without one there is nothing.
    async fn gateways(&mut self) -> Result<()> {
        use Section::{Abort, Chat, Create, Crowd, Memory, Requests, Runs, Soak, Sockets, Start, Streams};
        if ![Start, Requests, Create, Chat, Streams, Memory, Sockets, Crowd, Runs, Abort, Soak].into_iter().any(|section| self.options.wants(section)) {
            return Ok(());
        }
        let (edition, effort, upstream, binary, base) = (self.edition, self.options.effort, self.upstream, self.binary, self.upstream.base());
        let site = Site::new(binary, edition, &base).await?;
        site.launch()?.stop()?;
        let (key, clients_key) = (site.add_key().await, site.add_clients_key().await);
        self.section(Start, async |table| startup::starts(table, effort, binary, edition, &base).await).await;

        let gateway = site.launch()?;
        self.section(Start, async |table| startup::idle(table, edition, &gateway).await).await;
        requests::add_agents(&gateway, &key).await?;
        let asking = Asking { edition, effort, upstream, key: &key, clients_key: &clients_key };
        self.section(Requests, async |table| requests::measure(table, effort, edition, &gateway, &key, site.dsn()).await).await;
        self.section(Chat, async |table| asking.whole(table, &gateway).await).await;
        self.section(Streams, async |table| asking.streams(table, &gateway).await).await;
        self.section(Memory, async |table| startup::loaded(table, edition, &gateway).await).await;
        gateway.stop()?;

        // Each of these has a process of its own, so that what the others left in memory does not count.
        self.section(Create, async |table| requests::creates(table, effort, edition, &Site::new(binary, edition, &base).await?).await).await;
        self.section(Sockets, async |table| sockets::measure(table, effort, edition, &site, &key).await).await;
        self.section(Crowd, async |table| asking.crowd(table, &site).await).await;
        self.section(Runs, async |table| runs::measure(table, &asking, &site).await).await;
        self.section(Abort, async |table| abort::measure(table, &asking, &site).await).await;
        let (time, plots) = (self.options.soak.unwrap_or_else(|| effort.time(soak::TIME)), plots(self.options)?);
        self.section(Soak, async |table| soak::measure(table, &asking, &site, time, &plots).await).await;
        Ok(())
    }
}

/// The binary that is measured: the one that is named, else the release build.
fn binary() -> Result<PathBuf> {
    let path = match variable("GOCLAW_TEST_BINARY") {
        Some(path) => PathBuf::from(path),
        None => target()?.join("release/goclaw"),
    };
    if !path.exists() {
        bail!("{} does not exist: run `cargo build --release -p goclaw` first, or set GOCLAW_TEST_BINARY", path.display());
    }
    Ok(path)
}

/// Where plots go.
fn plots(options: &Options) -> Result<PathBuf> {
    options.plots.clone().map_or_else(|| Ok(target()?.join("bench")), Ok)
}

/// The directory that cargo builds into.
fn target() -> Result<PathBuf> {
    let own = std::env::current_exe().context("the benchmark's own path")?;
    Ok(own.ancestors().nth(2).context("the target directory")?.to_owned())
}

#[expect(clippy::disallowed_methods, reason = "the benchmark has no configuration loader")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
