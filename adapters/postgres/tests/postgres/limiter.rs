//! Rate limits over all replicas.

use crate::support::Database;
use async_trait::async_trait;
use futures_util::future;
use goclaw_ports::limits::{Quota, RateLimiter};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio_postgres::Client;

/// One token a minute: none comes back while a test runs.
const SLOW: Quota = Quota { per_minute: 1, burst: 5 };

/// Lets nobody through, and counts who asked.
#[derive(Default)]
struct Strict(AtomicUsize);

impl Strict {
    fn asked(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl RateLimiter for Strict {
    async fn take(&self, _key: &str, _quota: Quota) -> Result<(), Duration> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(Duration::from_secs(42))
    }
}

/// Makes all buckets this much fuller, as if time had passed.
async fn pass(client: &Client, seconds: i64) {
    client.batch_execute(&format!("update rate_limits set full_at = full_at - interval '{seconds} seconds'")).await.unwrap();
}

async fn passed(limiter: &Arc<dyn RateLimiter>, key: &str, quota: Quota, tries: usize) -> usize {
    let outcomes = future::join_all((0..tries).map(|_| limiter.take(key, quota))).await;
    outcomes.into_iter().filter(Result::is_ok).count()
}

#[tokio::test]
async fn two_replicas_share_a_bucket() {
    let database = Database::new().await;
    let (one, other) = (database.open_all(true, None).await.unwrap().limiter, database.open_all(false, None).await.unwrap().limiter);
    assert_eq!(passed(&one, "a", SLOW, 3).await, 3);
    assert_eq!(passed(&other, "a", SLOW, 3).await, 2);
    for limiter in [&one, &other] {
        let wait = limiter.take("a", SLOW).await.unwrap_err();
        assert!(wait > Duration::from_secs(30) && wait <= Duration::from_secs(60), "{wait:?}");
    }
    one.take("b", SLOW).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_ask_at_once_the_burst_passes() {
    let database = Database::new().await;
    let limiters = [database.open_all(true, None).await.unwrap().limiter, database.open_all(false, None).await.unwrap().limiter];
    let asking = (0..60).map(|number| {
        let limiter = limiters[number % 2].clone();
        tokio::spawn(async move { limiter.take("a", SLOW).await.is_ok() })
    });
    let passed = future::try_join_all(asking).await.unwrap().into_iter().filter(|passed| *passed).count();
    assert_eq!(passed, 5);
}

#[tokio::test]
async fn tokens_come_back_one_by_one_and_refusals_cost_none() {
    let database = Database::new().await;
    let limiter = database.open_all(true, None).await.unwrap().limiter;
    let client = database.client().await;
    assert_eq!(passed(&limiter, "a", SLOW, 20).await, 5);
    pass(&client, 60).await;
    assert_eq!(passed(&limiter, "a", SLOW, 20).await, 1);
    pass(&client, 50).await;
    let wait = limiter.take("a", SLOW).await.unwrap_err();
    assert!(wait <= Duration::from_secs(10), "{wait:?}");
    pass(&client, 100_000).await;
    assert_eq!(passed(&limiter, "a", SLOW, 20).await, 5);
}

#[tokio::test]
async fn quotas_that_do_not_divide_a_minute_let_the_whole_burst_through() {
    let database = Database::new().await;
    let limiter = database.open_all(true, None).await.unwrap().limiter;
    for (per_minute, burst) in [(7, 5), (13, 9), (1, 1), (11, 0)] {
        let key = format!("{per_minute} {burst}");
        let quota = Quota { per_minute, burst };
        assert_eq!(passed(&limiter, &key, quota, 12).await, burst.max(1) as usize, "{quota:?}");
    }
    limiter.take("fast", Quota { per_minute: u32::MAX, burst: u32::MAX }).await.unwrap();
}

#[tokio::test]
async fn a_faster_quota_holds_at_once() {
    let database = Database::new().await;
    let limiter = database.open_all(true, None).await.unwrap().limiter;
    assert_eq!(passed(&limiter, "a", SLOW, 5).await, 5);
    let wait = limiter.take("a", Quota { per_minute: 60, burst: 5 }).await.unwrap_err();
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
}

#[tokio::test]
async fn while_the_database_is_gone_the_fallback_decides() {
    let database = Database::new().await;
    let strict = Arc::new(Strict::default());
    let opened = database.open_all(true, Some(strict.clone())).await.unwrap();
    opened.limiter.take("a", SLOW).await.unwrap();
    assert_eq!(strict.asked(), 0);
    opened.stores.database.close().await;
    assert_eq!(opened.limiter.take("a", SLOW).await, Err(Duration::from_secs(42)));
    assert_eq!(strict.asked(), 1);
    opened.limiter.take("a", Quota { per_minute: 0, burst: 5 }).await.unwrap();
    assert_eq!(strict.asked(), 1, "no limit is nobody's decision");
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_asked_again_later() {
    let database = Database::new().await;
    let strict = Arc::new(Strict::default());
    let limiter = database.open_all(true, Some(strict.clone())).await.unwrap().limiter;
    let client = database.client().await;
    client.batch_execute("begin; lock table rate_limits").await.unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..50 {
        limiter.take("a", SLOW).await.unwrap_err();
    }
    assert_eq!(strict.asked(), 50);
    assert!(begun.elapsed() < Duration::from_secs(4), "only the first one waited: {:?}", begun.elapsed());
    client.batch_execute("rollback").await.unwrap();
    limiter.take("a", SLOW).await.unwrap_err();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    limiter.take("a", SLOW).await.unwrap();
    assert_eq!(strict.asked(), 51);
}

#[tokio::test]
async fn full_buckets_are_removed_now_and_then() {
    let database = Database::new().await;
    let _opened = database.open_all(true, None).await.unwrap();
    let client = database.client().await;
    let buckets = "insert into rate_limits (key, full_at, taken) select 'full ' || n, now() - interval '1 second', true from generate_series(1, 25000) n
        union all select 'limited', now() + interval '1 hour', true";
    client.batch_execute(buckets).await.unwrap();
    // The task has begun to wait.
    tokio::task::yield_now().await;
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(301)).await;
    tokio::time::resume();
    let mut tries = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..500 {
        tries.tick().await;
        if client.query_one("select count(*) from rate_limits", &[]).await.unwrap().get::<_, i64>(0) == 1 {
            break;
        }
    }
    let left: Vec<String> = client.query("select key from rate_limits limit 5", &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(left, ["limited"]);
}
