//! Whether it is the time of day.

use chrono::{DateTime, Timelike, Utc};
use chrono_tz::Tz;
use goclaw_ports::heartbeats::Heartbeat;

/// The minute of the day that `HH:MM` names.
pub(super) fn minute_of_day(text: &str) -> Option<u32> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str| (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<u32>().ok()).flatten();
    let (hour, minute) = (two(hour)?, two(minute)?);
    (hour < 24 && minute < 60).then_some(hour * 60 + minute)
}

/// The time zone of this IANA name.
pub(super) fn zone(name: &str) -> Option<Tz> {
    name.parse().ok()
}

/// Whether a heartbeat may run now. Without both ends of its active hours it always may. Hours are those of the clocks in its
/// zone: when clocks change, an hour of the day is missing, or there twice.
pub(super) fn is_active(beat: &Heartbeat, now: DateTime<Utc>) -> bool {
    let minute = |text: &Option<String>| text.as_deref().and_then(minute_of_day);
    let (Some(start), Some(end)) = (minute(&beat.active_hours_start), minute(&beat.active_hours_end)) else { return true };
    let local = now.with_timezone(&beat.timezone.as_deref().and_then(zone).unwrap_or(Tz::UTC));
    let now = local.hour() * 60 + local.minute();
    if start < end { (start..end).contains(&now) } else { now >= start || now < end }
}

#[cfg(test)]
mod tests {
    use super::{super::change::fresh, *};
    use chrono::TimeDelta;
    use goclaw_ports::{AgentId, HeartbeatId};
    use proptest::prelude::*;
    use rstest::rstest;
    use uuid::Uuid;

    fn beat(start: &str, end: &str, zone: &str) -> Heartbeat {
        let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let fresh = fresh(HeartbeatId(Uuid::nil()), AgentId(Uuid::nil()), DateTime::UNIX_EPOCH);
        Heartbeat { active_hours_start: set(start), active_hours_end: set(end), timezone: set(zone), ..fresh }
    }

    #[rstest]
    #[case("08:00", "22:00", "", "2026-11-27T07:59:59Z", false)]
    #[case("08:00", "22:00", "", "2026-11-27T08:00:00Z", true)]
    #[case("08:00", "22:00", "", "2026-11-27T21:59:59Z", true)]
    #[case("08:00", "22:00", "", "2026-11-27T22:00:00Z", false)]
    // Over midnight.
    #[case("22:00", "06:00", "", "2026-11-27T23:00:00Z", true)]
    #[case("22:00", "06:00", "", "2026-11-27T05:59:00Z", true)]
    #[case("22:00", "06:00", "", "2026-11-27T06:00:00Z", false)]
    // All day.
    #[case("08:00", "08:00", "", "2026-11-27T03:00:00Z", true)]
    #[case("", "", "", "2026-11-27T03:00:00Z", true)]
    #[case("08:00", "", "", "2026-11-27T03:00:00Z", true)]
    // In another zone, half an hour off.
    #[case("08:00", "22:00", "Asia/Kolkata", "2026-11-27T02:29:00Z", false)]
    #[case("08:00", "22:00", "Asia/Kolkata", "2026-11-27T02:30:00Z", true)]
    // The same time of day before and after clocks go forward (29 March 2026, 02:00 to 03:00).
    #[case("08:00", "22:00", "Europe/Berlin", "2026-03-28T06:30:00Z", false)]
    #[case("08:00", "22:00", "Europe/Berlin", "2026-03-29T06:30:00Z", true)]
    // Hours that lie within what is left out are never there that day.
    #[case("02:00", "03:00", "Europe/Berlin", "2026-03-29T00:59:00Z", false)]
    #[case("02:00", "03:00", "Europe/Berlin", "2026-03-29T01:00:00Z", false)]
    // The hour that comes twice when clocks go back (25 October 2026) is active twice.
    #[case("02:00", "03:00", "Europe/Berlin", "2026-10-24T23:59:00Z", false)]
    #[case("02:00", "03:00", "Europe/Berlin", "2026-10-25T00:00:00Z", true)]
    #[case("02:00", "03:00", "Europe/Berlin", "2026-10-25T01:59:00Z", true)]
    #[case("02:00", "03:00", "Europe/Berlin", "2026-10-25T02:00:00Z", false)]
    fn hours_are_those_of_the_zones_clocks(#[case] start: &str, #[case] end: &str, #[case] zone: &str, #[case] now: &str, #[case] active: bool) {
        assert_eq!(is_active(&beat(start, end, zone), now.parse().unwrap()), active);
    }

    #[rstest]
    #[case("00:00", Some(0))]
    #[case("23:59", Some(1_439))]
    #[case("24:00", None)]
    #[case("12:60", None)]
    #[case("9:00", None)]
    #[case("09:0", None)]
    #[case("+9:00", None)]
    #[case("0900", None)]
    #[case("", None)]
    fn a_time_of_day_has_two_digits_twice(#[case] text: &str, #[case] expected: Option<u32>) {
        assert_eq!(minute_of_day(text), expected);
    }

    proptest! {
        #[test]
        fn at_any_time_either_the_hours_or_the_rest_of_the_day_is_active(minutes in 0_i64..1_000_000, a in 0_u32..1_440, b in 0_u32..1_440) {
            prop_assume!(a != b);
            let text = |minute: u32| format!("{:02}:{:02}", minute / 60, minute % 60);
            let now = DateTime::UNIX_EPOCH + TimeDelta::minutes(minutes);
            let (one, other) = (beat(&text(a), &text(b), "America/New_York"), beat(&text(b), &text(a), "America/New_York"));
            prop_assert!(is_active(&one, now) != is_active(&other, now));
        }
    }
}
