//! Files on the gateway's disk.

use crate::Result;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use std::{
    fs::File,
    path::{Path, PathBuf},
};

/// A file that is open for reading.
#[derive(Debug)]
pub struct OpenFile {
    /// What is in it, from the start.
    pub content: File,
    /// Where it is: absolute, all links resolved.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskEntry {
    /// Its name.
    pub name: String,
    /// Whether it is a directory.
    pub is_directory: bool,
}

/// Reaches the disk, always below a directory that the caller names as `root` (absolute). Paths may be absolute or relative to
/// it. Nothing outside of the root is touched, whatever links say, and files with a second name (hard links) are not opened.
#[async_trait]
pub trait Disk: Send + Sync {
    /// The regular file `path`. `None` if there is none, or if it may not be opened.
    async fn open(&self, root: &Path, path: &Path) -> Result<Option<OpenFile>>;

    /// What is in the directory `path`, by name, links left out. Empty if there is no such directory, or if it may not be opened.
    async fn entries(&self, root: &Path, path: &Path) -> Result<Vec<DiskEntry>>;

    /// Makes the file `path` of all that `content` holds, from its start; it must not exist. The root and directories that lack
    /// are made. Answers with where it is.
    ///
    /// # Errors
    /// `Internal` if the path may not be written, or the disk refuses.
    async fn create(&self, root: &Path, path: &Path, content: File) -> Result<PathBuf>;

    /// The same of these bytes.
    ///
    /// # Errors
    /// As [`Disk::create`].
    async fn create_of(&self, root: &Path, path: &Path, content: Vec<u8>) -> Result<PathBuf>;

    /// Removes the regular file `path`. `false` if there is none, or if it may not be touched.
    async fn remove(&self, root: &Path, path: &Path) -> Result<bool>;

    /// How many bytes these regular files have together. What is not there, or may not be opened, has none.
    async fn total(&self, root: &Path, paths: Vec<PathBuf>) -> Result<u64>;

    /// Removes the files below `root` that were last changed before `then`, and answers with how many there were.
    async fn remove_older(&self, root: &Path, then: DateTime<Utc>) -> Result<usize>;

    /// Removes files below `root` that were begun, last changed before `then`, and never finished, and answers with how many there were.
    async fn remove_drafts(&self, root: &Path, then: DateTime<Utc>) -> Result<usize>;
}
