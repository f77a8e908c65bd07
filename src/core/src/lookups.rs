//! Looked-up things, believed for a while and forgotten when they change.

use goclaw_ports::{Result, TenantId};
use moka::sync::Cache;
use serde::Serialize;
use std::{
    future::Future,
    hash::Hash,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// How many counters say what was forgotten of tenants. Tenants that share one forget together, which costs a look-up.
const COUNTERS: usize = 256;

/// Remembers what was looked up. An answer of before [`Lookups::forget`] is never given after it, not even one that was being
/// looked up meanwhile: each is marked with how often everything had been forgotten when the look-up began.
pub(crate) struct Lookups<V> {
    entries: Cache<String, (u64, V)>,
    forgotten: AtomicU64,
}

impl<V: Clone + Send + Sync + 'static> Lookups<V> {
    /// Remembers at most `capacity` answers, each for `ttl`.
    pub fn new(capacity: u64, ttl: Duration) -> Self {
        Self { entries: Cache::builder().max_capacity(capacity).time_to_live(ttl).build(), forgotten: AtomicU64::new(0) }
    }

    /// What is known of `key`, else what `look` says, which is remembered if it is `worth` it.
    pub async fn get(&self, key: &str, worth: impl FnOnce(&V) -> bool, look: impl Future<Output = Result<V>>) -> Result<V> {
        let began = self.forgotten.load(Ordering::SeqCst);
        if let Some((mark, value)) = self.entries.get(key)
            && mark == began
        {
            return Ok(value);
        }
        let value = look.await?;
        if worth(&value) && self.forgotten.load(Ordering::SeqCst) == began {
            self.entries.insert(key.to_owned(), (began, value.clone()));
        }
        Ok(value)
    }

    /// Forgets everything.
    pub fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        self.entries.invalidate_all();
    }
}

/// The same for things of tenants, each of which forgets alone. What is remembered is bounded by its size as JSON.
pub(crate) struct TenantLookups<K, V> {
    entries: Cache<(TenantId, K), (u64, V)>,
    forgotten: Box<[AtomicU64]>,
}

impl<K, V> TenantLookups<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Serialize + Clone + Send + Sync + 'static,
{
    /// Remembers answers of `bytes` together, each for `ttl`.
    pub fn new(bytes: u64, ttl: Duration) -> Self {
        let size = |_: &(TenantId, K), (_, value): &(u64, V)| {
            // An answer that cannot be written is not remembered for long.
            serde_json::to_vec(value).map_or(u32::MAX, |json| u32::try_from(json.len() + 100).unwrap_or(u32::MAX))
        };
        let entries = Cache::builder().weigher(size).max_capacity(bytes).time_to_live(ttl).build();
        Self { entries, forgotten: (0..COUNTERS).map(|_| AtomicU64::new(0)).collect() }
    }

    /// What is known of `key` in the tenant, else what `look` says, which is remembered if it is `worth` it.
    pub async fn get(&self, tenant: TenantId, key: K, worth: impl FnOnce(&V) -> bool, look: impl Future<Output = Result<V>>) -> Result<V> {
        let forgotten = self.counter(tenant);
        let began = forgotten.load(Ordering::SeqCst);
        let key = (tenant, key);
        if let Some((mark, value)) = self.entries.get(&key)
            && mark == began
        {
            return Ok(value);
        }
        let value = look.await?;
        if worth(&value) && forgotten.load(Ordering::SeqCst) == began {
            self.entries.insert(key, (began, value.clone()));
        }
        Ok(value)
    }

    /// Forgets everything of a tenant; of all tenants, if none is named.
    pub fn forget(&self, tenant: Option<TenantId>) {
        match tenant {
            Some(tenant) => _ = self.counter(tenant).fetch_add(1, Ordering::SeqCst),
            None => {
                self.forgotten.iter().for_each(|counter| _ = counter.fetch_add(1, Ordering::SeqCst));
                self.entries.invalidate_all();
            }
        }
    }

    fn counter(&self, tenant: TenantId) -> &AtomicU64 {
        // The end of an id is its random part.
        &self.forgotten[usize::from(tenant.0.as_bytes()[15]) % COUNTERS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::Error;
    use tokio::sync::oneshot;

    fn lookups() -> Lookups<u32> {
        Lookups::new(10, Duration::from_secs(60))
    }

    async fn answer(lookups: &Lookups<u32>, value: u32) -> u32 {
        lookups.get("key", |_| true, async { Ok(value) }).await.unwrap()
    }

    #[tokio::test]
    async fn an_answer_is_believed_until_it_is_forgotten() {
        let lookups = lookups();
        assert_eq!((answer(&lookups, 1).await, answer(&lookups, 2).await), (1, 1));
        lookups.forget();
        assert_eq!((answer(&lookups, 2).await, answer(&lookups, 3).await), (2, 2));
    }

    #[tokio::test]
    async fn an_answer_that_is_not_worth_it_and_a_failure_are_not_remembered() {
        let lookups = lookups();
        assert_eq!(lookups.get("key", |_| false, async { Ok(1) }).await.unwrap(), 1);
        assert!(lookups.get("key", |_| true, async { Err(Error::unavailable("database")) }).await.is_err());
        assert_eq!(answer(&lookups, 2).await, 2);
    }

    #[tokio::test]
    async fn a_look_up_that_began_before_everything_was_forgotten_leaves_nothing_behind() {
        let lookups = std::sync::Arc::new(lookups());
        let (reached, wait) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let slow = tokio::spawn({
            let lookups = lookups.clone();
            async move {
                let look = async {
                    reached.send(()).unwrap();
                    released.await.unwrap();
                    Ok(1)
                };
                lookups.get("key", |_| true, look).await.unwrap()
            }
        });
        wait.await.unwrap();
        lookups.forget();
        release.send(()).unwrap();
        assert_eq!(slow.await.unwrap(), 1, "who asked before may get what held before");
        assert_eq!(answer(&lookups, 2).await, 2, "who asks after may not");
    }

    #[tokio::test]
    async fn a_tenant_forgets_alone_and_never_hears_anothers_answer() {
        let (one, other) = (TenantId(uuid::Uuid::from_u128(1)), TenantId(uuid::Uuid::from_u128(2)));
        let lookups = TenantLookups::<&str, u32>::new(10_000, Duration::from_secs(60));
        let answer = async |tenant, value| lookups.get(tenant, "key", |_| true, async { Ok(value) }).await.unwrap();
        assert_eq!((answer(one, 1).await, answer(other, 2).await), (1, 2));
        lookups.forget(Some(one));
        assert_eq!((answer(one, 3).await, answer(other, 4).await), (3, 2));
        lookups.forget(None);
        assert_eq!((answer(one, 5).await, answer(other, 6).await), (5, 6));
    }

    #[tokio::test]
    async fn an_answer_of_before_is_not_kept_if_the_tenant_forgot_meanwhile() {
        let lookups = TenantLookups::<&str, u32>::new(10_000, Duration::from_secs(60));
        let look = async {
            lookups.forget(Some(TenantId::MASTER));
            Ok(1)
        };
        assert_eq!(lookups.get(TenantId::MASTER, "key", |_| true, look).await.unwrap(), 1);
        assert_eq!(lookups.get(TenantId::MASTER, "key", |_| true, async { Ok(2) }).await.unwrap(), 2);
    }
}
