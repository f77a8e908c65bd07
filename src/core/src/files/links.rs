//! Links to files in texts. What an agent says may name any path: a link gets a signature only if it leads to what the reader may
//! read. A run knows that when it speaks, and marks such links; they are signed where they leave the gateway, because signatures
//! are neither stored nor good at another process.

mod stream;

pub(crate) use stream::LinkStream;

use super::{FileTokens, check_media_id, path::FilePath};
use crate::runs::engine::RunOutcome;
use goclaw_ports::{clock::Clock, events::Event, tools::MediaResult};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use std::{
    borrow::Cow,
    collections::HashSet,
    path::{Path, PathBuf},
    sync::Arc,
};

const FILES: &str = "/v1/files/";
const MEDIA: &str = "/v1/media/";
/// A Markdown link to an absolute path.
const BARE: &str = "](/";
/// The signature of a link that may have one and has not yet.
const AWAITED: &str = "~";

/// Where events tell texts that may hold links.
const TEXTS: [&str; 2] = ["content", "result"];

/// What a link leads to.
pub(super) enum Target<'a> {
    /// A file of the server.
    File(&'a FilePath),
    /// A file of a message, by its id.
    Media(&'a str),
}

impl Target<'_> {
    /// What its signature is bound to.
    fn bound(&self) -> String {
        match self {
            Self::File(path) => path.bound(),
            Self::Media(id) => format!("{MEDIA}{id}"),
        }
    }
}

/// What whoever reads a run's words may read: the directory it works in, and the files of its conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readable {
    /// The directory, by every path that it goes by.
    pub(crate) directories: Vec<PathBuf>,
    /// The ids of the files.
    pub(crate) media: HashSet<String>,
}

impl Readable {
    fn admits(&self, target: &Target<'_>) -> bool {
        match target {
            Target::File(path) => {
                let path = path.absolute();
                self.directories.iter().any(|directory| path.starts_with(directory))
            }
            Target::Media(id) => self.media.contains(*id),
        }
    }
}

/// Signs links.
#[derive(Clone)]
pub struct FileLinks {
    pub(crate) tokens: Arc<FileTokens>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl FileLinks {
    /// A link to a file of which it is known that the reader may read it; "" if no link can name it.
    #[must_use]
    pub fn to(&self, path: &Path) -> String {
        FilePath::of(path).map(|path| self.link(&path)).unwrap_or_default()
    }

    pub(super) fn link(&self, path: &FilePath) -> String {
        format!("{}?ft={}", path.url(), self.signature(&Target::File(path)))
    }

    fn signature(&self, target: &Target<'_>) -> String {
        self.tokens.sign(&target.bound(), self.clock.now().timestamp())
    }

    /// The text with its links to what `admits` lets through signed.
    pub(super) fn signed<'t>(&self, text: &'t str, admits: impl Fn(&Target<'_>) -> bool) -> Cow<'t, str> {
        rewritten(text, |target, _| admits(target).then(|| self.signature(target)))
    }

    /// The text with marked links signed.
    #[must_use]
    pub fn sealed<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if !awaits(text) {
            return Cow::Borrowed(text);
        }
        rewritten(text, |target, signature| (signature == Some(AWAITED)).then(|| self.signature(target)))
    }

    /// What an event tells, with marked links signed.
    #[must_use]
    pub fn payload(&self, event: &Event) -> Arc<Value> {
        let told = &event.payload["payload"];
        let in_media = told["media"].as_array().is_some_and(|files| !files.is_empty());
        if &*event.name != "agent" || !(in_media || TEXTS.iter().any(|text| told[text].as_str().is_some_and(awaits))) {
            return event.payload.clone();
        }
        let mut payload = Value::clone(&event.payload);
        let told = &mut payload["payload"];
        for text in TEXTS {
            if let Some(Value::String(text)) = told.get_mut(text) {
                *text = self.sealed(text).into_owned();
            }
        }
        for file in told.get_mut("media").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some(Value::String(path)) = file.get_mut("path") {
                *path = self.sealed(path).into_owned();
            }
        }
        Arc::new(payload)
    }

    /// What a run answered, with links in place of paths.
    #[must_use]
    pub fn outcome(&self, mut outcome: RunOutcome) -> RunOutcome {
        outcome.content = self.signed(&outcome.content, |target| outcome.readable.admits(target)).into_owned();
        for file in &mut outcome.media {
            file.path = self.to(Path::new(&file.path));
        }
        outcome
    }
}

/// Whether a text holds marked links.
fn awaits(text: &str) -> bool {
    text.contains("ft=~")
}

/// Whether a text may hold links at all.
pub(super) fn may_link(text: &str) -> bool {
    text.contains("/v1/") || text.contains(BARE)
}

/// The text with its links to what is `readable` marked. Signatures that it came with are gone.
pub(crate) fn marked<'t>(text: &'t str, readable: &Readable) -> Cow<'t, str> {
    if !may_link(text) {
        return Cow::Borrowed(text);
    }
    rewritten(text, |target, _| readable.admits(target).then(|| AWAITED.to_owned()))
}

/// A marked link to a file of which it is known that the reader may read it; "" if no link can name it.
fn marked_to(path: &Path) -> String {
    FilePath::of(path).map(|path| format!("{}?ft={AWAITED}", path.url())).unwrap_or_default()
}

/// Files of a run as its events tell of them, with marked links.
pub(crate) fn marked_files(files: &[MediaResult]) -> Value {
    let marked = |file: &MediaResult| MediaResult { path: marked_to(Path::new(&file.path)), ..file.clone() };
    json!(files.iter().map(marked).collect::<Vec<_>>())
}

/// The text with each of its links cleaned and given the signature that `signature` says, which is told the old one. Markdown links
/// to absolute paths become links to files if they get one.
fn rewritten<'t>(text: &'t str, signature: impl Fn(&Target<'_>, Option<&str>) -> Option<String>) -> Cow<'t, str> {
    let (mut out, mut done, mut at) = (String::new(), 0, 0);
    while let Some(from) = next(text, at) {
        let end = from + end_of(&text[from..]);
        let written = &text[from..end];
        if let Some(new) = relinked(written, &signature).filter(|new| new != written) {
            out.push_str(&text[done..from]);
            out.push_str(&new);
            done = end;
        }
        at = end.max(from + 1);
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(&text[done..]);
    Cow::Owned(out)
}

/// Where the next link begins.
fn next(text: &str, at: usize) -> Option<usize> {
    let rest = &text[at..];
    let bare = rest.find(BARE).map(|found| found + BARE.len() - 1);
    [rest.find(FILES), rest.find(MEDIA), bare].into_iter().flatten().min().map(|found| at + found)
}

/// Whether a character ends a link.
fn ends(c: char) -> bool {
    c.is_whitespace() || c.is_control() || matches!(c, ')' | '"' | '\'' | '`' | '<' | '>' | '\\')
}

/// How long the link is that a text begins with. Punctuation behind it belongs to the sentence.
fn end_of(text: &str) -> usize {
    let end = text.find(ends).unwrap_or(text.len());
    text[..end].trim_end_matches(['.', ',', ';', ':', '!', '?', '*']).len()
}

/// A link as it should be; `None` if it is none.
fn relinked(written: &str, signature: impl Fn(&Target<'_>, Option<&str>) -> Option<String>) -> Option<String> {
    let (mut path, query) = written.split_once('?').unwrap_or((written, ""));
    let is_link = |path: &str| path.starts_with(FILES) || path.starts_with(MEDIA);
    // Prefixes that stand one upon the other.
    while let Some(rest) = path.strip_prefix("/v1/files").or_else(|| path.strip_prefix("/v1/media")).filter(|rest| is_link(rest)) {
        path = rest;
    }
    let (others, old): (Vec<&str>, Vec<&str>) = query.split('&').filter(|part| !part.is_empty()).partition(|part| !part.starts_with("ft="));
    let old = old.first().and_then(|part| part.strip_prefix("ft="));
    let file = |path: &str| FilePath::parse(&percent_decode_str(path).decode_utf8().ok()?).ok();
    let (url, signature) = if let Some(id) = path.strip_prefix(MEDIA) {
        let signature = check_media_id(id).ok().and_then(|()| signature(&Target::Media(id), old));
        (path.to_owned(), signature)
    } else if let Some(tail) = path.strip_prefix(FILES) {
        let signed = file(tail).and_then(|file| Some((file.url(), signature(&Target::File(&file), old)?)));
        signed.map_or_else(|| (path.to_owned(), None), |(url, signature)| (url, Some(signature)))
    } else {
        let file = file(path)?;
        let signature = signature(&Target::File(&file), None)?;
        (file.url(), Some(signature))
    };
    let signature = signature.map(|signature| format!("ft={signature}"));
    let query: Vec<&str> = others.into_iter().chain(signature.as_deref()).collect();
    Some(if query.is_empty() { url } else { format!("{url}?{}", query.join("&")) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::{TenantId, clock::SystemClock};
    use proptest::prelude::*;
    use serde_json::json;

    fn readable() -> Readable {
        Readable { directories: vec!["/w/fox".into()], media: ["7".to_owned()].into() }
    }

    fn mark(text: &str) -> String {
        marked(text, &readable()).into_owned()
    }

    #[test]
    fn links_to_what_may_be_read_are_marked_and_cleaned() {
        for (text, expected) in [
            ("see /v1/files/w/fox/a.png.", "see /v1/files/w/fox/a.png?ft=~."),
            ("![x](/v1/files/w/fox/a.png?ft=old.1)", "![x](/v1/files/w/fox/a.png?ft=~)"),
            ("/v1/files/w/fox/a.png?download=true&ft=x", "/v1/files/w/fox/a.png?download=true&ft=~"),
            ("/v1/files/v1/files/w/fox/a b", "/v1/files/w/fox/a?ft=~ b"),
            ("/v1/files/w/fox/t%E1%BB%87p%201.png", "/v1/files/w/fox/t%E1%BB%87p%201.png?ft=~"),
            ("/v1/files/w/fox/tệp.png", "/v1/files/w/fox/t%E1%BB%87p.png?ft=~"),
            ("[a](/w/fox/out/a.pdf), [b](/etc/passwd)", "[a](/v1/files/w/fox/out/a.pdf?ft=~), [b](/etc/passwd)"),
            ("/v1/media/7 /v1/media/8", "/v1/media/7?ft=~ /v1/media/8"),
            ("/v1/files/v1/media/7", "/v1/media/7?ft=~"),
            ("https://host/v1/files/w/fox/a", "https://host/v1/files/w/fox/a?ft=~"),
        ] {
            assert_eq!(mark(text), expected);
        }
    }

    #[test]
    fn other_links_are_never_marked_whatever_they_bring_along() {
        for (text, expected) in [
            ("/v1/files/w/owl/a.png?ft=~", "/v1/files/w/owl/a.png"),
            ("/v1/files/w/fox/../owl/a.png?ft=~", "/v1/files/w/fox/../owl/a.png"),
            ("/v1/files/w/fox/%2e%2e/owl/a.png?ft=~", "/v1/files/w/fox/%2e%2e/owl/a.png"),
            ("/v1/files/w/foxes/a?ft=~", "/v1/files/w/foxes/a"),
            ("/v1/media/../files?ft=~", "/v1/media/../files"),
            ("/v1/files/a.png", "/v1/files/a.png"),
            ("[x](/w/owl/a.png?ft=~)", "[x](/w/owl/a.png?ft=~)"),
            ("no link /w/fox/a.png", "no link /w/fox/a.png"),
        ] {
            assert_eq!(mark(text), expected);
        }
    }

    #[test]
    fn marked_links_are_signed_when_they_leave() {
        let links = FileLinks { tokens: Arc::new(FileTokens::with_new_key()), clock: Arc::new(SystemClock) };
        let media = json!([{"path": marked_to(Path::new("/w/fox/a b.png"))}]);
        let said = json!({"type": "tool.result", "payload": {"result": mark("/v1/files/w/fox/a.png"), "arguments": {"path": "/v1/files/w/owl/b?ft=~"}}});
        let told = links.payload(&Event::new(TenantId::MASTER, "agent", said))["payload"].clone();
        assert!(told["result"].as_str().unwrap().starts_with("/v1/files/w/fox/a.png?ft=") && !told["result"].as_str().unwrap().contains('~'));
        assert_eq!(told["arguments"]["path"], "/v1/files/w/owl/b?ft=~");
        let payload = json!({"type": "run.completed", "payload": {"content": mark("[a](/v1/files/w/fox/a.png) /v1/files/w/owl/b"), "media": media}});
        let told = links.payload(&Event::new(TenantId::MASTER, "agent", payload.clone()));
        let opens = |url: &str, bound: &str| {
            let (path, token) = url.split_once("?ft=").unwrap();
            assert!(links.tokens.opens(token, bound, links.clock.now().timestamp()), "{url}");
            path.to_owned()
        };
        let content = told["payload"]["content"].as_str().unwrap();
        let link = content.strip_prefix("[a](").unwrap().strip_suffix(") /v1/files/w/owl/b").unwrap();
        assert_eq!(opens(link, "/v1/files/w/fox/a.png"), "/v1/files/w/fox/a.png");
        assert_eq!(opens(told["payload"]["media"][0]["path"].as_str().unwrap(), "/v1/files/w/fox/a b.png"), "/v1/files/w/fox/a%20b.png");
        assert_eq!(*links.payload(&Event::new(TenantId::MASTER, "cron", payload.clone())), payload);
    }

    proptest! {
        #[test]
        fn marking_twice_changes_nothing_more(text in "(/v1/files/|/v1/media/|\\]\\(/|w/fox/|\\?ft=~|[ a.%)&?]){0,12}") {
            let once = mark(&text);
            prop_assert_eq!(mark(&once), once);
        }
    }
}
