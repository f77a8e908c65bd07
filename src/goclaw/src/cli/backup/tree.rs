//! The files of a directory, in a fixed order, without following links.

use anyhow::{Context, Result};
use nix::fcntl::OFlag;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Something below the root.
pub struct Found {
    /// Its path from the root, with `/`.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// The open file; `None` for a directory.
    pub file: Option<File>,
}

/// What was left out.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// How many links, sockets and devices.
    pub special: u64,
    /// Files that cannot be read, or whose names are not UTF-8.
    pub unreadable: Vec<String>,
}

/// Visits everything below `root` for which `wanted` says yes; what it refuses is not entered. A root that is not there is empty.
///
/// # Errors
/// If `visit` fails, or the root cannot be read.
pub fn walk(root: &Path, wanted: &dyn Fn(&Path) -> bool, left_out: &mut LeftOut, visit: &mut dyn FnMut(Found) -> Result<()>) -> Result<()> {
    let root = match fs::canonicalize(root) {
        Ok(root) => root,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", root.display())),
    };
    let mut open = vec![root.clone()];
    while let Some(directory) = open.pop() {
        // Whoever writes here may put a link in a directory's place at any moment.
        let here = fs::canonicalize(&directory).is_ok_and(|path| path == directory);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) if here => entries,
            Ok(_) => {
                left_out.special += 1;
                continue;
            }
            Err(error) if directory == root => return Err(error).with_context(|| format!("cannot read {}", root.display())),
            Err(_) => {
                left_out.unreadable.push(directory.display().to_string());
                continue;
            }
        };
        let mut paths: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
        paths.sort();
        let mut below = Vec::new();
        for path in paths.into_iter().filter(|path| wanted(path)) {
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            let Some(relative) = path.strip_prefix(&root).ok().and_then(Path::to_str) else {
                left_out.unreadable.push(path.display().to_string());
                continue;
            };
            let found = |file| Found { path: relative.to_owned(), mode: metadata.permissions().mode() & 0o777, file };
            if metadata.is_dir() {
                visit(found(None))?;
                below.push(path);
            } else if metadata.is_file() {
                match open_plain(&path) {
                    Ok(Some(file)) => visit(found(Some(file)))?,
                    Ok(None) => left_out.special += 1,
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(_) => left_out.unreadable.push(path.display().to_string()),
                }
            } else {
                left_out.special += 1;
            }
        }
        open.extend(below.into_iter().rev());
    }
    Ok(())
}

/// Opens a regular file that is no link; `None` if it is something else by now.
fn open_plain(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => return Ok(None),
        opened => opened?,
    };
    let metadata = file.metadata()?;
    Ok(metadata.is_file().then_some(file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_not_followed_and_unwanted_directories_not_entered() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "x").unwrap();
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/empty")).unwrap();
        fs::create_dir(root.path().join("not")).unwrap();
        fs::write(root.path().join("not/this"), "x").unwrap();
        fs::write(root.path().join("a/file"), "x").unwrap();
        symlink(outside.path(), root.path().join("a/link")).unwrap();
        symlink(outside.path().join("secret"), root.path().join("link")).unwrap();
        let (mut found, mut left_out) = (Vec::new(), LeftOut::default());
        walk(root.path(), &|path| !path.ends_with("not"), &mut left_out, &mut |entry| {
            found.push((entry.path, entry.file.is_some()));
            Ok(())
        })
        .unwrap();
        let found: Vec<_> = found.iter().map(|(path, file)| (path.as_str(), *file)).collect();
        assert_eq!(found, [("a", false), ("a/empty", false), ("a/file", true)]);
        assert_eq!(left_out.special, 2);
    }

    #[test]
    fn a_root_that_is_not_there_is_empty() {
        walk(Path::new("/nowhere/at/all"), &|_| true, &mut LeftOut::default(), &mut |_| panic!("nothing is there")).unwrap();
    }
}
