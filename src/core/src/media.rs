//! Media: files that come with messages and files that answers bring along.

mod announced;
mod attachment;
mod quota;

pub(crate) use announced::announced;
pub(crate) use attachment::{Attachment, Content};
pub(crate) use quota::Measures;

use crate::{files::kind, settings::LiveSettings, workspace};
use base64::{Engine, prelude::BASE64_STANDARD};
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, MediaId, Result, TenantId,
    clock::{Clock, Ids},
    files::{Disk, OpenFile},
    media::{ImagePart, Images, Media, MediaKind, MediaRef, MediaStore},
    sessions::{ChatMessage, MessageRole},
    tools::MediaResult,
};
use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::runtime::Handle;

/// Where what came with messages is kept, below the directory that the agent works in.
const KEPT: &str = ".uploads";
/// How many files a message takes.
pub(crate) const MAX_FILES: usize = 10;
/// The largest file that a message takes, in bytes.
pub(crate) const MAX_SIZE: u64 = 50 << 20;
/// The largest picture that a model is shown, in bytes.
const MAX_SHOWN: u64 = 10 << 20;
/// How many messages before the last one are shown with their pictures.
const SHOWN_AGAIN: usize = 5;
/// The tool that looks at pictures in the model's place.
const READ_IMAGE: &str = "read_image";
/// How long a file may be without a conversation: one that is being opened has none yet.
const ORPHANED: chrono::TimeDelta = chrono::TimeDelta::hours(1);
/// How often files are looked for whose conversation is gone, and how many are removed in one go.
const SWEEP: Duration = Duration::from_secs(600);
const SWEPT: i64 = 500;

/// Keeps what comes with messages where the agent can read it, for as long as the conversation is there.
pub(crate) struct MediaShelf {
    pub disk: Arc<dyn Disk>,
    pub images: Arc<dyn Images>,
    pub store: Arc<dyn MediaStore>,
    pub settings: Arc<LiveSettings>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    /// How much tenants keep.
    pub measures: Measures,
}

/// Where files are kept: whose conversation, and the directory that its agent works in.
#[derive(Clone, Copy)]
pub(crate) struct Shelf<'a> {
    pub tenant: TenantId,
    pub session_key: &'a str,
    pub directory: &'a Path,
}

/// What a file becomes before it is kept.
struct Prepared {
    content: Content,
    mime_type: String,
    kind: MediaKind,
    extension: String,
}

impl MediaShelf {
    /// Keeps files for a conversation. Pictures are made fit for models first.
    ///
    /// # Errors
    /// `Precondition` if the tenant may not keep so much; `Forbidden` if the agent's directory of them is a link; `Internal` if the disk
    /// refuses.
    pub async fn keep(&self, shelf: Shelf<'_>, attachments: Vec<Attachment>) -> Result<Vec<Kept>> {
        if attachments.is_empty() {
            return Ok(vec![]);
        }
        let directory = workspace::made(shelf.directory).await?;
        let linked = tokio::fs::symlink_metadata(directory.join(KEPT)).await;
        if linked.is_ok_and(|metadata| metadata.is_symlink()) {
            return Err(Error::forbidden(format!("{KEPT} of the workspace is a link")));
        }
        let mut all = Vec::with_capacity(attachments.len());
        for Attachment { name, content } in attachments {
            let prepared = self.prepared(&name, content).await?;
            all.push((name, prepared));
        }
        self.claim(shelf.tenant, all.iter().map(|(_, prepared)| prepared.content.size()).sum()).await?;
        let mut kept = Vec::with_capacity(all.len());
        for (name, Prepared { content, mime_type, kind, extension }) in all {
            let id = self.ids.random();
            let place = PathBuf::from(KEPT).join(format!("{id}{extension}"));
            let path = directory.join(&place).to_string_lossy().into_owned();
            // The row first: what it names can be removed with the conversation, whatever happens next.
            let media = Media {
                id: MediaId(id),
                session_key: shelf.session_key.to_owned(),
                path: path.clone(),
                mime_type: mime_type.clone(),
                created_at: self.clock.now(),
            };
            self.store.insert(shelf.tenant, &media).await?;
            match content {
                Content::File(file) => self.disk.create(&directory, &place, file.content).await?,
                Content::Bytes(bytes) => self.disk.create_of(&directory, &place, bytes).await?,
            };
            kept.push(Kept { name, media: MediaRef { id: id.to_string(), mime_type, kind, path } });
        }
        Ok(kept)
    }

    async fn prepared(&self, name: &str, content: Content) -> Result<Prepared> {
        let (content, sniffed) = content.sniffed().await?;
        let named = kind::by_name(name).unwrap_or(sniffed);
        if is_picture(sniffed) {
            let bytes = content.bytes().await?;
            if let Some(jpeg) = self.images.normalised(bytes.clone()).await {
                return Ok(Prepared { content: Content::Bytes(jpeg), mime_type: "image/jpeg".into(), kind: MediaKind::Image, extension: ".jpg".into() });
            }
            // It only begins like a picture. Agents may look at it, models would refuse it.
            let mime_type = sniffed.to_owned();
            return Ok(Prepared { content: Content::Bytes(bytes), extension: extension(&mime_type, name), mime_type, kind: MediaKind::Document });
        }
        // What calls itself a picture and is none that models take is a document, and no longer called a picture.
        let (mime_type, name) = if is_picture(named) { (sniffed, "") } else { (named, name) };
        let mime_type = mime_type.to_owned();
        let kind = Some(MediaKind::of(&mime_type)).filter(|kind| *kind != MediaKind::Image).unwrap_or(MediaKind::Document);
        Ok(Prepared { content, extension: extension(&mime_type, name), mime_type, kind })
    }

    /// Gives the model the pictures of the last message and of a few before it. The others stay words: their messages name them.
    /// Pictures outside of `directory`, and files that are gone or too large, are left out.
    pub async fn show(&self, messages: &mut [ChatMessage], directory: &Path) {
        let has_images = |message: &ChatMessage| message.role == MessageRole::User && message.media_refs.iter().any(|media| media.kind == MediaKind::Image);
        let places = messages.iter().enumerate().rev().filter(|(_, message)| has_images(message)).map(|(at, _)| at);
        let last = messages.iter().rposition(|message| message.role == MessageRole::User);
        let mut before = 0;
        let shown: Vec<usize> = places
            .take_while(|at| {
                before += usize::from(Some(*at) != last);
                before <= SHOWN_AGAIN
            })
            .collect();
        for at in shown {
            let pictures = messages[at].media_refs.clone().into_iter().filter(|media| media.kind == MediaKind::Image);
            let mut images = vec![];
            for picture in pictures {
                match self.picture(directory, &picture).await {
                    Ok(image) => images.extend(image),
                    Err(error) => tracing::warn!(%error, media = picture.id, "a picture cannot be shown to the model"),
                }
            }
            messages[at].images = images;
        }
    }

    async fn picture(&self, directory: &Path, picture: &MediaRef) -> Result<Option<ImagePart>> {
        let Some(file) = self.disk.open(directory, Path::new(&picture.path)).await? else { return Ok(None) };
        if file.size > MAX_SHOWN {
            return Ok(None);
        }
        let bytes = Content::File(file).bytes().await?;
        Ok(Some(ImagePart { mime_type: picture.mime_type.clone(), data: BASE64_STANDARD.encode(bytes).into() }))
    }

    /// Of the files that a tool names, those that the run may read, with what is known of them.
    pub async fn delivered(&self, directory: &Path, files: Vec<MediaResult>) -> Vec<MediaResult> {
        let mut delivered = vec![];
        for file in files {
            match self.disk.open(directory, Path::new(&file.path)).await {
                Ok(Some(found)) => delivered.push(described(found, file)),
                Ok(None) => tracing::warn!(path = file.path, "security.media_refused: a tool names a file that the run may not read, or that is not there"),
                Err(error) => tracing::warn!(%error, path = file.path, "a tool's file cannot be read"),
            }
        }
        delivered
    }

    /// Removes what came in a conversation until `then`.
    pub async fn remove_session(&self, tenant: TenantId, session_key: &str, then: DateTime<Utc>) -> Result<()> {
        let all = self.store.of_session(tenant, session_key).await?;
        for media in all.iter().filter(|media| media.created_at <= then) {
            self.remove(tenant, media).await?;
        }
        Ok(())
    }

    async fn remove(&self, tenant: TenantId, media: &Media) -> Result<()> {
        let root = self.settings.get().agents.workspace.clone();
        self.disk.remove(&root, Path::new(&media.path)).await?;
        self.store.remove(tenant, media.id).await?;
        self.measures.forget(tenant);
        Ok(())
    }

    /// Removes, every few minutes, files whose conversation is gone: with its agent, or because a crash came in between.
    pub fn sweep(self: &Arc<Self>, runtime: &Handle) {
        let shelf = Arc::downgrade(self);
        runtime.spawn(async move {
            let mut ticks = tokio::time::interval(SWEEP);
            loop {
                ticks.tick().await;
                let Some(shelf) = shelf.upgrade() else { return };
                if let Err(error) = shelf.remove_orphans().await {
                    tracing::warn!(%error, "files without a conversation could not be removed");
                }
            }
        });
    }

    async fn remove_orphans(&self) -> Result<()> {
        loop {
            let orphans = self.store.all_tenants_orphans(self.clock.now() - ORPHANED, SWEPT).await?;
            let full = i64::try_from(orphans.len()).is_ok_and(|count| count == SWEPT);
            let mut failed = Ok(());
            for (tenant, media) in orphans {
                // One that cannot be removed must not keep the others.
                if let Err(error) = self.remove(tenant, &media).await {
                    failed = Err(error);
                }
            }
            if !full || failed.is_err() {
                return failed;
            }
        }
    }
}

/// A file that is kept.
pub(crate) struct Kept {
    /// What its sender calls it.
    name: String,
    /// How its message names it.
    pub media: MediaRef,
}

/// What a message of a user says of its files, before its own text.
pub(crate) fn told(kept: &[Kept], text: &str) -> String {
    let tags = kept.iter().map(|Kept { name, media }| match media.kind {
        MediaKind::Image => format!("<media:image id=\"{}\" path=\"{}\">", media.id, attribute(&media.path)),
        MediaKind::Document => format!("<media:document name=\"{}\" path=\"{}\">", attribute(name), attribute(&media.path)),
        MediaKind::Audio => format!("<media:audio id=\"{}\">", media.id),
        MediaKind::Video => format!("<media:video id=\"{}\">", media.id),
    });
    let tags: Vec<String> = tags.collect();
    match (tags.is_empty(), text.is_empty()) {
        (true, _) => text.to_owned(),
        (false, true) => tags.join("\n"),
        (false, false) => format!("{}\n\n{text}", tags.join("\n")),
    }
}

/// How an answer names the files that the agent made: by their names.
pub(crate) fn refs_of(files: &[MediaResult]) -> Vec<MediaRef> {
    let name = |path: &str| Path::new(path).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let media = |file: &MediaResult| MediaRef {
        id: name(&file.path),
        kind: MediaKind::of(&file.content_type),
        mime_type: file.content_type.clone(),
        path: file.path.clone(),
    };
    files.iter().map(media).collect()
}

/// The files that an answer names, as far as it tells of them.
pub(crate) fn named_by(media_refs: &[MediaRef]) -> Vec<MediaResult> {
    let file = |media: &MediaRef| MediaResult { path: media.path.clone(), content_type: media.mime_type.clone(), size: None, as_voice: false };
    media_refs.iter().filter(|media| !media.path.is_empty()).map(file).collect()
}

/// Adds files that are not there yet.
pub(crate) fn add(files: &mut Vec<MediaResult>, more: Vec<MediaResult>) {
    for file in more {
        if files.iter().all(|known| known.path != file.path) {
            files.push(file);
        }
    }
}

/// Whether a tool of these settings looks at pictures in the model's place.
pub(crate) fn has_own_eyes(offer: &crate::toolbox::Offer) -> bool {
    if offer.accepts(READ_IMAGE).is_none() {
        return false;
    }
    let settings = offer.switches.settings.get(READ_IMAGE);
    let named = |value: &serde_json::Value| value["provider"].as_str().is_some_and(|name| !name.is_empty()) && value["enabled"] != false;
    settings.is_some_and(|settings| {
        let chain = settings.get("providers").and_then(|chain| chain.as_array());
        let single = settings.get("provider").and_then(|name| name.as_str());
        chain.is_some_and(|chain| chain.iter().any(named)) || single.is_some_and(|name| !name.is_empty())
    })
}

fn described(found: OpenFile, file: MediaResult) -> MediaResult {
    let path = found.path.to_string_lossy().into_owned();
    let content_type = if file.content_type.is_empty() { kind::of(&path, &found.content).to_owned() } else { file.content_type };
    MediaResult { path, content_type, size: Some(found.size), as_voice: file.as_voice }
}

/// Whether models take pictures of this type, as they are or once they are made fit.
pub(crate) fn is_picture(mime_type: &str) -> bool {
    ["image/jpeg", "image/png", "image/gif", "image/webp"].contains(&mime_type)
}

/// The extension of a kept file, with its dot: its type's, else its own.
fn extension(mime_type: &str, name: &str) -> String {
    let known = match mime_type {
        "image/jpeg" => ".jpg",
        "image/png" => ".png",
        "image/gif" => ".gif",
        "image/webp" => ".webp",
        "video/mp4" => ".mp4",
        "audio/ogg" | "audio/opus" => ".ogg",
        "audio/mpeg" => ".mp3",
        "audio/wav" | "audio/x-wav" => ".wav",
        "application/pdf" => ".pdf",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => ".docx",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => ".xlsx",
        "text/plain" if !name.contains('.') => ".txt",
        _ => return crate::files::extension_of(name),
    };
    known.to_owned()
}

/// A text as the value of an attribute.
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;").replace(char::is_control, " ")
}

/// All of a file.
async fn read(file: OpenFile) -> Result<Vec<u8>> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        // A file may grow while it is read.
        file.content.take(MAX_SIZE).read_to_end(&mut bytes).map(|_| bytes)
    });
    read.await.map_err(Error::internal)?.map_err(Error::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, kind: MediaKind) -> Kept {
        Kept { name: name.into(), media: MediaRef { id: "7".into(), mime_type: String::new(), kind, path: "/w/.uploads/7.x".into() } }
    }

    #[test]
    fn a_message_tells_of_its_files_first() {
        let files = [kept("a", MediaKind::Image), kept("b \"<é>\"\n.pdf", MediaKind::Document), kept("c", MediaKind::Audio), kept("d", MediaKind::Video)];
        let tags = "<media:image id=\"7\" path=\"/w/.uploads/7.x\">\n\
            <media:document name=\"b &quot;&lt;é&gt;&quot; .pdf\" path=\"/w/.uploads/7.x\">\n<media:audio id=\"7\">\n<media:video id=\"7\">";
        assert_eq!(told(&files, "look"), format!("{tags}\n\nlook"));
        assert_eq!(told(&files, ""), tags);
        assert_eq!(told(&[], "look"), "look");
    }

    #[test]
    fn a_kept_file_has_the_extension_of_its_type() {
        for (mime_type, name, expected) in [
            ("audio/mpeg", "a.MPEG", ".mp3"),
            ("text/plain", "", ".txt"),
            ("application/pdf", "a", ".pdf"),
            ("text/plain", "a.Rs", ".rs"),
            ("application/octet-stream", "a", ".bin"),
        ] {
            assert_eq!(extension(mime_type, name), expected);
        }
    }
}
