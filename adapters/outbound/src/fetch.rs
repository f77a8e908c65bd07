//! Fetching a page: redirects checked hop by hop, the body cut at a limit.

use crate::{Outbound, Refused};
use reqwest::{
    StatusCode,
    header::{HeaderMap, LOCATION},
};
use std::{error::Error as StdError, fmt, time::Duration};
use url::Url;

/// A page to fetch.
#[derive(Debug, Clone)]
pub struct FetchRequest {
    /// Where it is.
    pub url: Url,
    /// Sent to the first host and those it redirects to; `Authorization` and `Cookie` only as long as the origin stays the same.
    pub headers: HeaderMap,
    /// How many redirects are followed; one more is an error.
    pub max_redirects: usize,
    /// How much of the body is read, in bytes; the rest is left.
    pub max_bytes: usize,
    /// The longest it may take in all, the body included.
    pub timeout: Duration,
}

/// A fetched page.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// Where it came from in the end.
    pub url: Url,
    /// The status, whatever it is.
    pub status: StatusCode,
    /// The headers of the answer.
    pub headers: HeaderMap,
    /// The body, at most `max_bytes` of it.
    pub body: Vec<u8>,
    /// Whether the body went on.
    pub truncated: bool,
    /// The URLs that redirected, the first one first.
    pub redirected_from: Vec<Url>,
}

/// Why a page could not be fetched.
#[derive(Debug)]
#[non_exhaustive]
pub enum FetchError {
    /// The guard refuses the URL, a redirect's target or the address of either.
    Refused(Refused),
    /// The caller's check refuses a URL, with its reason.
    Rejected(String),
    /// A redirect beyond the limit.
    TooManyRedirects(usize),
    /// A redirect whose target is no URL.
    BadRedirect(String),
    /// It took longer than it may.
    Timeout,
    /// The connection or the protocol failed.
    Http(reqwest::Error),
}

impl fmt::Display for FetchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Rejected(why) => f.write_str(why),
            Self::TooManyRedirects(limit) => write!(f, "stopped after {limit} redirects"),
            Self::BadRedirect(target) => write!(f, "redirected to {target:?}, which is no URL"),
            Self::Timeout => f.write_str("timeout: the page took too long"),
            Self::Http(error) => {
                error.fmt(f)?;
                // The client's own text leaves out what happened below.
                let mut source = error.source();
                while let Some(cause) = source {
                    write!(f, ": {cause}")?;
                    source = cause.source();
                }
                Ok(())
            }
        }
    }
}

impl StdError for FetchError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::Http(error) => Some(error),
            _ => None,
        }
    }
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        match Refused::find(&error) {
            Some(refused) => Self::Refused(refused.clone()),
            None if error.is_timeout() => Self::Timeout,
            None => Self::Http(error),
        }
    }
}

impl Outbound {
    /// Gets a page through the guarded client. Every URL on the way, the first included, must pass the guard and `check` (a
    /// domain policy; its `Err` is the reason).
    ///
    /// # Errors
    /// See [`FetchError`]. A status of 400 and above is not an error.
    pub async fn get_following(&self, request: FetchRequest, check: impl Fn(&Url) -> Result<(), String> + Send + Sync) -> Result<Fetched, FetchError> {
        let limit = request.timeout;
        tokio::time::timeout(limit, self.follow(request, check)).await.unwrap_or(Err(FetchError::Timeout))
    }

    async fn follow(&self, request: FetchRequest, check: impl Fn(&Url) -> Result<(), String> + Send + Sync) -> Result<Fetched, FetchError> {
        let FetchRequest { mut url, mut headers, max_redirects, max_bytes, .. } = request;
        let client = self.guarded();
        let mut redirected_from = Vec::new();
        loop {
            self.guard().check_url(&url).map_err(FetchError::Refused)?;
            check(&url).map_err(FetchError::Rejected)?;
            let mut answer = client.get(url.clone()).headers(headers.clone()).send().await?;
            if let Some(target) = redirect_target(&answer, &url)? {
                if redirected_from.len() >= max_redirects {
                    return Err(FetchError::TooManyRedirects(max_redirects));
                }
                if target.origin() != url.origin() {
                    headers.remove(reqwest::header::AUTHORIZATION);
                    headers.remove(reqwest::header::COOKIE);
                }
                redirected_from.push(std::mem::replace(&mut url, target));
                continue;
            }
            let (status, headers) = (answer.status(), answer.headers().clone());
            let mut body = Vec::new();
            let mut truncated = false;
            while let Some(chunk) = answer.chunk().await? {
                let room = max_bytes - body.len();
                if chunk.len() > room {
                    body.extend_from_slice(&chunk[..room]);
                    truncated = true;
                    break;
                }
                body.extend_from_slice(&chunk);
            }
            return Ok(Fetched { url, status, headers, body, truncated, redirected_from });
        }
    }
}

fn redirect_target(answer: &reqwest::Response, from: &Url) -> Result<Option<Url>, FetchError> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = answer.headers().get(LOCATION) else { return Ok(None) };
    let text = String::from_utf8_lossy(location.as_bytes());
    from.join(&text).map(Some).map_err(|_| FetchError::BadRedirect(text.chars().take(200).collect()))
}
