//! How fast the gateway is there, and how big it is.

use crate::{
    gateway::{Gateway, Site, resident},
    options::Effort,
    table::{Measure, Table, Target, Unit},
};
use anyhow::{Context, Result};
use goclaw_tests::Edition;
use std::{fs, path::Path, time::Duration};

const RUNS: usize = 5;
/// How long the gateway is left alone before its memory counts as idle.
const SETTLE: Duration = Duration::from_secs(1);

static BINARY: Measure =
    Measure { what: "binary", unit: Unit::Mb, lite: Target::AtMost(40.0), standard: Target::AtMost(40.0), comment: "one file for both editions" };
static FRESH: Measure = Measure {
    what: "start, no data yet",
    unit: Unit::Ms,
    lite: Target::AtMost(150.0),
    standard: Target::Open,
    comment: "exec to first 200 of /health, all migrations run; median of 5",
};
static WARM: Measure =
    Measure { what: "start, again", unit: Unit::Ms, lite: Target::AtMost(30.0), standard: Target::Open, comment: "exec to first 200 of /health; median of 5" };
static IDLE: Measure =
    Measure { what: "memory, idle", unit: Unit::Mb, lite: Target::AtMost(25.0), standard: Target::Open, comment: "RSS one second after the start" };
static LOADED: Measure =
    Measure { what: "memory, after load", unit: Unit::Mb, lite: Target::Open, standard: Target::Open, comment: "RSS after requests, chats and 200 streams" };

/// Measures the size of the binary, and starts with and without data.
///
/// # Errors
/// If the gateway does not start or stop.
pub async fn starts(table: &mut Table, effort: Effort, binary: &Path, edition: Edition, base: &str) -> Result<()> {
    let size = fs::metadata(binary).context("the gateway's binary")?.len();
    table.put(&BINARY, edition, megabytes(size), "");

    let runs = if effort == Effort::Full { RUNS } else { 1 };
    let mut site = None;
    let mut fresh = Vec::with_capacity(runs);
    for _ in 0..runs {
        // The one before goes first, so that its removal is not measured.
        drop(site.take());
        let new = Site::new(binary, edition, base).await?;
        fresh.push(start_and_stop(&new)?);
        site = Some(new);
    }
    let site = site.context("no site")?;
    let warm = (0..runs).map(|_| start_and_stop(&site)).collect::<Result<Vec<_>>>()?;
    for (measure, times) in [(&FRESH, fresh), (&WARM, warm)] {
        let (median, note) = summary(times);
        table.put(measure, edition, median, note);
    }
    Ok(())
}

/// Measures the memory of a gateway that was just started.
///
/// # Errors
/// If it is gone.
pub async fn idle(table: &mut Table, edition: Edition, gateway: &Gateway) -> Result<()> {
    tokio::time::sleep(SETTLE).await;
    table.put(&IDLE, edition, megabytes(resident(gateway.pid())?), "");
    Ok(())
}

/// Measures the memory of a gateway that was at work.
///
/// # Errors
/// If it is gone.
pub async fn loaded(table: &mut Table, edition: Edition, gateway: &Gateway) -> Result<()> {
    tokio::time::sleep(SETTLE).await;
    table.put(&LOADED, edition, megabytes(resident(gateway.pid())?), "");
    Ok(())
}

fn start_and_stop(site: &Site) -> Result<f64> {
    let gateway = site.launch()?;
    let taken = gateway.first_answer.as_secs_f64() * 1e3;
    gateway.stop()?;
    Ok(taken)
}

fn summary(mut times: Vec<f64>) -> (f64, String) {
    times.sort_unstable_by(f64::total_cmp);
    let (first, last) = (times.first().copied().unwrap_or_default(), times.last().copied().unwrap_or_default());
    (times.get(times.len() / 2).copied().unwrap_or_default(), format!("{first:.0} to {last:.0}"))
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
