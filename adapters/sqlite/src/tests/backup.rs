use super::{Place, at, open_at};
use crate::{backup, migrations, schema_version_of};
use goclaw_ports::{ErrorKind, TenantId, stores::Stores};
use rusqlite::Connection;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

const MASTER: TenantId = TenantId::MASTER;

async fn put(stores: &Stores, key: &str, value: &str) {
    stores.system_configs.put(MASTER, key, value, at(1)).await.unwrap();
}

/// Rows that need several steps to copy.
async fn fill(stores: &Stores) {
    for n in 0..20 {
        put(stores, &format!("filling.{n}"), &"x".repeat(1 << 20)).await;
    }
}

/// How many keys `row.0`, `row.1`, … the database has, if it has them without a gap.
fn rows(path: &Path) -> usize {
    let connection = Connection::open(path).unwrap();
    let damage: String = connection.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(damage, "ok");
    let mut statement = connection.prepare("select cast(substr(key, 5) as integer) as n from system_configs where key like 'row.%' order by n").unwrap();
    let rows: Vec<u32> = statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
    assert!((0..).zip(&rows).all(|(n, row)| n == *row), "rows are missing");
    rows.len()
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_being_written_is_copied_as_it_was_at_one_moment() {
    let place = Place::new().await;
    fill(&place.stores).await;
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let writing = tokio::spawn({
        let (stores, stop, written) = (place.stores.clone(), stop.clone(), written.clone());
        async move {
            while !stop.load(Ordering::Relaxed) {
                let n = written.load(Ordering::Relaxed);
                put(&stores, &format!("row.{n}"), &"y".repeat(1000)).await;
                written.store(n + 1, Ordering::Relaxed);
            }
        }
    });
    while written.load(Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }

    let target = tempfile::tempdir().unwrap();
    let path = target.path().join("copy.db");
    let before = written.load(Ordering::Relaxed);
    backup(place.path.clone(), path.clone()).await.unwrap();
    let after = written.load(Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
    assert!(after > before, "nothing was written meanwhile");

    assert_eq!(files(target.path()), ["copy.db"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let copied = rows(&path);
    assert!((before..=after).contains(&copied), "{before} {copied} {after}");
    assert_eq!(files(target.path()), ["copy.db"], "reading it makes no other files");
    assert_eq!(schema_version_of(path.clone()).await.unwrap(), migrations::NEWEST);
    assert_eq!(schema_version_of(place.path.clone()).await.unwrap(), migrations::NEWEST);

    let stores = open_at(&path).await.unwrap();
    assert_eq!(stores.system_configs.get(MASTER, "filling.19").await.unwrap().unwrap().len(), 1 << 20);
    put(&stores, "new", "value").await;
    stores.database.close().await;
    assert!(rows(&place.path) > copied);
}

#[tokio::test]
async fn a_database_that_nobody_holds_is_copied_with_its_log() {
    let place = Place::new().await;
    put(&place.stores, "row.0", "").await;
    // What a killed process leaves: the file and its log as they are at this moment.
    let left = tempfile::tempdir().unwrap();
    let (source, target) = (left.path().join("goclaw.db"), left.path().join("copy.db"));
    fs::copy(&place.path, &source).unwrap();
    fs::copy(place.path.with_extension("db-wal"), source.with_extension("db-wal")).unwrap();
    backup(source, target.clone()).await.unwrap();
    assert_eq!(rows(&target), 1);
}

#[tokio::test]
async fn what_is_no_database_is_not_copied() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("copy.db");
    let source = directory.path().join("goclaw.db");
    let refusal = async || backup(source.clone(), target.clone()).await.unwrap_err();
    let error = refusal().await;
    assert_eq!(error.kind, ErrorKind::NotFound);
    assert!(error.message.to_string().contains(&source.display().to_string()), "{}", error.message);
    assert_eq!(schema_version_of(source.clone()).await.unwrap_err().kind, ErrorKind::NotFound);

    fs::write(&source, "").unwrap();
    assert_eq!(refusal().await.kind, ErrorKind::NotFound);
    fs::write(&source, "this is not a database, and long enough to be seen not to be one".repeat(100)).unwrap();
    assert_eq!(refusal().await.kind, ErrorKind::Internal);
    assert_eq!(files(directory.path()), ["goclaw.db"]);
}

#[tokio::test]
async fn a_file_that_is_there_is_not_overwritten() {
    let place = Place::new().await;
    let target = place.path.with_file_name("copy.db");
    fs::write(&target, "precious").unwrap();
    for target in [&target, &place.path] {
        assert_eq!(backup(place.path.clone(), target.clone()).await.unwrap_err().kind, ErrorKind::AlreadyExists);
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    place.stores.database.ping().await.unwrap();

    let nowhere = place.path.with_file_name("missing").join("copy.db");
    assert_eq!(backup(place.path.clone(), nowhere).await.unwrap_err().kind, ErrorKind::Internal);
}

#[tokio::test]
async fn a_damaged_database_gives_no_copy() {
    let place = Place::new().await;
    fill(&place.stores).await;
    place.stores.database.close().await;
    let mut bytes = fs::read(&place.path).unwrap();
    let root = "select rootpage from sqlite_schema where name = 'system_configs'";
    let root = Connection::open(&place.path).unwrap().query_row(root, [], |row| row.get::<_, u32>(0)).unwrap() as usize;
    bytes[(root - 1) * 4096..root * 4096].fill(0xa5);
    fs::write(&place.path, bytes).unwrap();
    let target = place.path.with_file_name("copy.db");
    assert_eq!(backup(place.path.clone(), target.clone()).await.unwrap_err().kind, ErrorKind::Internal);
    assert!(!target.exists());
}
