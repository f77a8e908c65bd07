use super::{Place, at, open_at};
use goclaw_ports::{ErrorKind, TenantId};
use rusqlite::Connection;
use std::{fs, os::unix::fs::PermissionsExt};

#[tokio::test]
async fn a_new_database_is_private_and_holds_the_master_tenant() {
    let place = Place::new().await;
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(place.path.parent().unwrap()), 0o700);
    assert_eq!(mode(&place.path), 0o600);
    assert_eq!(mode(&place.path.with_extension("db-wal")), 0o600);
    let master = place.stores.tenants.find(TenantId::MASTER).await.unwrap().unwrap();
    assert_eq!((master.slug.as_str(), master.name.as_str()), ("master", "Master"));
    assert_eq!(place.stores.database.schema_version().await.unwrap(), crate::migrations::NEWEST);
    place.stores.database.ping().await.unwrap();
}

#[tokio::test]
async fn a_second_opening_is_refused_and_told_who_holds_the_database() {
    let place = Place::new().await;
    let error = open_at(&place.path).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Precondition);
    let text = error.message.to_string();
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
    assert!(text.contains(&format!("{}.lock", place.path.display())), "{text}");
    place.stores.database.ping().await.unwrap();
}

#[tokio::test]
async fn closing_lets_go_of_everything_and_reopening_finds_what_was_kept() {
    let place = Place::new().await;
    let other = place.other_tenant().await;
    place.stores.database.close().await;
    assert!(!place.path.with_extension("db-wal").exists(), "the log is checkpointed and gone");
    let refused = place.stores.tenants.find(other).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unavailable);
    assert_eq!(place.stores.database.ping().await.unwrap_err().kind, ErrorKind::Unavailable);
    place.stores.database.close().await;

    let reopened = open_at(&place.path).await.unwrap();
    assert!(reopened.tenants.find(other).await.unwrap().is_some());
    reopened.database.close().await;
}

#[tokio::test]
async fn what_was_answered_is_in_the_files_when_the_process_dies() {
    let place = Place::new().await;
    let other = place.other_tenant().await;
    place.stores.system_configs.put(other, "key", "value", at(1)).await.unwrap();
    // What a killed process leaves: the file and its log as they are at this moment.
    let left = tempfile::tempdir().unwrap();
    let path = left.path().join("goclaw.db");
    fs::copy(&place.path, &path).unwrap();
    fs::copy(place.path.with_extension("db-wal"), path.with_extension("db-wal")).unwrap();

    let recovered = open_at(&path).await.unwrap();
    assert_eq!(recovered.system_configs.get(other, "key").await.unwrap().as_deref(), Some("value"));
    recovered.database.close().await;
    let integrity: String = Connection::open(&path).unwrap().query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_left_unlocked() {
    let place = Place::new().await;
    place.stores.database.close().await;
    let connection = Connection::open(&place.path).unwrap();
    connection.execute("insert into schema_migrations (version, applied_at) values (999, 0)", []).unwrap();
    let error = open_at(&place.path).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Precondition);
    assert!(error.message.to_string().contains("999"), "{}", error.message);

    connection.execute("delete from schema_migrations where version = 999", []).unwrap();
    open_at(&place.path).await.unwrap().database.close().await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("goclaw.db");
    fs::write(&path, "this is not a database, and long enough to be seen not to be one".repeat(100)).unwrap();
    assert_eq!(open_at(&path).await.err().unwrap().kind, ErrorKind::Internal);
    assert!(fs::read_to_string(&path).unwrap().starts_with("this is not"));
}

#[test]
fn vectors_and_mathematics_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let connection = crate::connection::open_writer(&directory.path().join("test.db")).unwrap();
    let distance: f64 = connection.query_row("select vec_distance_l2('[0, 0]', '[3, 4]') + sqrt(4)", [], |row| row.get(0)).unwrap();
    assert!((distance - 7.0).abs() < 1e-6);
}

#[test]
fn full_text_search_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let connection = crate::connection::open_writer(&directory.path().join("test.db")).unwrap();
    connection.execute_batch("create virtual table notes using fts5(text); insert into notes values ('foxes dig burrows'), ('owls fly')").unwrap();
    let found: String = connection.query_row("select text from notes where notes match 'burrows' order by bm25(notes)", [], |row| row.get(0)).unwrap();
    assert_eq!(found, "foxes dig burrows");
}
