//! `goclaw sessions`: conversations of the running gateway.

use super::{client::Gateway, print, socket::Socket};
use crate::config::Config;
use anyhow::Result;
use serde_json::{Value, json};

/// What to do with sessions.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List sessions, last used first
    List {
        /// Only this agent's
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
        /// How many at most (1 to 200)
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete a session with its messages
    Delete(Target),
    /// Remove a session's messages; title and counts stay
    Reset(Target),
}

/// Which session.
#[derive(clap::Args)]
pub struct Target {
    /// The session's key, as `sessions list` shows it
    key: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
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
    match command {
        Command::List { agent, limit, json: as_json } => {
            let mut socket = Socket::connect(&gateway, &gateway.owner).await?;
            let mut params = json!({"limit": limit});
            if let Some(agent) = agent {
                params["agentId"] = agent.into();
            }
            let page = socket.call("sessions.list", &params).await?;
            if as_json { print::json(&page["sessions"]) } else { table(&page) }
        }
        Command::Delete(target) => change(&gateway, "sessions.delete", "Delete", "deleted", target).await,
        Command::Reset(target) => change(&gateway, "sessions.reset", "Remove all messages of", "reset", target).await,
    }
}

async fn change(gateway: &Gateway, method: &str, verb: &str, done: &str, target: Target) -> Result<()> {
    print::confirm(target.yes, &format!("{verb} the session {}?", print::shown(&target.key)))?;
    let mut socket = Socket::connect(gateway, &gateway.owner).await?;
    socket.call(method, &json!({"key": target.key})).await?;
    if target.json { print::json(&json!({done: target.key})) } else { print::line(&format!("{done} {}", print::shown(&target.key))) }
}

fn table(page: &Value) -> Result<()> {
    let text = |session: &Value, key: &str| session[key].as_str().unwrap_or_default().to_owned();
    let rows: Vec<_> = page["sessions"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|session| [text(session, "key"), text(session, "label"), session["messageCount"].to_string(), text(session, "userID"), text(session, "updated")])
        .collect();
    print::table(["KEY", "TITLE", "MESSAGES", "USER", "UPDATED"], &rows, "There are no sessions.")?;
    match page["total"].as_i64() {
        Some(total) if total > i64::try_from(rows.len()).unwrap_or(i64::MAX) => print::line(&format!("… {} of {total}", rows.len())),
        _ => Ok(()),
    }
}
