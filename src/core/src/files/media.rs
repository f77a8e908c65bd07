//! Files of messages: named to come with one, asked for by id, and shown with it.

use super::{
    Files, Pass, base_name, directory_of,
    links::{self, Target},
    path::FilePath,
    places::{Roots, Sight},
    search,
};
use crate::{
    caller::{Access, Caller},
    media::{Attachment, Content, MAX_FILES, MAX_SIZE},
};
use goclaw_ports::{Error, MediaId, Result, files::OpenFile, message, roles::Role, sessions::ChatMessage};
use serde::Deserialize;
use std::{borrow::Cow, collections::HashSet, path::Path};

/// A file that is named to come with a message: its path, or that and what it is called.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "NamedMedia")]
pub struct MediaInput {
    /// Where it is on the server, as the upload answered.
    pub path: String,
    /// What its sender calls it.
    pub filename: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NamedMedia {
    Path(String),
    Named {
        path: String,
        #[serde(default)]
        filename: Option<String>,
    },
}

impl From<NamedMedia> for MediaInput {
    fn from(named: NamedMedia) -> Self {
        match named {
            NamedMedia::Path(path) => Self { path, filename: None },
            NamedMedia::Named { path, filename } => Self { path, filename },
        }
    }
}

impl Files {
    /// A file that came with a message, if the caller sees it. What a link opens was decided when it was made.
    pub(super) async fn kept_media(&self, pass: Pass<'_>, id: &str, roots: &Roots) -> Result<Option<OpenFile>> {
        let Ok(media) = id.parse::<MediaId>() else { return Ok(None) };
        let (media, sight) = match pass {
            Pass::Link(token) => {
                self.check_link(token, &format!("/v1/media/{id}"))?;
                (self.media.store.all_tenants_find(media).await?, None)
            }
            Pass::Caller(caller) => {
                caller.require(Role::Viewer, Access::Read, "/v1/media")?;
                (self.media.store.find(caller.tenant, media).await?, Some(self.sight(caller, roots).await?))
            }
        };
        let Some(place) = media.and_then(|media| roots.place(Path::new(&media.path))) else { return Ok(None) };
        let sight = sight.unwrap_or_else(|| Sight::Tenant(place.tenant.clone()));
        search::Looking { disk: &*self.disk, roots, sight: &sight }.open(&place).await
    }

    /// The files that the caller wants to send with a message: uploads of theirs, and files that they may read.
    ///
    /// # Errors
    /// `Invalid` for a path that is none, and for more or larger files than a message takes; `NotFound` for files that the caller
    /// would not be shown.
    pub(crate) async fn attachments(&self, caller: &Caller, named: &[MediaInput]) -> Result<Vec<Attachment>> {
        if named.is_empty() {
            return Ok(vec![]);
        }
        if named.len() > MAX_FILES {
            return Err(Error::invalid(message::too_many_media(MAX_FILES)));
        }
        let roots = self.roots().await;
        // Even an owner of the installation sends files of the tenant only.
        let sight = match self.sight(caller, &roots).await? {
            Sight::All => Sight::Tenant(directory_of(caller)),
            sight => sight,
        };
        let looking = search::Looking { disk: &*self.disk, roots: &roots, sight: &sight };
        let mut attachments = Vec::with_capacity(named.len());
        for MediaInput { path, filename } in named {
            if !path.starts_with('/') {
                return Err(Error::invalid(message::bad_path()));
            }
            let path = FilePath::parse(path)?;
            let name = filename.as_deref().filter(|name| !name.is_empty()).map_or_else(|| Ok(path.name().to_owned()), base_name)?;
            let place = roots.place(&path.absolute());
            let found = match &place {
                Some(place) => looking.open(place).await?,
                None => None,
            };
            let file = found.ok_or_else(|| Error::not_found("media", path.name()))?;
            if file.size > MAX_SIZE {
                return Err(Error::invalid(message::media_too_large(name, MAX_SIZE)));
            }
            attachments.push(Attachment { name, content: Content::File(file) });
        }
        Ok(attachments)
    }

    /// Puts links in the place of paths, wherever messages lead to files that the caller may read.
    pub(crate) async fn linked(&self, caller: &Caller, messages: &mut [ChatMessage], summary: &mut String) -> Result<()> {
        let has_links = |message: &ChatMessage| !message.media_refs.is_empty() || links::may_link(&message.content);
        if !messages.iter().any(has_links) && !links::may_link(summary) {
            return Ok(());
        }
        let roots = self.roots().await;
        let sight = self.sight(caller, &roots).await?;
        let seen = |path: &Path| roots.place(path).is_some_and(|place| sight.covers(&place));
        let media: HashSet<String> = messages.iter().flat_map(|message| &message.media_refs).map(|media| media.id.clone()).collect();
        let admits = |target: &Target<'_>| match target {
            Target::File(path) => seen(&path.absolute()),
            Target::Media(id) => media.contains(*id),
        };
        for message in messages {
            if let Cow::Owned(linked) = self.links.signed(&message.content, admits) {
                message.content = linked;
            }
            for media in &mut message.media_refs {
                let path = Path::new(&media.path);
                media.path = if seen(path) { self.links.to(path) } else { String::new() };
            }
        }
        if let Cow::Owned(linked) = self.links.signed(summary, admits) {
            *summary = linked;
        }
        Ok(())
    }
}
