//! Attacks the built gateway on both editions and says which promises it broke. docs/torture.md says what is attacked and how.

mod chaos;
mod clock;
mod cluster;
mod database;
mod disk;
mod kill;
mod load;
mod mount;
mod options;
mod proxy;
mod readback;
mod recorder;
mod remains;
mod report;
mod upstream;
mod vanish;

use futures_util::FutureExt;
use goclaw_tests::{Edition, database::POSTGRES_VARIABLE};
use options::{Options, Section};
use report::{Outcome, Report};
use std::{panic::AssertUnwindSafe, process::ExitCode};
use tokio::signal::unix::{SignalKind, signal};

/// How many seconds the gateway has for what it must do: the machine may have other work as well.
const PATIENCE: u64 = 120;

fn main() -> ExitCode {
    let options = match options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("torture: {error}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    goclaw_tests::be_patient(PATIENCE);
    // What panics is told in the table.
    std::panic::set_hook(Box::new(|_| {}));
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("torture: {error}");
            return ExitCode::FAILURE;
        }
    };
    let Some(report) = runtime.block_on(until_interrupted(&options)) else {
        eprintln!("torture: interrupted");
        return ExitCode::FAILURE;
    };
    if options.json {
        println!("{:#}", report.to_json());
    } else {
        println!("{}", report.to_text());
    }
    if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Attacks. A signal ends it in an orderly way: dropping what runs takes children, databases and mounts with it.
async fn until_interrupted(options: &Options) -> Option<Report> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate()).ok()?, signal(SignalKind::interrupt()).ok()?);
    tokio::select! {
        report = run(options) => Some(report),
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
    }
}

async fn run(options: &Options) -> Report {
    let mut report = Report::new(options.seed);
    for section in &options.sections {
        for edition in &options.editions {
            if *section == Section::Database && *edition == Edition::Lite {
                continue;
            }
            eprintln!("torture: {}: {}", edition.name(), section.title());
            let outcome = if *edition == Edition::Standard && !has_postgres() {
                Outcome::not_run(format!("{POSTGRES_VARIABLE} names no server"))
            } else {
                attack(*section, *edition, options).await
            };
            report.put(*section, *edition, outcome);
        }
    }
    report
}

/// Runs a section. What panics in it has found something: the gateway did not do what it has to.
async fn attack(section: Section, edition: Edition, options: &Options) -> Outcome {
    let attack = async {
        match section {
            Section::Kill => kill::attack(edition, options).await,
            Section::Database => database::attack(options).await,
            Section::Disk => disk::attack(edition, options).await,
            Section::Vanish => vanish::attack(edition, options).await,
            Section::Clock => clock::attack(edition, options).await,
            Section::Upstream => chaos::attack(edition, options).await,
        }
    };
    match AssertUnwindSafe(attack).catch_unwind().await {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Outcome::broken(0, text.unwrap_or_else(|| "a panic".to_owned()))
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the program has no configuration loader")]
fn has_postgres() -> bool {
    std::env::var(POSTGRES_VARIABLE).is_ok_and(|dsn| !dsn.is_empty())
}
