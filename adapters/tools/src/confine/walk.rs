//! The walk from a workspace's handle to a name inside it.

use super::{Access, PathError, cleaned, closed};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat, readlinkat},
    sys::stat::{FileStat, Mode, fstatat, mkdirat},
};
use std::{
    collections::VecDeque,
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

/// Links that one path may lead through; the kernel's own limit.
const MAX_LINKS: usize = 40;
/// Names that one path may hold; each costs an open handle while it is walked.
const MAX_DEPTH: usize = 128;
const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A workspace, held by a handle.
pub struct Root<'a> {
    handle: OwnedFd,
    /// The directory's path without links. Results name files by it; errors never do.
    path: PathBuf,
    /// The path that the caller knows the directory by.
    given: &'a Path,
    protected: &'a [PathBuf],
}

/// Where a walk ended: a name in a directory, or the directory itself.
pub(super) struct Place<'r> {
    root: &'r OwnedFd,
    /// The directories on the way, outermost first.
    way: Vec<(OwnedFd, OsString)>,
    /// The last name; `None` if the path means the innermost directory of the way.
    pub name: Option<OsString>,
    /// Directories between the way and the name that do not exist.
    missing: Vec<OsString>,
}

impl Place<'_> {
    /// The innermost directory that exists.
    pub fn directory(&self) -> BorrowedFd<'_> {
        self.way.last().map_or(self.root.as_fd(), |(handle, _)| handle.as_fd())
    }

    /// The path relative to the workspace, all links resolved.
    pub fn path(&self) -> PathBuf {
        self.way.iter().map(|(_, name)| name).chain(&self.missing).chain(&self.name).collect()
    }

    /// Whether a directory before the last name does not exist.
    pub fn lacks_directories(&self) -> bool {
        !self.missing.is_empty()
    }

    /// What the last name is, or `None` if it is not there. A link is told as a link.
    pub fn stat(&self) -> Result<Option<FileStat>, PathError> {
        let Some(name) = self.name.as_deref().filter(|_| !self.lacks_directories()) else { return Ok(None) };
        match fstatat(self.directory(), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::ENOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Makes the directories that do not exist, mode 0755.
    pub fn make_directories(&mut self) -> Result<(), PathError> {
        for name in std::mem::take(&mut self.missing) {
            match mkdirat(self.directory(), name.as_os_str(), Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            let handle = openat(self.directory(), name.as_os_str(), DIRECTORY, Mode::empty())?;
            self.way.push((handle, name));
        }
        Ok(())
    }
}

impl<'a> Root<'a> {
    /// Opens a workspace. Paths under `protected` are refused, unless the workspace itself lies there.
    pub fn open(workspace: &'a Path, protected: &'a [PathBuf]) -> Result<Self, PathError> {
        let path = workspace.canonicalize().map_err(|_| PathError::Missing)?;
        let handle = open(&path, DIRECTORY, Mode::empty())?;
        Ok(Self { handle, path, given: workspace, protected })
    }

    /// The absolute path of `relative`, which a walk has answered.
    pub fn absolute(&self, relative: &Path) -> PathBuf {
        if relative.as_os_str().is_empty() { self.path.clone() } else { self.path.join(relative) }
    }

    /// What `path` says relative to the workspace: an absolute path must lie inside.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        if !path.is_absolute() {
            return cleaned(path);
        }
        let clean = Path::new("/").join(cleaned(path).unwrap_or_default());
        let inside = clean.strip_prefix(&self.path).or_else(|_| clean.strip_prefix(self.given));
        inside.ok().map(Path::to_owned)
    }

    /// Walks to `path` and refuses what is closed to `access`.
    pub(super) fn walk(&self, path: &str, access: Access) -> Result<Place<'_>, PathError> {
        if path.contains('\0') {
            return Err(PathError::Malformed);
        }
        let start = self.inside(Path::new(path)).ok_or(PathError::Outside)?;
        let place = self.follow(&start)?;
        let resolved = place.path();
        if let Some(prefix) = closed(&start, access).or_else(|| closed(&resolved, access)) {
            return Err(PathError::Restricted(prefix));
        }
        if self.is_protected(&self.path.join(&resolved)) {
            return Err(PathError::Protected);
        }
        Ok(place)
    }

    fn is_protected(&self, path: &Path) -> bool {
        self.protected.iter().any(|protected| {
            let real = protected.canonicalize().unwrap_or_else(|_| protected.clone());
            path.starts_with(&real) && !self.path.starts_with(&real)
        })
    }

    fn follow(&self, start: &Path) -> Result<Place<'_>, PathError> {
        let mut place = Place { root: &self.handle, way: Vec::new(), name: None, missing: Vec::new() };
        let mut todo: VecDeque<OsString> = start.components().map(|component| component.as_os_str().to_owned()).collect();
        let mut links = 0;
        while let Some(name) = todo.pop_front() {
            if place.way.len() + place.missing.len() + todo.len() > MAX_DEPTH {
                return Err(PathError::Malformed);
            }
            if name == ".." {
                // A directory that is not there cannot be left: what the link means is anyone's guess.
                if place.lacks_directories() || place.way.pop().is_none() {
                    return Err(PathError::Outside);
                }
                continue;
            }
            if place.lacks_directories() {
                if todo.is_empty() {
                    place.name = Some(name);
                } else {
                    place.missing.push(name);
                }
                continue;
            }
            match readlinkat(place.directory(), name.as_os_str()) {
                Ok(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(PathError::Outside);
                    }
                    let mut target = PathBuf::from(target);
                    if target.is_absolute() {
                        target = self.inside(&target).ok_or(PathError::Outside)?;
                        place.way.clear();
                    }
                    for component in target.components().rev() {
                        if component != Component::CurDir {
                            todo.push_front(component.as_os_str().to_owned());
                        }
                    }
                }
                Err(Errno::ENOENT) if todo.is_empty() => place.name = Some(name),
                Err(Errno::ENOENT) => place.missing.push(name),
                Err(Errno::EINVAL) if todo.is_empty() => place.name = Some(name),
                Err(Errno::EINVAL) => {
                    let handle = openat(place.directory(), name.as_os_str(), DIRECTORY, Mode::empty())?;
                    place.way.push((handle, name));
                }
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(place)
    }

    /// Opens the directory `path`; with it comes its path relative to the workspace.
    pub fn directory(&self, path: &str, access: Access) -> Result<(OwnedFd, PathBuf), PathError> {
        let place = self.walk(path, access)?;
        if place.lacks_directories() {
            return Err(PathError::Missing);
        }
        let handle = match place.name.as_deref() {
            Some(name) => openat(place.directory(), name, DIRECTORY, Mode::empty())?,
            None => place.directory().try_clone_to_owned().map_err(|_| PathError::System(Errno::EMFILE))?,
        };
        Ok((handle, place.path()))
    }
}
