//! Rate limits over all replicas.

use crate::{
    background::Background,
    error::{DATABASE, Failure},
    json::text,
    pool::Postgres,
    statement::Fixed,
};
use async_trait::async_trait;
use diesel::{
    QueryableByName, sql_query,
    sql_types::{BigInt, Bool, Double, Text},
};
use diesel_async::RunQueryDsl;
use goclaw_ports::{
    Error, Result,
    limits::{Quota, RateLimiter},
};
use std::{
    sync::{Arc, PoisonError, RwLock, Weak},
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// How long the database may take to decide.
const PATIENCE: Duration = Duration::from_secs(1);
/// After a failure the database is left alone for this long, so that requests do not all wait for it.
const RESPITE: Duration = Duration::from_secs(5);
/// How often buckets that are full again are removed.
const PURGE_EVERY: Duration = Duration::from_secs(5 * 60);
/// How many are removed at once.
const PURGE_AT_ONCE: usize = 10_000;

/// A bucket is the time when it will be full again; `$2` is the time that one token takes and `$3` how many the bucket holds. Time
/// is the database's. A bucket that was emptied under a slower quota is no emptier than empty under this one.
const TAKE: &str = "\
    with quota as ( \
        select now() as now, $2::double precision * interval '1 microsecond' as token, \
            $2::double precision * $3::double precision * interval '1 microsecond' as whole \
    ), answer as ( \
        insert into rate_limits as bucket (key, full_at, taken) select $1, now + token, true from quota \
        on conflict (key) do update set (full_at, taken) = ( \
            select case when start + token <= now + whole then start + token else start end, start + token <= now + whole \
            from quota, least(greatest(bucket.full_at, now), now + whole) as start \
        ) returning full_at, taken \
    ) \
    select taken, extract(epoch from full_at + token - whole - now)::double precision as wait from answer, quota";

const PURGE: &str = "\
    delete from rate_limits where key = any (array( \
        select key from rate_limits where full_at < now() limit $1 for update skip locked \
    ))";

/// Buckets in the database, one for each key, that all replicas share.
pub(crate) struct Limiter {
    database: Arc<Postgres>,
    /// Decides while the database cannot be asked.
    fallback: Option<Arc<dyn RateLimiter>>,
    /// Until when the database is left alone.
    respite: RwLock<Option<Instant>>,
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    taken: bool,
    /// Seconds until the next token is there, if none was taken.
    #[diesel(sql_type = Double)]
    wait: f64,
}

impl Limiter {
    /// Limits in `database`, whose full buckets are removed until it is closed.
    pub(crate) fn new(database: Arc<Postgres>, fallback: Option<Arc<dyn RateLimiter>>) -> Self {
        let background: &Background = database.background();
        background.spawn(keep_small(Arc::downgrade(&database)));
        Self { database, fallback, respite: RwLock::default() }
    }

    async fn ask(&self, key: &str, quota: Quota) -> Result<Result<(), Duration>> {
        let token = (60_000_000 / i64::from(quota.per_minute)).max(1);
        let query = sql_query(TAKE).bind::<Text, _>(text(key)).bind::<BigInt, _>(token).bind::<BigInt, _>(i64::from(quota.burst.max(1)));
        let connection = self.database.engine().await?;
        let answer: Answer = connection.run(Fixed(query).get_result(&mut connection.pipe())).await?;
        if answer.taken {
            return Ok(Ok(()));
        }
        Ok(Err(Duration::try_from_secs_f64(answer.wait).unwrap_or_default().max(Duration::from_micros(1))))
    }

    fn is_left_alone(&self) -> bool {
        self.respite.read().unwrap_or_else(PoisonError::into_inner).is_some_and(|until| Instant::now() < until)
    }

    fn leave_alone(&self, why: &Error) {
        let mut respite = self.respite.write().unwrap_or_else(PoisonError::into_inner);
        if respite.is_none() {
            tracing::warn!(error = %why, "the database cannot decide about rate limits; each replica decides for itself");
        }
        *respite = Some(Instant::now() + RESPITE);
    }

    fn recovered(&self) {
        let was_down = self.respite.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if was_down && self.respite.write().unwrap_or_else(PoisonError::into_inner).take().is_some() {
            tracing::info!("the database decides about rate limits again");
        }
    }
}

#[async_trait]
impl RateLimiter for Limiter {
    async fn take(&self, key: &str, quota: Quota) -> Result<(), Duration> {
        if quota.per_minute == 0 {
            return Ok(());
        }
        if !self.is_left_alone() {
            let asked = timeout(PATIENCE, self.ask(key, quota)).await;
            match asked.unwrap_or_else(|_| Err(Error::unavailable(DATABASE).because(format!("no answer within {} s", PATIENCE.as_secs())))) {
                Ok(answer) => {
                    self.recovered();
                    return answer;
                }
                Err(error) => self.leave_alone(&error),
            }
        }
        match &self.fallback {
            Some(fallback) => fallback.take(key, quota).await,
            None => Ok(()),
        }
    }
}

/// Removes full buckets now and then, for as long as the database is there.
async fn keep_small(database: Weak<Postgres>) {
    let mut ticks = tokio::time::interval(PURGE_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // The first one comes at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(database) = database.upgrade() else { return };
        if let Err(error) = database.purge_rate_limits().await {
            tracing::debug!(%error, "full buckets of rate limits could not be removed");
        }
    }
}

impl Postgres {
    /// Removes the buckets that are full.
    async fn purge_rate_limits(&self) -> Result<()> {
        loop {
            let connection = self.engine().await?;
            let query = Fixed(sql_query(PURGE).bind::<BigInt, _>(PURGE_AT_ONCE as i64));
            let removed = connection.run(query.execute(&mut connection.pipe())).await.map_err(|failure: Failure| Error::from(failure))?;
            if removed < PURGE_AT_ONCE {
                return Ok(());
            }
        }
    }
}
