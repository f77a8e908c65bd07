use super::*;
use crate::writer::Writer;
use goclaw_ports::ErrorKind;
use std::{
    io::{Seek, SeekFrom},
    os::unix::fs::{PermissionsExt, symlink},
};
use tempfile::TempDir;

const LIMIT: u64 = 1 << 20;

fn archive(files: &[(&str, &str)]) -> File {
    let mut writer = Writer::new(std::env::temp_dir(), 0, LIMIT).unwrap();
    for (path, content) in files {
        writer.begin((*path).to_owned());
        writer.write(content.as_bytes()).unwrap();
        writer.end().unwrap();
    }
    let mut content = writer.finish().unwrap().content;
    content.seek(SeekFrom::Start(0)).unwrap();
    content
}

fn put(directory: &Path, files: &[(&str, &str)]) -> Result<Placed> {
    place(archive(files), LIMIT, "workspace/", directory, &mut |_| ())
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn files_are_made_with_their_directories_and_those_that_are_there_stay() {
    let base = TempDir::new().unwrap();
    let root = base.path().join("new/agent");
    let files = [("agent.json", "{}"), ("workspace/a/b.txt", "b"), ("workspace/c.txt", "c"), ("workspace/.bashrc", "x"), ("workspace/a/.git/config", "x")];
    let placed = put(&root, &files).unwrap();
    assert_eq!((placed.counts.files, placed.counts.bytes), (2, 2));
    assert_eq!((text(root.join("a/b.txt")), text(root.join("c.txt"))), ("b".into(), "c".into()));
    assert_eq!(fs::metadata(root.join("c.txt")).unwrap().permissions().mode() & 0o777, 0o644);
    let mut names: Vec<_> = fs::read_dir(root.join("a")).unwrap().chain(fs::read_dir(&root).unwrap()).map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["a", "b.txt", "c.txt"]);
    let again = put(&root, &[("workspace/c.txt", "other"), ("workspace/c.txt/below", "x"), ("workspace/d.txt", "d"), ("workspace/d.txt", "twice")]).unwrap();
    assert_eq!((again.counts.files, text(root.join("c.txt")), text(root.join("d.txt"))), (1, "c".into(), "d".into()));
}

#[test]
fn no_link_leads_out() {
    let base = TempDir::new().unwrap();
    let (root, outside) = (base.path().join("w"), base.path().join("outside"));
    fs::create_dir_all(&root).unwrap();
    fs::create_dir_all(&outside).unwrap();
    symlink(&outside, root.join("linked")).unwrap();
    symlink(outside.join("new"), root.join("dangling")).unwrap();
    let placed = put(&root, &[("workspace/linked/x", "x"), ("workspace/dangling", "x"), ("workspace/linked", "x")]).unwrap();
    assert_eq!(placed, Placed::default());
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

#[test]
fn what_was_made_can_be_taken_back_and_nothing_more() {
    let base = TempDir::new().unwrap();
    let root = base.path().join("w");
    fs::create_dir_all(root.join("old")).unwrap();
    fs::write(root.join("old/kept"), "kept").unwrap();
    let placed = put(&root, &[("workspace/old/new", "x"), ("workspace/deep/er/file", "x"), ("workspace/shared/mine", "x")]).unwrap();
    fs::write(root.join("shared/theirs"), "theirs").unwrap();
    take_back(&root, &placed);
    assert!(!root.join("old/new").exists() && !root.join("deep").exists() && !root.join("shared/mine").exists());
    assert_eq!((text(root.join("old/kept")), text(root.join("shared/theirs"))), ("kept".into(), "theirs".into()));
    let fresh = base.path().join("fresh");
    let placed = put(&fresh, &[("workspace/x", "x")]).unwrap();
    take_back(&fresh, &placed);
    assert!(!fresh.exists());
}

#[test]
fn of_an_archive_that_cannot_be_read_to_its_end_nothing_stays() {
    let base = TempDir::new().unwrap();
    let root = base.path().join("w");
    let mut bytes = Vec::new();
    archive(&[("workspace/a", "a"), ("workspace/b/c", "c")]).read_to_end(&mut bytes).unwrap();
    bytes.truncate(bytes.len() - 4);
    let error = place(&*bytes, LIMIT, "workspace/", &root, &mut |_| ()).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Invalid);
    assert!(!root.exists());
}

#[test]
fn an_archive_over_its_limit_is_not_made() {
    let mut writer = Writer::new(std::env::temp_dir(), 0, LIMIT).unwrap();
    writer.begin("workspace/large".to_owned());
    let over = (0..20).try_for_each(|_| writer.write(&vec![0; 64 << 10])).unwrap_err();
    assert_eq!(crate::writer::failed(over).message.key, "error-archive-too-large");
    let mut writer = Writer::new(std::env::temp_dir(), 0, LIMIT).unwrap();
    let many = (0..20).try_for_each(|n| {
        writer.begin(format!("workspace/{n}"));
        writer.write(&vec![0; 64 << 10])?;
        writer.end()
    });
    assert_eq!(crate::writer::failed(many.unwrap_err()).message.key, "error-archive-too-large");
}
