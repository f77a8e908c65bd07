//! Looks for newer releases, where the operator says.

use anyhow::{Context, Result, ensure};
use goclaw_ports::releases::{Release, Releases};
use reqwest::{
    Client, StatusCode,
    header::{ACCEPT, ETAG, HeaderValue, IF_NONE_MATCH},
};
use semver::Version;
use serde::Deserialize;
use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

const FIRST: Duration = Duration::from_secs(5);
const EVERY: Duration = Duration::from_secs(3600);
const LIMIT: Duration = Duration::from_secs(15);
/// How long a list may be, in bytes: GitHub gives thirty releases with their notes.
const LIST_BYTES: usize = 4 << 20;
/// How much of the notes is kept, in characters.
const NOTES: usize = 20_000;

/// One release, as GitHub's API gives it.
#[derive(Deserialize)]
struct Listed {
    tag_name: String,
    #[serde(default)]
    html_url: String,
    body: Option<String>,
    #[serde(default)]
    draft: bool,
    #[serde(default)]
    prerelease: bool,
}

/// Knows the newest release, as of at most an hour ago.
pub struct ReleaseCheck {
    url: String,
    running: &'static str,
    client: Client,
    newest: RwLock<Option<Release>>,
}

impl ReleaseCheck {
    /// Looks at this URL five seconds from now, and then every hour.
    pub fn start(url: String, running: &'static str, client: Client, runtime: &Handle) -> Arc<Self> {
        let check = Arc::new(Self { url, running, client, newest: RwLock::default() });
        let looking = check.clone();
        runtime.spawn(async move {
            let mut ticks = interval_at(Instant::now() + FIRST, EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            let mut tag = None;
            loop {
                ticks.tick().await;
                let looked = timeout(LIMIT, looking.look(&mut tag)).await.context("it took too long");
                if let Err(error) = looked.and_then(|looked| looked) {
                    tracing::warn!(error = format!("{error:#}"), "looking for newer releases failed");
                }
            }
        });
        check
    }

    /// Asks once, unless nothing has changed since the answer with this entity tag.
    async fn look(&self, tag: &mut Option<HeaderValue>) -> Result<()> {
        let mut request = self.client.get(&self.url).header(ACCEPT, "application/json");
        if let Some(tag) = &*tag {
            request = request.header(IF_NONE_MATCH, tag);
        }
        let mut response = request.send().await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(());
        }
        ensure!(response.status() == StatusCode::OK, "the answer is {}", response.status());
        let new_tag = response.headers().get(ETAG).cloned();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            ensure!(body.len() + chunk.len() <= LIST_BYTES, "the list is longer than {LIST_BYTES} bytes");
            body.extend_from_slice(&chunk);
        }
        let listed: Vec<Listed> = serde_json::from_slice(&body).context("the answer is no list of releases")?;
        let newest = newest(listed, self.running);
        if let Some(release) = newest.as_ref().filter(|release| release.newer) {
            tracing::info!(version = release.version, url = release.url, "there is a newer release");
        }
        *self.newest.write().unwrap_or_else(PoisonError::into_inner) = newest;
        *tag = new_tag;
        Ok(())
    }
}

impl Releases for ReleaseCheck {
    fn latest(&self) -> Option<Release> {
        self.newest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The newest release that is meant for everybody. Tags that are no `v` and a version belong to something else.
fn newest(listed: Vec<Listed>, running: &str) -> Option<Release> {
    let released = listed.into_iter().filter(|release| !release.draft && !release.prerelease);
    let versions = released.filter_map(|release| Some((Version::parse(release.tag_name.strip_prefix('v')?).ok()?, release)));
    let (version, release) = versions.filter(|(version, _)| version.pre.is_empty()).max_by(|one, other| one.0.cmp_precedence(&other.0))?;
    // Whoever builds it knows better.
    let newer = Version::parse(running).is_ok_and(|running| !is_development(&running) && version > running);
    Some(Release { version: version.to_string(), url: release.html_url, notes: release.body.unwrap_or_default().chars().take(NOTES).collect(), newer })
}

fn is_development(version: &Version) -> bool {
    *version == Version::new(0, 0, 0) || version.pre.as_str().ends_with("dev")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        sync::oneshot,
    };

    fn list() -> Value {
        json!([
            {"tag_name": "lite-v9.0.0", "html_url": "lite"},
            {"tag_name": "v3.0.0", "draft": true},
            {"tag_name": "v2.9.0", "prerelease": true},
            {"tag_name": "v2.8.0-rc.1"},
            {"tag_name": "v1.9.0", "html_url": "https://releases.example/1.9.0", "body": "old"},
            {"tag_name": "v1.10.0", "html_url": "https://releases.example/1.10.0", "body": "new"},
            {"tag_name": "nightly"},
            {"tag_name": "1.99.0"},
        ])
    }

    fn found(running: &str) -> Release {
        newest(serde_json::from_value(list()).unwrap(), running).unwrap()
    }

    #[test]
    fn the_newest_release_is_the_one_with_the_highest_version() {
        let expected = Release { version: "1.10.0".into(), url: "https://releases.example/1.10.0".into(), notes: "new".into(), newer: true };
        assert_eq!(found("1.9.0"), expected);
        assert!(newest(vec![], "1.0.0").is_none());
    }

    #[test]
    fn only_an_older_release_learns_of_a_newer_one() {
        assert!(found("1.10.0-rc.1").newer);
        for running in ["1.10.0", "1.11.0", "0.0.0", "1.0.0-dev", "1.0.0-3.dev", "unknown"] {
            assert!(!found(running).newer, "{running}");
        }
    }

    /// Answers one request with this, and says what it was.
    async fn answer_once(listener: &TcpListener, answer: String) -> String {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert!(socket.read_buf(&mut request).await.unwrap() > 0);
        }
        socket.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8(request).unwrap().to_lowercase()
    }

    #[tokio::test]
    async fn an_unchanged_list_is_not_read_again() {
        super::super::install_tls();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/releases", listener.local_addr().unwrap());
        let (done, requests) = oneshot::channel();
        tokio::spawn(async move {
            let list = list().to_string();
            let full = format!("HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{list}", list.len());
            let unchanged = "HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n".to_owned();
            let broken = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}".to_owned();
            let mut all = Vec::new();
            for answer in [full, unchanged, broken] {
                all.push(answer_once(&listener, answer).await);
            }
            done.send(all).unwrap();
        });
        let client = Client::builder().no_proxy().build().unwrap();
        let check = ReleaseCheck { url, running: "1.0.0", client, newest: RwLock::default() };
        let mut tag = None;
        assert_eq!(check.latest(), None);
        check.look(&mut tag).await.unwrap();
        assert_eq!(check.latest().unwrap().version, "1.10.0");
        check.look(&mut tag).await.unwrap();
        assert!(check.look(&mut tag).await.is_err(), "an object is no list");
        assert_eq!(check.latest().unwrap().version, "1.10.0", "what was known stays known");
        let requests = requests.await.unwrap();
        assert!(!requests[0].contains("if-none-match"));
        assert!(requests[1].contains("if-none-match: \"one\""));
    }
}
