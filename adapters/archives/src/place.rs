//! Putting files of an archive into a workspace, by handles of its directories, so that no link is ever followed.

use crate::{
    reader::{self, damaged},
    walk::{DIRECTORY, is_hidden},
};
use goclaw_ports::{Error, Result, archives::Placed};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat},
    sys::stat::{Mode, fchmod, fstatat, mkdirat},
    unistd::{UnlinkatFlags, linkat, syncfs, unlinkat},
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};
use uuid::Uuid;

const FILE_MODE: Mode = Mode::from_bits_truncate(0o644);
const DIRECTORY_MODE: Mode = Mode::from_bits_truncate(0o755);
const NEW_FILE: OFlag = OFlag::O_WRONLY.union(OFlag::O_CREAT).union(OFlag::O_EXCL).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// Puts what `archive` has below `prefix` into `directory`. If that fails, what was made is removed.
pub(crate) fn place(archive: impl Read, limit: u64, prefix: &str, directory: &Path, progress: &mut dyn FnMut(u64)) -> Result<Placed> {
    let mut placed = Placed::default();
    if !directory.exists() {
        fs::create_dir_all(directory).map_err(Error::of_disk)?;
        placed.made.push(PathBuf::new());
    }
    let placing = || {
        let root = open(directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()).map_err(Error::internal)?;
        let mut seen = 0;
        reader::read(archive, limit, &mut |path, content| match path.strip_prefix(prefix) {
            Some(path) if !path.split('/').any(is_hidden) => {
                file(&root, path, content, &mut placed)?;
                seen += 1;
                progress(seen);
                Ok(())
            }
            _ => Ok(()),
        })?;
        // What is answered is on the disk.
        syncfs(root.as_fd()).map_err(refused)
    };
    match placing() {
        Ok(()) => Ok(placed),
        Err(error) => {
            take_back(directory, &placed);
            Err(error)
        }
    }
}

/// What the disk refused.
fn refused(errno: Errno) -> Error {
    Error::of_disk(errno.into())
}

/// Makes one file, unless something has its name, or a directory of its path is none.
fn file(root: &OwnedFd, path: &str, content: &mut dyn Read, placed: &mut Placed) -> Result<()> {
    let (parents, name) = path.rsplit_once('/').unwrap_or(("", path));
    let Some(directory) = parents_of(root, parents, &mut placed.made)? else { return Ok(()) };
    if fstatat(&directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok() {
        return Ok(());
    }
    // A file gets its name when it is whole, and never takes that of another.
    let draft = format!(".goclaw-{}.tmp", Uuid::new_v4().simple());
    let handle = openat(&directory, draft.as_str(), NEW_FILE, FILE_MODE).map_err(refused)?;
    let written = write(handle, content).and_then(|bytes| match linkat(&directory, draft.as_str(), &directory, name, AtFlags::empty()) {
        Ok(()) => Ok(Some(bytes)),
        Err(Errno::EEXIST) => Ok(None),
        Err(errno) => Err(refused(errno)),
    });
    unlinkat(&directory, draft.as_str(), UnlinkatFlags::NoRemoveDir).map_err(Error::internal)?;
    if let Some(bytes) = written? {
        placed.counts.files += 1;
        placed.counts.bytes += bytes;
        placed.made.push(path.into());
    }
    Ok(())
}

/// The directory that a file goes into, made if it lacks; `None` if something else has a name on the way.
fn parents_of(root: &OwnedFd, parents: &str, made: &mut Vec<PathBuf>) -> Result<Option<OwnedFd>> {
    let mut handle = root.try_clone().map_err(Error::internal)?;
    let mut way = PathBuf::new();
    for name in parents.split('/').filter(|name| !name.is_empty()) {
        way.push(name);
        match mkdirat(&handle, name, DIRECTORY_MODE) {
            Ok(()) => made.push(way.clone()),
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(refused(errno)),
        }
        handle = match openat(&handle, name, DIRECTORY, Mode::empty()) {
            Ok(handle) => handle,
            Err(Errno::ENOTDIR | Errno::ELOOP) => return Ok(None),
            Err(errno) => return Err(refused(errno)),
        };
    }
    Ok(Some(handle))
}

fn write(handle: OwnedFd, content: &mut dyn Read) -> Result<u64> {
    // The mode is set apart from opening, because the process' umask narrows what opening asks for.
    fchmod(handle.as_fd(), FILE_MODE).map_err(Error::internal)?;
    let mut file = File::from(handle);
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    loop {
        let read = content.read(&mut buffer).map_err(damaged)?;
        if read == 0 {
            return Ok(bytes);
        }
        file.write_all(&buffer[..read]).map_err(Error::of_disk)?;
        bytes += read as u64;
    }
}

/// Removes what was made, the last first. A directory that others have put something into stays.
pub(crate) fn take_back(directory: &Path, placed: &Placed) {
    let Ok(root) = open(directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty()) else { return };
    for path in placed.made.iter().rev() {
        let taken = match (path.parent(), path.file_name()) {
            (Some(parents), Some(name)) => match existing(&root, parents) {
                Some(parent) => unlinkat(&parent, name, UnlinkatFlags::NoRemoveDir).or_else(|_| unlinkat(&parent, name, UnlinkatFlags::RemoveDir)),
                None => Ok(()),
            },
            _ => fs::remove_dir(directory).map_err(|_| Errno::ENOTEMPTY),
        };
        if let Err(errno) = taken {
            tracing::warn!(%errno, path = %path.display(), "what an import put into a workspace stays there");
        }
    }
}

fn existing(root: &OwnedFd, parents: &Path) -> Option<OwnedFd> {
    parents.iter().try_fold(root.try_clone().ok()?, |handle, name| openat(&handle, name, DIRECTORY, Mode::empty()).ok())
}

#[cfg(test)]
mod tests;
