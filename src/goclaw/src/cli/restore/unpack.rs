//! Reading an archive that may be damaged or hostile: into fresh directories, within limits, and only what a backup holds.

use crate::cli::{
    backup::archive::{CHECKSUMS, Checksums, DATA, Entry, FORMAT, KEYS, MANIFEST, Manifest, POSTGRES, SQLITE, WORKSPACE},
    exit::refused,
};
use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use sha2::{Digest, Sha256};
use std::{
    collections::HashMap,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, BufReader, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tar::EntryType;

/// How many entries an archive may have.
const MAX_ENTRIES: usize = 2_000_000;
/// The longest path, in bytes.
const MAX_PATH: usize = 4_096;
/// How deep directories may lie in each other.
const MAX_DEPTH: usize = 200;
/// The longest manifest, in bytes.
const MAX_MANIFEST: u64 = 64 << 10;
/// The longest list of checksums, in bytes.
const MAX_CHECKSUMS: u64 = 512 << 20;
/// The longest key file, in bytes.
const MAX_KEY: u64 = 4_096;
/// What may follow the last entry: the tar's end and its padding.
const MAX_TAIL: u64 = 1 << 20;
/// The files that may stand in the directory of keys.
const KEY_FILES: &[&str] = &["encryption.key", "encryption.key.previous", "encryption.salt", "gateway.token"];

/// Where the parts of an archive are unpacked to: fresh directories that belong to this user alone.
pub struct Places {
    /// The data directory's files.
    pub data: PathBuf,
    /// The workspaces' files.
    pub workspace: PathBuf,
    /// The database.
    pub database: PathBuf,
    /// Keys, salts and tokens.
    pub keys: PathBuf,
}

/// An archive that is being read.
pub struct Reader {
    archive: tar::Archive<GzDecoder<BufReader<File>>>,
    path: PathBuf,
    /// How many bytes may be unpacked in all.
    room: u64,
}

fn damaged(path: &Path, why: impl std::fmt::Display) -> anyhow::Error {
    refused(format!("{} is not a backup that can be restored: {why}", path.display()))
}

impl Reader {
    /// Opens an archive that may unpack to at most `room` bytes.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn open(path: &Path, room: u64) -> Result<Self> {
        let file = File::open(path).map_err(|error| refused(format!("cannot read {}: {error}", path.display())))?;
        Ok(Self { archive: tar::Archive::new(GzDecoder::new(BufReader::new(file))), path: path.to_owned(), room })
    }

    /// Reads the archive to its end. What it says it is goes to `accepts` first; then everything is unpacked, and compared with the
    /// checksums at its end.
    ///
    /// # Errors
    /// If `accepts` refuses, the archive is damaged, or it holds what no backup holds. What was unpacked by then stays.
    pub fn unpack(mut self, places: &Places, accepts: &dyn Fn(&Manifest) -> Result<()>, progress: &mut dyn FnMut(usize)) -> Result<Manifest> {
        let path = self.path.clone();
        let mut unpacking = Unpacking { path: &path, places, room: self.room, seen: Vec::new(), modes: Vec::new() };
        let mut manifest = None;
        let mut checksums = None;
        let mut long_name = None;
        let entries = self.archive.entries().map_err(|error| damaged(&path, error))?;
        // Raw: what a header says is looked at here, before anything is done about it.
        for entry in entries.raw(true) {
            let mut entry = entry.map_err(|error| damaged(&path, error))?;
            let kind = entry.header().entry_type();
            let size = entry.header().entry_size().map_err(|error| damaged(&path, error))?;
            if kind == EntryType::GNULongName {
                let bytes = read_small(&mut entry, size, MAX_PATH as u64 + 1).map_err(|error| damaged(&path, error))?;
                long_name = Some(bytes.strip_suffix(&[0]).unwrap_or(&bytes).to_vec());
                continue;
            }
            let name = long_name.take().unwrap_or_else(|| entry.path_bytes().into_owned());
            let name = String::from_utf8(name).map_err(|_| damaged(&path, "a path is not UTF-8"))?;
            if checksums.is_some() {
                return Err(damaged(&path, "something follows the checksums"));
            }
            match (kind, name.as_str()) {
                (EntryType::Regular, MANIFEST) if manifest.is_none() => {
                    let bytes = read_small(&mut entry, size, MAX_MANIFEST).map_err(|error| damaged(&path, error))?;
                    let read: Manifest = serde_json::from_slice(&bytes).map_err(|error| damaged(&path, format!("{MANIFEST}: {error}")))?;
                    if read.format > FORMAT {
                        return Err(refused(format!(
                            "{} has format {}, newer than the {FORMAT} that this build reads; use a newer build",
                            path.display(),
                            read.format
                        )));
                    }
                    accepts(&read)?;
                    unpacking.seen.push(Entry { path: name, size, sha256: hex::encode(Sha256::digest(&bytes)) });
                    manifest = Some(read);
                }
                _ if manifest.is_none() => return Err(damaged(&path, format!("it does not begin with {MANIFEST}"))),
                (EntryType::Regular, CHECKSUMS) => {
                    let bytes = read_small(&mut entry, size, MAX_CHECKSUMS).map_err(|error| damaged(&path, error))?;
                    checksums = Some(serde_json::from_slice::<Checksums>(&bytes).map_err(|error| damaged(&path, format!("{CHECKSUMS}: {error}")))?);
                }
                (EntryType::Regular, _) => unpacking.file(&name, size, entry.header().mode().unwrap_or(0o600), &mut entry, progress)?,
                (EntryType::Directory, _) => unpacking.directory(&name, size, entry.header().mode().unwrap_or(0o700))?,
                _ => return Err(damaged(&path, format!("{name:?} is neither a file nor a directory"))),
            }
        }
        // The rest is read as well: the end of the gzip has its own checksum.
        let mut rest = self.archive.into_inner().take(MAX_TAIL + 1);
        let tail = io::copy(&mut rest, &mut io::sink()).map_err(|error| damaged(&path, error))?;
        let manifest = manifest.ok_or_else(|| damaged(&path, "it is empty"))?;
        let checksums = checksums.ok_or_else(|| damaged(&path, "it is cut off: there are no checksums at its end"))?;
        if tail > MAX_TAIL {
            return Err(damaged(&path, "something follows its end"));
        }
        compare(&unpacking.seen, &checksums.entries).map_err(|why| damaged(&path, why))?;
        unpacking.set_modes()?;
        Ok(manifest)
    }
}

/// Both lists must be the same; names the first difference.
fn compare(seen: &[Entry], told: &[Entry]) -> Result<(), String> {
    let told_of: HashMap<_, _> = told.iter().map(|entry| (entry.path.as_str(), entry)).collect();
    for entry in seen {
        match told_of.get(entry.path.as_str()) {
            Some(told) if *told == entry => {}
            Some(_) => return Err(format!("{:?} is not what it was when the backup was made (its checksum differs)", entry.path)),
            None => return Err(format!("{:?} has no checksum", entry.path)),
        }
    }
    match seen.len() == told.len() {
        true => Ok(()),
        false => Err("an entry is missing".to_owned()),
    }
}

fn read_small(entry: &mut impl Read, size: u64, limit: u64) -> io::Result<Vec<u8>> {
    if size > limit {
        return Err(io::Error::other("an entry is too long"));
    }
    let mut bytes = Vec::new();
    entry.take(limit).read_to_end(&mut bytes)?;
    if bytes.len() as u64 != size {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}

struct Unpacking<'a> {
    path: &'a Path,
    places: &'a Places,
    room: u64,
    seen: Vec<Entry>,
    /// Directories get their modes last, so that they can be written to meanwhile.
    modes: Vec<(PathBuf, u32)>,
}

impl Unpacking<'_> {
    fn file(&mut self, name: &str, size: u64, mode: u32, content: &mut impl Read, progress: &mut dyn FnMut(usize)) -> Result<()> {
        let target = self.target(name, size)?;
        self.room = self.room.checked_sub(size).ok_or_else(|| refused(format!("there is not enough disk space for what {} holds", self.path.display())))?;
        self.make_parents(&target)?;
        // Fresh directories hold no links, and an existing file is never opened.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target);
        let mut file = match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(damaged(self.path, format!("{name:?} is there twice"))),
            made => made.with_context(|| format!("cannot write {}", target.display()))?,
        };
        let mut hash = Sha256::new();
        let mut left = size;
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = content.read(&mut buffer[..most]).map_err(|error| damaged(self.path, error))?;
            if read == 0 {
                return Err(damaged(self.path, "it is cut off"));
            }
            hash.update(&buffer[..read]);
            file.write_all(&buffer[..read]).with_context(|| format!("cannot write {}", target.display()))?;
            left -= read as u64;
            progress(read);
        }
        file.set_permissions(Permissions::from_mode(mode & 0o777 | 0o600))?;
        file.sync_all()?;
        self.seen.push(Entry { path: name.to_owned(), size, sha256: hex::encode(hash.finalize()) });
        Ok(())
    }

    fn directory(&mut self, name: &str, size: u64, mode: u32) -> Result<()> {
        let name = name.strip_suffix('/').unwrap_or(name);
        if size != 0 || !["data/", "workspace/"].iter().any(|area| name.starts_with(area)) {
            return Err(damaged(self.path, format!("{name:?} does not belong into a backup")));
        }
        let target = self.target(name, 0)?;
        self.make_parents(&target)?;
        DirBuilder::new().recursive(true).mode(0o700).create(&target).with_context(|| format!("cannot make {}", target.display()))?;
        self.modes.push((target, mode & 0o777 | 0o700));
        self.seen.push(Entry { path: name.to_owned(), size: 0, sha256: String::new() });
        Ok(())
    }

    /// Where an entry goes, if it may be in a backup at all.
    fn target(&self, name: &str, size: u64) -> Result<PathBuf> {
        if self.seen.len() >= MAX_ENTRIES {
            return Err(damaged(self.path, "it has too many entries"));
        }
        let wrong = || damaged(self.path, format!("{name:?} does not belong into a backup"));
        let parts: Vec<&str> = name.split('/').collect();
        let plain = |part: &&str| !part.is_empty() && *part != "." && *part != ".." && !part.contains('\0');
        if name.len() > MAX_PATH || parts.len() > MAX_DEPTH || parts.len() < 2 || !parts.iter().all(plain) {
            return Err(wrong());
        }
        let below = |root: &Path| parts[1..].iter().fold(root.to_owned(), |path, part| path.join(part));
        match (parts[0], &parts[1..]) {
            (DATA, _) => Ok(below(&self.places.data)),
            (WORKSPACE, _) => Ok(below(&self.places.workspace)),
            (KEYS, [file]) if KEY_FILES.contains(file) && size <= MAX_KEY => Ok(below(&self.places.keys)),
            _ if name == SQLITE || name == POSTGRES => Ok(below(&self.places.database)),
            _ => Err(wrong()),
        }
    }

    fn make_parents(&self, target: &Path) -> Result<()> {
        let parent = target.parent().context("a path without a directory")?;
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(|error| match error.kind() {
            io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => damaged(self.path, format!("{} is a file and a directory", parent.display())),
            _ => anyhow::Error::from(error).context(format!("cannot make {}", parent.display())),
        })
    }

    fn set_modes(&self) -> Result<()> {
        for (path, mode) in self.modes.iter().rev() {
            fs::set_permissions(path, Permissions::from_mode(*mode)).with_context(|| format!("cannot change {}", path.display()))?;
        }
        Ok(())
    }
}
