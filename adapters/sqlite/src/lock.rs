//! One process per database: an exclusive lock on a file beside it.

use goclaw_ports::{Error, ErrorKind, Result, message};
use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg},
};
use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

/// The held lock. The system lets go of it when this is dropped, or when the process ends, however it ends.
#[derive(Debug)]
pub struct DatabaseLock {
    _file: Flock<File>,
}

impl DatabaseLock {
    /// Takes the lock of the database at `path` and writes this process's id into its file. The directory must be there.
    ///
    /// # Errors
    /// `Precondition` if another process holds it (the message names the process and the lock file).
    pub fn take(path: &Path) -> Result<Self> {
        let lock_path = lock_path(path);
        // The file stays when the lock is gone: removing it would let two processes lock two files of this name.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&lock_path).map_err(Error::internal)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(mut file) => {
                file.set_len(0).and_then(|()| write!(*file, "{}", std::process::id())).map_err(Error::internal)?;
                Ok(Self { _file: file })
            }
            Err((file, Errno::EWOULDBLOCK)) => Err(Error::new(ErrorKind::Precondition, message::database_in_use(lock_path.display(), holder(file)))),
            Err((_, errno)) => Err(Error::internal(errno)),
        }
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

/// The process id in the lock file; "?" in the instant before its holder has written it.
fn holder(mut file: File) -> String {
    let mut pid = String::new();
    match file.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => pid.trim().to_owned(),
        _ => "?".to_owned(),
    }
}
