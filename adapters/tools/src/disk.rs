//! The gateway's disk, for use cases: the same walls as for the tools.

use crate::confine::{Access, PathError, Root, is_draft};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    Error, Result,
    files::{Disk, DiskEntry, OpenFile},
};
use std::{
    fs::{self, DirBuilder, File},
    io::{Seek, SeekFrom},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// The machine's disk.
pub struct LocalDisk {
    protected: Arc<[PathBuf]>,
}

impl LocalDisk {
    /// A disk on which these absolute paths (data directory, configuration, database, …) are out of reach. A root inside of one
    /// stays usable.
    #[must_use]
    pub fn new(protected: Vec<PathBuf>) -> Self {
        Self { protected: protected.into() }
    }

    /// Does `work` below `root`, on a thread that may wait for the disk.
    async fn below<T: Send + 'static>(
        &self,
        root: &Path,
        path: &Path,
        work: impl FnOnce(&Root<'_>, &str) -> Result<T, PathError> + Send + 'static,
    ) -> Result<T, PathError> {
        let (root, protected) = (root.to_owned(), Arc::clone(&self.protected));
        let path = path.to_str().ok_or(PathError::Malformed)?.to_owned();
        let done = tokio::task::spawn_blocking(move || work(&Root::open(&root, &protected)?, &path)).await;
        done.unwrap_or(Err(PathError::System(nix::errno::Errno::EIO)))
    }
}

/// What was found, or nothing: why a path is not served is nobody's business. A disk that fails is.
fn found<T>(result: Result<T, PathError>, nothing: T) -> Result<T> {
    match result {
        Ok(found) => Ok(found),
        Err(PathError::System(errno)) if ![nix::errno::Errno::EACCES, nix::errno::Errno::EPERM].contains(&errno) => Err(Error::internal(errno)),
        Err(error) => {
            tracing::debug!(%error, "a path is not served");
            Ok(nothing)
        }
    }
}

/// Why a file could not be made.
fn not_made(error: PathError) -> Error {
    use nix::errno::Errno;
    match error {
        PathError::System(errno @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EROFS)) => Error::no_room(errno),
        error => Error::internal(error.to_string()),
    }
}

#[async_trait]
impl Disk for LocalDisk {
    async fn open(&self, root: &Path, path: &Path) -> Result<Option<OpenFile>> {
        let opened = self.below(root, path, |root, path| {
            let (content, path, size) = root.open_file(path, Access::Read)?;
            Ok(Some(OpenFile { content, path, size }))
        });
        found(opened.await, None)
    }

    async fn entries(&self, root: &Path, path: &Path) -> Result<Vec<DiskEntry>> {
        let listed = self.below(root, path, |root, path| root.names(path));
        let entries = found(listed.await, vec![])?;
        Ok(entries.into_iter().map(|(name, is_directory)| DiskEntry { name, is_directory }).collect())
    }

    async fn create(&self, root: &Path, path: &Path, mut content: File) -> Result<PathBuf> {
        make(root).await?;
        let created = self.below(root, path, move |root, path| {
            content.seek(SeekFrom::Start(0)).map_err(|error| PathError::from_io(&error))?;
            root.create_from(path, &mut content)
        });
        created.await.map_err(not_made)
    }

    async fn create_of(&self, root: &Path, path: &Path, content: Vec<u8>) -> Result<PathBuf> {
        make(root).await?;
        let created = self.below(root, path, move |root, path| root.create_from(path, &mut content.as_slice()));
        created.await.map_err(not_made)
    }

    async fn remove(&self, root: &Path, path: &Path) -> Result<bool> {
        found(self.below(root, path, |root, path| root.remove(path)).await, false)
    }

    async fn total(&self, root: &Path, paths: Vec<PathBuf>) -> Result<u64> {
        let measured = self.below(root, Path::new(""), move |root, _| {
            let files = paths.iter().filter_map(|path| root.open_file(path.to_str()?, Access::Read).ok());
            Ok(files.map(|(.., size)| size).sum())
        });
        found(measured.await, 0)
    }

    async fn remove_older(&self, root: &Path, then: DateTime<Utc>) -> Result<usize> {
        let root = root.to_owned();
        let removed = tokio::task::spawn_blocking(move || remove_older(&root, then.into(), &|_| true));
        removed.await.map_err(|cause| Error::internal(cause.to_string()))
    }

    async fn remove_drafts(&self, root: &Path, then: DateTime<Utc>) -> Result<usize> {
        let root = root.to_owned();
        let removed = tokio::task::spawn_blocking(move || remove_older(&root, then.into(), &is_draft));
        removed.await.map_err(|cause| Error::internal(cause.to_string()))
    }
}

/// Makes the directory `root` if it is not there.
async fn make(root: &Path) -> Result<()> {
    let directory = root.to_owned();
    let made = tokio::task::spawn_blocking(move || DirBuilder::new().recursive(true).mode(0o750).create(directory)).await;
    made.map_err(|cause| Error::internal(cause.to_string()))?.map_err(|error| not_made(PathError::from_io(&error)))
}

/// Links are neither followed nor removed. What cannot be read or removed is left for the next time.
fn remove_older(directory: &Path, then: SystemTime, wanted: &dyn Fn(&str) -> bool) -> usize {
    let Ok(entries) = fs::read_dir(directory) else { return 0 };
    let removed = entries.flatten().map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => remove_older(&entry.path(), then, wanted),
        Ok(metadata) if metadata.is_file() && metadata.modified().is_ok_and(|modified| modified < then) && wanted(&entry.file_name().to_string_lossy()) => {
            usize::from(fs::remove_file(entry.path()).is_ok())
        }
        _ => 0,
    });
    removed.sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, os::unix::fs::symlink, time::Duration};

    fn file(content: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, content.as_bytes()).unwrap();
        file
    }

    async fn read(disk: &LocalDisk, root: &Path, path: &str) -> Option<String> {
        let mut opened = disk.open(root, Path::new(path)).await.unwrap()?;
        let mut text = String::new();
        opened.content.read_to_string(&mut text).unwrap();
        assert_eq!(text.len() as u64, opened.size);
        Some(text)
    }

    #[tokio::test]
    async fn a_file_is_made_with_its_directories_and_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, root) = (LocalDisk::new(vec![]), dir.path().join("new/root"));
        let path = disk.create(&root, Path::new(".uploads/a/b.txt"), file("hello")).await.unwrap();
        assert_eq!(read(&disk, &root, ".uploads/a/b.txt").await.as_deref(), Some("hello"));
        assert_eq!(read(&disk, &root, path.to_str().unwrap()).await.as_deref(), Some("hello"));
        assert!(disk.create(&root, Path::new(".uploads/a/b.txt"), file("again")).await.is_err(), "it is there already");
        assert!(disk.create(&root, Path::new("../b.txt"), file("x")).await.is_err());
        disk.create_of(&root, Path::new("c.txt"), b"bytes".to_vec()).await.unwrap();
        assert_eq!(read(&disk, &root, "c.txt").await.as_deref(), Some("bytes"));
    }

    #[tokio::test]
    async fn a_file_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, root) = (LocalDisk::new(vec![]), dir.path().join("root"));
        let own = disk.create(&root, Path::new("a/own"), file("x")).await.unwrap();
        fs::write(dir.path().join("other"), "x").unwrap();
        symlink(dir.path(), root.join("up")).unwrap();
        for path in ["../other", "up/other", "a", "none"] {
            assert!(!disk.remove(&root, Path::new(path)).await.unwrap(), "{path}");
        }
        assert!(disk.remove(&root, &own).await.unwrap() && !own.exists());
        assert!(dir.path().join("other").exists() && root.join("a").exists());
    }

    #[tokio::test]
    async fn nothing_outside_of_the_root_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, root) = (LocalDisk::new(vec![]), dir.path().join("root"));
        fs::create_dir(&root).unwrap();
        fs::write(dir.path().join("secret"), "x").unwrap();
        symlink(dir.path().join("secret"), root.join("link")).unwrap();
        symlink(dir.path(), root.join("up")).unwrap();
        fs::hard_link(dir.path().join("secret"), root.join("hard")).unwrap();
        fs::write(root.join("own"), "y").unwrap();
        for path in ["link", "up/secret", "hard", "../secret", "none", "."] {
            assert_eq!(read(&disk, &root, path).await, None, "{path}");
        }
        let entries = disk.entries(&root, Path::new("")).await.unwrap();
        assert_eq!(entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>(), ["hard", "own"]);
        assert!(disk.entries(&root, Path::new("up")).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_files_have_together_leaves_out_what_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let (disk, root) = (LocalDisk::new(vec![]), dir.path().join("root"));
        let own = disk.create(&root, Path::new("a/own"), file("four")).await.unwrap();
        disk.create(&root, Path::new("more"), file("seven77")).await.unwrap();
        fs::write(dir.path().join("other"), "outside").unwrap();
        symlink(dir.path().join("other"), root.join("link")).unwrap();
        let paths = [own, "more".into(), "link".into(), "../other".into(), "a".into(), "none".into()];
        assert_eq!(disk.total(&root, paths.to_vec()).await.unwrap(), 11);
        assert_eq!(disk.total(&dir.path().join("none"), paths.to_vec()).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_old_goes() {
        let dir = tempfile::tempdir().unwrap();
        let disk = LocalDisk::new(vec![]);
        for (name, hours) in [("a/old", 25), ("a/new", 23)] {
            let path = disk.create(dir.path(), Path::new(name), file("x")).await.unwrap();
            File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
        }
        let now: DateTime<Utc> = SystemTime::now().into();
        assert_eq!(disk.remove_older(dir.path(), now - chrono::TimeDelta::hours(24)).await.unwrap(), 1);
        assert!(dir.path().join("a/new").exists() && !dir.path().join("a/old").exists());
    }

    #[tokio::test]
    async fn what_a_crash_left_half_written_goes_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let disk = LocalDisk::new(vec![]);
        let drafts = [".goclaw-0123456789abcdef0123456789abcdef.tmp", ".goclaw-fedcba9876543210fedcba9876543210.tmp"];
        for (name, hours) in [(drafts[0], 2), (drafts[1], 0), ("whole.tmp", 2), (".goclaw-notes.tmp", 2), ("whole", 2)] {
            let path = disk.create(dir.path(), &Path::new("mai").join(name), file("x")).await.unwrap();
            File::open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
        }
        let now: DateTime<Utc> = SystemTime::now().into();
        assert_eq!(disk.remove_drafts(dir.path(), now - chrono::TimeDelta::hours(1)).await.unwrap(), 1);
        let mut left: Vec<_> = disk.entries(dir.path(), Path::new("mai")).await.unwrap().into_iter().map(|entry| entry.name).collect();
        left.sort();
        assert_eq!(left, [drafts[1], ".goclaw-notes.tmp", "whole", "whole.tmp"], "one may be written just now");
    }
}
