//! When a failed call is tried again.

use chrono::{DateTime, Utc};
use std::time::Duration;

/// How often and after which pauses a call is tried again.
#[derive(Debug, Clone, PartialEq)]
pub struct RetryPolicy {
    /// How many attempts there are in all, at least 1.
    pub attempts: u32,
    /// The pause after the first failure; it doubles with each further one.
    pub base: Duration,
    /// The longest pause that doubling reaches.
    pub cap: Duration,
    /// By how much a pause varies either way, as a part of it.
    pub jitter: f64,
    /// The longest pause that an upstream may ask for. Who asks for more is not asked again.
    pub retry_after_cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { attempts: 3, base: Duration::from_millis(300), cap: Duration::from_secs(30), jitter: 0.1, retry_after_cap: Duration::from_secs(60) }
    }
}

impl RetryPolicy {
    /// The pause after failure number `attempt` (from 1); `None` if the upstream asks for one that nobody waits for. `chance` is in 0..1.
    pub(crate) fn pause(&self, attempt: u32, retry_after: Option<Duration>, chance: f64) -> Option<Duration> {
        if let Some(wait) = retry_after {
            return (wait <= self.retry_after_cap).then_some(wait);
        }
        let doubled = self.base.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1))).min(self.cap);
        Some(doubled.mul_f64((1.0 + self.jitter * (2.0 * chance - 1.0)).max(0.0)))
    }
}

/// Reads a `Retry-After`: whole seconds, or a date that is still to come.
pub(crate) fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    (date.with_timezone(&Utc) - now).to_std().ok().filter(|wait| !wait.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::llm::{LlmError, LlmErrorKind};

    #[test]
    fn pauses_double_up_to_the_cap_and_vary_by_a_tenth() {
        let policy = RetryPolicy::default();
        let millis = |attempt, chance| policy.pause(attempt, None, chance).unwrap().as_millis();
        assert_eq!([millis(1, 0.5), millis(2, 0.5), millis(3, 0.5), millis(30, 0.5)], [300, 600, 1200, 30_000]);
        assert_eq!([millis(1, 0.0), millis(1, 1.0)], [270, 330]);
    }

    #[test]
    fn the_upstream_decides_up_to_its_cap() {
        let policy = RetryPolicy::default();
        for (asked, pause) in [(0, Some(0)), (7, Some(7)), (60, Some(60)), (61, None), (7000, None)] {
            assert_eq!(policy.pause(1, Some(Duration::from_secs(asked)), 0.3), pause.map(Duration::from_secs), "{asked}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_in_the_future() {
        let now = DateTime::parse_from_rfc3339("2026-01-02T03:04:00Z").unwrap().to_utc();
        assert_eq!(retry_after(" 12 ", now), Some(Duration::from_secs(12)));
        assert_eq!(retry_after("Fri, 02 Jan 2026 03:04:30 GMT", now), Some(Duration::from_secs(30)));
        assert_eq!(retry_after("Fri, 02 Jan 2026 03:03:30 GMT", now), None);
        assert_eq!(retry_after("soon", now), None);
        assert_eq!(retry_after("-1", now), None);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let may_pass = |error: LlmError| error.may_pass();
        let error = |status, text: &str| LlmError { kind: LlmErrorKind::Other, status, text: text.into(), retry_after: None };
        for status in [408, 429, 500, 502, 503, 504, 529] {
            assert!(may_pass(error(Some(status), "")), "{status}");
        }
        for status in [400, 401, 402, 403, 404, 409, 413, 422, 501] {
            assert!(!may_pass(error(Some(status), "timeout")), "{status}");
        }
        assert!(may_pass(error(Some(409), "Lock conflict")));
        assert!(may_pass(error(None, "p: network error: refused")));
        assert!(!may_pass(error(None, "p: the answer is no JSON")));
    }
}
