//! Counting usage, once an hour.

use super::{HOUR, hour_of};
use crate::traces::Retention;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{Result, clock::Clock, usage::UsageStore};
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// When hours are counted: so long after their end.
const MINUTE: TimeDelta = TimeDelta::minutes(5);
/// When counting is tried again after a failure.
const AGAIN: Duration = Duration::from_secs(300);

/// Counts the hours that have ended, as long as the gateway runs. Traces that are old enough are given up then: they are counted.
#[derive(Clone)]
pub(crate) struct Counting {
    retention: Arc<Retention>,
    store: Arc<dyn UsageStore>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Counting {
    /// Counts what is due now, then at five past every hour.
    pub fn start(store: Arc<dyn UsageStore>, retention: Retention, clock: Arc<dyn Clock>, runtime: &Handle) -> Self {
        let counting = Self { retention: Arc::new(retention), store, clock, stop: CancellationToken::new(), tasks: TaskTracker::new() };
        let worker = counting.clone();
        counting.tasks.spawn_on(async move { worker.work().await }, runtime);
        counting
    }

    /// Ends after the hour that is being counted.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    async fn work(&self) {
        while !self.stop.is_cancelled() {
            let work = async {
                self.count().await?;
                self.retention.prune(self.clock.now(), &self.stop).await
            };
            let wait = match work.await {
                Ok(_) => until_next(self.clock.now()),
                Err(error) => {
                    tracing::warn!(%error, "usage could not be counted, or old traces not be deleted; trying again");
                    AGAIN
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = sleep(wait) => {}
            }
        }
    }

    /// Counts all that is due, an hour at a time, so that nothing else waits long for the database.
    async fn count(&self) -> Result<()> {
        let now = self.clock.now();
        while !self.stop.is_cancelled() {
            match self.store.all_tenants_count_hour(now).await? {
                Some(hour) => tracing::debug!(%hour, "counted usage"),
                None => break,
            }
        }
        Ok(())
    }
}

/// How long it is until the next hour is counted.
fn until_next(now: DateTime<Utc>) -> Duration {
    let this = hour_of(now) + MINUTE;
    let next = if now < this { this } else { this + HOUR };
    (next - now).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("2026-01-02T03:00:00Z", 300)]
    #[case("2026-01-02T03:04:59Z", 1)]
    #[case("2026-01-02T03:05:00Z", 3600)]
    #[case("2026-01-02T03:59:00Z", 360)]
    fn hours_are_counted_at_five_past(#[case] now: &str, #[case] seconds: u64) {
        assert_eq!(until_next(now.parse().unwrap()), Duration::from_secs(seconds));
    }
}
