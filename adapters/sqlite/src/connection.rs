//! Connections and their settings.

use crate::failure::Failure;
use goclaw_ports::Error;
use rusqlite::{Connection, OpenFlags, ffi};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

/// How long a statement waits for a lock of another program (a backup tool, a shell) on the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How many prepared statements a connection keeps: more than the stores have.
const STATEMENT_CACHE: usize = 128;

/// What is left of the write-ahead log after a checkpoint, at most.
const WAL_SIZE_LIMIT: i64 = 64 << 20;

/// The connection that writes. Makes the file if it is not there.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, Failure> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::internal("the file system does not let SQLite keep a write-ahead log").into());
    }
    connection.pragma_update(None, "journal_size_limit", WAL_SIZE_LIMIT)?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    Ok(connection)
}

/// The write-ahead log as a file, to bring it to the disk where a commit did not.
pub(crate) struct Log {
    path: PathBuf,
    /// Kept open: SQLite has no locks on this file that closing it would lose.
    file: Option<File>,
}

impl Log {
    /// The log of this database.
    pub fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), file: None }
    }

    /// Waits until the disk has what was committed.
    pub fn sync(&mut self) {
        if let Err(error) = self.try_sync() {
            // The next commit that waits for the disk tells who waits for it.
            tracing::error!(%error, "the database's log could not be synced");
        }
    }

    pub fn try_sync(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(&self.path)?),
        };
        file.sync_data()
    }
}

/// A connection that reads. The file must be there, with a write-ahead log.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, Failure> {
    // Readers of a write-ahead log take part in its shared memory, so "read only" is said by pragma, not by flag.
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, Failure> {
    register_vectors()?;
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}

/// Gives every connection that is opened later the functions and tables of sqlite-vec.
fn register_vectors() -> Result<(), Failure> {
    type Init = unsafe extern "C" fn(*mut ffi::sqlite3, *mut *mut std::ffi::c_char, *const ffi::sqlite3_api_routines) -> std::ffi::c_int;
    static REGISTERED: OnceLock<std::ffi::c_int> = OnceLock::new();

    #[expect(unsafe_code, reason = "sqlite-vec's entry point is declared without the arguments that it has in C")]
    let code = *REGISTERED.get_or_init(|| unsafe {
        let init = std::mem::transmute::<*const (), Init>(sqlite_vec::sqlite3_vec_init as *const ());
        ffi::sqlite3_auto_extension(Some(init))
    });
    match code {
        ffi::SQLITE_OK => Ok(()),
        code => Err(Error::internal(format!("registering sqlite-vec failed with code {code}")).into()),
    }
}
