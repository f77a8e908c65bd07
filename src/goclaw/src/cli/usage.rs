//! `goclaw usage`: what runs of the running gateway took.

use super::{client::Gateway, print};
use crate::config::Config;
use anyhow::Result;
use reqwest::Method;
use serde_json::Value;

/// Which usage.
#[derive(clap::Args)]
pub struct Options {
    /// Up to now
    #[arg(long, default_value = "24h", value_parser = ["24h", "today", "7d", "30d"])]
    period: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Shows it, beside that of the period before.
///
/// # Errors
/// If no gateway runs or it refuses.
pub async fn run(config: &Config, options: Options) -> Result<()> {
    let gateway = Gateway::of(config).await?;
    let sums = gateway.expect(Method::GET, &format!("/v1/usage/summary?period={}", options.period), None).await?;
    if options.json {
        return print::json(&sums);
    }
    let figures = [
        ("requests", "requests"),
        ("input_tokens", "input tokens"),
        ("output_tokens", "output tokens"),
        ("llm_calls", "model calls"),
        ("tool_calls", "tool calls"),
        ("errors", "errors"),
        ("cost", "US dollars"),
    ];
    let figure = |sum: &Value, key: &str| if key == "cost" { format!("{:.4}", sum[key].as_f64().unwrap_or_default()) } else { sum[key].to_string() };
    let rows: Vec<_> = figures.iter().map(|(key, name)| [(*name).to_owned(), figure(&sums["current"], key), figure(&sums["previous"], key)]).collect();
    print::table(["", "NOW", "BEFORE"], &rows, "")
}
