//! Reading an archive that may be damaged or hostile.

use flate2::read::MultiGzDecoder;
use goclaw_ports::{Error, Result, archives::MAX_ARCHIVE, message};
use std::{
    fmt::Display,
    io::{self, BufReader, Read},
};
use tar::{Archive, EntryType, PaxExtensions};

/// The longest path, in bytes.
const MAX_PATH: usize = 4_096;
/// The longest name of a file or directory, in bytes.
const MAX_NAME: usize = 255;
/// How deep a file may lie.
pub(crate) const MAX_DEPTH: usize = 100;
/// The longest block of extended headers, in bytes.
const MAX_EXTENSION: u64 = 64 << 10;

/// The archive is at fault.
pub(crate) fn damaged(why: impl Display) -> Error {
    Error::invalid(message::archive_invalid(why))
}

/// Reads a gzipped tar of at most `limit` bytes to its end and gives each file to `each`.
pub(crate) fn read(source: impl Read, limit: u64, each: &mut dyn FnMut(&str, &mut dyn Read) -> Result<()>) -> Result<()> {
    let unpacked = Bounded { inner: MultiGzDecoder::new(BufReader::with_capacity(64 << 10, source)), left: limit };
    let mut archive = Archive::new(unpacked);
    let mut extended: Option<Vec<u8>> = None;
    let mut entries = 0_u64;
    // Raw: what a header says is looked at here, before anything is done about it.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let mut entry = entry.map_err(damaged)?;
        entries += 1;
        let kind = entry.header().entry_type();
        match kind {
            EntryType::GNULongName => {
                let mut name = extension(&mut entry)?;
                name.truncate(name.iter().position(|byte| *byte == 0).unwrap_or(name.len()));
                extended = Some(name);
                continue;
            }
            EntryType::XHeader => {
                extended = pax_path(&extension(&mut entry)?)?.or(extended);
                continue;
            }
            EntryType::XGlobalHeader => {
                if pax_path(&extension(&mut entry)?)?.is_some() {
                    return Err(damaged("a path that is meant for all files"));
                }
                continue;
            }
            EntryType::Regular | EntryType::Directory => {}
            EntryType::Symlink | EntryType::Link | EntryType::GNULongLink => return Err(damaged("it holds a link")),
            _ => return Err(damaged("it holds something that is neither a file nor a directory")),
        }
        let name = extended.take().unwrap_or_else(|| entry.path_bytes().into_owned());
        let path = safe_path(&name)?;
        // Directories are made where files need them.
        if kind == EntryType::Regular && !path.is_empty() && !name.ends_with(b"/") {
            each(&path, &mut entry)?;
        }
    }
    // The rest is read as well: the end of the gzip has a checksum.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(damaged)?;
    if entries == 0 { Err(damaged("it is empty")) } else { Ok(()) }
}

fn extension(entry: &mut (impl Read + ?Sized)) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    entry.take(MAX_EXTENSION + 1).read_to_end(&mut bytes).map_err(damaged)?;
    if bytes.len() as u64 > MAX_EXTENSION { Err(damaged("a header is too long")) } else { Ok(bytes) }
}

/// The path that a block of extended headers gives to the next entry. What else would change how the entry is read is refused.
fn pax_path(block: &[u8]) -> Result<Option<Vec<u8>>> {
    let mut path = None;
    for header in PaxExtensions::new(block.strip_suffix(b"\n").unwrap_or(block)) {
        let header = header.map_err(damaged)?;
        match header.key_bytes() {
            b"path" => path = Some(header.value_bytes().to_vec()),
            b"size" | b"linkpath" => return Err(damaged("a header that does not belong into an archive")),
            key if key.starts_with(b"GNU.sparse") => return Err(damaged("a sparse file")),
            _ => {}
        }
    }
    Ok(path)
}

/// The path without what says nothing; "" for the archive's own root.
fn safe_path(name: &[u8]) -> Result<String> {
    let name = std::str::from_utf8(name).map_err(|_| damaged("a path is not UTF-8"))?;
    if name.len() > MAX_PATH {
        return Err(damaged("a path is too long"));
    }
    if name.starts_with('/') {
        return Err(damaged(format!("the path {name:?} is absolute")));
    }
    let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(damaged(format!("the path {name:?} leads out of the archive")));
    }
    if parts.len() > MAX_DEPTH || !parts.iter().all(|part| is_plain(part)) {
        return Err(damaged(format!("the path {name:?} cannot be used")));
    }
    Ok(parts.join("/"))
}

/// Whether a name can be that of a file anywhere.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_NAME && !name.chars().any(char::is_control)
}

/// Reads no more than a limit; a bomb is not unpacked to its end.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other(format!("it unpacks to more than {} MiB", MAX_ARCHIVE >> 20))),
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
