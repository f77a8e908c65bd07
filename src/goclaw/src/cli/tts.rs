//! `goclaw tts`: text to speech of the running gateway.

use super::{client::Gateway, print, socket::Socket};
use crate::config::Config;
use anyhow::Result;
use serde_json::{Value, json};

/// What to do with text to speech.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Show how it is set up
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List who could speak
    Providers {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Have a text spoken, and say where the file is on the gateway's machine
    Say {
        /// The text
        text: String,
        /// Who speaks [default: the configured one]
        #[arg(long, value_name = "NAME")]
        provider: Option<String>,
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
    let mut socket = Socket::connect(&gateway, &gateway.owner).await?;
    match command {
        Command::Status { json: as_json } => {
            let status = socket.call("tts.status", &json!({})).await?;
            if as_json { print::json(&status) } else { fields(&status) }
        }
        Command::Providers { json: as_json } => {
            let providers = socket.call("tts.providers", &json!({})).await?;
            if as_json { print::json(&providers) } else { speakers(&providers) }
        }
        Command::Say { text, provider, json: as_json } => {
            let spoken = socket.call("tts.convert", &json!({"text": text, "provider": provider.unwrap_or_default()})).await?;
            if as_json { print::json(&spoken) } else { print::line(&print::shown(spoken["audioPath"].as_str().unwrap_or_default())) }
        }
    }
}

fn speakers(answer: &Value) -> Result<()> {
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let state = |row: &Value| if row["configured"] == true { "yes".to_owned() } else { String::new() };
    let rows: Vec<_> = answer["providers"].as_array().into_iter().flatten().map(|row| [text(row, "id"), text(row, "name"), state(row)]).collect();
    print::table(["ID", "NAME", "CONFIGURED"], &rows, "Nobody can speak.")
}

/// What an answer says, field by field.
fn fields(answer: &Value) -> Result<()> {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows: Vec<_> = answer.as_object().into_iter().flatten().map(|(name, value)| [name.clone(), shown(value)]).collect();
    print::table(["WHAT", "VALUE"], &rows, "")
}
