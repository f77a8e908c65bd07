//! Files over HTTP: what agents made, what users sent, and links that open one file for a while.

pub mod kind;
pub(crate) mod links;
mod media;
mod path;
mod places;
mod search;
mod token;

pub use links::{FileLinks, Readable};
pub use media::MediaInput;
pub use token::FileTokens;

use crate::{
    audit::Audit,
    caller::{Access, Caller},
    media::MediaShelf,
    settings::LiveSettings,
    workspace,
};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    agents::{AgentFilter, AgentStore},
    clock::{Clock, Ids},
    files::{Disk, OpenFile},
    message,
    roles::Role,
};
use path::FilePath;
use places::{Place, Roots, Sight};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;
use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

/// The longest name of an upload, in bytes.
const MAX_NAME: usize = 255;
/// The longest extension that an upload keeps, in characters.
const MAX_EXTENSION: usize = 12;
/// How long uploads are kept that no message took up.
const UPLOAD_LIFETIME: chrono::TimeDelta = chrono::TimeDelta::hours(24);
/// How long an upload may be half written. What is to be written has arrived already, so a copy takes moments.
const DRAFT_LIFETIME: chrono::TimeDelta = chrono::TimeDelta::hours(1);
/// How often old uploads are looked for.
const SWEEP: std::time::Duration = std::time::Duration::from_secs(3_600);
/// Where older installations kept what came with messages, below a workspace root.
const LEGACY_MEDIA: &str = ".media";

/// Files over HTTP.
pub struct Files {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) agents: Arc<dyn AgentStore>,
    pub(crate) settings: Arc<LiveSettings>,
    pub(crate) media: Arc<MediaShelf>,
    /// Signs links.
    pub links: FileLinks,
    pub(crate) audit: Audit,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// What lets somebody see a file.
#[derive(Debug, Clone, Copy)]
pub enum Pass<'a> {
    /// The token of a link. It alone decides.
    Link(&'a str),
    /// Who they are.
    Caller(&'a Caller),
}

/// A file to be sent.
#[derive(Debug)]
pub struct Served {
    /// The file.
    pub file: OpenFile,
    /// Its name.
    pub name: String,
    /// Its MIME type.
    pub kind: &'static str,
}

/// A file that was stored.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Uploaded {
    /// Where it is on the server: what `chat.send` takes in `media`.
    pub path: String,
    /// Its MIME type, by its extension.
    pub mime_type: String,
    /// What its sender calls it.
    pub filename: String,
}

impl Served {
    fn new(file: OpenFile) -> Self {
        let name = file.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let kind = kind::of(&name, &file.content);
        Self { file, name, kind }
    }
}

impl Files {
    /// The file at this path of a URL (below `/v1/files/`, percent-escapes decoded): an absolute path of the server without its
    /// leading slash, or a bare name that is looked for.
    ///
    /// # Errors
    /// `Invalid` for a path that is none; `Unauthorized` for a link that does not hold; `Forbidden` for directories of the system,
    /// and below viewer; `NotFound` otherwise.
    pub async fn open(&self, pass: Pass<'_>, path: &str) -> Result<Served> {
        let path = FilePath::parse(path)?;
        match pass {
            Pass::Link(token) => self.check_link(token, &path.bound())?,
            Pass::Caller(caller) => caller.require(Role::Viewer, Access::Read, "/v1/files")?,
        }
        let roots = self.roots().await;
        let place = roots.place(&path.absolute());
        if place.is_none() && path.is_systems() {
            return Err(Error::new(ErrorKind::Forbidden, message::no_access("path")));
        }
        let found = match pass {
            // Whoever made the link has looked: nothing else is looked for, and other tenants are out of reach for links on disk too.
            Pass::Link(_) => match &place {
                Some(place) => search::Looking { disk: &*self.disk, roots: &roots, sight: &Sight::Tenant(place.tenant.clone()) }.at(place).await?,
                None => None,
            },
            Pass::Caller(caller) => self.find(caller, &roots, &self.sight(caller, &roots).await?, place.as_ref(), &path).await?,
        };
        found.map(Served::new).ok_or_else(|| Error::not_found("file", path.name()))
    }

    /// The file with this id: one that came with a message.
    ///
    /// # Errors
    /// `Invalid` for an id that is none; `Unauthorized` for a link that does not hold; `Forbidden` below viewer; `NotFound`.
    pub async fn media(&self, pass: Pass<'_>, id: &str) -> Result<Served> {
        check_media_id(id)?;
        let roots = self.roots().await;
        if let Some(file) = self.kept_media(pass, id, &roots).await? {
            return Ok(Served::new(file));
        }
        let tenants = match pass {
            Pass::Link(token) => {
                self.check_link(token, &format!("/v1/media/{id}"))?;
                let others = self.disk.entries(&roots.workspace, Path::new(places::TENANTS)).await?;
                others.into_iter().map(|entry| roots.workspace.join(places::TENANTS).join(entry.name)).chain([roots.workspace.clone()]).collect()
            }
            Pass::Caller(caller) => {
                caller.require(Role::Viewer, Access::Read, "/v1/media")?;
                vec![tenant_root(&roots.workspace, caller)]
            }
        };
        for root in tenants {
            if let Some(file) = self.legacy_media(&root, id).await? {
                return Ok(Served::new(file));
            }
        }
        Err(Error::not_found("media", id))
    }

    /// A file where older installations kept what came with messages: `.media/{conversation}/{id}.{extension}`.
    async fn legacy_media(&self, root: &Path, id: &str) -> Result<Option<OpenFile>> {
        let conversations = self.disk.entries(root, Path::new(LEGACY_MEDIA)).await?;
        for conversation in conversations.into_iter().filter(|entry| entry.is_directory) {
            let directory = Path::new(LEGACY_MEDIA).join(conversation.name);
            let entries = self.disk.entries(root, &directory).await?;
            if let Some(entry) = entries.iter().find(|entry| entry.name.strip_prefix(id).is_some_and(|rest| rest.starts_with('.'))) {
                return self.disk.open(root, &directory.join(&entry.name)).await;
            }
        }
        Ok(None)
    }

    /// A link to the file at this absolute path, that opens it for whoever holds it for five minutes. There need be no such file.
    ///
    /// # Errors
    /// `Invalid` for a path that is none; `Forbidden` below operator, and for files that the caller would not be shown.
    pub async fn sign(&self, caller: &Caller, path: &str) -> Result<String> {
        caller.require(Role::Operator, Access::Write, "/v1/files/sign")?;
        if path.is_empty() {
            return Err(Error::required("path"));
        }
        if !path.starts_with('/') {
            return Err(Error::invalid(message::bad_path()));
        }
        let path = FilePath::parse(path)?;
        let roots = self.roots().await;
        let refused = || Error::new(ErrorKind::Forbidden, message::no_access("path"));
        let place = roots.place(&path.absolute()).ok_or_else(refused)?;
        let sight = self.sight(caller, &roots).await?;
        if !sight.covers(&place) {
            return Err(refused());
        }
        // The link opens what the caller would be shown at this path, which may be somewhere else.
        let found = self.find(caller, &roots, &sight, Some(&place), &path).await?;
        let elsewhere = found.map(|file| file.path).filter(|found| *found != roots.resolved(&path.absolute()));
        let path = elsewhere.and_then(|found| FilePath::of(&found)).unwrap_or(path);
        self.audit.record(caller, "file.signed", "file", path.absolute().display(), None).await;
        Ok(self.links.link(&path))
    }

    /// Whether the caller may upload.
    ///
    /// # Errors
    /// `Forbidden` below operator.
    pub fn may_upload(&self, caller: &Caller) -> Result<()> {
        caller.require(Role::Operator, Access::Write, "/v1/media/upload")
    }

    /// Stores a file of the caller's, for a message that is to come. It is kept for a day.
    ///
    /// # Errors
    /// `Forbidden` below operator; `Invalid` for a bad name; `Precondition` if the tenant may keep no more files.
    pub async fn upload(&self, caller: &Caller, name: &str, content: File) -> Result<Uploaded> {
        self.may_upload(caller)?;
        let filename = base_name(name)?;
        self.media.has_room(caller.tenant).await?;
        let settings = self.settings.get();
        let root = tenant_root(&settings.data_dir, caller);
        let stored = format!("{}{}", self.ids.random(), extension_of(&filename));
        let mime_type = kind::by_name(&stored).unwrap_or(kind::UNKNOWN);
        let path = self.disk.create(&root, &places::uploads_of(&caller.user).join(&stored), content).await?;
        let details = json!({"filename": filename, "mime_type": mime_type});
        self.audit.record(caller, "media.uploaded", "media", stored, Some(details)).await;
        Ok(Uploaded { path: path.to_string_lossy().into_owned(), mime_type: mime_type.into(), filename })
    }

    /// Removes, now and once an hour, uploads that no message took up within a day, and what crashes left half written. `exclusive` is
    /// whether no other process can be at work on these files: then whatever is half written now was left behind.
    pub(crate) fn sweep_uploads(self: &Arc<Self>, exclusive: bool, runtime: &tokio::runtime::Handle) {
        let (files, begun) = (Arc::downgrade(self), self.clock.now());
        runtime.spawn(async move {
            let mut ticks = tokio::time::interval(SWEEP);
            loop {
                ticks.tick().await;
                let Some(files) = files.upgrade() else { return };
                let drafts = if exclusive { begun } else { files.clock.now() - DRAFT_LIFETIME };
                files.remove_old_uploads(drafts).await;
            }
        });
    }

    async fn remove_old_uploads(&self, drafts: chrono::DateTime<chrono::Utc>) {
        let settings = self.settings.get();
        let before = self.clock.now() - UPLOAD_LIFETIME;
        let tenants = self.disk.entries(&settings.data_dir, Path::new(places::TENANTS)).await.unwrap_or_default();
        let roots = tenants.into_iter().map(|entry| settings.data_dir.join(places::TENANTS).join(entry.name)).chain([settings.data_dir.clone()]);
        for root in roots {
            let uploads = root.join(places::UPLOADS);
            let removed = async { Ok::<_, Error>(self.disk.remove_drafts(&uploads, drafts).await? + self.disk.remove_older(&uploads, before).await?) };
            match removed.await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "old uploads were removed"),
                Err(error) => tracing::warn!(%error, "old uploads could not be removed"),
            }
        }
    }

    /// What the caller is shown for a path: the file there, else the first of its name in the tenant's workspaces.
    async fn find(&self, caller: &Caller, roots: &Roots, sight: &Sight, place: Option<&Place>, path: &FilePath) -> Result<Option<OpenFile>> {
        let looking = search::Looking { disk: &*self.disk, roots, sight };
        match place {
            Some(place) if !sight.covers(place) => return Ok(None),
            Some(place) => {
                if let Some(file) = looking.at(place).await? {
                    return Ok(Some(file));
                }
            }
            None if path.is_bare() => {}
            None => return Ok(None),
        }
        let start = Place { root: tenant_root(&roots.workspace, caller), tenant: directory_of(caller), below: PathBuf::new(), is_data: false };
        looking.below(&start, path.name()).await
    }

    async fn roots(&self) -> Roots {
        Roots::of(&self.settings.get()).await
    }

    /// What the caller sees: owners of the installation everything, admins all of their tenant, others what is theirs.
    async fn sight(&self, caller: &Caller, roots: &Roots) -> Result<Sight> {
        if caller.role == Role::Owner && caller.tenant == TenantId::MASTER {
            return Ok(Sight::All);
        }
        let tenant = directory_of(caller);
        if caller.is_admin() {
            return Ok(Sight::Tenant(tenant));
        }
        let filter = AgentFilter { visible_to: Some(caller.user.to_string()), status: None };
        let settings = self.settings.get();
        let agents = self.agents.list(caller.tenant, &filter).await?;
        let directory = |agent| {
            let directory = workspace::of_agent(&settings, caller.tenant, &caller.tenant_slug, &agent);
            (roots.resolved(&directory), workspace::is_shared(&agent))
        };
        Ok(Sight::User { tenant, user: places::user_directory(&caller.user), agents: agents.into_iter().map(directory).collect() })
    }

    fn check_link(&self, token: &str, bound: &str) -> Result<()> {
        if self.links.tokens.opens(token, bound, self.clock.now().timestamp()) {
            return Ok(());
        }
        Err(Error::new(ErrorKind::Unauthorized, message::link_expired()))
    }
}

/// How the directory of the caller's tenant is called; `None` for master.
fn directory_of(caller: &Caller) -> Option<String> {
    (caller.tenant != TenantId::MASTER).then(|| workspace::segment(&caller.tenant_slug))
}

/// The directory of the caller's tenant below the workspaces or the data.
fn tenant_root(root: &Path, caller: &Caller) -> PathBuf {
    match directory_of(caller) {
        Some(tenant) => root.join(places::TENANTS).join(tenant),
        None => root.to_owned(),
    }
}

fn check_media_id(id: &str) -> Result<()> {
    let is_word = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if is_word && id.starts_with(|first: char| first.is_ascii_alphanumeric()) && !id.contains("..") {
        return Ok(());
    }
    Err(Error::invalid(message::invalid_id("media")))
}

/// The name that a client gives a file, without directories.
fn base_name(name: &str) -> Result<String> {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default().trim();
    if matches!(name, "" | "." | "..") || name.len() > MAX_NAME || name.contains(char::is_control) {
        return Err(Error::invalid(message::bad_filename()));
    }
    Ok(name.to_owned())
}

/// The extension that a stored file gets, with its dot.
pub(crate) fn extension_of(filename: &str) -> String {
    let extension = Path::new(filename).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let is_plain = (1..=MAX_EXTENSION).contains(&extension.len()) && extension.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_plain { format!(".{}", extension.to_ascii_lowercase()) } else { ".bin".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_what_its_sender_calls_it_without_directories() {
        for (name, base) in [("a.png", "a.png"), ("C:\\docs\\a b.png", "a b.png"), ("../../x/tệp.PDF", "tệp.PDF")] {
            assert_eq!(base_name(name).unwrap(), base);
        }
        for name in ["", "..", "a/", ".", "a\nb", &"x".repeat(256)] {
            assert!(base_name(name).is_err(), "{name:?}");
        }
        for (name, extension) in [("a.PNG", ".png"), ("a", ".bin"), (".env", ".bin"), ("a.tar.gz", ".gz"), ("a.p?g", ".bin"), ("a.", ".bin")] {
            assert_eq!(extension_of(name), extension, "{name}");
        }
    }

    #[test]
    fn ids_of_media_are_words() {
        for id in ["a", "0193a5b0-7000-7000-8000-00000000000a", "a.b_c"] {
            assert!(check_media_id(id).is_ok(), "{id}");
        }
        for id in ["", "../x", "a..b", ".a", "-a", "a/b", "a*", "é"] {
            assert!(check_media_id(id).is_err(), "{id}");
        }
    }
}
