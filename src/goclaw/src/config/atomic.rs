//! Replacing a file in one step.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Puts `text` in the place of what `path` holds; only the owner may read it. Whenever the machine stops, the file is the old
/// one or the new one, whole.
///
/// # Errors
/// If it cannot be written. The old file is as it was.
pub fn replace(path: &Path, text: &str) -> io::Result<()> {
    // A link stays a link: what it leads to is replaced.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(directory)?;
    let mut name = OsString::from(".");
    name.push(path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?);
    name.push(".");
    remove_abandoned(directory, &name);
    name.push(format!("{}.tmp", std::process::id()));
    let temporary = directory.join(name);
    let written = write(&temporary, text).and_then(|()| fs::rename(&temporary, &path));
    if written.is_err() {
        drop(fs::remove_file(&temporary));
        return written;
    }
    File::open(directory)?.sync_all()
}

/// Removes the drafts of processes that were killed while they wrote. Their names begin with `stem`.
fn remove_abandoned(directory: &Path, stem: &OsStr) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let writer = name.to_str().zip(stem.to_str()).and_then(|(name, stem)| name.strip_prefix(stem)?.strip_suffix(".tmp")?.parse::<u32>().ok());
        if writer.is_some_and(|writer| !Path::new("/proc").join(writer.to_string()).exists()) {
            // It is in nobody's way, so that it may stay if it cannot be removed.
            drop(fs::remove_file(entry.path()));
        }
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    // What a crash left there is in the way.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/config.json");
        replace(&path, "one").unwrap();
        replace(&path, "two").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn drafts_of_processes_that_are_gone_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let beside = |name: &str| directory.path().join(name);
        // No process has such a number.
        let (gone, alive, other) = (beside(".a.json.4194305.tmp"), beside(".a.json.1.tmp"), beside(".b.json.4194305.tmp"));
        for draft in [&gone, &alive, &other] {
            fs::write(draft, "half").unwrap();
        }
        replace(&beside("a.json"), "new").unwrap();
        assert!(!gone.exists() && alive.exists() && other.exists());
    }

    #[test]
    fn what_a_crash_left_is_no_obstacle_and_a_link_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("real.json"), directory.path().join("link.json"));
        fs::write(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::write(directory.path().join(format!(".real.json.{}.tmp", std::process::id())), "half").unwrap();
        replace(&link, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
