//! Archives that are damaged or hostile: refused, and nothing is changed.

use crate::shell::{Machine, Outcome};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use goclaw_tests::Edition;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};

/// An entry of an archive.
#[derive(Clone)]
struct Entry {
    kind: EntryType,
    path: String,
    link: String,
    content: Vec<u8>,
}

fn file(path: &str, content: &[u8]) -> Entry {
    Entry { kind: EntryType::Regular, path: path.into(), link: String::new(), content: content.into() }
}

fn link(kind: EntryType, path: &str, to: &str) -> Entry {
    Entry { kind, path: path.into(), link: to.into(), content: vec![] }
}

fn read(path: &Path) -> Vec<Entry> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        Entry { kind: entry.header().entry_type(), path: entry.path().unwrap().to_string_lossy().into_owned(), link: String::new(), content }
    });
    entries.collect()
}

/// Writes an archive; paths stand in it as they are.
fn write(path: &Path, entries: &[Entry]) {
    let mut tar = Builder::new(GzEncoder::new(File::create(path).unwrap(), Compression::fast()));
    for entry in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(entry.kind);
        header.set_size(entry.content.len() as u64);
        header.set_mode(0o644);
        let gnu = header.as_gnu_mut().unwrap();
        gnu.name[..entry.path.len()].copy_from_slice(entry.path.as_bytes());
        gnu.linkname[..entry.link.len()].copy_from_slice(entry.link.as_bytes());
        header.set_cksum();
        tar.append(&header, &*entry.content).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

/// The same entries with checksums that fit.
fn sealed(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.retain(|entry| entry.path != "checksums.json");
    let checksums: Vec<Value> = entries
        .iter()
        .map(|entry| {
            let directory = entry.kind == EntryType::Directory;
            let sha256 = if directory { String::new() } else { hex::encode(Sha256::digest(&entry.content)) };
            json!({"path": entry.path.trim_end_matches('/'), "size": entry.content.len(), "sha256": sha256})
        })
        .collect();
    entries.push(file("checksums.json", json!({"entries": checksums}).to_string().as_bytes()));
    entries
}

/// The hash of every file below a directory, links among them. The lock says who held it last.
fn tree(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        let metadata = fs::symlink_metadata(&entry).unwrap();
        if metadata.is_dir() {
            found.extend(tree(&entry));
        } else if !entry.to_string_lossy().ends_with(".lock") {
            found.insert(entry.clone(), if metadata.is_file() { hex::encode(Sha256::digest(fs::read(&entry).unwrap())) } else { "link".to_owned() });
        }
    }
    found
}

/// A machine with a backup of itself.
struct Backed {
    machine: Machine,
    file: PathBuf,
}

impl Backed {
    async fn new() -> Self {
        let mut machine = Machine::new(Edition::Lite).await;
        machine.start().await.stop().await;
        fs::create_dir_all(machine.file(".goclaw/workspace/fox")).unwrap();
        fs::write(machine.file(".goclaw/workspace/fox/notes.txt"), "notes").unwrap();
        machine.run("backup --output b.tar.gz").await.expect(0);
        let file = machine.file("b.tar.gz");
        Self { machine, file }
    }

    fn entries(&self) -> Vec<Entry> {
        read(&self.file)
    }

    /// Restores the file, which must be refused and change nothing.
    async fn refused(&self, why: &str) -> Outcome {
        let before = tree(&self.machine.file(".goclaw"));
        let outcome = self.machine.run("restore b.tar.gz --force").await;
        assert_eq!((outcome.code, &*outcome.out), (Some(4), ""), "{why}: {}", outcome.err);
        assert_eq!(tree(&self.machine.file(".goclaw")), before, "{why}");
        outcome
    }
}

#[tokio::test]
async fn an_archive_that_was_rebuilt_unchanged_is_restored() {
    let backed = Backed::new().await;
    let entries = backed.entries();
    write(&backed.file, &sealed(entries));
    backed.machine.run("restore b.tar.gz --force").await.expect(0);
}

#[tokio::test]
async fn a_damaged_archive_is_refused() {
    let backed = Backed::new().await;
    let whole = fs::read(&backed.file).unwrap();
    for length in [0, 10, whole.len() / 2, whole.len() - 1] {
        fs::write(&backed.file, &whole[..length]).unwrap();
        backed.refused(&format!("cut at {length}")).await;
    }
    for at in [100, whole.len() / 2, whole.len() - 6] {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        fs::write(&backed.file, &changed).unwrap();
        backed.refused(&format!("changed at {at}")).await;
    }
    fs::write(&backed.file, "no archive at all").unwrap();
    backed.refused("text").await;
    fs::remove_file(&backed.file).unwrap();
    backed.refused("no file").await;
}

#[tokio::test]
async fn an_archive_whose_content_was_changed_is_refused() {
    let backed = Backed::new().await;
    let entries = backed.entries();
    let changed = |path: &str| {
        let mut changed = entries.clone();
        let entry = changed.iter_mut().find(|entry| entry.path == path).unwrap();
        entry.content[0] ^= 1;
        changed
    };
    for path in ["database/goclaw.db", "workspace/fox/notes.txt"] {
        write(&backed.file, &changed(path));
        backed.refused(path).await.says(&[path, "checksum"]);
    }
    let without = |path: &str| entries.iter().filter(|entry| entry.path != path).cloned().collect::<Vec<_>>();
    for (path, why) in [("workspace/fox/notes.txt", "missing"), ("checksums.json", "cut off"), ("manifest.json", "manifest.json")] {
        write(&backed.file, &without(path));
        backed.refused(path).await.says(&[why]);
    }
    write(&backed.file, &[entries.clone(), vec![file("workspace/more", b"more")]].concat());
    backed.refused("after the end").await.says(&["follows"]);
}

#[tokio::test]
async fn a_hostile_archive_is_refused() {
    let backed = Backed::new().await;
    let entries = backed.entries();
    let outside = backed.machine.file("outside");
    fs::write(&outside, "outside").unwrap();
    let absolute = outside.to_string_lossy().into_owned();
    let mut cases = vec![
        vec![file("../evil", b"x")],
        vec![file("workspace/../../../evil", b"x")],
        vec![file("workspace/./evil", b"x")],
        vec![file("workspace//evil", b"x")],
        vec![file(&absolute, b"x")],
        vec![file("evil", b"x")],
        vec![file("workspace", b"x")],
        vec![file("data/encryption.key", b"x")],
        vec![file("data/goclaw.db", b"x")],
        vec![file("data/goclaw.db.lock", b"x")],
        vec![file("data/gateway.token", b"x")],
        vec![file("keys/other", b"x")],
        vec![file("keys/encryption.key", &[b'a'; 5_000])],
        vec![file("database/other.db", b"x")],
        vec![file("workspace/twice", b"x"), file("workspace/twice", b"y")],
        vec![file("workspace/both", b"x"), file("workspace/both/below", b"y")],
        vec![link(EntryType::Symlink, "workspace/link", &absolute)],
        vec![link(EntryType::Symlink, "workspace/dir", "/tmp"), file("workspace/dir/evil", b"x")],
        vec![link(EntryType::Link, "workspace/hard", &absolute)],
        vec![link(EntryType::Fifo, "workspace/fifo", "")],
        vec![link(EntryType::Char, "workspace/device", "")],
        vec![link(EntryType::Directory, "../outside-directory/", "")],
        vec![file(&format!("workspace/{}", "a/".repeat(40)), b"x")],
    ];
    // An entry of the extended kind, which could give the next one another path.
    cases.push(vec![
        Entry { kind: EntryType::XHeader, path: "workspace/pax".into(), link: String::new(), content: b"20 path=../../evil\n".to_vec() },
        file("workspace/innocent", b"x"),
    ]);
    cases.push(vec![
        Entry { kind: EntryType::GNULongName, path: "././@LongLink".into(), link: String::new(), content: b"workspace/../../evil\0".to_vec() },
        file("workspace/innocent", b"x"),
    ]);
    for hostile in cases {
        let name = hostile[0].path.clone();
        write(&backed.file, &sealed([entries[..2].to_vec(), hostile, entries[2..].to_vec()].concat()));
        backed.refused(&name).await;
    }
    assert_eq!(fs::read_to_string(&outside).unwrap(), "outside");
    let names: Vec<_> = fs::read_dir(&backed.machine.shell.dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.contains("evil") || name.contains("directory")), "{names:?}");
}

#[tokio::test]
async fn what_this_build_cannot_read_is_refused() {
    let backed = Backed::new().await;
    let entries = backed.entries();
    for (key, value, why) in [("format", json!(99), "newer"), ("database", json!("postgres"), "postgres"), ("schema_version", json!("x"), "manifest.json")] {
        let mut manifest: Value = serde_json::from_slice(&entries[0].content).unwrap();
        manifest[key] = value;
        let mut changed = entries.clone();
        changed[0].content = manifest.to_string().into_bytes();
        write(&backed.file, &sealed(changed));
        backed.refused(key).await.says(&[why]);
    }
    let mut damaged = entries.clone();
    damaged[1].content = b"no database at all ".repeat(500);
    write(&backed.file, &sealed(damaged));
    let before = tree(&backed.machine.file(".goclaw"));
    let outcome = backed.machine.run("restore b.tar.gz --force").await;
    assert_ne!(outcome.code, Some(0));
    assert_eq!(tree(&backed.machine.file(".goclaw")), before);
}
