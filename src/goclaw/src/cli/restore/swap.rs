//! Putting what was unpacked into the place of what is there, so that a failure leaves everything as it was.

use anyhow::{Context, Result};
use std::{
    ffi::OsString,
    fs::{self, File},
    io::ErrorKind,
    path::{Path, PathBuf},
};

/// Renames that can be undone.
#[derive(Default)]
pub struct Swap {
    done: Vec<(PathBuf, PathBuf)>,
}

impl Swap {
    /// Moves a file or directory within its file system. What is at the new place must be a file, and is replaced for good.
    pub fn rename(&mut self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
        self.done.push((from.to_owned(), to.to_owned()));
        Ok(())
    }

    /// The same, if there is something to move.
    pub fn rename_if_there(&mut self, from: &Path, to: &Path) -> Result<()> {
        match fs::symlink_metadata(from) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            _ => self.rename(from, to),
        }
    }

    /// Gives a file a second name, so that it can be replaced and put back.
    pub fn keep(&mut self, path: &Path, kept: &Path) -> Result<()> {
        match fs::hard_link(path, kept) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            linked => linked.with_context(|| format!("cannot keep {}", path.display()))?,
        }
        self.done.push((path.to_owned(), kept.to_owned()));
        Ok(())
    }

    /// Moves everything of `root` for which `replaced` says yes to `aside`, and everything of `fresh` into its place.
    pub fn directory(&mut self, root: &Path, replaced: &dyn Fn(&Path) -> bool, fresh: &Path, aside: &Path) -> Result<()> {
        for name in names(root)? {
            let path = root.join(&name);
            if replaced(&path) {
                self.rename(&path, &aside.join(&name))?;
            }
        }
        for name in names(fresh)? {
            self.rename(&fresh.join(&name), &root.join(&name))?;
        }
        Ok(sync(root)?)
    }

    /// Takes everything back, the last move first. What cannot be taken back is told.
    pub fn undo(self) -> Vec<String> {
        let failed =
            |(from, to): (PathBuf, PathBuf)| fs::rename(&to, &from).err().map(|error| format!("{} is still at {}: {error}", from.display(), to.display()));
        self.done.into_iter().rev().filter_map(failed).collect()
    }
}

/// Has the disk keep what was renamed in a directory.
pub fn sync(directory: &Path) -> std::io::Result<()> {
    File::open(directory)?.sync_all()
}

fn names(directory: &Path) -> Result<Vec<OsString>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    entries.map(|entry| Ok(entry?.file_name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_can_be_taken_back() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        for name in ["root", "fresh", "aside"] {
            fs::create_dir(at(name)).unwrap();
        }
        for (path, text) in [("root/file", "old"), ("root/kept", "kept"), ("fresh/file", "new"), ("fresh/more", "new")] {
            fs::write(at(path), text).unwrap();
        }
        let mut swap = Swap::default();
        swap.directory(&at("root"), &|path| !path.ends_with("kept"), &at("fresh"), &at("aside")).unwrap();
        let read = |name: &str| fs::read_to_string(at(name)).ok();
        assert_eq!((read("root/file").as_deref(), read("root/kept").as_deref(), read("root/more").as_deref()), (Some("new"), Some("kept"), Some("new")));
        assert!(swap.undo().is_empty());
        assert_eq!((read("root/file").as_deref(), read("root/kept").as_deref(), read("root/more")), (Some("old"), Some("kept"), None));
    }
}
