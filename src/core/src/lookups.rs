//! Looked-up things, believed for a while and forgotten when they change.

use goclaw_ports::Result;
use moka::sync::Cache;
use std::{
    future::Future,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

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
}
