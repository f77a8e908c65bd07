//! A client of the running gateway's REST API.

use super::exit::{refused, unreachable};
use crate::config::{Config, first_start::read_secret_file};
use anyhow::{Context, Result, bail};
use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::time::Duration;

/// The gateway, as the command line sees it.
pub struct Gateway {
    http: Client,
    /// `http://host:port`.
    pub url: String,
    /// What opens it.
    pub token: Option<SecretString>,
    /// The user who owns the installation.
    pub owner: String,
}

impl Gateway {
    /// The configured gateway, whether it runs or not. The token is `GOCLAW_TOKEN`, else the configured one, else that of the secret
    /// store if it can be read while a gateway runs, else the token file's.
    ///
    /// # Errors
    /// If the token file cannot be read.
    pub async fn of(config: &Config) -> Result<Self> {
        let token = match config.client_token() {
            Some(token) => Some(token),
            None => match stored_token(config).await {
                Some(token) => Some(token),
                None => read_secret_file(&config.token_file())?,
            },
        };
        Ok(Self { http: client(Duration::from_secs(60))?, url: config.gateway_url(), token, owner: config.owner().to_owned() })
    }

    /// Whether a gateway answers.
    pub async fn is_running(&self) -> bool {
        let answer = self.http.get(format!("{}/health", self.url)).timeout(Duration::from_secs(3)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Calls the API as the installation's owner.
    ///
    /// # Errors
    /// If the gateway cannot be reached or its answer is no JSON. A refusal is an answer.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<(StatusCode, Value)> {
        let mut request = self.http.request(method, format!("{}{path}", self.url)).header("X-GoClaw-User-Id", &self.owner);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Err(unreachable(format!("no gateway answers at {}; start it with `goclaw`", self.url))),
            Err(error) => return Err(unreachable(format!("cannot reach the gateway at {}: {}", self.url, error.without_url()))),
        };
        let status = answer.status();
        let text = answer.text().await.context("the gateway's answer broke off")?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        Ok((status, body))
    }

    /// Calls the API and takes only a success for an answer.
    ///
    /// # Errors
    /// Also if the gateway refuses; the text is the gateway's.
    pub async fn expect(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, body) = self.call(method, path, body).await?;
        if status.is_success() {
            return Ok(body);
        }
        let why = body["error"].as_str().unwrap_or(status.as_str()).to_owned();
        match status {
            StatusCode::UNAUTHORIZED => Err(refused(format!("the gateway at {} does not accept the token", self.url))),
            status if status.is_client_error() => Err(refused(format!("the gateway refused: {why}"))),
            _ => bail!("the gateway failed: {why}"),
        }
    }
}

/// The token in the secret store. PostgreSQL can be asked while a gateway runs; SQLite belongs to the gateway alone.
#[cfg(feature = "standard")]
async fn stored_token(config: &Config) -> Option<SecretString> {
    use crate::run::place;
    use goclaw_ports::{TenantId, sealer::Sealer};
    let crate::config::edition::Storage::Postgres { dsn: Some(dsn) } = &config.storage else { return None };
    let options = goclaw_postgres::PostgresOptions { dsn: dsn.clone(), max_connections: 2, migrate: false, fallback_limiter: None };
    // A database that cannot be read is not what the command was asked for; the gateway will say what it thinks of the token.
    let stores = goclaw_postgres::open(options).await.inspect_err(|error| tracing::debug!(%error, "the secret store cannot be read")).ok()?.stores;
    let sealed = stores.secrets.list(TenantId::MASTER).await.unwrap_or_default();
    stores.database.close().await;
    let (_, sealed) = sealed.into_iter().find(|(name, _)| name == TOKEN)?;
    config.sealer(true).ok()?.open(place(TOKEN), &sealed).ok()
}

#[cfg(not(feature = "standard"))]
async fn stored_token(_: &Config) -> Option<SecretString> {
    None
}

/// The gateway token's name in the secret store.
#[cfg(feature = "standard")]
const TOKEN: &str = "gateway.token";

/// A client for this machine's own services.
///
/// # Errors
/// If TLS cannot be set up.
pub fn client(timeout: Duration) -> Result<Client> {
    Client::builder().no_proxy().timeout(timeout).build().context("cannot make an HTTP client")
}
