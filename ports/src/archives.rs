//! Archives: an agent with what belongs to it, as one compressed file.

use crate::{
    AgentId, JsonObject, Result, TenantId,
    agents::{Agent, ContextFile},
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// How large an archive may be, in bytes: compressed, and again unpacked.
pub const MAX_ARCHIVE: u64 = 500 << 20;
/// The largest file of a workspace that is packed, in bytes.
pub const MAX_WORKSPACE_FILE: u64 = 50 << 20;

/// A user of an agent, as archives hold it: a line of `user_profiles.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArchivedProfile {
    /// The user.
    pub user_id: String,
    /// The directory of the user's files. It is told, and means nothing to another installation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<String>,
    /// What else is known of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
}

/// How much of what archives hold an agent has in the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveCounts {
    /// Files of its own.
    pub context_files: i64,
    /// Users who have files.
    pub users_with_files: i64,
    /// Users it knows.
    pub profiles: i64,
}

/// Something that an archive brings into the database.
#[derive(Debug, Clone, PartialEq)]
pub enum ImportRow {
    /// A file of the agent's own; it replaces one of the same name.
    ContextFile(ContextFile),
    /// A user's file; it replaces one of the same name.
    UserFile(String, ContextFile),
    /// A user, without a directory; one that is known stays as it is.
    Profile(ArchivedProfile),
}

/// What an archive brings, in batches. It ends with an error if the archive cannot be read to its end.
pub type ImportRows = BoxStream<'static, Result<Vec<ImportRow>>>;

/// Which agent an archive goes into.
#[derive(Debug, Clone, PartialEq)]
pub enum ImportTarget {
    /// A new one, unless the tenant has this many already; 0 is no limit.
    New(Box<Agent>, i64),
    /// One that is there.
    Existing(AgentId),
}

/// How many rows an import stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImportCounts {
    /// Files of the agent's own.
    pub context_files: u64,
    /// Files of its users.
    pub user_files: u64,
    /// Users who were not known.
    pub profiles: u64,
}

/// Reads what archives hold, and stores it. Every method sees only rows of `tenant`.
#[async_trait]
pub trait ArchiveStore: Send + Sync {
    /// How much there is of an agent.
    async fn archive_counts(&self, tenant: TenantId, agent: AgentId) -> Result<ArchiveCounts>;

    /// Files of an agent's users, by user and name: at most `limit` of them after this one.
    async fn user_files_after(&self, tenant: TenantId, agent: AgentId, after: Option<(&str, &str)>, limit: i64) -> Result<Vec<(String, ContextFile)>>;

    /// An agent's users, by id: at most `limit` of them after this one.
    async fn profiles_after(&self, tenant: TenantId, agent: AgentId, after: Option<&str>, limit: i64) -> Result<Vec<ArchivedProfile>>;

    /// Stores all rows, and the agent before them if it is new, in one step: if anything fails, nothing was done.
    ///
    /// # Errors
    /// `AlreadyExists` if the new agent's key is taken, `Precondition` if the tenant has too many agents, `NotFound` if it has no
    /// such agent, and whatever the rows end with.
    async fn import(&self, tenant: TenantId, target: ImportTarget, rows: ImportRows, now: DateTime<Utc>) -> Result<ImportCounts>;
}

/// A finished archive, in a file that has no name: it is gone when the last holder is.
#[derive(Debug)]
pub struct PackedArchive {
    /// Its bytes. The position is anybody's: read at offsets.
    pub content: File,
    /// How many there are.
    pub size: u64,
}

/// Files of a workspace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WorkspaceCounts {
    /// How many.
    pub files: u64,
    /// Their size together, in bytes.
    pub bytes: u64,
}

/// What an import did to a workspace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placed {
    /// How many files were made; those that were there stay, and are not counted.
    pub counts: WorkspaceCounts,
    /// The files and directories that were made, relative to the workspace, in the order of their making.
    pub made: Vec<PathBuf>,
}

/// Told how many files have been dealt with so far.
pub type FileProgress = Box<dyn FnMut(u64) + Send>;

/// Gets each file of an archive: its path, which is relative and leads nowhere else, and its content. What it does not read is
/// skipped. It runs on a thread that may block.
pub type EachFile = Box<dyn FnMut(&str, &mut dyn Read) -> Result<()> + Send>;

/// An archive that is being made. Dropping it takes all of it away.
#[async_trait]
pub trait Packing: Send {
    /// Begins a file. What is written from now on is its content, until [`Self::end`].
    async fn begin(&mut self, path: &str) -> Result<()>;

    /// Adds to the file that was begun.
    ///
    /// # Errors
    /// `Invalid` if the archive gets larger than [`MAX_ARCHIVE`].
    async fn write(&mut self, content: Vec<u8>) -> Result<()>;

    /// Ends the file.
    ///
    /// # Errors
    /// `Invalid` if the archive gets larger than [`MAX_ARCHIVE`].
    async fn end(&mut self) -> Result<()>;

    /// Adds the files of a workspace below `prefix`, by path: not those whose name or whose directory's name starts with a dot, no
    /// links, nothing over [`MAX_WORKSPACE_FILE`], and nothing below `without`.
    ///
    /// # Errors
    /// `Invalid` if the archive gets larger than [`MAX_ARCHIVE`].
    async fn workspace(&mut self, prefix: &str, directory: &Path, without: &[PathBuf], progress: FileProgress) -> Result<WorkspaceCounts>;

    /// The finished archive.
    ///
    /// # Errors
    /// `Invalid` if it got larger than [`MAX_ARCHIVE`].
    async fn finish(self: Box<Self>) -> Result<PackedArchive>;
}

/// Makes archives, reads them, and puts files of archives into workspaces. None of it holds a whole file in memory.
#[async_trait]
pub trait ArchiveFiles: Send + Sync {
    /// Begins an archive.
    async fn pack(&self) -> Result<Box<dyn Packing>>;

    /// The files that [`Packing::workspace`] would add.
    async fn count(&self, directory: &Path, without: &[PathBuf]) -> Result<WorkspaceCounts>;

    /// Reads an archive from its beginning to its end. In which order it holds its files, and whether it holds one twice, is up to
    /// whoever made it.
    ///
    /// # Errors
    /// `Invalid` if it is no archive, is cut off or damaged, unpacks to more than [`MAX_ARCHIVE`], or holds something that does not
    /// belong into one: a link, a device, a path that leads out of it. What `each` says.
    async fn read(&self, archive: Arc<File>, each: EachFile) -> Result<()>;

    /// Puts the files below `prefix` into a workspace, which is made if it lacks. Files that are there stay. No link is followed.
    ///
    /// # Errors
    /// As [`Self::read`], and if a file cannot be written. What was made by then was removed.
    async fn place(&self, archive: Arc<File>, prefix: &'static str, directory: &Path, progress: FileProgress) -> Result<Placed>;

    /// Takes back what [`Self::place`] did.
    async fn take_back(&self, directory: &Path, placed: Placed);
}
