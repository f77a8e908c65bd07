//! How long traces are kept.

use crate::{settings::LiveSettings, usage::hour_of};
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{Result, TenantId, locks::Locks, traces::TraceStore, usage::UsageStore};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// How many traces are deleted at a time, so that nobody waits long for the database.
const BATCH: i64 = 100;

/// Gives up traces that are older than `telemetry.trace_days`. What they took stays known by the hour.
pub(crate) struct Retention {
    pub traces: Arc<dyn TraceStore>,
    pub usage: Arc<dyn UsageStore>,
    pub locks: Arc<dyn Locks>,
    pub settings: Arc<LiveSettings>,
}

impl Retention {
    /// Deletes what is old enough as of `now`, as far as its usage is counted, until `stop`. Of several replicas, one at a time does.
    /// Answers with how many traces it deleted.
    pub async fn prune(&self, now: DateTime<Utc>, stop: &CancellationToken) -> Result<i64> {
        let days = self.settings.get().trace_days;
        let Some(kept) = (days > 0).then(|| TimeDelta::try_days(days.into())).flatten() else { return Ok(0) };
        let _turn = tokio::select! {
            () = stop.cancelled() => return Ok(0),
            turn = self.locks.lock(TenantId::MASTER, "trace retention") => turn?,
        };
        let Some(counted) = self.usage.all_tenants_counted_until().await? else { return Ok(0) };
        let before = now.checked_sub_signed(kept).map_or(DateTime::UNIX_EPOCH, hour_of).min(counted);
        let mut deleted = 0;
        while !stop.is_cancelled() {
            let batch = self.traces.all_tenants_prune(before, BATCH).await?;
            deleted += batch;
            if batch < BATCH {
                break;
            }
        }
        if deleted > 0 {
            tracing::info!(traces = deleted, %before, "deleted old traces");
        }
        Ok(deleted)
    }
}
