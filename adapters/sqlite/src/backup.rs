//! A copy of the database while it is in use.

use crate::{
    connection::open_reader,
    failure::Failure,
    inspect::{damages, schema_version},
};
use goclaw_ports::{Error, Result};
use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};
use std::{
    fs::{self, File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// How many pages are copied at a time (4 MB of the usual size).
const PAGES_PER_STEP: std::ffi::c_int = 1024;

/// Copies the database at `source` into the new file `target` (mode 0600): all that was committed when the copy began, and nothing
/// that was committed later. A gateway may hold and write the database meanwhile; its writes do not wait for the copy. The copy
/// was checked and is one file, without a write-ahead log. If this fails, there is no `target`.
///
/// # Errors
/// `NotFound` if there is no database at `source`; `AlreadyExists` if there is a file at `target`; `Unavailable` if another program
/// keeps the database locked; `Internal` if it cannot be read or the copy cannot be written, or is damaged.
pub async fn backup(source: PathBuf, target: PathBuf) -> Result<()> {
    let copied = tokio::task::spawn_blocking(move || back_up(&source, &target));
    Ok(copied.await.map_err(Error::internal)??)
}

fn back_up(source: &Path, target: &Path) -> Result<(), Failure> {
    let missing = || Error::not_found("database", source.display());
    if !source.is_file() {
        return Err(missing().into());
    }
    let from = open_reader(source)?;
    // An empty file is an empty database to SQLite, but none of ours.
    if schema_version(&from)? == 0 {
        return Err(missing().into());
    }
    reserve(target)?;
    let outcome = copy(&from, target).and_then(|()| complete(target));
    if outcome.is_err() {
        discard(target);
    }
    outcome
}

/// Makes the file, for this user alone.
fn reserve(target: &Path) -> Result<()> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(target);
    made.map(drop).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Error::already_exists("file", target.display()),
        _ => Error::internal(error),
    })
}

fn copy(from: &Connection, target: &Path) -> Result<(), Failure> {
    // One snapshot for all steps: without it, each write of the gateway would make the copy begin again.
    let snapshot = from.unchecked_transaction()?;
    snapshot.query_row("select count(*) from sqlite_schema", [], |_| Ok(()))?;
    let mut to = open(target)?;
    // Synced as a whole when it is complete.
    to.pragma_update(None, "synchronous", "off")?;
    let copying = Backup::new(&snapshot, &mut to)?;
    loop {
        match copying.step(PAGES_PER_STEP)? {
            StepResult::Done => return Ok(()),
            StepResult::More => {}
            _ => return Err(Error::unavailable("database").because("another program keeps the database locked").into()),
        }
    }
}

/// Makes the copy one file, checks it, and has the disk keep it.
fn complete(target: &Path) -> Result<(), Failure> {
    let copy = open(target)?;
    let mode: String = copy.pragma_update_and_check(None, "journal_mode", "delete", |row| row.get(0))?;
    if mode != "delete" {
        return Err(Error::internal(format!("the copy stays in journal mode {mode}")).into());
    }
    if let Some(damage) = damages(&copy)?.into_iter().next() {
        return Err(Error::internal(format!("the copy is damaged, as the database is then: {damage}")).into());
    }
    copy.close().map_err(|(_, error)| error)?;
    File::open(target).and_then(|file| file.sync_all()).map_err(Error::internal)?;
    Ok(())
}

fn open(target: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(target, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
}

fn discard(target: &Path) {
    for ending in ["", "-journal", "-wal", "-shm"] {
        let mut path = target.as_os_str().to_owned();
        path.push(ending);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a half-made copy of the database stays behind");
        }
    }
}
