//! `goclaw agent export|import`: agents of the running gateway as archives.

use super::{agents::path_segment, client::Gateway, print};
use crate::config::Config;
use anyhow::Result;
use serde_json::Value;
use std::path::PathBuf;

/// What to export.
#[derive(clap::Args)]
pub struct ExportOptions {
    /// The agent's id
    id: String,
    /// The file; it must not exist [default: ID.tar.gz]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Sections beside its configuration, with commas: context_files, user_profiles, workspace [default: context_files]
    #[arg(long, value_name = "SECTIONS")]
    sections: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What to import.
#[derive(clap::Args)]
pub struct ImportOptions {
    /// The archive
    file: PathBuf,
    /// Bring what it holds into this agent, instead of making one
    #[arg(long, value_name = "ID", conflicts_with = "name")]
    into: Option<String>,
    /// The new agent's id [default: the archive's]
    #[arg(short, long)]
    name: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Writes an agent into a file.
///
/// # Errors
/// If no gateway runs or it refuses, or the file cannot be written.
pub async fn export(config: &Config, options: ExportOptions) -> Result<()> {
    let gateway = Gateway::of(config).await?;
    let output = options.output.unwrap_or_else(|| format!("{}.tar.gz", path_segment(&options.id)).into());
    let sections = options.sections.map(|sections| format!("?sections={}", path_segment(&sections))).unwrap_or_default();
    let bytes = gateway.download(&format!("/v1/agents/{}/export{sections}", path_segment(&options.id)), &output).await?;
    print::written(&output, bytes, options.json)
}

/// Makes an agent from a file, or brings what is in it into another one.
///
/// # Errors
/// If no gateway runs or it refuses, or the file cannot be read.
pub async fn import(config: &Config, options: ImportOptions) -> Result<()> {
    let gateway = Gateway::of(config).await?;
    let path = match &options.into {
        Some(id) => format!("/v1/agents/{}/import", path_segment(id)),
        None => "/v1/agents/import".to_owned(),
    };
    let fields: Vec<_> = options.name.iter().map(|name| ("agent_key", name.as_str())).collect();
    let summary: Value = gateway.upload(&path, &options.file, &fields).await?;
    if options.json {
        return print::json(&summary);
    }
    print::line(&format!("imported {}", print::shown(summary["agent_key"].as_str().unwrap_or_default())))
}
