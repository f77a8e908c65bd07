//! How a provider is reached.

use crate::{
    chat::Body,
    errors::Errors,
    retry::{self, RetryPolicy},
};
use chrono::{DateTime, Utc};
use goclaw_ports::llm::{Bearer, Credentials, LlmError, LlmErrorKind, tells_used_up_quota};
use reqwest::{
    Client, RequestBuilder, Response,
    header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
};
use secrecy::ExposeSecret;
use serde_json::Value;
use std::{
    future::Future,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How much of an error's body is read, in bytes.
const ERROR_BODY_LIMIT: usize = 64 * 1024;
/// How large an answer may be with all that is around its text, in bytes.
pub(crate) const BODY_LIMIT: usize = 64 * 1024 * 1024;
/// Which of the user's accounts at the vendor is meant.
const ACCOUNT: HeaderName = HeaderName::from_static("chatgpt-account-id");

/// A failed attempt, with what the upstream said in full: what to change about the request may stand anywhere in it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: LlmError,
    pub(crate) body: String,
}

impl Failure {
    /// Whether the same account may answer the same question soon. What an account has used up comes back too late for that.
    pub(crate) fn soon_passes(&self) -> bool {
        let used_up = self.error.status == Some(429) && tells_used_up_quota(&self.body);
        self.error.may_pass() && !used_up
    }
}

impl From<LlmError> for Failure {
    fn from(error: LlmError) -> Self {
        Self { error, body: String::new() }
    }
}

/// One provider's address, credentials and patience.
#[derive(Clone)]
pub(crate) struct Transport {
    pub(crate) client: Client,
    /// Without a slash at the end.
    pub(crate) base: String,
    /// The headers of every call, the credential included.
    pub(crate) headers: HeaderMap,
    /// Where the credential comes from if each call needs it anew.
    pub(crate) credentials: Option<Arc<dyn Credentials>>,
    /// The bare key, for calls that send it another way.
    pub(crate) key: Option<HeaderValue>,
    pub(crate) errors: Errors,
    pub(crate) idle: Duration,
    pub(crate) retry: RetryPolicy,
}

impl Transport {
    /// The same with the credential of this moment, if credentials change; its errors do not show that one.
    pub(crate) async fn authorised(self: &Arc<Self>) -> Result<Arc<Self>, LlmError> {
        let Some(credentials) = &self.credentials else { return Ok(Arc::clone(self)) };
        let Bearer { token, account_id } = credentials.bearer().await?;
        let mut transport = Self::clone(self);
        let unusable = || LlmError { kind: LlmErrorKind::Auth, ..self.errors.told("the access token holds characters that cannot be sent") };
        transport.headers.insert(AUTHORIZATION, sensitive(&format!("Bearer {}", token.expose_secret())).ok_or_else(unusable)?);
        if let Some(account) = account_id.and_then(|account| sensitive(&account)) {
            transport.headers.insert(ACCOUNT, account);
        }
        transport.errors.key = Some(token);
        Ok(Arc::new(transport))
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}/{path}", self.base)).headers(self.headers.clone())
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(format!("{}/{path}", self.base)).headers(self.headers.clone())
    }

    /// A request with this question, of which nothing is kept once it is sent: calls wait long for their answers, and who asks again
    /// encodes it again.
    pub(crate) fn ask(&self, path: &str, body: &Body) -> RequestBuilder {
        let request = self.post(path).header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // The client would keep a copy of a body that it could copy.
        request.body(reqwest::Body::wrap(reqwest::Body::from(body.json())))
    }

    /// Waits for something from the upstream, at most `limit`.
    pub(crate) async fn within<T>(&self, limit: Duration, wait: impl Future<Output = reqwest::Result<T>>) -> Result<T, LlmError> {
        match tokio::time::timeout(limit, wait).await {
            Ok(result) => result.map_err(|error| self.errors.network(&error)),
            Err(_) => Err(self.errors.idle(limit.as_secs_f64())),
        }
    }

    /// Sends a request; any status but a success is a failure.
    pub(crate) async fn send(&self, request: RequestBuilder, first_byte: Duration) -> Result<Response, Failure> {
        let answer = self.within(first_byte, request.send()).await?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status().as_u16();
        let now = SystemTime::now().into();
        let asked = asked_pause(answer.headers(), now);
        // The status alone is worth reporting when the body breaks off.
        let body = self.body(answer, ERROR_BODY_LIMIT, self.idle).await.unwrap_or_default();
        let body = String::from_utf8_lossy(&body).into_owned();
        let retry_after = asked.or_else(|| told_pause(&body, now));
        Err(Failure { error: LlmError { retry_after, ..self.errors.status(status, &body) }, body })
    }

    /// Reads a whole answer.
    pub(crate) async fn whole(&self, answer: Response, patience: Duration) -> Result<Vec<u8>, LlmError> {
        let body = self.body(answer, BODY_LIMIT, patience).await?;
        if body.len() >= BODY_LIMIT { Err(self.errors.too_long()) } else { Ok(body) }
    }

    /// Reads an answer up to `limit` bytes.
    pub(crate) async fn body(&self, mut answer: Response, limit: usize, patience: Duration) -> Result<Vec<u8>, LlmError> {
        let mut body = Vec::new();
        while body.len() < limit {
            let Some(chunk) = self.within(patience, answer.chunk()).await? else { break };
            body.extend_from_slice(&chunk[..chunk.len().min(limit - body.len())]);
        }
        Ok(body)
    }
}

/// A header that is shown nowhere.
pub(crate) fn sensitive(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// The pause that an answer asks for. A date is read against the answer's own clock, so that a difference to ours does not matter; `ours`
/// counts if it shows none.
fn asked_pause(headers: &HeaderMap, ours: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let theirs = headers.get(DATE).and_then(|date| DateTime::parse_from_rfc2822(date.to_str().ok()?).ok());
    retry::retry_after(value, theirs.map_or(ours, |theirs| theirs.to_utc()))
}

/// How long an account has nothing left, which ChatGPT tells in the body.
fn told_pause(body: &str, now: DateTime<Utc>) -> Option<Duration> {
    let body: Value = serde_json::from_str(body).ok()?;
    let seconds = |path: &str| body.pointer(path).and_then(Value::as_f64);
    let wait = seconds("/error/resets_in_seconds").or_else(|| Some(seconds("/error/resets_at")? - now.timestamp() as f64))?;
    Duration::try_from_secs_f64(wait).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-01-02T03:04:00Z").unwrap().to_utc()
    }

    #[test]
    fn a_date_is_read_by_the_clock_of_the_answer_else_by_ours() {
        let pause = |retry_after: &'static str, date: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(retry_after));
            if let Some(date) = date {
                headers.insert(DATE, HeaderValue::from_static(date));
            }
            asked_pause(&headers, now()).map(|pause| pause.as_secs())
        };
        let at = "Fri, 02 Jan 2026 03:04:30 GMT";
        assert_eq!(pause(at, None), Some(30));
        assert_eq!(pause(at, Some("Fri, 02 Jan 2026 03:04:20 GMT")), Some(10));
        assert_eq!(pause(at, Some("no date")), Some(30));
        assert_eq!(pause("Fri, 02 Jan 2026 03:03:30 GMT", None), None);
        assert_eq!(pause("7", None), Some(7));
        assert_eq!(asked_pause(&HeaderMap::new(), now()), None);
    }

    #[test]
    fn an_account_with_nothing_left_tells_when_it_has_again() {
        let at = now().timestamp() + 90;
        for (body, seconds) in [
            (r#"{"error":{"resets_in_seconds":9000}}"#.to_owned(), Some(9000)),
            (format!(r#"{{"error":{{"resets_at":{at}}}}}"#), Some(90)),
            (r#"{"error":{"resets_at":1}}"#.to_owned(), None),
            (r#"{"error":{"resets_in_seconds":"soon"}}"#.to_owned(), None),
            (r#"{"error":"slow down"}"#.to_owned(), None),
            ("slow down".to_owned(), None),
        ] {
            assert_eq!(told_pause(&body, now()).map(|pause| pause.as_secs()), seconds, "{body}");
        }
    }
}
