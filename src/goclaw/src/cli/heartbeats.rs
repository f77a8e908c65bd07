//! `goclaw heartbeat`: what agents of the running gateway look after by themselves.

use super::{client::Gateway, print, socket::Socket};
use crate::config::Config;
use anyhow::Result;
use serde_json::{Value, json};

/// What to do with an agent's heartbeat.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Show how it is set up, and when it comes next
    Show(Target),
    /// Switch it on
    On(Target),
    /// Switch it off
    Off(Target),
    /// Have it run now
    Run(Target),
    /// Show what came of it, newest first
    Log {
        #[command(flatten)]
        target: Target,
        /// How many at most (1 to 100)
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
        limit: u16,
    },
}

/// Which agent.
#[derive(clap::Args)]
pub struct Target {
    /// The agent's id
    agent: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does it.
///
/// # Errors
/// If no gateway runs or it refuses.
pub async fn run(config: &Config, command: Command) -> Result<()> {
    let gateway = Gateway::of(config).await?;
    let mut socket = Socket::connect(&gateway, &gateway.owner).await?;
    match command {
        Command::Show(target) => {
            let shown = socket.call("heartbeat.get", &json!({"agentId": target.agent})).await?;
            if target.json { print::json(&shown["heartbeat"]) } else { line(&target.agent, &shown["heartbeat"]) }
        }
        Command::On(target) => toggle(&mut socket, target, true).await,
        Command::Off(target) => toggle(&mut socket, target, false).await,
        Command::Run(target) => {
            let done = socket.call("heartbeat.test", &json!({"agentId": target.agent})).await?;
            if target.json { print::json(&done) } else { print::line(&format!("{}: runs now", print::shown(&target.agent))) }
        }
        Command::Log { target, limit } => {
            let page = socket.call("heartbeat.logs", &json!({"agentId": target.agent, "limit": limit})).await?;
            if target.json { print::json(&page["logs"]) } else { table(&page["logs"]) }
        }
    }
}

async fn toggle(socket: &mut Socket, target: Target, enabled: bool) -> Result<()> {
    let done = socket.call("heartbeat.toggle", &json!({"agentId": target.agent, "enabled": enabled})).await?;
    if target.json { print::json(&done) } else { print::line(&format!("{}: {}", print::shown(&target.agent), if enabled { "on" } else { "off" })) }
}

fn line(agent: &str, heartbeat: &Value) -> Result<()> {
    let agent = print::shown(agent);
    if heartbeat.is_null() {
        return print::line(&format!("{agent}: no heartbeat"));
    }
    let text = |key: &str, otherwise: &str| print::shown(heartbeat[key].as_str().unwrap_or(otherwise));
    let state = if heartbeat["enabled"] == true { format!("on, next at {}", text("nextRunAt", "an hour that is not known yet")) } else { "off".to_owned() };
    print::line(&format!("{agent}: {state}; {} runs, the last one: {}", heartbeat["runCount"], text("lastStatus", "none")))
}

fn table(logs: &Value) -> Result<()> {
    let text = |log: &Value, key: &str| log[key].as_str().unwrap_or_default().to_owned();
    let said = |log: &Value| ["error", "skipReason", "summary"].iter().find_map(|key| log[*key].as_str()).unwrap_or_default().to_owned();
    let rows: Vec<_> = logs.as_array().into_iter().flatten().map(|log| [text(log, "ranAt"), text(log, "status"), said(log)]).collect();
    print::table(["RAN", "STATUS", "WHAT CAME OF IT"], &rows, "It has not run yet.")
}
