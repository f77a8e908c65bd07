//! What runs took, for those who look after a tenant.

mod counting;
mod sessions;
mod views;

pub(crate) use counting::Counting;
pub use sessions::{AgentTokens, SessionRecord, UsageBySession, UsageQuery, UsageRecords};
pub use views::{UsageBreakdown, UsageBreakdownRow, UsagePoint, UsageSeries, UsageSummaries, UsageSummary};

use crate::{
    caller::{Access, Caller},
    quotas::QuotaLimits,
    settings::LiveSettings,
};
use chrono::{DateTime, DurationRound, NaiveTime, TimeDelta, Utc};
use goclaw_ports::{
    AgentId, Error, Result,
    clock::Clock,
    message,
    roles::Role,
    usage::{UsageFilter, UsageKey, UsageStore, UsageSum, UserRequests},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::sync::Arc;

/// The time of one count.
pub(crate) const HOUR: TimeDelta = TimeDelta::hours(1);

/// How many users the view of quotas has.
const QUOTA_USERS: i64 = 50;

/// The year 9999.
const FAR_FUTURE: DateTime<Utc> = match DateTime::from_timestamp(253_370_764_800, 0) {
    Some(time) => time,
    None => DateTime::<Utc>::MAX_UTC,
};

/// Usage, for those who read it.
pub struct Usage {
    pub(crate) store: Arc<dyn UsageStore>,
    pub(crate) settings: Arc<LiveSettings>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Which usage is asked for; all given conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of UsageFilter")]
pub struct UsageWish {
    pub from: Option<DateTime<Utc>>,
    pub to: Option<DateTime<Utc>>,
    pub agent_id: Option<AgentId>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub channel: Option<String>,
}

/// What the tenant used since midnight (UTC), and what its quotas leave.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaUsage {
    /// Whether there are quotas.
    pub enabled: bool,
    /// Runs that users started.
    pub requests_today: i64,
    /// Read by models.
    pub input_tokens_today: i64,
    /// Written by models.
    pub output_tokens_today: i64,
    /// US dollars.
    pub cost_today: f64,
    /// Users who asked.
    pub unique_users_today: i64,
    /// Users and their quotas; empty without quotas.
    pub entries: Vec<QuotaEntry>,
}

/// What a user used of a quota.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaEntry {
    /// Who.
    pub user_id: String,
    /// Of the last hour.
    pub hour: QuotaWindow,
    /// Of the last 24 hours.
    pub day: QuotaWindow,
    /// Of the last seven days.
    pub week: QuotaWindow,
}

/// How many requests there were in a time, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct QuotaWindow {
    /// There were.
    pub used: i64,
    /// There may be; 0 for no limit.
    pub limit: i64,
}

impl QuotaEntry {
    fn new(limits: QuotaLimits, asked: UserRequests) -> Self {
        let window = |used, limit: u32| QuotaWindow { used, limit: i64::from(limit) };
        Self { user_id: asked.user_id, hour: window(asked.hour, limits.hour), day: window(asked.day, limits.day), week: window(asked.week, limits.week) }
    }
}

impl Usage {
    /// Usage over time, by hour or by day (UTC): only hours and days in which something was used, oldest first.
    ///
    /// # Errors
    /// `Forbidden` below viewer, `Invalid` without `from` and `to`.
    pub async fn series(&self, caller: &Caller, wish: UsageWish, by_day: bool) -> Result<UsageSeries> {
        caller.require(Role::Viewer, Access::Read, "/v1/usage/timeseries")?;
        let hours = self.store.hours(caller.tenant, &asked(wish)?).await?;
        Ok(UsageSeries { points: if by_day { views::days(hours) } else { hours }.into_iter().map(UsagePoint::from).collect() })
    }

    /// Usage by provider, model, channel or agent.
    ///
    /// # Errors
    /// `Forbidden` below viewer, `Invalid` without `from` and `to`.
    pub async fn breakdown(&self, caller: &Caller, wish: UsageWish, by: UsageKey) -> Result<UsageBreakdown> {
        caller.require(Role::Viewer, Access::Read, "/v1/usage/breakdown")?;
        let rows = self.store.breakdown(caller.tenant, &asked(wish)?, by).await?;
        Ok(UsageBreakdown { rows: rows.into_iter().map(UsageBreakdownRow::from).collect() })
    }

    /// Usage of a period up to now, and of the one before it: `today` (the whole day before), `7d`, `30d`, else 24 hours. The times of `wish`
    /// do not count.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn summary(&self, caller: &Caller, wish: UsageWish, period: &str) -> Result<UsageSummaries> {
        caller.require(Role::Viewer, Access::Read, "/v1/usage/summary")?;
        let now = self.clock.now();
        let length = match period {
            "today" => now - midnight(now),
            "7d" => TimeDelta::days(7),
            "30d" => TimeDelta::days(30),
            _ => TimeDelta::days(1),
        };
        let middle = now - length;
        let begin = if period == "today" { middle - TimeDelta::days(1) } else { middle - length };
        let hours = self.store.hours(caller.tenant, &asked(UsageWish { from: Some(begin), to: Some(now), ..wish })?).await?;
        let mut summaries = [UsageSum::default(); 2];
        for (hour, sum) in hours {
            summaries[usize::from(hour >= middle)] += sum;
        }
        let [previous, current] = summaries.map(UsageSummary::from);
        Ok(UsageSummaries { current, previous })
    }

    /// What was used since midnight, and with quotas the 50 users who asked most in the last seven days. Their limits are their own or
    /// everybody's: those of channels and providers depend on the request.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn quota(&self, caller: &Caller) -> Result<QuotaUsage> {
        caller.require(Role::Viewer, Access::Read, "quota.usage")?;
        let now = self.clock.now();
        let filter = UsageFilter::between(midnight(now), hour_of(now) + HOUR);
        let settings = self.settings.get();
        let quota = &settings.gateway.quota;
        let entries = async {
            let users = if quota.enabled { self.store.requests(caller.tenant, None, now, QUOTA_USERS).await? } else { vec![] };
            Ok(users.into_iter().map(|user| QuotaEntry::new(quota.of_user(&user.user_id), user)).collect())
        };
        let (hours, users, entries) =
            tokio::try_join!(self.store.hours(caller.tenant, &filter), self.store.users_since(caller.tenant, midnight(now)), entries)?;
        let mut today = UsageSum::default();
        hours.into_iter().for_each(|(_, sum)| today += sum);
        Ok(QuotaUsage {
            enabled: quota.enabled,
            requests_today: today.request_count,
            input_tokens_today: today.input_tokens,
            output_tokens_today: today.output_tokens,
            cost_today: today.total_cost,
            unique_users_today: users,
            entries,
        })
    }
}

/// The whole hours that begin within the time that is asked for.
fn asked(wish: UsageWish) -> Result<UsageFilter> {
    let (Some(from), Some(to)) = (wish.from, wish.to) else { return Err(Error::invalid(message::from_and_to_required())) };
    let UsageWish { agent_id, provider, model, channel, .. } = wish;
    Ok(UsageFilter { from: whole_hour(from), to: whole_hour(to), agent_id, provider, model, channel })
}

/// The beginning of the hour.
pub(crate) fn hour_of(time: DateTime<Utc>) -> DateTime<Utc> {
    time.duration_trunc(HOUR).unwrap_or(time)
}

/// The next hour, or this one at its very beginning. No usage is older than 1970, and no database has to know times far away.
pub(crate) fn whole_hour(time: DateTime<Utc>) -> DateTime<Utc> {
    let time = time.clamp(DateTime::UNIX_EPOCH, FAR_FUTURE);
    let hour = hour_of(time);
    if hour == time { hour } else { hour + HOUR }
}

fn midnight(time: DateTime<Utc>) -> DateTime<Utc> {
    time.date_naive().and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hours_that_begin_in_a_time_are_asked_for() {
        let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let wish = UsageWish { from: Some(time("2026-01-02T03:00:00Z")), to: Some(time("2026-01-02T05:00:00.000001Z")), ..UsageWish::default() };
        let filter = asked(wish.clone()).unwrap();
        assert_eq!((filter.from, filter.to), (time("2026-01-02T03:00:00Z"), time("2026-01-02T06:00:00Z")));
        assert!(asked(UsageWish { to: None, ..wish.clone() }).is_err() && asked(UsageWish { from: None, ..wish }).is_err());
        let filter = asked(UsageWish { from: Some(DateTime::<Utc>::MIN_UTC), to: Some(DateTime::<Utc>::MAX_UTC), ..UsageWish::default() }).unwrap();
        assert_eq!((filter.from, filter.to), (DateTime::UNIX_EPOCH, time("9999-01-01T00:00:00Z")));
    }
}
