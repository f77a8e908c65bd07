//! Bodies of fuzz targets: see `fuzz/README.md`.
#![expect(clippy::unwrap_used, reason = "a target fails by panicking")]

use crate::{place, reader};
use flate2::{Compression, write::GzEncoder};
use goclaw_ports::{ErrorKind, archives::Placed};
use std::{
    fs,
    io::{self, Write},
    path::{Component, Path, PathBuf},
};

/// What an archive may unpack to, in bytes.
const LIMIT: u64 = 1 << 20;
const OUTSIDE: &str = "outside";

/// Unpacks an archive into a workspace. If the first byte is odd, what follows is the archive; otherwise a tar, since no change of a gzip
/// gets past its checksum.
///
/// # Panics
/// If something outside of the workspace changes, an archive counts as our own fault, or one that was refused leaves something behind.
pub fn archives(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let archive = if kind % 2 == 1 { rest.to_vec() } else { gzip(rest) };
    let outcome = reader::read(&*archive, LIMIT, &mut |path, content| {
        assert!(Path::new(path).components().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
        io::copy(content, &mut io::sink()).map_err(reader::damaged)?;
        Ok(())
    });
    if let Err(error) = outcome {
        assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}");
    } else {
        placed(&archive);
    }
}

fn placed(archive: &[u8]) {
    let base = directory();
    let workspace = base.path().join("workspace");
    fs::create_dir(&workspace).unwrap();
    fs::write(base.path().join("file"), OUTSIDE).unwrap();
    std::os::unix::fs::symlink(base.path(), workspace.join("up")).unwrap();
    std::os::unix::fs::symlink(base.path().join("file"), workspace.join("link")).unwrap();
    let placed = place::place(archive, LIMIT, "workspace/", &workspace, &mut |_| ());
    assert_eq!(names(base.path()), ["file", "workspace"]);
    assert_eq!(fs::read_to_string(base.path().join("file")).unwrap(), OUTSIDE);
    match placed {
        Ok(placed) => {
            assert!(all_below(&workspace, &placed));
            place::take_back(&workspace, &placed);
        }
        Err(error) => assert_eq!(error.kind, ErrorKind::Invalid, "{error:?}"),
    }
    assert_eq!(names(&workspace), ["link", "up"]);
}

/// A directory in memory, where there is one: syncing a disk takes longer than all the rest.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn all_below(workspace: &Path, placed: &Placed) -> bool {
    placed.made.iter().all(|made: &PathBuf| fs::symlink_metadata(workspace.join(made)).is_ok_and(|there| !there.is_symlink()))
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[cfg(test)]
#[path = "../../../fuzz/bounded.rs"]
mod bounded;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_archive_is_placed_inside_or_refused_without_a_trace() {
        bounded::run("archives", archives);
    }
}
