//! `goclaw doctor`.

mod checks;

use crate::config::{Config, ConfigError};
use serde::Serialize;
use std::process::ExitCode;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// All is well.
    Ok,
    /// It works, but somebody should look at it.
    Warning,
    /// It does not work.
    Failed,
}

/// What was looked at, and what was found.
#[derive(Debug, Serialize)]
pub struct Check {
    name: &'static str,
    status: Status,
    detail: String,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Ok, detail: detail.into() }
    }

    fn warning(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Warning, detail: detail.into() }
    }

    fn failed(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, status: Status::Failed, detail: detail.into() }
    }
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    ok: bool,
    checks: Vec<Check>,
}

/// Looks at the installation without changing it: 0 if nothing failed, else 1.
pub async fn run(config: Result<Config, ConfigError>, json: bool) -> ExitCode {
    let checks = match &config {
        Ok(config) => checks::all(config).await,
        Err(error) => vec![checks::system(), Check::failed("configuration", error.to_string())],
    };
    let ok = checks.iter().all(|check| check.status != Status::Failed);
    let report = Report { version: env!("CARGO_PKG_VERSION"), ok, checks };
    if json {
        println!("{}", serde_json::to_string_pretty(&report).unwrap_or_default());
    } else {
        println!("goclaw {}", report.version);
        for Check { name, status, detail } in &report.checks {
            let mark = match status {
                Status::Ok => "ok",
                Status::Warning => "warn",
                Status::Failed => "FAIL",
            };
            println!("  {mark:<5} {name:<15} {detail}");
        }
    }
    if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
