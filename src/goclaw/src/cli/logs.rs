//! `goclaw logs`: the running gateway's log.

use super::{
    client::Gateway,
    print,
    socket::{Frame, Socket},
};
use crate::config::Config;
use anyhow::Result;
use goclaw_ports::logs::LogRecord;
use serde_json::{Value, json};
use std::fmt::Write;

/// What to show.
#[derive(clap::Args)]
pub struct Options {
    /// Show lines from this level on
    #[arg(long, default_value = "info", value_parser = ["debug", "info", "warn", "error"])]
    level: String,
    /// Go on showing new lines until interrupted
    #[arg(short, long)]
    follow: bool,
    /// Print each line as JSON
    #[arg(long)]
    json: bool,
}

/// Shows the newest lines.
///
/// # Errors
/// If no gateway runs or it refuses.
pub async fn run(config: &Config, options: Options) -> Result<()> {
    let gateway = Gateway::of(config).await?;
    let mut socket = Socket::connect(&gateway, &gateway.owner).await?;
    let request = socket.send("logs.tail", &json!({"action": "start", "level": options.level})).await?;
    loop {
        match socket.next().await? {
            Frame::Event { name, payload } if name == "log" => show(payload, options.json)?,
            Frame::Response { id, result } if id == request => {
                result?;
                if !options.follow {
                    return Ok(());
                }
            }
            Frame::Response { .. } | Frame::Event { .. } => (),
        }
    }
}

fn show(payload: Value, as_json: bool) -> Result<()> {
    if as_json {
        return print::line(&payload.to_string());
    }
    let record: LogRecord = serde_json::from_value(payload)?;
    let time = chrono::DateTime::from_timestamp_millis(record.timestamp).unwrap_or_default();
    let mut text = format!("{} {:>5} ", time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true), format!("{:?}", record.level).to_uppercase());
    if !record.source.is_empty() {
        write!(text, "{}: ", print::shown(&record.source))?;
    }
    text.push_str(&print::shown(&record.message));
    for (name, value) in &record.attrs {
        write!(text, " {}={}", print::shown(name), print::shown(value))?;
    }
    print::line(&text)
}
