//! What is done to a file once the walk has found its directory.

use super::{Access, PathError, Root, walk::Place};
use nix::{
    dir::{Dir, Type},
    errno::Errno,
    fcntl::{OFlag, openat, renameat},
    sys::stat::{FileStat, Mode, SFlag, fchmod, fstat},
    unistd::{UnlinkatFlags, unlinkat},
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{Error, Read, Write, copy},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
};

/// Flags of every open: never through a link, never waiting for the other end of a pipe, never inherited by a child.
const SAFE: OFlag = OFlag::O_NOFOLLOW.union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);
const FILE_MODE: Mode = Mode::from_bits_truncate(0o644);

/// What a directory's entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file of this many bytes.
    File(u64),
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is; a link tells what it leads to.
    pub kind: Kind,
}

impl PathError {
    /// What a failed read or write says.
    pub fn from_io(error: &Error) -> Self {
        Self::System(error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))
    }
}

/// Refuses everything but a regular file with one name.
fn regular(stat: &FileStat) -> Result<(), PathError> {
    match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG if stat.st_nlink > 1 => Err(PathError::HardLinked),
        SFlag::S_IFREG => Ok(()),
        SFlag::S_IFDIR => Err(PathError::IsDirectory),
        SFlag::S_IFLNK => Err(PathError::Outside),
        _ => Err(PathError::Special),
    }
}

/// The name of a file that is not whole yet.
fn draft_name() -> String {
    format!(".goclaw-{}.tmp", uuid::Uuid::new_v4().simple())
}

/// Whether a file with this name is one that was begun here, and not whole when its writer was last heard of.
pub fn is_draft(name: &str) -> bool {
    name.strip_prefix(".goclaw-").and_then(|rest| rest.strip_suffix(".tmp")).is_some_and(|id| uuid::Uuid::try_parse(id).is_ok())
}

impl Root<'_> {
    /// The file `path`, open for reading; where it is, all links resolved; its size in bytes.
    pub fn open_file(&self, path: &str, access: Access) -> Result<(File, PathBuf, u64), PathError> {
        let place = self.walk(path, access)?;
        let Some(stat) = place.stat()? else { return Err(if place.name.is_some() { PathError::Missing } else { PathError::IsDirectory }) };
        regular(&stat)?;
        let name = place.name.as_deref().ok_or(PathError::IsDirectory)?;
        let handle = openat(place.directory(), name, OFlag::O_RDONLY | SAFE, Mode::empty())?;
        let stat = fstat(handle.as_fd())?;
        regular(&stat)?;
        Ok((File::from(handle), self.absolute(&place.path()), u64::try_from(stat.st_size).unwrap_or_default()))
    }

    /// The bytes of the file `path`, at most `limit`.
    pub fn read(&self, path: &str, access: Access, limit: u64) -> Result<Vec<u8>, PathError> {
        let (file, ..) = self.open_file(path, access)?;
        let mut bytes = Vec::new();
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| PathError::from_io(&error))?;
        if bytes.len() as u64 > limit { Err(PathError::TooLarge(limit)) } else { Ok(bytes) }
    }

    /// Makes `content` the whole file `path` in one step; directories that lack are made. The answer is where it lies.
    pub fn replace(&self, path: &str, content: &[u8]) -> Result<PathBuf, PathError> {
        let (place, name, before) = self.place_to_write(path, Access::Change)?;
        let mode = before.map_or(FILE_MODE, |stat| Mode::from_bits_truncate(stat.st_mode & 0o777));
        let draft = draft_name();
        let handle = openat(place.directory(), draft.as_str(), OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | SAFE, FILE_MODE)?;
        let written = write_draft(handle, content, mode).and_then(|()| Ok(renameat(place.directory(), draft.as_str(), place.directory(), name.as_os_str())?));
        if written.is_err() {
            // The first failure is the one to tell.
            let _ = unlinkat(place.directory(), draft.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written.map(|()| self.absolute(&place.path()))
    }

    /// Adds `content` to the end of the file `path`, which is made if it lacks.
    pub fn append(&self, path: &str, content: &[u8]) -> Result<PathBuf, PathError> {
        let (place, name, before) = self.place_to_write(path, Access::Change)?;
        let handle = openat(place.directory(), name.as_os_str(), OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | SAFE, FILE_MODE)?;
        regular(&fstat(handle.as_fd())?)?;
        if before.is_none() {
            fchmod(handle.as_fd(), FILE_MODE)?;
        }
        File::from(handle).write_all(content).map_err(|error| PathError::from_io(&error))?;
        Ok(self.absolute(&place.path()))
    }

    /// Makes the file `path` for its owner alone (mode 0600). It must not exist.
    pub fn create_private(&self, path: &str, content: &[u8]) -> Result<(), PathError> {
        let (place, name, _) = self.place_to_write(path, Access::Change)?;
        let mode = Mode::from_bits_truncate(0o600);
        let handle = openat(place.directory(), name.as_os_str(), OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | SAFE, mode)?;
        write_draft(handle, content, mode)
    }

    /// Makes the file `path` of what `content` still holds, in one step; it must not exist. This is the gateway's own writing:
    /// names that are closed to tools' writing are open to it. The answer is where it lies.
    pub fn create_from(&self, path: &str, content: &mut impl Read) -> Result<PathBuf, PathError> {
        let (place, name, before) = self.place_to_write(path, Access::Read)?;
        if before.is_some() {
            return Err(PathError::System(Errno::EEXIST));
        }
        let draft = draft_name();
        let handle = openat(place.directory(), draft.as_str(), OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | SAFE, FILE_MODE)?;
        fchmod(handle.as_fd(), FILE_MODE)?;
        let mut file = File::from(handle);
        let copied = copy(content, &mut file).and_then(|_| file.sync_all()).map_err(|error| PathError::from_io(&error));
        let written = copied.and_then(|()| Ok(renameat(place.directory(), draft.as_str(), place.directory(), name.as_os_str())?));
        if written.is_err() {
            // The first failure is the one to tell.
            let _ = unlinkat(place.directory(), draft.as_str(), UnlinkatFlags::NoRemoveDir);
        }
        written.map(|()| self.absolute(&place.path()))
    }

    /// Removes the regular file `path`: the gateway's own, as above. `false` if there is none.
    pub fn remove(&self, path: &str) -> Result<bool, PathError> {
        let place = self.walk(path, Access::Read)?;
        let (Some(name), Some(stat)) = (place.name.clone(), place.stat()?) else { return Ok(false) };
        regular(&stat)?;
        unlinkat(place.directory(), name.as_os_str(), UnlinkatFlags::NoRemoveDir)?;
        Ok(true)
    }

    /// Whether `path` leads to a file that may be opened this way, or to none yet.
    pub fn reaches(&self, path: &str, access: Access) -> Result<(), PathError> {
        match self.walk(path, access)?.stat()? {
            Some(stat) => match regular(&stat) {
                // Tools that look may look into directories.
                Err(PathError::IsDirectory) if access == Access::Read => Ok(()),
                other => other,
            },
            None => Ok(()),
        }
    }

    fn place_to_write(&self, path: &str, access: Access) -> Result<(Place<'_>, OsString, Option<FileStat>), PathError> {
        if path.ends_with('/') {
            return Err(PathError::IsDirectory);
        }
        let mut place = self.walk(path, access)?;
        let name = place.name.clone().ok_or(PathError::IsDirectory)?;
        let before = place.stat()?;
        if let Some(stat) = &before {
            regular(stat)?;
        }
        place.make_directories()?;
        Ok((place, name, before))
    }

    /// The entries of the directory `path` by name, without those that may not be opened.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, PathError> {
        let (handle, relative) = self.directory(path, Access::Change)?;
        let mut directory = Dir::from_fd(handle)?;
        let mut entries = Vec::new();
        for entry in directory.iter() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            if let Some(kind) = self.kind(&relative.join(name), entry.file_type()) {
                entries.push(Entry { name: name.to_string_lossy().into_owned(), kind });
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// The names in the directory `path`, sorted, with whether they are directories; only files and directories.
    pub fn names(&self, path: &str) -> Result<Vec<(String, bool)>, PathError> {
        let (handle, _) = self.directory(path, Access::Read)?;
        let mut names = Vec::new();
        for entry in Dir::from_fd(handle)?.iter() {
            let entry = entry?;
            let (name, kind) = (entry.file_name().to_string_lossy().into_owned(), entry.file_type());
            if name != "." && name != ".." && matches!(kind, Some(Type::Directory | Type::File)) {
                names.push((name, kind == Some(Type::Directory)));
            }
        }
        names.sort();
        Ok(names)
    }

    /// What `path` is; `None` if it may not be opened or went away.
    fn kind(&self, path: &std::path::Path, entry_type: Option<Type>) -> Option<Kind> {
        if !matches!(entry_type, None | Some(Type::Directory | Type::File | Type::Symlink)) {
            return None;
        }
        let place = self.walk(path.to_str()?, Access::Change).ok()?;
        let Some(stat) = place.stat().ok()? else { return (place.name.is_none() && !place.lacks_directories()).then_some(Kind::Directory) };
        match regular(&stat) {
            Ok(()) => Some(Kind::File(u64::try_from(stat.st_size).unwrap_or_default())),
            Err(PathError::IsDirectory) => Some(Kind::Directory),
            Err(_) => None,
        }
    }
}

fn write_draft(handle: OwnedFd, content: &[u8], mode: Mode) -> Result<(), PathError> {
    // The mode is set apart from opening, because the process' umask narrows what opening asks for.
    fchmod(handle.as_fd(), mode)?;
    File::from(handle).write_all(content).map_err(|error| PathError::from_io(&error))
}
