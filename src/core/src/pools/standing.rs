//! Whether accounts can be used now, as far as is known.

use crate::oauth::QuotaEnvelope;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    TenantId,
    clock::Clock,
    llm::{LlmError, LlmErrorKind},
};
use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::runtime::Handle;

/// For how long a standing is taken for granted.
const LIFE: TimeDelta = TimeDelta::seconds(20);

/// Whether an account can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It has something left.
    Healthy,
    /// Nobody knows.
    Unknown,
    /// It cannot, and why.
    Blocked(&'static str),
}

impl Standing {
    /// What an account's quota says.
    pub fn of(quota: &QuotaEnvelope) -> Self {
        if quota.success {
            let core = quota.core_usage.iter().flat_map(|core| [&core.five_hour, &core.weekly]).flatten();
            let left: Vec<i64> = core.map(|window| window.remaining_percent).collect();
            return match left.as_slice() {
                [] => Self::Unknown,
                left if left.iter().all(|percent| *percent > 0) => Self::Healthy,
                _ => Self::Blocked("exhausted"),
            };
        }
        match quota.error_code {
            _ if quota.needs_reauth => Self::Blocked("reauth"),
            _ if quota.is_forbidden => Self::Blocked("forbidden"),
            Some("missing_account_id") => Self::Blocked("needs_setup"),
            Some("payment_required") => Self::Blocked("billing"),
            _ => Self::Unknown,
        }
    }

    /// What a failed call says; `None` if nothing that lasts.
    pub fn after(error: &LlmError) -> Option<Self> {
        match (error.status, error.kind) {
            (Some(401), _) => Some(Self::Blocked("reauth")),
            (Some(402), _) | (_, LlmErrorKind::Billing) => Some(Self::Blocked("billing")),
            (Some(403), _) => Some(Self::Blocked("forbidden")),
            (_, LlmErrorKind::RateLimit) if error.quota_used_up() => Some(Self::Blocked("exhausted")),
            (None, LlmErrorKind::Auth) => Some(Self::Blocked("reauth")),
            _ => None,
        }
    }
}

/// Remembers standings for a while.
pub(crate) struct Standings {
    known: Mutex<HashMap<(TenantId, String), Arc<Entry>>>,
    clock: Arc<dyn Clock>,
    runtime: Handle,
}

#[derive(Default)]
struct Entry {
    last: Mutex<Option<(Standing, DateTime<Utc>)>>,
    /// Held while an account is looked at for the first time.
    turn: tokio::sync::Mutex<()>,
    looking: AtomicBool,
}

impl Entry {
    fn last(&self) -> Option<(Standing, DateTime<Utc>)> {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, standing: Standing, now: DateTime<Utc>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some((standing, now));
    }
}

impl Standings {
    pub fn new(clock: Arc<dyn Clock>, runtime: Handle) -> Arc<Self> {
        Arc::new(Self { known: Mutex::default(), clock, runtime })
    }

    fn entry(&self, tenant: TenantId, provider: &str) -> Arc<Entry> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).entry((tenant, provider.to_owned())).or_default().clone()
    }

    /// An account's standing. What is a little old is answered at once, while `look` finds out anew.
    pub async fn of(&self, tenant: TenantId, provider: &str, look: impl Future<Output = Standing> + Send + 'static) -> Standing {
        let entry = self.entry(tenant, provider);
        if let Some((standing, at)) = entry.last() {
            if self.clock.now() - at >= LIFE && !entry.looking.swap(true, Ordering::AcqRel) {
                let clock = self.clock.clone();
                self.runtime.spawn(async move {
                    let standing = look.await;
                    entry.set(standing, clock.now());
                    entry.looking.store(false, Ordering::Release);
                });
            }
            return standing;
        }
        let _turn = entry.turn.lock().await;
        if let Some((standing, _)) = entry.last() {
            return standing;
        }
        let standing = look.await;
        entry.set(standing, self.clock.now());
        standing
    }

    /// Notes what a call has shown.
    pub fn note(&self, tenant: TenantId, provider: &str, standing: Standing) {
        self.entry(tenant, provider).set(standing, self.clock.now());
    }

    /// Looks anew the next time.
    pub fn forget(&self, tenant: TenantId, provider: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&(tenant, provider.to_owned()));
    }
}

/// In which order accounts are asked, the first to be asked first. `turn` counts the questions of a round robin.
pub(super) fn order(strategy: super::Strategy, standings: &[Standing], turn: usize) -> Vec<usize> {
    use super::Strategy::{PrimaryFirst, PriorityOrder, RoundRobin};
    let of = |wanted: fn(Standing) -> bool| -> Vec<usize> { (0..standings.len()).filter(|at| wanted(standings[*at])).collect() };
    let (healthy, unknown) = (of(|standing| standing == Standing::Healthy), of(|standing| standing == Standing::Unknown));
    let (mut active, rest) = if healthy.is_empty() { (unknown, vec![]) } else { (healthy, unknown) };
    match strategy {
        PriorityOrder => return of(|standing| !matches!(standing, Standing::Blocked(_))),
        RoundRobin if active.len() > 1 => {
            let first = turn % active.len();
            active.rotate_left(first);
        }
        RoundRobin | PrimaryFirst => {}
    }
    let mut order: Vec<usize> = active.into_iter().chain(rest).collect();
    // The owner of the pool is what the agent asked for: only what is known to fail goes after others.
    if strategy == PrimaryFirst
        && let Some(at) = order.iter().position(|at| *at == 0)
    {
        order[..=at].rotate_right(1);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::{super::Strategy, *};
    use rstest::rstest;

    const H: Standing = Standing::Healthy;
    const U: Standing = Standing::Unknown;
    const B: Standing = Standing::Blocked("x");

    #[rstest]
    #[case(Strategy::PrimaryFirst, &[H, H, H], 5, &[0, 1, 2])]
    #[case(Strategy::PrimaryFirst, &[U, H, U, H], 0, &[0, 1, 3, 2])]
    #[case(Strategy::PrimaryFirst, &[B, U, H], 0, &[2, 1])]
    #[case(Strategy::PriorityOrder, &[U, B, H], 3, &[0, 2])]
    #[case(Strategy::RoundRobin, &[H, H, H], 4, &[1, 2, 0])]
    #[case(Strategy::RoundRobin, &[H, U, H], 1, &[2, 0, 1])]
    #[case(Strategy::RoundRobin, &[U, B, U], 1, &[2, 0])]
    #[case(Strategy::RoundRobin, &[B, H], 1, &[1])]
    #[case(Strategy::RoundRobin, &[B, B], 1, &[])]
    fn the_order_follows_the_strategy(#[case] strategy: Strategy, #[case] standings: &[Standing], #[case] turn: usize, #[case] expected: &[usize]) {
        assert_eq!(order(strategy, standings, turn), expected);
    }

    #[rstest]
    #[case(Some(401), LlmErrorKind::Auth, "x", Some(Standing::Blocked("reauth")))]
    #[case(Some(402), LlmErrorKind::Billing, "x", Some(Standing::Blocked("billing")))]
    #[case(Some(403), LlmErrorKind::Auth, "x", Some(Standing::Blocked("forbidden")))]
    #[case(Some(429), LlmErrorKind::RateLimit, "usage_limit_reached", Some(Standing::Blocked("exhausted")))]
    #[case(None, LlmErrorKind::RateLimit, "The usage limit has been reached", Some(Standing::Blocked("exhausted")))]
    #[case(Some(429), LlmErrorKind::RateLimit, "slow down", None)]
    #[case(Some(429), LlmErrorKind::RateLimit, "quota of requests per minute", None)]
    #[case(Some(503), LlmErrorKind::Overloaded, "x", None)]
    fn a_failure_may_block_an_account(#[case] status: Option<u16>, #[case] kind: LlmErrorKind, #[case] text: &str, #[case] standing: Option<Standing>) {
        assert_eq!(Standing::after(&LlmError { kind, status, text: text.into(), retry_after: None }), standing);
    }
}
