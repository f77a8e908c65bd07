//! `goclaw tenants`: the tenants of the running gateway.

use super::{client::Gateway, print};
use crate::config::Config;
use anyhow::Result;
use reqwest::Method;
use serde_json::{Value, json};

/// What to do with tenants.
#[derive(clap::Subcommand)]
pub enum Command {
    /// List tenants, oldest first
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a tenant
    Create {
        /// Its name
        #[arg(long)]
        name: String,
        /// Its short name in addresses: lowercase letters, digits and hyphens
        #[arg(long)]
        slug: String,
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
            let answer = gateway.expect(Method::GET, "/v1/tenants", None).await?;
            if as_json {
                return print::json(&answer["tenants"]);
            }
            let text = |tenant: &Value, key: &str| tenant[key].as_str().unwrap_or_default().to_owned();
            let rows: Vec<_> = answer["tenants"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|tenant| [text(tenant, "id"), text(tenant, "slug"), text(tenant, "name"), text(tenant, "status")])
                .collect();
            print::table(["ID", "SLUG", "NAME", "STATUS"], &rows, "There are no tenants.")
        }
        Command::Create { name, slug, json: as_json } => {
            let created = gateway.expect(Method::POST, "/v1/tenants", Some(&json!({"name": name, "slug": slug}))).await?;
            if as_json {
                print::json(&created)
            } else {
                print::line(&format!("created {} ({})", print::shown(&slug), created["id"].as_str().unwrap_or_default()))
            }
        }
    }
}
