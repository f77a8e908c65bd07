//! Request quotas: how much each user may ask in an hour, a day and a week (`gateway.quota`).

use crate::settings::LiveSettings;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{
    Error, ErrorKind, Result, TenantId,
    clock::Clock,
    message,
    usage::{UsageStore, UserRequests},
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How long a user's count is believed; what the user asks in the meantime is added to it.
const BELIEVED: TimeDelta = TimeDelta::seconds(60);
/// How many users are remembered at most.
const USERS: usize = 10_000;

/// The operator's quotas.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuotaSettings {
    /// Whether they hold.
    pub enabled: bool,
    /// For everybody who is not named below.
    pub default: QuotaLimits,
    /// By the agent's provider.
    pub providers: BTreeMap<String, QuotaLimits>,
    /// By channel.
    pub channels: BTreeMap<String, QuotaLimits>,
    /// By user or group.
    pub groups: BTreeMap<String, QuotaLimits>,
}

/// How many requests there may be; 0 for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QuotaLimits {
    /// Within an hour.
    pub hour: u32,
    /// Within 24 hours.
    pub day: u32,
    /// Within seven days.
    pub week: u32,
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// Who asks: a user, or a channel's group as a whole; "" is nobody in particular.
    pub user: &'a str,
    /// How: `ws`, `http`, `wake`, or the name of a channel.
    pub channel: &'a str,
    /// The provider of the agent that is asked.
    pub provider: &'a str,
}

impl QuotaLimits {
    fn limits_something(self) -> bool {
        self != Self::default()
    }

    /// Refuses one more request, if one of the limits is reached.
    fn check(self, asked: &UserRequests) -> Result<()> {
        let reached = |asked: i64, limit: u32| limit > 0 && asked >= i64::from(limit);
        let refusal = if reached(asked.hour, self.hour) {
            message::quota_hour(asked.hour, self.hour)
        } else if reached(asked.day, self.day) {
            message::quota_day(asked.day, self.day)
        } else if reached(asked.week, self.week) {
            message::quota_week(asked.week, self.week)
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::RateLimited, refusal))
    }
}

impl QuotaSettings {
    /// The limits of a request: the first of the user's or group's, the channel's, the provider's and everybody's that limit anything.
    fn of(&self, source: Source<'_>) -> QuotaLimits {
        let named = [self.groups.get(source.user), self.channels.get(source.channel), self.providers.get(source.provider)];
        named.into_iter().flatten().copied().find(|limits| limits.limits_something()).unwrap_or(self.default)
    }

    /// The limits of a user, whatever the channel and the provider.
    pub(crate) fn of_user(&self, user: &str) -> QuotaLimits {
        self.of(Source { user, channel: "", provider: "" })
    }
}

/// Lets requests in, or turns them away.
pub struct RequestQuotas {
    store: Arc<dyn UsageStore>,
    settings: Arc<LiveSettings>,
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<(TenantId, String), Known>>,
}

struct Known {
    since: DateTime<Utc>,
    asked: UserRequests,
}

impl RequestQuotas {
    /// Counts by this store's traces.
    pub(crate) fn new(store: Arc<dyn UsageStore>, settings: Arc<LiveSettings>, clock: Arc<dyn Clock>) -> Self {
        Self { store, settings, clock, known: Mutex::default() }
    }

    /// Counts a request, unless its quota is used up: then nothing may be run or stored. What channels, sockets and REST start goes
    /// through here. A database that cannot be asked lets requests in.
    ///
    /// # Errors
    /// `RateLimited`, with a text for the user that names the window and the numbers.
    pub async fn admit(&self, tenant: TenantId, source: Source<'_>) -> Result<()> {
        let settings = self.settings.get();
        let quota = &settings.gateway.quota;
        let limits = quota.of(source);
        if !quota.enabled || !limits.limits_something() {
            return Ok(());
        }
        let now = self.clock.now();
        let key = (tenant, source.user.to_owned());
        if let Some(decision) = self.decide(&key, limits, now) {
            return decision;
        }
        let counted = match self.store.requests(tenant, Some(source.user), now, 1).await {
            Ok(counted) => counted.into_iter().next().unwrap_or_default(),
            Err(error) => {
                tracing::warn!(%error, "requests could not be counted; the quota lets this one in");
                return Ok(());
            }
        };
        self.remember(&key, Known { since: now, asked: counted.clone() });
        self.decide(&key, limits, now).unwrap_or_else(|| limits.check(&counted))
    }

    /// What is decided by what is known of the user; `None` if that is too little.
    fn decide(&self, key: &(TenantId, String), limits: QuotaLimits, now: DateTime<Utc>) -> Option<Result<()>> {
        let mut known = self.open();
        let known = known.get_mut(key).filter(|known| now - known.since < BELIEVED)?;
        let decision = limits.check(&known.asked);
        if decision.is_ok() {
            let UserRequests { hour, day, week, .. } = &mut known.asked;
            [hour, day, week].into_iter().for_each(|count| *count += 1);
        }
        Some(decision)
    }

    /// Remembers what was counted, unless somebody else was first: then requests may have been added.
    fn remember(&self, key: &(TenantId, String), counted: Known) {
        let mut known = self.open();
        if known.get(key).is_some_and(|there| counted.since - there.since < BELIEVED) {
            return;
        }
        if known.len() >= USERS {
            known.retain(|_, there| counted.since - there.since < BELIEVED);
        }
        if known.len() < USERS {
            known.insert(key.clone(), counted);
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<(TenantId, String), Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(hour: u32, day: u32, week: u32) -> QuotaLimits {
        QuotaLimits { hour, day, week }
    }

    #[test]
    fn the_first_limit_that_limits_anything_holds() {
        let by = |name: &str, limits| BTreeMap::from([(name.to_owned(), limits)]);
        let settings = QuotaSettings {
            enabled: true,
            default: limits(9, 0, 0),
            providers: by("openai", limits(0, 8, 0)),
            channels: by("telegram", limits(0, 0, 7)),
            groups: [by("group:telegram:1", limits(6, 0, 0)), by("mai", limits(0, 0, 0))].into_iter().flatten().collect(),
        };
        let of = |user, channel, provider| settings.of(Source { user, channel, provider });
        assert_eq!(of("group:telegram:1", "telegram", "openai"), limits(6, 0, 0));
        assert_eq!(of("mai", "telegram", "openai"), limits(0, 0, 7));
        assert_eq!(of("mai", "ws", "openai"), limits(0, 8, 0));
        assert_eq!(of("mai", "ws", "other"), limits(9, 0, 0));
        assert_eq!(settings.of_user("group:telegram:1"), limits(6, 0, 0));
    }

    #[test]
    fn a_refusal_names_the_first_window_that_is_full() {
        let asked = UserRequests { hour: 2, day: 5, week: 9, ..UserRequests::default() };
        let refused = |limits: QuotaLimits| limits.check(&asked).unwrap_err().to_string();
        assert!(limits(3, 6, 10).check(&asked).is_ok() && limits(0, 0, 0).check(&asked).is_ok());
        assert_eq!(refused(limits(2, 5, 9)), "your quota is used up: 2 of 2 requests within an hour");
        assert_eq!(refused(limits(3, 4, 9)), "your quota is used up: 5 of 4 requests within a day");
        assert_eq!(refused(limits(0, 0, 9)), "your quota is used up: 9 of 9 requests within a week");
    }
}
