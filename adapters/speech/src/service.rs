//! What the services over HTTP have in common.

use crate::ServiceConfig;
use goclaw_ports::speech::SpeechError;
use reqwest::{
    Client, RequestBuilder, Response,
    header::{CONTENT_TYPE, HeaderValue},
};
use secrecy::{ExposeSecret, SecretString};
use std::error::Error as StdError;
use url::Url;

/// How much of an error's body is read, in bytes.
const ERROR_BODY: usize = 16 << 10;
/// How much of it is told, in characters.
const TOLD: usize = 300;

/// One service: where it is, and how it speaks when nobody says how.
pub(crate) struct Service {
    client: Client,
    name: &'static str,
    base: Url,
    key: HeaderValue,
    secrets: Vec<SecretString>,
    pub(crate) group_id: Option<SecretString>,
    pub(crate) model: String,
    pub(crate) voice: String,
}

impl Service {
    /// Refuses, with the reason, a base that is no URL for HTTP and a key that cannot be sent.
    pub(crate) fn new(client: Client, name: &'static str, config: ServiceConfig) -> Result<Self, String> {
        let base = Url::parse(config.base.trim()).map_err(|error| format!("the base URL is not valid: {error}"))?;
        if !matches!(base.scheme(), "http" | "https") || base.cannot_be_a_base() {
            return Err("the base URL must be an http or https URL".to_owned());
        }
        let key = HeaderValue::from_str(config.api_key.expose_secret().trim()).map_err(|_| "the key holds characters that cannot be sent".to_owned())?;
        let secrets = std::iter::once(config.api_key).chain(config.group_id.clone()).collect();
        Ok(Self { client, name, base, key, secrets, group_id: config.group_id, model: config.model, voice: config.voice })
    }

    /// A request to the path of these segments below the base.
    pub(crate) fn post(&self, segments: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.client.post(url)
    }

    /// The key, for a header of its own.
    pub(crate) fn key(&self) -> HeaderValue {
        let mut key = self.key.clone();
        key.set_sensitive(true);
        key
    }

    /// Sends the request with the key as bearer.
    pub(crate) fn bearer(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(self.key.to_str().unwrap_or_default())
    }

    /// The audio that a request is answered with, at most `limit` bytes of it.
    pub(crate) async fn audio(&self, request: RequestBuilder, limit: usize) -> Result<Vec<u8>, SpeechError> {
        let answer = self.answer(request).await?;
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
        if kind.starts_with("text/") || kind.starts_with("application/json") {
            let body = self.body(answer, ERROR_BODY).await.map(|(body, _)| body).unwrap_or_default();
            return Err(self.failure(&format!("no audio: {}", String::from_utf8_lossy(&body))));
        }
        self.whole(answer, limit).await
    }

    /// The body that a request is answered with, at most `limit` bytes of it.
    pub(crate) async fn bytes(&self, request: RequestBuilder, limit: usize) -> Result<Vec<u8>, SpeechError> {
        let answer = self.answer(request).await?;
        self.whole(answer, limit).await
    }

    /// The answer to a request; any status but a success is a failure.
    async fn answer(&self, request: RequestBuilder) -> Result<Response, SpeechError> {
        let answer = request.send().await.map_err(|error| self.network(error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        // The status alone is worth telling when the body breaks off.
        let body = self.body(answer, ERROR_BODY).await.map(|(body, _)| body).unwrap_or_default();
        Err(self.failure(&format!("HTTP {}: {}", status.as_u16(), String::from_utf8_lossy(&body))))
    }

    async fn whole(&self, answer: Response, limit: usize) -> Result<Vec<u8>, SpeechError> {
        match self.body(answer, limit).await? {
            (body, false) => Ok(body),
            (_, true) => Err(self.failure(&format!("the answer is larger than {limit} bytes"))),
        }
    }

    /// The beginning of a body, and whether it goes on.
    async fn body(&self, mut answer: Response, limit: usize) -> Result<(Vec<u8>, bool), SpeechError> {
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.network(error))? {
            let room = limit - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() > room {
                return Ok((body, true));
            }
        }
        Ok((body, false))
    }

    fn network(&self, error: reqwest::Error) -> SpeechError {
        // The URL may hold the account.
        let error = error.without_url();
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(&format!(": {cause}"));
            source = cause.source();
        }
        self.failure(&text)
    }

    /// A failure of this service, without its secrets.
    pub(crate) fn failure(&self, text: &str) -> SpeechError {
        let scrubbed = self.secrets.iter().map(|secret| secret.expose_secret().trim()).filter(|secret| !secret.is_empty());
        let text = scrubbed.fold(text.trim().to_owned(), |text, secret| text.replace(secret, "***"));
        SpeechError(format!("{}: {}", self.name, text.chars().take(TOLD).collect::<String>()))
    }
}
