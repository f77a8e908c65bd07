//! `web_fetch`: a page of the web as Markdown or text.

mod direct;
mod html;
mod policy;
mod untrusted;

pub use policy::{FetchPolicy, WebFetchOptions};

use crate::{
    arguments::{Arguments, Refusal},
    confine::Root,
};
use async_trait::async_trait;
use direct::Page;
use goclaw_outbound::Outbound;
use goclaw_ports::{
    JsonObject, TenantId,
    tools::{Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use html::Mode;
use moka::future::Cache;
use serde_json::json;
use std::{
    sync::{Arc, RwLock},
    time::Duration,
};
use url::Url;

/// `maxChars` when the model does not say.
const DEFAULT_CHARS: usize = 60_000;
/// The least that `maxChars` may be.
const LEAST_CHARS: usize = 100;
/// How long a page is kept.
const KEPT: Duration = Duration::from_secs(15 * 60);
/// Most pages that are kept.
const MAX_PAGES: u32 = 100;
/// Bytes that kept pages take together.
const MAX_KEPT_BYTES: u32 = 64 << 20;
/// Most characters of an error.
const MAX_ERROR: usize = 4_000;

/// What a kept page goes by. The URL is case-sensitive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    tenant: TenantId,
    channel: String,
    url: Url,
    mode: Mode,
    max_chars: usize,
}

/// Fetches pages of the public web.
pub struct WebFetch {
    spec: ToolSpec,
    outbound: Arc<Outbound>,
    options: Arc<RwLock<WebFetchOptions>>,
    pages: Cache<Key, Arc<Page>>,
}

impl WebFetch {
    pub fn new(outbound: Arc<Outbound>, options: Arc<RwLock<WebFetchOptions>>) -> Self {
        let spec = ToolSpec {
            name: "web_fetch",
            description: "Fetch a public web page over http or https and read it as Markdown or plain text.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "url": {"type": "string", "description": "Address of the page, http or https."},
                    "extractMode": {"type": "string", "enum": ["markdown", "text"], "description": "How to render the page. Default markdown."},
                    "maxChars": {"type": "number", "minimum": LEAST_CHARS, "description": "Most characters to return. Default 60000; what is longer is saved to a file."},
                },
                "required": ["url"],
            }),
            effect: ToolEffect::Reads,
        };
        // A page weighs at least a hundredth of all, so there are never more than a hundred.
        let weight = |_: &Key, page: &Arc<Page>| u32::try_from(page.content.len()).unwrap_or(u32::MAX).max(MAX_KEPT_BYTES / MAX_PAGES);
        let pages = Cache::builder().max_capacity(u64::from(MAX_KEPT_BYTES)).weigher(weight).time_to_live(KEPT).build();
        Self { spec, outbound, options, pages }
    }

    async fn fetch(&self, context: &ToolContext, arguments: &Arguments) -> Result<ToolResult, Refusal> {
        let given = arguments.filled_text("url")?;
        let mode = match arguments.text("extractMode")?.as_deref() {
            None | Some("" | "markdown") => Mode::Markdown,
            Some("text") => Mode::Text,
            Some(other) => return Err(Refusal::new(format!("extractMode must be markdown or text, not {other}"))),
        };
        let max_chars = allowed_chars(arguments.integer("maxChars")?, context.run_share);
        let url = Url::parse(given.trim()).map_err(|error| Refusal::new(format!("invalid url: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::new("only http and https URLs can be fetched"));
        }
        if url.host_str().is_none_or(str::is_empty) {
            return Err(Refusal::new("the url has no host"));
        }
        self.outbound.guard().check_url(&url).map_err(|refused| failure(&refused.to_string()))?;
        let options = self.options.read().map_or_else(|poisoned| poisoned.into_inner().clone(), |options| options.clone());
        options.check(&url).map_err(|refused| failure(&refused))?;
        let key = Key { tenant: context.tenant, channel: context.channel.clone(), url, mode, max_chars };
        let page = match self.pages.get(&key).await {
            // The policy may have changed since, and the page may have come from elsewhere than it was asked for.
            Some(page) if options.check(&page.url).is_ok() => page,
            _ => {
                let page = direct::fetch(&self.outbound, &options, key.url.clone(), mode, max_chars).await;
                let page = Arc::new(page.map_err(|error| failure(&error))?);
                if page.status < 400 {
                    self.pages.insert(key.clone(), Arc::clone(&page)).await;
                }
                page
            }
        };
        Ok(ToolResult::silent(untrusted::wrapped(&shown(context, &key.url, &page, max_chars).await)))
    }
}

/// How many characters the answer may have. Towards the end of a run there is less room for them.
fn allowed_chars(asked: Option<i64>, run_share: f32) -> usize {
    let asked = asked.and_then(|asked| usize::try_from(asked).ok()).filter(|asked| *asked >= LEAST_CHARS).unwrap_or(DEFAULT_CHARS);
    match run_share {
        share if share >= 0.75 => asked.min(10_000),
        share if share >= 0.5 => asked.min(20_000),
        _ => asked,
    }
}

fn failure(why: &str) -> Refusal {
    let mut text = if why.starts_with("SSRF protection: ") || why.starts_with("domain \"") { why.to_owned() } else { format!("fetch failed: {why}") };
    text.truncate(text.floor_char_boundary(MAX_ERROR));
    Refusal::new(text)
}

/// The header lines and as much of the content as fits; the whole goes to a file if it does not.
async fn shown(context: &ToolContext, asked: &Url, page: &Page, max_chars: usize) -> String {
    let mut text = format!("URL: {}\n", untrusted::sanitised(page.url.as_str()));
    if *asked != page.url {
        text.push_str(&format!("Redirected from: {}\n", untrusted::sanitised(asked.as_str())));
    }
    text.push_str(&format!("Status: {}\nExtractor: {}\n", page.status, page.extractor));
    let content = untrusted::sanitised(&page.content);
    if content.len() <= max_chars {
        return format!("{text}Length: {}\n\n{content}", content.len());
    }
    let cut = &content[..content.floor_char_boundary(max_chars)];
    text.push_str(&format!("Length: {}\n", cut.len()));
    match save(context, content.clone()).await {
        Some(path) => format!(
            "{text}Content-Length: {}\nFull-Content-File: {path}\n\n{cut}\n\n[The page goes on; all of it is in {path}, for read_file with offset and limit.]",
            content.len()
        ),
        None => format!("{text}Truncated: true\n\n{cut}"),
    }
}

/// Writes a page into the workspace, for the workspace's owner alone. The answer is its path there.
async fn save(context: &ToolContext, content: String) -> Option<String> {
    let workspace = context.workspace.clone();
    let name = uuid::Uuid::new_v4().simple().to_string();
    let path = format!("web-fetch/web-fetch-{}.txt", &name[..16]);
    let target = path.clone();
    let saved = tokio::task::spawn_blocking(move || Root::open(&workspace, &[])?.create_private(&target, content.as_bytes())).await;
    match saved {
        Ok(Ok(())) => Some(path),
        Ok(Err(error)) => {
            tracing::warn!(tenant = %context.tenant, %error, "a long page could not be saved");
            None
        }
        Err(_) => None,
    }
}

#[async_trait]
impl Tool for WebFetch {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult {
        self.fetch(context, &Arguments(arguments)).await.unwrap_or_else(ToolResult::from)
    }
}

#[cfg(test)]
mod tests;
