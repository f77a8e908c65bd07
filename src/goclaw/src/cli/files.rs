//! `goclaw files`: what agents of the running gateway made, and what users sent.

use super::{agents::path_segment, client::Gateway, exit::usage, print};
use crate::config::Config;
use anyhow::Result;
use reqwest::Method;
use serde_json::json;
use std::path::{Path, PathBuf};

/// What to do with files.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Fetch a file
    Get {
        /// Its absolute path on the gateway's machine, or its name alone
        path: String,
        /// Where to write it; it must not exist [default: its name in this directory]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a link that opens a file for five minutes, for whoever has it
    Sign {
        /// The file's absolute path on the gateway's machine
        path: String,
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
        Command::Get { path, output, json: as_json } => {
            let name = || Path::new(&path).file_name().map(PathBuf::from).ok_or_else(|| usage("name a file"));
            let output = output.map_or_else(name, Ok)?;
            let segments: Vec<_> = path.trim_start_matches('/').split('/').map(path_segment).collect();
            let bytes = gateway.download(&format!("/v1/files/{}", segments.join("/")), &output).await?;
            print::written(&output, bytes, as_json)
        }
        Command::Sign { path, json: as_json } => {
            let signed = gateway.expect(Method::POST, "/v1/files/sign", Some(&json!({"path": path}))).await?;
            let url = format!("{}{}", gateway.url, signed["url"].as_str().unwrap_or_default());
            if as_json { print::json(&json!({"url": url})) } else { print::line(&url) }
        }
    }
}
