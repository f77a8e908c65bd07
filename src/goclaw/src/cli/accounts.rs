//! `goclaw auth`: the ChatGPT accounts that the running gateway is signed in to.

use super::{client::Gateway, print};
use crate::config::Config;
use anyhow::Result;
use reqwest::Method;
use serde_json::json;

/// The account that is meant where none is named.
const USUAL: &str = "openai-codex";

/// What to do with an account.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Say whether the gateway is signed in
    Status(Account),
    /// Sign in with a browser
    Login {
        #[command(flatten)]
        account: Account,
        /// Where the browser was sent to, if it could not get there: ends the sign-in
        #[arg(long, value_name = "URL")]
        callback: Option<String>,
    },
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
        Command::Login { account, callback } => login(&gateway, account, callback).await,
        Command::Logout(account) => {
            let done = gateway.expect(Method::POST, &account.path("logout"), None).await?;
            if account.json { print::json(&done) } else { print::line(&format!("{}: signed out", print::shown(account.name()))) }
        }
    }
}

async fn login(gateway: &Gateway, account: Account, callback: Option<String>) -> Result<()> {
    let name = print::shown(account.name());
    if let Some(url) = callback {
        let done = gateway.expect(Method::POST, &account.path("callback"), Some(&json!({"redirect_url": url}))).await?;
        return if account.json { print::json(&done) } else { print::line(&format!("{name}: signed in")) };
    }
    let begun = gateway.expect(Method::POST, &account.path("start"), Some(&json!({}))).await?;
    if account.json {
        return print::json(&begun);
    }
    let Some(url) = begun["auth_url"].as_str() else { return print::line(&format!("{name}: signed in already")) };
    eprintln!("Open this in a browser. If it cannot get back to the gateway, say `goclaw auth login {name} --callback` and where it was sent to:");
    print::line(&print::shown(url))
}
