//! A client of the running gateway's REST API.

use super::exit::{refused, unreachable};
use crate::config::{Config, first_start::read_secret_file};
use anyhow::{Context, Result, anyhow};
use futures_util::{StreamExt, stream};
use reqwest::{
    Body, Client, Method, RequestBuilder, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;
use std::{path::Path, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// How long the gateway may take to answer what is no file, and to do nothing about a file.
const ANSWER: Duration = Duration::from_secs(60);
/// How much of a file is read at once, in bytes.
const PIECE: usize = 128 << 10;

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
        Ok(Self {
            http: Client::builder().no_proxy().read_timeout(ANSWER).build().context("cannot make an HTTP client")?,
            url: config.gateway_url(),
            token,
            owner: config.owner().to_owned(),
        })
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
        let mut request = self.request(method, path).timeout(ANSWER);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = self.sent(request).await?;
        let status = answer.status();
        let text = answer.text().await.context("the gateway's answer broke off")?;
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        Ok((status, body))
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.url)).header("X-GoClaw-User-Id", &self.owner);
        match &self.token {
            Some(token) => request.bearer_auth(token.expose_secret()),
            None => request,
        }
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response> {
        match request.send().await {
            Ok(answer) => Ok(answer),
            Err(error) if error.is_connect() => Err(unreachable(format!("no gateway answers at {}; start it with `goclaw`", self.url))),
            Err(error) => Err(unreachable(format!("cannot reach the gateway at {}: {}", self.url, error.without_url()))),
        }
    }

    /// Writes what the API answers into a new file, and tells its size in bytes. What broke off leaves no file.
    ///
    /// # Errors
    /// Also if the gateway refuses, or the file is there already.
    pub async fn download(&self, path: &str, into: &Path) -> Result<u64> {
        let mut answer = self.sent(self.request(Method::GET, path)).await?;
        if !answer.status().is_success() {
            let (status, text) = (answer.status(), answer.text().await.unwrap_or_default());
            return Err(self.refusal(status, &serde_json::from_str(&text).unwrap_or(Value::Null)));
        }
        let mut file = match tokio::fs::File::create_new(into).await {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Err(refused(format!("{} is there already", into.display()))),
            created => created.with_context(|| format!("cannot write {}", into.display()))?,
        };
        let written = async {
            let mut size = 0;
            while let Some(piece) = answer.chunk().await.context("the gateway's answer broke off")? {
                file.write_all(&piece).await?;
                size += piece.len() as u64;
            }
            file.flush().await?;
            anyhow::Ok(size)
        };
        match written.await {
            Ok(size) => Ok(size),
            Err(error) => {
                // What is left of it is of no use, and would be in the way of another attempt.
                let _ = tokio::fs::remove_file(into).await;
                Err(error)
            }
        }
    }

    /// Sends a file and text fields as a form.
    ///
    /// # Errors
    /// Also if the file cannot be read or the gateway refuses.
    pub async fn upload(&self, path: &str, file: &Path, fields: &[(&str, &str)]) -> Result<Value> {
        let opened = tokio::fs::File::open(file).await.with_context(|| format!("cannot read {}", file.display()))?;
        let size = opened.metadata().await?.len();
        let boundary = uuid::Uuid::new_v4().simple().to_string();
        let mut head = String::new();
        for (name, value) in fields {
            head += &format!("--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
        }
        head += &format!("--{boundary}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"archive\"\r\n\r\n");
        let tail = format!("\r\n--{boundary}--\r\n");
        let length = head.len() as u64 + size + tail.len() as u64;
        let pieces = stream::unfold(opened, |mut file| async move {
            let mut piece = vec![0; PIECE];
            match file.read(&mut piece).await {
                Ok(0) => None,
                Ok(read) => {
                    piece.truncate(read);
                    Some((Ok(piece), file))
                }
                Err(error) => Some((Err(error), file)),
            }
        });
        let body = stream::iter([Ok(head.into_bytes())]).chain(pieces).chain(stream::iter([Ok::<_, std::io::Error>(tail.into_bytes())]));
        let request = self.request(Method::POST, path).header(CONTENT_TYPE, format!("multipart/form-data; boundary={boundary}"));
        let answer = self.sent(request.header(CONTENT_LENGTH, length).body(Body::wrap_stream(body))).await?;
        let (status, text) = (answer.status(), answer.text().await.context("the gateway's answer broke off")?);
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if status.is_success() { Ok(body) } else { Err(self.refusal(status, &body)) }
    }

    /// Calls the API and takes only a success for an answer.
    ///
    /// # Errors
    /// Also if the gateway refuses; the text is the gateway's.
    pub async fn expect(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let (status, body) = self.call(method, path, body).await?;
        if status.is_success() { Ok(body) } else { Err(self.refusal(status, &body)) }
    }

    /// Why the gateway did not do it.
    fn refusal(&self, status: StatusCode, body: &Value) -> anyhow::Error {
        let why = body["error"].as_str().unwrap_or(status.as_str());
        match status {
            StatusCode::UNAUTHORIZED => refused(format!("the gateway at {} does not accept the token", self.url)),
            status if status.is_client_error() => refused(format!("the gateway refused: {why}")),
            _ => anyhow!("the gateway failed: {why}"),
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
