//! `goclaw traces`: what runs of the running gateway did.

use super::{agents::path_segment, client::Gateway, print};
use crate::config::Config;
use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What to do with traces.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List traces, newest first
    List {
        /// Only those with this status
        #[arg(long, value_parser = ["running", "completed", "error", "cancelled"])]
        status: Option<String>,
        /// How many at most (1 to 200)
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show a trace with its steps
    Show {
        /// The trace's id
        id: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a trace with the runs that it started into a compressed file
    Export {
        /// The trace's id
        id: String,
        /// The file; it must not exist [default: trace-ID.json.gz]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Does it.
///
/// # Errors
/// If no gateway runs or it refuses, or the file cannot be written.
pub async fn run(config: &Config, command: Command) -> Result<()> {
    let gateway = Gateway::of(config).await?;
    match command {
        Command::List { status, limit, json: as_json } => {
            let status = status.map(|status| format!("&status={status}")).unwrap_or_default();
            let page = gateway.expect(Method::GET, &format!("/v1/traces?limit={limit}{status}"), None).await?;
            if as_json { print::json(&page["traces"]) } else { list(&page["traces"]) }
        }
        Command::Show { id, json: as_json } => {
            let detail = gateway.expect(Method::GET, &format!("/v1/traces/{}", path_segment(&id)), None).await?;
            if as_json { print::json(&detail) } else { steps(&detail["spans"]) }
        }
        Command::Export { id, output, json: as_json } => {
            let output = output.unwrap_or_else(|| format!("trace-{}.json.gz", path_segment(&id)).into());
            let bytes = gateway.download(&format!("/v1/traces/{}/export", path_segment(&id)), &output).await?;
            print::written(&output, bytes, as_json)
        }
    }
}

fn text(row: &Value, key: &str) -> String {
    row[key].as_str().unwrap_or_default().to_owned()
}

fn list(traces: &Value) -> Result<()> {
    let number = |row: &Value, key: &str| row[key].as_i64().map(|number| number.to_string()).unwrap_or_default();
    let rows: Vec<_> = traces
        .as_array()
        .into_iter()
        .flatten()
        .map(|row| [text(row, "id"), text(row, "start_time"), text(row, "status"), number(row, "duration_ms"), text(row, "name")])
        .collect();
    print::table(["ID", "BEGAN", "STATUS", "MS", "NAME"], &rows, "There are no traces.")
}

fn steps(spans: &Value) -> Result<()> {
    let rows: Vec<_> = spans
        .as_array()
        .into_iter()
        .flatten()
        .map(|span| [text(span, "start_time"), text(span, "span_type"), text(span, "name"), text(span, "status"), json!(span["duration_ms"]).to_string()])
        .collect();
    print::table(["BEGAN", "KIND", "NAME", "STATUS", "MS"], &rows, "It has no steps.")
}
