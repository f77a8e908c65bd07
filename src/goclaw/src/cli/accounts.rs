//! `goclaw auth`: the ChatGPT accounts that the running gateway is signed in to.

use super::{client::Gateway, print};
use crate::config::Config;
use anyhow::Result;
use reqwest::Method;

/// The account that is meant where none is named.
const USUAL: &str = "openai-codex";

/// What to do with an account.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Say whether the gateway is signed in
    Status(Account),
    /// Sign out, and delete the account's provider
    Logout(Account),
}

/// Which account.
#[derive(clap::Args)]
pub struct Account {
    /// The account's provider [default: openai-codex]
    alias: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Account {
    fn name(&self) -> &str {
        self.alias.as_deref().filter(|alias| !matches!(*alias, "" | "openai")).unwrap_or(USUAL)
    }

    fn path(&self, what: &str) -> String {
        let name: String = url::form_urlencoded::byte_serialize(self.name().as_bytes()).collect();
        format!("/v1/auth/chatgpt/{name}/{what}")
    }
}

/// Does it.
///
/// # Errors
/// If no gateway runs or it refuses.
pub async fn run(config: &Config, command: Command) -> Result<()> {
    let gateway = Gateway::of(config).await?;
    match command {
        Command::Status(account) => {
            let status = gateway.expect(Method::GET, &account.path("status"), None).await?;
            if account.json {
                return print::json(&status);
            }
            let name = print::shown(account.name());
            print::line(&match (status["authenticated"] == true, status["error"].as_str()) {
                (true, _) => format!("{name}: signed in"),
                (false, None) => format!("{name}: not signed in"),
                (false, Some(why)) => format!("{name}: not signed in ({})", print::shown(why)),
            })
        }
        Command::Logout(account) => {
            let done = gateway.expect(Method::POST, &account.path("logout"), None).await?;
            if account.json { print::json(&done) } else { print::line(&format!("{}: signed out", print::shown(account.name()))) }
        }
    }
}
