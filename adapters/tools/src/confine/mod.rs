//! Keeps paths from models inside a workspace.
//!
//! A path is walked from a handle of the workspace, one name at a time, never following a link by itself: links are
//! read and walked by the same rules, `..` goes back along the handles that were opened, and the last name is used
//! relative to the handle of its directory with `O_NOFOLLOW`. So what was checked is what is used, whatever is renamed
//! or replaced meanwhile.

mod file;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod walk;

pub use file::{Entry, Kind, is_draft};
pub use walk::Root;

use nix::errno::Errno;
use std::path::{Component, Path, PathBuf};

/// Why a path is not served. The texts name no path of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathError {
    /// It leads out of the workspace.
    Outside,
    /// It holds a NUL byte or a name that is too long.
    Malformed,
    /// The file has a second name, which may lie outside.
    HardLinked,
    /// It belongs to the system; the prefix that says so.
    Restricted(&'static str),
    /// It belongs to the installation.
    Protected,
    /// There is nothing.
    Missing,
    /// A file was meant, but this is a directory.
    IsDirectory,
    /// A directory was meant, but this is none.
    NotDirectory,
    /// Neither file nor directory: a device, a pipe, a socket.
    Special,
    /// The file is larger than this many bytes.
    TooLarge(u64),
    /// The system refused.
    System(Errno),
}

impl std::fmt::Display for PathError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Outside => f.write_str("access denied: path outside workspace"),
            Self::Malformed => f.write_str("access denied: the path is malformed"),
            Self::HardLinked => f.write_str("access denied: hardlinked file not allowed"),
            Self::Restricted(prefix) => write!(f, "access denied: path {prefix} is restricted"),
            Self::Protected => f.write_str("access denied: the path belongs to the installation"),
            Self::Missing => f.write_str("no such file or directory"),
            Self::IsDirectory => f.write_str("it is a directory"),
            Self::NotDirectory => f.write_str("it is not a directory"),
            Self::Special => f.write_str("access denied: it is neither a file nor a directory"),
            Self::TooLarge(limit) => write!(f, "the file is larger than {} MiB", limit >> 20),
            Self::System(errno) => f.write_str(errno.desc()),
        }
    }
}

impl From<Errno> for PathError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::ENOENT => Self::Missing,
            Errno::ENOTDIR => Self::NotDirectory,
            Errno::EISDIR => Self::IsDirectory,
            Errno::ELOOP => Self::Outside,
            Errno::ENAMETOOLONG | Errno::EINVAL => Self::Malformed,
            errno => Self::System(errno),
        }
    }
}

/// What a path is opened for. It decides which names of a workspace are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading a file, and the gateway's own writing.
    Read,
    /// Writing, editing and listing.
    Change,
}

/// Names at the top of a workspace that are closed to all file tools. A name that ends in `/` is a directory.
const CLOSED: [&str; 9] = ["config.json", "memory.db", "memory.db-wal", "memory.db-shm", "goclaw.db", "goclaw.db-wal", "goclaw.db-shm", "memory/", "delegate/"];
/// Names that may be read, but neither written nor listed.
const CLOSED_TO_CHANGE: [&str; 2] = [".media/", ".uploads/"];

/// The closed name that `path`, relative to the workspace, falls under.
fn closed(path: &Path, access: Access) -> Option<&'static str> {
    let Some(Component::Normal(first)) = path.components().next() else { return None };
    let extra: &[&str] = if access == Access::Change { &CLOSED_TO_CHANGE } else { &[] };
    CLOSED.iter().chain(extra).copied().find(|name| first == name.trim_end_matches('/'))
}

/// `path` without `.`, and without `..` where the name before it can be taken away. `None` if it climbs above its start.
fn cleaned(path: &Path) -> Option<PathBuf> {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => {
                if !clean.pop() {
                    return None;
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(clean)
}

#[cfg(test)]
mod tests;
