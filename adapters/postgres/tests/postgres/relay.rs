//! Events between replicas.

use crate::{proxy::Proxy, support::Database};
use goclaw_ports::{
    ErrorKind,
    events::{Batch, EventRelay, Wakes},
};
use goclaw_postgres::{Opened, PostgresOptions};
use secrecy::ExposeSecret;
use std::{sync::Arc, time::Duration};
use tokio_postgres::Client;
use uuid::Uuid;

const LISTENERS: &str = "from pg_stat_activity where datname = current_database() and query ~ 'listen goclaw_events|^select 1$' and pid <> pg_backend_pid()";

fn batch(origin: Uuid, seq: i64) -> Batch {
    Batch { origin, seq, events: format!(r#"[{{"n":{seq}}}]"#) }
}

/// A database that two replicas have open.
async fn two() -> (Database, Opened, Opened) {
    let database = Database::new().await;
    let (one, other) = (database.open_all(true, None).await.unwrap(), database.open_all(false, None).await.unwrap());
    (database, one, other)
}

async fn woken(wakes: &mut Box<dyn Wakes>) -> goclaw_ports::Result<()> {
    tokio::time::timeout(Duration::from_secs(20), wakes.next()).await.expect("a wake-up, or the end of the line")
}

async fn numbers(relay: &Arc<dyn EventRelay>, own: Uuid, known: &[(Uuid, i64)], limit: i64) -> Vec<(Uuid, i64)> {
    relay.newer(own, known, limit).await.unwrap().into_iter().map(|batch| (batch.origin, batch.seq)).collect()
}

/// Asks until the count is this, at most some hundred times.
async fn until(client: &Client, count: i64) {
    let mut tries = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..500 {
        tries.tick().await;
        if client.query_one(&format!("select count(*) {LISTENERS}"), &[]).await.unwrap().get::<_, i64>(0) == count {
            return;
        }
    }
    panic!("there are not {count} listeners");
}

#[tokio::test]
async fn what_one_replica_sends_wakes_the_other_and_can_be_read() {
    let (_database, one, other) = two().await;
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    let mut wakes = other.relay.listen().await.unwrap();
    one.relay.send(&batch(a, 1)).await.unwrap();
    woken(&mut wakes).await.unwrap();
    assert_eq!(other.relay.newer(b, &[], 10).await.unwrap(), [batch(a, 1)]);
    one.relay.send(&batch(a, 2)).await.unwrap();
    woken(&mut wakes).await.unwrap();
    assert_eq!(other.relay.newer(b, &[(a, 1)], 10).await.unwrap(), [batch(a, 2)]);
    assert!(other.relay.newer(b, &[(a, 2)], 10).await.unwrap().is_empty());
    assert!(one.relay.newer(a, &[], 10).await.unwrap().is_empty(), "one's own batches are no news");
}

#[tokio::test]
async fn batches_come_by_replica_and_number_and_not_too_many_at_once() {
    let (_database, one, other) = two().await;
    let mut origins = [Uuid::new_v4(), Uuid::new_v4(), Uuid::new_v4()];
    origins.sort_unstable();
    let [a, b, c] = origins;
    assert!(one.relay.newest().await.unwrap().is_empty() && one.relay.newer(a, &[(b, 7)], 10).await.unwrap().is_empty());
    for (origin, seq) in [(c, 1), (b, 9), (a, 1), (b, 10), (a, 2), (b, 11)] {
        one.relay.send(&batch(origin, seq)).await.unwrap();
    }
    let mut newest = other.relay.newest().await.unwrap();
    newest.sort_unstable();
    assert_eq!(newest, [(a, 2), (b, 11), (c, 1)]);
    let own = Uuid::new_v4();
    assert_eq!(numbers(&other.relay, own, &[], 100).await, [(a, 1), (a, 2), (b, 9), (b, 10), (b, 11), (c, 1)]);
    assert_eq!(numbers(&other.relay, a, &[], 100).await, [(b, 9), (b, 10), (b, 11), (c, 1)]);
    assert_eq!(numbers(&other.relay, own, &[(b, 10), (Uuid::new_v4(), 4), (a, 2)], 100).await, [(b, 11), (c, 1)]);
    assert_eq!(numbers(&other.relay, own, &[(a, 1)], 3).await, [(a, 2), (b, 9), (b, 10)]);
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_stored_once() {
    let (_database, one, other) = two().await;
    let a = Uuid::new_v4();
    for _ in 0..2 {
        one.relay.send(&batch(a, 1)).await.unwrap();
    }
    assert_eq!(other.relay.newer(Uuid::new_v4(), &[], 10).await.unwrap(), [batch(a, 1)]);
}

#[tokio::test]
async fn a_listener_whose_line_was_cut_is_told_and_catches_up() {
    let (database, one, other) = two().await;
    let a = Uuid::new_v4();
    let mut wakes = other.relay.listen().await.unwrap();
    one.relay.send(&batch(a, 1)).await.unwrap();
    woken(&mut wakes).await.unwrap();
    let client = database.client().await;
    let cut = client.query(&format!("select pg_terminate_backend(pid, 5000) {LISTENERS}"), &[]).await.unwrap();
    assert_eq!(cut.len(), 1);
    assert_eq!(woken(&mut wakes).await.unwrap_err().kind, ErrorKind::Unavailable);

    one.relay.send(&batch(a, 2)).await.unwrap();
    let mut wakes = other.relay.listen().await.unwrap();
    assert_eq!(other.relay.newer(Uuid::new_v4(), &[(a, 1)], 10).await.unwrap(), [batch(a, 2)]);
    one.relay.send(&batch(a, 3)).await.unwrap();
    woken(&mut wakes).await.unwrap();
}

#[tokio::test]
async fn a_line_that_fell_silent_is_dead() {
    let database = Database::new().await;
    drop(database.open(true).await.unwrap());
    let (proxy, dsn) = Proxy::to(database.dsn().expose_secret()).await;
    let options = PostgresOptions { dsn, max_connections: 4, migrate: false, fallback_limiter: None };
    let opened = goclaw_postgres::open(options).await.unwrap();
    let mut wakes = opened.relay.listen().await.unwrap();
    opened.relay.send(&batch(Uuid::new_v4(), 1)).await.unwrap();
    woken(&mut wakes).await.unwrap();
    proxy.fall_silent();
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    assert_eq!(wakes.next().await.unwrap_err().kind, ErrorKind::Unavailable);
    assert!(begun.elapsed() <= Duration::from_secs(21), "{:?}", begun.elapsed());
    tokio::time::resume();
}

#[tokio::test]
async fn a_line_ends_when_nobody_listens_and_when_the_database_is_closed() {
    let (database, one, other) = two().await;
    let client = database.client().await;
    let dropped = one.relay.listen().await.unwrap();
    let mut kept = other.relay.listen().await.unwrap();
    until(&client, 2).await;
    drop(dropped);
    until(&client, 1).await;
    other.stores.database.close().await;
    assert_eq!(woken(&mut kept).await.unwrap_err().kind, ErrorKind::Unavailable);
    until(&client, 0).await;
    assert_eq!(other.relay.listen().await.err().unwrap().kind, ErrorKind::Unavailable);
    assert_eq!(other.relay.send(&batch(Uuid::new_v4(), 1)).await.unwrap_err().kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn what_is_older_than_ten_minutes_is_removed() {
    let (database, one, other) = two().await;
    let (a, b) = (Uuid::new_v4(), Uuid::new_v4());
    for (origin, seq) in [(a, 1), (a, 2), (b, 1)] {
        one.relay.send(&batch(origin, seq)).await.unwrap();
    }
    let client = database.client().await;
    let aged = |seconds, which| format!("update bus_events set created_at = now() - interval '{seconds} seconds' where {which}");
    client.batch_execute(&aged(601, format!("origin = '{b}' or seq = 1"))).await.unwrap();
    client.batch_execute(&aged(590, format!("origin = '{a}' and seq = 2"))).await.unwrap();
    other.relay.prune().await.unwrap();
    assert_eq!(one.relay.newest().await.unwrap(), [(a, 2)]);
}
