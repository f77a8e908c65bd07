//! Gets a page and turns it into text by its content type.

use super::{
    html::{self, Mode},
    policy::WebFetchOptions,
};
use encoding_rs::{Encoding, UTF_8};
use goclaw_outbound::{FetchRequest, Outbound};
use reqwest::header::{ACCEPT, ACCEPT_LANGUAGE, CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use std::time::Duration;
use url::Url;

const TIMEOUT: Duration = Duration::from_secs(30);
const MAX_REDIRECTS: usize = 3;
/// Bytes of a body that are read: ten times the answer, within these bounds.
const LEAST_BODY: usize = 512 << 10;
const MOST_BODY: usize = 8 << 20;
/// Bytes at the start of a page that are searched for its encoding.
const SNIFFED: usize = 1_024;
/// Many sites turn away whoever does not look like a browser.
const BROWSER: &str = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36";
const ACCEPTED: &str = "text/markdown, text/html;q=0.9, application/xhtml+xml;q=0.9, application/json;q=0.8, */*;q=0.5";

/// A page as text.
pub struct Page {
    /// Where it came from in the end.
    pub url: Url,
    /// The HTTP status.
    pub status: u16,
    /// What turned it into text.
    pub extractor: &'static str,
    pub content: String,
}

/// Gets `url`. The error says why not, for the model.
pub async fn fetch(outbound: &Outbound, options: &WebFetchOptions, url: Url, mode: Mode, max_chars: usize) -> Result<Page, String> {
    let headers = HeaderMap::from_iter([
        (USER_AGENT, HeaderValue::from_static(BROWSER)),
        (ACCEPT, HeaderValue::from_static(ACCEPTED)),
        (ACCEPT_LANGUAGE, HeaderValue::from_static("en-US,en;q=0.9")),
    ]);
    let max_bytes = max_chars.saturating_mul(10).clamp(LEAST_BODY, MOST_BODY);
    let request = FetchRequest { url, headers, max_redirects: MAX_REDIRECTS, max_bytes, timeout: TIMEOUT };
    let fetched = outbound.get_following(request, |url| options.check(url)).await.map_err(|error| error.to_string())?;
    let content_type = fetched.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let body = fetched.body;
    // Parsing a large page takes long enough to be no work for a thread that serves others.
    let converted = tokio::task::spawn_blocking(move || convert(&body, &content_type, mode)).await;
    let (extractor, content) = converted.map_err(|_| "the page could not be converted".to_owned())?;
    Ok(Page { url: fetched.url, status: fetched.status.as_u16(), extractor, content })
}

fn convert(body: &[u8], content_type: &str, mode: Mode) -> (&'static str, String) {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let text = decoded(body, content_type);
    if media_type == "application/json" || media_type == "text/json" || media_type.ends_with("+json") {
        return match serde_json::from_str::<serde_json::Value>(&text) {
            Ok(value) => ("json", format!("{value:#}")),
            Err(_) => ("raw", text),
        };
    }
    if media_type == "text/markdown" {
        return ("cf-markdown", if mode == Mode::Text { html::without_markdown(&text) } else { text });
    }
    let looks_like_html = media_type.is_empty() && text.trim_start().get(..1) == Some("<");
    if media_type == "text/html" || media_type == "application/xhtml+xml" || looks_like_html {
        let content = html::convert(&text, mode);
        let extractor = if mode == Mode::Markdown { "html-to-markdown" } else { "html-to-text" };
        let content = if content.is_empty() { "(the page has no readable text; it may need JavaScript)".into() } else { content };
        return (extractor, content);
    }
    if body.iter().take(SNIFFED).any(|byte| *byte == 0) {
        return ("raw", format!("(binary content of type {media_type}, {} bytes)", body.len()));
    }
    ("raw", text)
}

/// The text of a body, by the encoding that its header or its first bytes name.
fn decoded(body: &[u8], content_type: &str) -> String {
    let start = String::from_utf8_lossy(&body[..body.len().min(SNIFFED)]).to_ascii_lowercase();
    let named = |text: &str| {
        let (_, after) = text.split_once("charset=")?;
        let label = after.trim_start_matches(['"', '\'', ' ']).split(|c: char| !(c.is_ascii_alphanumeric() || "-_:".contains(c))).next()?;
        Encoding::for_label(label.as_bytes())
    };
    let encoding = named(content_type).or_else(|| if content_type.contains("html") { named(&start) } else { None }).unwrap_or(UTF_8);
    encoding.decode(body).0.into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_converted_by_its_type() {
        assert_eq!(convert(b"{\"a\":1}", "application/json; charset=utf-8", Mode::Text), ("json", "{\n  \"a\": 1\n}".into()));
        assert_eq!(convert(b"{broken", "application/ld+json", Mode::Text).0, "raw");
        assert_eq!(convert(b"# A **b**", "text/markdown", Mode::Markdown), ("cf-markdown", "# A **b**".into()));
        assert_eq!(convert(b"# A **b**", "text/markdown", Mode::Text), ("cf-markdown", "A b".into()));
        assert_eq!(convert(b"<p>a", "text/html", Mode::Markdown), ("html-to-markdown", "a".into()));
        assert_eq!(convert(b"<p>a", "", Mode::Text), ("html-to-text", "a".into()));
        assert!(convert(b"<script>1</script>", "text/html", Mode::Text).1.contains("JavaScript"));
        assert_eq!(convert(b"a,b", "text/csv", Mode::Text), ("raw", "a,b".into()));
        assert!(convert(b"\0\x01", "image/png", Mode::Text).1.contains("binary"));
    }

    #[test]
    fn a_page_is_read_in_its_own_encoding() {
        assert_eq!(decoded(b"caf\xe9", "text/html; charset=iso-8859-1"), "café");
        assert_eq!(decoded(b"<meta charset='windows-1251'>\xe4\xe0", "text/html"), "<meta charset='windows-1251'>да");
        assert_eq!(decoded("café".as_bytes(), "text/html"), "café");
    }
}
