//! A client of the running gateway's REST API.

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
    owner: String,
}

impl Gateway {
    /// The configured gateway, whether it runs or not. The token is the configured one, else the token file's.
    ///
    /// # Errors
    /// If the token file cannot be read.
    pub fn of(config: &Config) -> Result<Self> {
        let token = match config.client_token() {
            Some(token) => Some(token),
            None => read_secret_file(&config.token_file())?,
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
        let answer = request.send().await.with_context(|| format!("cannot reach the gateway at {}", self.url))?;
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
        match self.call(method, path, body).await? {
            (status, body) if status.is_success() => Ok(body),
            (StatusCode::UNAUTHORIZED, _) => bail!("the gateway at {} does not accept the token", self.url),
            (status, body) => bail!("the gateway refused: {}", body["error"].as_str().unwrap_or(status.as_str())),
        }
    }
}

/// A client for this machine's own services.
///
/// # Errors
/// If TLS cannot be set up.
pub fn client(timeout: Duration) -> Result<Client> {
    Client::builder().no_proxy().timeout(timeout).build().context("cannot make an HTTP client")
}
