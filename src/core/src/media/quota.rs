//! How much of what comes with messages a tenant keeps. The disk says it, so that what agents remove or change counts as it is.

use super::MediaShelf;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{Error, ErrorKind, Result, TenantId, message};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// How long a measure is good: so late it is noticed what other gateways keep and remove.
const GOOD: TimeDelta = TimeDelta::seconds(60);
/// How many files are looked at in one go.
const PAGE: i64 = 1_000;
/// Of how many tenants is known what they keep.
const KNOWN: usize = 10_000;
/// A unit of the operator's limit.
const MEGABYTE: u64 = 1 << 20;

/// What tenants keep, in bytes, and when that was measured.
#[derive(Default)]
pub(crate) struct Measures(Mutex<HashMap<TenantId, (u64, DateTime<Utc>)>>);

impl Measures {
    fn all(&self) -> MutexGuard<'_, HashMap<TenantId, (u64, DateTime<Utc>)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, tenant: TenantId, now: DateTime<Utc>) -> Option<u64> {
        self.all().get(&tenant).filter(|(_, at)| now - at < GOOD).map(|(bytes, _)| *bytes)
    }

    fn set(&self, tenant: TenantId, bytes: u64, now: DateTime<Utc>) {
        let mut all = self.all();
        if all.len() >= KNOWN {
            all.clear();
        }
        all.insert(tenant, (bytes, now));
    }

    /// Counts what is about to be kept, if it fits.
    fn claim(&self, tenant: TenantId, more: u64, quota: u64) -> bool {
        let mut all = self.all();
        // A tenant that is not known was forgotten just now, because something was removed.
        let Some((bytes, _)) = all.get_mut(&tenant) else { return true };
        let fits = bytes.saturating_add(more) <= quota;
        *bytes += if fits { more } else { 0 };
        fits
    }

    /// The next who asks measures anew.
    pub fn forget(&self, tenant: TenantId) {
        self.all().remove(&tenant);
    }
}

impl MediaShelf {
    /// Makes sure that the tenant may keep so many bytes more, which count from now on.
    ///
    /// # Errors
    /// `Precondition` if it may not.
    pub(super) async fn claim(&self, tenant: TenantId, more: u64) -> Result<()> {
        let Some(quota) = self.quota_of(tenant).await? else { return Ok(()) };
        if self.measures.claim(tenant, more, quota) { Ok(()) } else { Err(full(quota)) }
    }

    /// Makes sure that the tenant may keep anything at all.
    ///
    /// # Errors
    /// As [`MediaShelf::claim`].
    pub async fn has_room(&self, tenant: TenantId) -> Result<()> {
        let Some(quota) = self.quota_of(tenant).await? else { return Ok(()) };
        let kept = self.measures.of(tenant, self.clock.now());
        if kept.is_none_or(|bytes| bytes < quota) { Ok(()) } else { Err(full(quota)) }
    }

    /// The most that the tenant may keep, in bytes, if there is a limit; then it is known what it keeps.
    async fn quota_of(&self, tenant: TenantId) -> Result<Option<u64>> {
        let megabytes = u64::from(self.settings.get().gateway.media_quota_mb);
        if megabytes == 0 {
            return Ok(None);
        }
        let now = self.clock.now();
        if self.measures.of(tenant, now).is_none() {
            let bytes = self.measured(tenant).await?;
            self.measures.set(tenant, bytes, now);
        }
        Ok(Some(megabytes * MEGABYTE))
    }

    async fn measured(&self, tenant: TenantId) -> Result<u64> {
        let root = self.settings.get().agents.workspace.clone();
        let (mut bytes, mut after) = (0, None);
        loop {
            let page = self.store.of_tenant(tenant, after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(bytes) };
            after = Some(last.id);
            bytes += self.disk.total(&root, page.into_iter().map(|media| PathBuf::from(media.path)).collect()).await?;
        }
    }
}

fn full(quota: u64) -> Error {
    Error::new(ErrorKind::Precondition, message::media_quota(quota / MEGABYTE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_counts_until_it_is_measured_anew() {
        let (measures, tenant, now) = (Measures::default(), TenantId::MASTER, DateTime::UNIX_EPOCH);
        assert_eq!(measures.of(tenant, now), None);
        measures.set(tenant, 7, now);
        assert!(measures.claim(tenant, 3, 10) && !measures.claim(tenant, 1, 10));
        assert_eq!(measures.of(tenant, now + GOOD / 2), Some(10), "what did not fit does not count");
        assert_eq!(measures.of(tenant, now + GOOD), None);
        measures.forget(tenant);
        assert_eq!(measures.of(tenant, now), None);
        assert!(measures.claim(tenant, u64::MAX, 10), "whoever removes something is in nobody's way");
    }
}
