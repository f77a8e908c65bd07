//! The files of a workspace, by handles of its directories, so that no link is ever followed.

use crate::reader::{MAX_DEPTH, is_plain};
use goclaw_ports::{Error, Result, archives::MAX_WORKSPACE_FILE};
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, open, openat},
    sys::stat::{FileStat, Mode, SFlag, fstat, fstatat},
};
use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

/// How directories are opened: not through a link.
pub(crate) const DIRECTORY: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);
/// How files are opened: not through a link, and without waiting for the other end of a pipe.
const FILE: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);

type Visit<'a> = dyn FnMut(&str, File, u64) -> Result<()> + 'a;

struct Walk<'a> {
    root: PathBuf,
    without: Vec<PathBuf>,
    visit: &'a mut Visit<'a>,
}

/// Gives every file that belongs into an archive to `visit`, by path, with its size. A directory that is not there has none.
pub(crate) fn files<'a>(directory: &Path, without: &[PathBuf], visit: &'a mut Visit<'a>) -> Result<()> {
    let Ok(root) = directory.canonicalize() else { return Ok(()) };
    let handle = open(&root, DIRECTORY, Mode::empty()).map_err(Error::internal)?;
    // What the workspace lies in is no reason to leave the workspace out.
    let without = without.iter().map(|path| path.canonicalize().unwrap_or_else(|_| path.clone())).filter(|path| !root.starts_with(path)).collect();
    Walk { root, without, visit }.directory(&handle, "", 1)
}

impl Walk<'_> {
    fn directory(&mut self, handle: &OwnedFd, path: &str, depth: usize) -> Result<()> {
        for name in names(handle).map_err(Error::internal)? {
            let path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            if self.without.contains(&self.root.join(&path)) {
                continue;
            }
            match self.entry(handle, &name, &path, depth) {
                Ok(()) => {}
                // Whatever could not be opened is not worth an archive.
                Err(Failed::System(errno)) => tracing::warn!(%errno, path, "a file of a workspace was left out of an archive"),
                Err(Failed::Visit(error)) => return Err(error),
            }
        }
        Ok(())
    }

    fn entry(&mut self, directory: &OwnedFd, name: &str, path: &str, depth: usize) -> Result<(), Failed> {
        let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
        if kind(&stat) == SFlag::S_IFDIR {
            // One more name comes before the path in the archive.
            if depth + 1 < MAX_DEPTH {
                let handle = openat(directory, name, DIRECTORY, Mode::empty())?;
                self.directory(&handle, path, depth + 1).map_err(Failed::Visit)?;
            }
            return Ok(());
        }
        if size_of(&stat).is_none() {
            return Ok(());
        }
        let handle = openat(directory, name, FILE, Mode::empty())?;
        // Asked again: another file may have the name by now.
        match size_of(&fstat(handle.as_fd())?) {
            Some(size) => (self.visit)(path, File::from(handle), size).map_err(Failed::Visit),
            None => Ok(()),
        }
    }
}

enum Failed {
    System(Errno),
    Visit(Error),
}

impl From<Errno> for Failed {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// The size of a regular file that is not too large and has no second name, which might lie outside.
fn size_of(stat: &FileStat) -> Option<u64> {
    let size = u64::try_from(stat.st_size).ok()?;
    (kind(stat) == SFlag::S_IFREG && stat.st_nlink == 1 && size <= MAX_WORKSPACE_FILE).then_some(size)
}

/// The names in a directory that may be in an archive, in order.
fn names(handle: &OwnedFd) -> nix::Result<Vec<String>> {
    let mut directory = Dir::from_fd(handle.try_clone().map_err(|_| Errno::EMFILE)?)?;
    let mut names = Vec::new();
    for entry in directory.iter() {
        if let Ok(name) = entry?.file_name().to_str()
            && !is_hidden(name)
            && is_plain(name)
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a name is left out of archives.
pub(crate) fn is_hidden(name: &str) -> bool {
    name.starts_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, io::Read, os::unix::fs::symlink};

    fn found(directory: &Path, without: &[PathBuf]) -> Vec<(String, String)> {
        let mut found = Vec::new();
        files(directory, without, &mut |path, mut file, size| {
            let mut content = String::new();
            file.read_to_string(&mut content).unwrap();
            assert_eq!(content.len() as u64, size);
            found.push((path.to_owned(), content));
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn files_come_by_path_and_links_and_hidden_ones_stay() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("w");
        for (path, content) in
            [("b.txt", "b"), ("a/z.txt", "z"), ("a/deep/er.txt", "er"), (".hidden", "x"), (".git/config", "x"), ("other/own.txt", "x"), ("twice", "x")]
        {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            fs::write(root.join(path), content).unwrap();
        }
        fs::write(base.path().join("secret"), "secret").unwrap();
        symlink(base.path().join("secret"), root.join("link")).unwrap();
        symlink(base.path(), root.join("linked")).unwrap();
        fs::hard_link(root.join("twice"), base.path().join("second")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), Mode::from_bits_truncate(0o600)).unwrap();
        fs::File::create(root.join("large")).unwrap().set_len(MAX_WORKSPACE_FILE + 1).unwrap();
        fs::write(root.join("line\nbreak"), "x").unwrap();
        let expected = [("a/deep/er.txt", "er"), ("a/z.txt", "z"), ("b.txt", "b")].map(|(path, content)| (path.to_owned(), content.to_owned()));
        assert_eq!(found(&root, &[root.join("other"), base.path().to_owned()]), expected);
        assert_eq!(found(&base.path().join("missing"), &[]), []);
    }
}
