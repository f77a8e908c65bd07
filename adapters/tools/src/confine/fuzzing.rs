//! Bodies of fuzz targets: see `fuzz/README.md`.
#![expect(clippy::unwrap_used, reason = "a target fails by panicking")]

use super::{Access, Root, cleaned};
use std::{fs, os::unix::fs::symlink, path::Path};
use tempfile::TempDir;

const SECRET: &str = "outside";
/// What stands for the directory that holds the workspace.
const BASE: &str = "/BASE";
/// What is next to the workspace, which is called `c`.
const BESIDE: [&str; 3] = ["a", "b", "secret.txt"];
/// More lines are not read.
const LINES: usize = 20;

/// Reads and writes paths in a workspace that holds links. A line `name -> target` makes a link, any other line is a path.
///
/// # Panics
/// If one of them reads or changes something outside.
pub fn paths(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    // In memory, where there is one: syncing a disk takes longer than all the rest.
    let base = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
    let root = base.path().canonicalize().unwrap();
    let real = |path: &str| path.replace(BASE, root.to_str().unwrap());
    for name in BESIDE {
        fs::write(root.join(name), SECRET).unwrap();
    }
    let workspace = root.join("c");
    fs::create_dir_all(workspace.join("a")).unwrap();
    fs::write(workspace.join("a/b"), "inside").unwrap();

    let (links, paths): (Vec<_>, Vec<_>) = text.lines().take(LINES).partition(|line| line.contains(" -> "));
    for (name, target) in links.iter().filter_map(|line| line.split_once(" -> ")) {
        let Some(name) = cleaned(Path::new(name)) else { continue };
        let place = workspace.join(name.strip_prefix("BASE").unwrap_or(&name));
        let directory = place.parent().and_then(|directory| directory.canonicalize().ok());
        if directory.is_some_and(|directory| directory.starts_with(&workspace)) {
            // Links that cannot be made here are of no interest.
            let _ = symlink(real(target), place);
        }
    }
    for path in paths.into_iter().map(real) {
        attempt(&workspace, &path);
    }
    for name in BESIDE {
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), SECRET);
    }
    let mut names: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "b", "c", "secret.txt"]);
}

fn attempt(workspace: &Path, path: &str) {
    let opened = Root::open(workspace, &[]).unwrap();
    if let Ok(content) = opened.read(path, Access::Read, 1 << 20) {
        assert_ne!(content, SECRET.as_bytes(), "read {path:?}");
    }
    for written in [opened.append(path, b"+"), opened.replace(path, b"written")].into_iter().flatten() {
        assert!(written.canonicalize().unwrap().starts_with(workspace), "{path:?} wrote {written:?}");
    }
    if let Ok((_, relative)) = opened.directory(path, Access::Read) {
        assert!(workspace.join(relative).canonicalize().unwrap().starts_with(workspace), "{path:?}");
    }
}

#[cfg(test)]
#[path = "../../../../fuzz/bounded.rs"]
mod bounded;

#[cfg(test)]
mod fuzz_tests {
    use super::*;

    #[test]
    fn no_line_of_a_list_of_paths_leads_out() {
        bounded::run("paths", paths);
    }
}
