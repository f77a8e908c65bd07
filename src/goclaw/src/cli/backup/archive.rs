//! A backup's file: a gzipped tar. `manifest.json` comes first and says what it is; `checksums.json` comes last and says how long
//! every other entry is and what its SHA-256 is.

use chrono::{DateTime, Utc};
use flate2::{Compression, write::GzEncoder};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{
    fs::File,
    io::{self, Read, Write},
};
use tar::{Builder, EntryType, Header};

/// The format that this build writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// The first entry.
pub const MANIFEST: &str = "manifest.json";
/// The last entry.
pub const CHECKSUMS: &str = "checksums.json";
/// The copy of a SQLite database.
pub const SQLITE: &str = "database/goclaw.db";
/// The dump of a PostgreSQL database, in `pg_dump`'s own format.
pub const POSTGRES: &str = "database/goclaw.dump";
/// The directory of keys, salts and tokens.
pub const KEYS: &str = "keys";
/// The data directory's files.
pub const DATA: &str = "data";
/// The workspaces' files.
pub const WORKSPACE: &str = "workspace";

/// What a backup is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of the format.
    pub format: u32,
    /// The version of the gateway that wrote it.
    pub gateway_version: String,
    /// Its edition.
    pub edition: String,
    /// `sqlite` or `postgres`.
    pub database: String,
    /// The number of the newest migration of the database.
    pub schema_version: i64,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
    /// Whether it holds the files of data directory and workspace.
    pub files: bool,
    /// Whether it holds the encryption key.
    pub key: bool,
}

/// An entry as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path in the archive.
    pub path: String,
    /// Its length in bytes; 0 for a directory.
    pub size: u64,
    /// The SHA-256 of its content, in hex; "" for a directory.
    pub sha256: String,
}

/// All entries, in their order.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Checksums {
    /// The entries, without this one.
    pub entries: Vec<Entry>,
}

/// An archive that is being written.
pub struct Archive<W: Write> {
    tar: Builder<GzEncoder<W>>,
    written: Checksums,
    now: u64,
}

impl<W: Write> Archive<W> {
    /// Begins with the manifest.
    pub fn begin(out: W, manifest: &Manifest) -> io::Result<Self> {
        let now = u64::try_from(manifest.created_at.timestamp()).unwrap_or_default();
        let mut archive = Self { tar: Builder::new(GzEncoder::new(out, Compression::default())), written: Checksums::default(), now };
        archive.text(MANIFEST, &serde_json::to_vec_pretty(manifest)?)?;
        Ok(archive)
    }

    /// Adds a directory, without what is in it.
    pub fn directory(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let mut header = header(EntryType::Directory, 0, mode, self.now);
        self.tar.append_data(&mut header, format!("{path}/"), io::empty())?;
        self.written.entries.push(Entry { path: path.to_owned(), size: 0, sha256: String::new() });
        Ok(())
    }

    /// Adds a small file.
    pub fn text(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        let mut header = header(EntryType::Regular, content.len() as u64, 0o600, self.now);
        self.tar.append_data(&mut header, path, content)?;
        self.written.entries.push(Entry { path: path.to_owned(), size: content.len() as u64, sha256: hex::encode(Sha256::digest(content)) });
        Ok(())
    }

    /// Adds a file as long as it is now. `false` if it became shorter while it was read; then the rest is zeros.
    pub fn file(&mut self, path: &str, file: File, mode: u32, progress: &mut dyn FnMut(usize)) -> io::Result<bool> {
        let metadata = file.metadata()?;
        let size = metadata.len();
        let modified = metadata.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let mut header = header(EntryType::Regular, size, mode, modified.map_or(self.now, |since| since.as_secs()));
        let mut reader = Measured { file, left: size, short: false, hash: Sha256::new(), progress };
        self.tar.append_data(&mut header, path, &mut reader)?;
        let (short, hash) = (reader.short, reader.hash);
        self.written.entries.push(Entry { path: path.to_owned(), size, sha256: hex::encode(hash.finalize()) });
        Ok(!short)
    }

    /// Ends with the checksums.
    pub fn finish(mut self) -> io::Result<W> {
        let checksums = serde_json::to_vec(&self.written)?;
        let mut header = header(EntryType::Regular, checksums.len() as u64, 0o600, self.now);
        self.tar.append_data(&mut header, CHECKSUMS, &*checksums)?;
        self.tar.into_inner()?.finish()
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.written.entries.len()
    }
}

fn header(kind: EntryType, size: u64, mode: u32, modified: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode & 0o777);
    header.set_mtime(modified);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// Reads exactly as much of a file as was announced, and hashes it.
struct Measured<'a> {
    file: File,
    left: u64,
    short: bool,
    hash: Sha256,
    progress: &'a mut dyn FnMut(usize),
}

impl Read for Measured<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let buffer = &mut buffer[..most];
        let read = match if self.short { 0 } else { self.file.read(buffer)? } {
            0 => {
                self.short = true;
                buffer.fill(0);
                most
            }
            read => read,
        };
        self.left -= read as u64;
        self.hash.update(&buffer[..read]);
        (self.progress)(read);
        Ok(read)
    }
}
