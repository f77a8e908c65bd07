//! `goclaw pairing`: who asks to be let in, and who was.

use super::{client::Gateway, exit::usage, print, socket::Socket};
use crate::config::Config;
use anyhow::{Result, anyhow};
use inquire::Select;
use serde_json::{Value, json};
use std::io::{self, IsTerminal};

/// What to do with pairings.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List who asks and who was let in
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Let somebody in
    Approve {
        /// The code that they were given [default: asks which]
        code: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Turn somebody away who asks
    Deny {
        /// The code that they were given
        code: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Shut somebody out who was let in
    Revoke {
        /// The channel, as `pairing list` shows it
        channel: String,
        /// The sender, as `pairing list` shows it
        #[arg(value_name = "SENDER_ID")]
        sender_id: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
///
/// # Errors
/// If no gateway runs or it refuses.
pub async fn run(config: &Config, command: Command) -> Result<()> {
    let gateway = Gateway::of(config).await?;
    match command {
        Command::List { json: as_json } => {
            let all = call(&gateway, "device.pair.list", &json!({})).await?;
            if as_json { print::json(&all) } else { tables(&all) }
        }
        Command::Approve { code, json: as_json } => {
            let code = match code {
                Some(code) => code,
                None => choose(&call(&gateway, "device.pair.list", &json!({})).await?)?,
            };
            let answer = call(&gateway, "device.pair.approve", &json!({"code": code, "approvedBy": "cli-operator"})).await?;
            if as_json { print::json(&answer) } else { print::line(&format!("{} is let in", name(&answer["paired"]))) }
        }
        Command::Deny { code, json: as_json } => {
            let answer = call(&gateway, "device.pair.deny", &json!({"code": code})).await?;
            if as_json { print::json(&answer) } else { print::line(&format!("turned {} away", print::shown(&code))) }
        }
        Command::Revoke { channel, sender_id, yes, json: as_json } => {
            print::confirm(yes, &format!("Shut out {} of {}?", print::shown(&sender_id), print::shown(&channel)))?;
            let answer = call(&gateway, "device.pair.revoke", &json!({"channel": channel, "senderId": sender_id})).await?;
            if as_json { print::json(&answer) } else { print::line(&format!("{} is shut out", print::shown(&sender_id))) }
        }
    }
}

/// One call on a connection of its own: people think longer than a connection that answers no pings lives.
async fn call(gateway: &Gateway, method: &str, params: &Value) -> Result<Value> {
    Socket::connect(gateway, &gateway.owner).await?.call(method, params).await
}

/// A field by its name in JSON, in either spelling.
fn field(entry: &Value, snake: &str, camel: &str) -> String {
    entry[snake].as_str().or(entry[camel].as_str()).unwrap_or_default().to_owned()
}

fn name(entry: &Value) -> String {
    print::shown(&format!("{} of {}", field(entry, "sender_id", "senderId"), field(entry, "channel", "channel")))
}

fn choose(all: &Value) -> Result<String> {
    let pending: Vec<&Value> = all["pending"].as_array().into_iter().flatten().collect();
    if pending.is_empty() {
        return Err(super::exit::refused("nobody asks to be let in"));
    }
    if !io::stdin().is_terminal() {
        return Err(usage("name the code: goclaw pairing approve CODE"));
    }
    let entries: Vec<_> = pending.iter().map(|request| format!("{}  {}", field(request, "code", "code"), name(request))).collect();
    let chosen = Select::new("Whom do you let in?", entries).raw_prompt()?;
    pending.get(chosen.index).map(|request| field(request, "code", "code")).ok_or_else(|| anyhow!("nobody was chosen"))
}

fn tables(all: &Value) -> Result<()> {
    let pending: Vec<_> = all["pending"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|request| {
            [
                field(request, "code", "code"),
                field(request, "channel", "channel"),
                field(request, "sender_id", "senderId"),
                when(request, "expires_at", "expiresAt"),
            ]
        })
        .collect();
    print::table(["CODE", "CHANNEL", "SENDER", "UNTIL"], &pending, "Nobody asks to be let in.")?;
    let paired: Vec<_> = all["paired"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|device| {
            [
                field(device, "channel", "channel"),
                field(device, "sender_id", "senderId"),
                field(device, "paired_by", "pairedBy"),
                when(device, "paired_at", "pairedAt"),
            ]
        })
        .collect();
    print::line("")?;
    print::table(["CHANNEL", "SENDER", "LET IN BY", "SINCE"], &paired, "Nobody was let in.")
}

/// A time of the protocol: text, or milliseconds since 1970.
fn when(entry: &Value, snake: &str, camel: &str) -> String {
    let value = if entry[snake].is_null() { &entry[camel] } else { &entry[snake] };
    match value.as_i64().and_then(chrono::DateTime::from_timestamp_millis) {
        Some(time) => time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        None => value.as_str().unwrap_or_default().to_owned(),
    }
}
