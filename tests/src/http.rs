//! A client of the REST side.

use crate::{patience, sse::SseStream, within};
use reqwest::{Method, header::HeaderMap};
use serde_json::Value;

/// A client with fixed headers. Each of the builder methods answers with a changed copy.
#[derive(Debug, Clone)]
pub struct Http {
    client: reqwest::Client,
    base: String,
    headers: Vec<(String, String)>,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    /// The body as JSON.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("no JSON ({error}): {} {}", self.status, self.text()))
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's value; "" if it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The JSON body of an answer that must have this status.
    ///
    /// # Panics
    /// If the status is another.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// The error text and code of an answer in the flat error shape.
    ///
    /// # Panics
    /// If the status is another, or the body is no such error.
    pub fn expect_error(&self, status: u16) -> (String, String) {
        let body = self.expect(status);
        match (&body["error"], &body["code"]) {
            (Value::String(text), Value::String(code)) => (text.clone(), code.clone()),
            _ => panic!("no flat error: {body}"),
        }
    }
}

impl Http {
    pub(crate) fn new(base: &str) -> Self {
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("an HTTP client");
        Self { client, base: base.to_owned(), headers: Vec::new() }
    }

    /// With this header, replacing an earlier one of the name.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this bearer token.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// As this user.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.header("X-GoClaw-User-Id", user)
    }

    /// For this tenant (id or slug).
    #[must_use]
    pub fn tenant(self, tenant: &str) -> Self {
        self.header("X-GoClaw-Tenant-Id", tenant)
    }

    /// On behalf of this person in a channel.
    #[must_use]
    pub fn sender(self, sender: &str) -> Self {
        self.header("X-GoClaw-Sender-Id", sender)
    }

    /// Without this header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self
    }

    /// `GET path`.
    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", Vec::new()).await
    }

    /// `DELETE path`.
    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, "", Vec::new()).await
    }

    /// `POST path` with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Reply {
        self.send("POST", path, "application/json", body.to_string().into_bytes()).await
    }

    /// `PUT path` with a JSON body.
    pub async fn put(&self, path: &str, body: &Value) -> Reply {
        self.send("PUT", path, "application/json", body.to_string().into_bytes()).await
    }

    /// `PATCH path` with a JSON body.
    pub async fn patch(&self, path: &str, body: &Value) -> Reply {
        self.send("PATCH", path, "application/json", body.to_string().into_bytes()).await
    }

    /// `POST path` with a form that holds text fields and, in `file`, a file of this name.
    pub async fn upload(&self, path: &str, fields: &[(&str, &str)], name: &str, content: &[u8]) -> Reply {
        let (kind, body) = form(fields, name, content);
        self.send("POST", path, &kind, body).await
    }

    /// The same, to a gateway that may go away meanwhile.
    pub async fn attempt_upload(&self, path: &str, name: &str, content: &[u8]) -> Option<Reply> {
        let (kind, body) = form(&[], name, content);
        answered(self.exchange("POST", path, &kind, body).await)
    }

    /// Any request. No body is sent if `content_type` is "".
    pub async fn send(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> Reply {
        let exchange = self.exchange(method, path, content_type, body);
        within(&format!("the answer to {method} {path}"), exchange).await.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"))
    }

    /// A request to a gateway that may go away meanwhile, with a JSON body unless it is null; `None` if the connection ends
    /// before the whole answer is there.
    ///
    /// # Panics
    /// If the gateway neither answers nor ends the connection.
    pub async fn attempt(&self, method: &str, path: &str, body: &Value) -> Option<Reply> {
        let (kind, body) = if body.is_null() { ("", Vec::new()) } else { ("application/json", body.to_string().into_bytes()) };
        answered(self.exchange(method, path, kind, body).await)
    }

    async fn exchange(&self, method: &str, path: &str, content_type: &str, body: Vec<u8>) -> reqwest::Result<Reply> {
        let mut request = self.request(method, path);
        if !content_type.is_empty() {
            request = request.header("Content-Type", content_type).body(body);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Reply { status, headers, body: response.bytes().await?.to_vec() })
    }

    /// `POST path` with a JSON body, for an answer that comes as server-sent events.
    pub async fn stream(&self, path: &str, body: &Value) -> SseStream {
        let request = self.request("POST", path).header("Content-Type", "application/json").body(body.to_string());
        let response = within("a stream to begin", request.send()).await.unwrap_or_else(|error| panic!("POST {path}: {error:?}"));
        SseStream::new(response)
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.client.request(method, format!("{}{path}", self.base)).timeout(patience() * 3);
        self.headers.iter().fold(request, |request, (name, value)| request.header(name, value))
    }
}

fn answered(outcome: reqwest::Result<Reply>) -> Option<Reply> {
    assert!(!outcome.as_ref().is_err_and(reqwest::Error::is_timeout), "no answer, and the connection stays open: {outcome:?}");
    outcome.ok()
}

/// A form that holds text fields and, in `file`, a file of this name: its content type and its bytes.
fn form(fields: &[(&str, &str)], name: &str, content: &[u8]) -> (String, Vec<u8>) {
    const BOUNDARY: &str = "----------------------------form-of-the-tests";
    let mut body = Vec::with_capacity(content.len() + 1_024);
    for (field, text) in fields {
        body.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n{text}\r\n").as_bytes());
    }
    body.extend_from_slice(format!("--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n").as_bytes());
    body.extend_from_slice(content);
    body.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={BOUNDARY}"), body)
}
