//! Writing an archive, within its limits.

use flate2::{Compression, write::GzEncoder};
use goclaw_ports::{
    Error,
    archives::{MAX_WORKSPACE_FILE, PackedArchive},
    message,
};
use std::{
    fmt,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::PathBuf,
};
use tar::{Builder, Header};
use tempfile::SpooledTempFile;

/// How much of one file is kept in memory while it is written, in bytes.
const IN_MEMORY: usize = 256 << 10;

/// Writes a gzipped tar into a file that has no name.
pub(crate) struct Writer {
    /// The limit holds for what is unpacked as well: a larger archive could not be imported.
    tar: Builder<Limited<GzEncoder<Limited<File>>>>,
    temporary: PathBuf,
    modified: u64,
    limit: u64,
    open: Option<(String, SpooledTempFile)>,
}

/// The archive is larger than it may be.
#[derive(Debug)]
struct TooLarge {
    limit: u64,
}

impl fmt::Display for TooLarge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "larger than {} bytes", self.limit)
    }
}

impl std::error::Error for TooLarge {}

/// What a failure of writing means.
pub(crate) fn failed(error: io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TooLarge>()) {
        Some(TooLarge { limit }) => Error::invalid(message::archive_too_large(limit >> 20)),
        None => Error::of_disk(error),
    }
}

impl Writer {
    /// An archive of at most `limit` bytes, packed and unpacked, whose files were last changed `modified` seconds after 1970.
    pub fn new(temporary: PathBuf, modified: u64, limit: u64) -> io::Result<Self> {
        let packed = Limited { inner: tempfile::tempfile_in(&temporary)?, written: 0, limit };
        let unpacked = Limited { inner: GzEncoder::new(packed, Compression::default()), written: 0, limit };
        Ok(Self { tar: Builder::new(unpacked), temporary, modified, limit, open: None })
    }

    /// Begins a file.
    pub fn begin(&mut self, path: String) {
        self.open = Some((path, SpooledTempFile::new_in(IN_MEMORY, &self.temporary)));
    }

    /// Adds to the file that was begun.
    pub fn write(&mut self, content: &[u8]) -> io::Result<()> {
        let (_, file) = self.open.as_mut().ok_or_else(|| io::Error::other("no file was begun"))?;
        let size = file.stream_position()? + content.len() as u64;
        if size > self.limit {
            return Err(io::Error::other(TooLarge { limit: self.limit }));
        }
        file.write_all(content)
    }

    /// Ends the file.
    pub fn end(&mut self) -> io::Result<()> {
        let (path, mut file) = self.open.take().ok_or_else(|| io::Error::other("no file was begun"))?;
        let size = file.seek(SeekFrom::End(0))?;
        file.rewind()?;
        self.append(&path, size, &mut file)
    }

    /// Adds a whole file and answers with its size. It is copied first, because it may grow or shrink meanwhile.
    pub fn file(&mut self, path: String, content: File) -> io::Result<u64> {
        let mut copy = SpooledTempFile::new_in(IN_MEMORY, &self.temporary);
        let size = io::copy(&mut content.take(MAX_WORKSPACE_FILE), &mut copy)?;
        copy.rewind()?;
        self.append(&path, size, &mut copy)?;
        Ok(size)
    }

    fn append(&mut self, path: &str, size: u64, content: &mut dyn Read) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        header.set_mtime(self.modified);
        self.tar.append_data(&mut header, path, content)
    }

    /// The finished archive.
    pub fn finish(self) -> io::Result<PackedArchive> {
        let packed = self.tar.into_inner()?.inner.finish()?;
        Ok(PackedArchive { content: packed.inner, size: packed.written })
    }
}

/// Writes no more than a limit.
struct Limited<W> {
    inner: W,
    written: u64,
    limit: u64,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.written + bytes.len() as u64 > self.limit {
            return Err(io::Error::other(TooLarge { limit: self.limit }));
        }
        let written = self.inner.write(bytes)?;
        self.written += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
