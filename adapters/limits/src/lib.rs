//! Rate limits of one process.
#![deny(missing_docs)]

use async_trait::async_trait;
use goclaw_ports::limits::{Quota, RateLimiter};
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How many callers are remembered at once.
pub const DEFAULT_CAPACITY: usize = 100_000;
/// How often buckets that have filled up again are forgotten.
const PURGE_EVERY: Duration = Duration::from_secs(5 * 60);
const SHARDS: usize = 16;

/// Token buckets in memory, one per key. A bucket that has filled up again is the same as none, so forgetting it costs nothing;
/// when all of the room is taken, the fullest buckets go first.
#[derive(Debug)]
pub struct LocalLimiter {
    start: Instant,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    capacity: usize,
}

/// When each key's bucket will be full again, on the limiter's clock.
#[derive(Debug, Default)]
struct Shard {
    full_at: HashMap<Box<str>, Duration>,
    purged: Duration,
}

impl LocalLimiter {
    /// A limiter that remembers about `capacity` keys at once.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self { start: Instant::now(), hasher: RandomState::new(), shards: Default::default(), capacity: capacity.div_ceil(SHARDS).max(1) }
    }

    fn take_at(&self, key: &str, quota: Quota, now: Duration) -> Result<(), Duration> {
        if quota.per_minute == 0 {
            return Ok(());
        }
        let shard = &self.shards[usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or_default()];
        shard.lock().unwrap_or_else(PoisonError::into_inner).take(key, quota, now, self.capacity)
    }
}

impl Default for LocalLimiter {
    fn default() -> Self {
        Self::new(DEFAULT_CAPACITY)
    }
}

impl Shard {
    fn take(&mut self, key: &str, quota: Quota, now: Duration, capacity: usize) -> Result<(), Duration> {
        let token = Duration::from_secs(60) / quota.per_minute;
        let whole = token * quota.burst.max(1);
        if now.saturating_sub(self.purged) >= PURGE_EVERY {
            self.purge(now);
        }
        let known = self.full_at.get_mut(key);
        // A bucket that was emptied under a slower quota is no emptier than empty under this one.
        let full_at = known.as_deref().copied().unwrap_or(now).clamp(now, now + whole);
        let after = full_at + token;
        if after > now + whole {
            return Err(after - whole - now);
        }
        match known {
            Some(entry) => *entry = after,
            None => {
                self.make_room(now, capacity);
                self.full_at.insert(key.into(), after);
            }
        }
        Ok(())
    }

    fn purge(&mut self, now: Duration) {
        self.full_at.retain(|_, full_at| *full_at > now);
        self.full_at.shrink_to(self.full_at.len() * 2);
        self.purged = now;
    }

    fn make_room(&mut self, now: Duration, capacity: usize) {
        if self.full_at.len() < capacity {
            return;
        }
        self.purge(now);
        if self.full_at.len() < capacity {
            return;
        }
        let mut times: Vec<_> = self.full_at.values().copied().collect();
        // An eighth at once, so that the walk is paid for by many insertions.
        let last = times.len() / 8;
        let (_, &mut limit, _) = times.select_nth_unstable(last);
        let mut surplus = last + 1;
        self.full_at.retain(|_, full_at| {
            let goes = surplus > 0 && *full_at <= limit;
            surplus -= usize::from(goes);
            !goes
        });
    }
}

#[async_trait]
impl RateLimiter for LocalLimiter {
    async fn take(&self, key: &str, quota: Quota) -> Result<(), Duration> {
        self.take_at(key, quota, self.start.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const QUOTA: Quota = Quota { per_minute: 20, burst: 5 };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_burst_passes_and_then_tokens_come_one_by_one() {
        let limiter = LocalLimiter::default();
        for _ in 0..5 {
            limiter.take_at("a", QUOTA, at(10)).unwrap();
        }
        assert_eq!(limiter.take_at("a", QUOTA, at(10)), Err(at(3)));
        assert_eq!(limiter.take_at("a", QUOTA, at(12)), Err(at(1)));
        limiter.take_at("a", QUOTA, at(13)).unwrap();
        assert_eq!(limiter.take_at("a", QUOTA, at(13)), Err(at(3)));
    }

    #[test]
    fn a_refusal_costs_no_token() {
        let limiter = LocalLimiter::default();
        let refused = (0..50).filter(|_| limiter.take_at("a", QUOTA, at(0)).is_err()).count();
        assert_eq!(refused, 45);
        limiter.take_at("a", QUOTA, at(3)).unwrap();
    }

    #[test]
    fn keys_do_not_share_a_bucket() {
        let limiter = LocalLimiter::default();
        let refused = (0..6).filter(|_| limiter.take_at("a", QUOTA, at(0)).is_err()).count();
        assert_eq!(refused, 1);
        limiter.take_at("b", QUOTA, at(0)).unwrap();
    }

    #[test]
    fn no_quota_is_no_limit() {
        let limiter = LocalLimiter::default();
        for _ in 0..1000 {
            limiter.take_at("a", Quota { per_minute: 0, burst: 5 }, at(0)).unwrap();
        }
    }

    #[test]
    fn a_faster_quota_holds_at_once() {
        let limiter = LocalLimiter::default();
        let slow = Quota { per_minute: 1, burst: 5 };
        (0..5).for_each(|_| limiter.take_at("a", slow, at(0)).unwrap());
        assert_eq!(limiter.take_at("a", Quota { per_minute: 60, burst: 5 }, at(0)), Err(at(1)));
    }

    #[test]
    fn full_buckets_are_forgotten() {
        let limiter = LocalLimiter::default();
        (0..1000).for_each(|n| limiter.take_at(&n.to_string(), QUOTA, at(0)).unwrap());
        (0..1000).for_each(|n| limiter.take_at(&(n + 1000).to_string(), QUOTA, at(301)).unwrap());
        let kept: usize = limiter.shards.iter().map(|shard| shard.lock().unwrap().full_at.len()).sum();
        assert_eq!(kept, 1000);
    }

    #[test]
    fn a_flood_of_keys_stays_within_the_bound_and_frees_no_one_who_is_limited() {
        let limiter = LocalLimiter::new(1600);
        (0..5).for_each(|_| limiter.take_at("limited", QUOTA, at(0)).unwrap());
        (0..20_000).for_each(|n| limiter.take_at(&n.to_string(), QUOTA, at(0)).unwrap());
        let kept: usize = limiter.shards.iter().map(|shard| shard.lock().unwrap().full_at.len()).sum();
        assert!(kept <= 1600, "{kept}");
        limiter.take_at("limited", QUOTA, at(0)).unwrap_err();
    }

    proptest! {
        #[test]
        fn never_more_than_the_burst_and_the_rate(per_minute in 1u32..600, burst in 1u32..20, steps in prop::collection::vec(0u64..2000, 1..200)) {
            let limiter = LocalLimiter::default();
            let quota = Quota { per_minute, burst };
            let (mut now, mut passed) = (Duration::ZERO, 0f64);
            for step in steps {
                now += Duration::from_millis(step);
                match limiter.take_at("a", quota, now) {
                    Ok(()) => passed += 1.0,
                    Err(wait) => prop_assert!(wait > Duration::ZERO && wait <= Duration::from_secs(60) / per_minute),
                }
            }
            prop_assert!(passed <= f64::from(burst) + now.as_secs_f64() * f64::from(per_minute) / 60.0 + 1e-3);
        }
    }
}
