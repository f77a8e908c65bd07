//! Changes to a heartbeat, checked, and what follows from them for the time it is due.

use super::hours;
use chrono::{DateTime, TimeDelta, Utc};
use goclaw_ports::{AgentId, Error, HeartbeatId, ProviderId, Result, heartbeats::Heartbeat, message};
use serde::Deserialize;

/// The shortest interval, in seconds.
const MIN_INTERVAL: i64 = 300;
/// The longest: a year.
const MAX_INTERVAL: i64 = 31_536_000;
const DEFAULT_INTERVAL: i64 = 1_800;
const DEFAULT_ACK_CHARS: i64 = 300;
const DEFAULT_RETRIES: i32 = 2;
const MAX_RETRIES: i64 = 10;
/// The longest order, in bytes.
const MAX_PROMPT: usize = 32 * 1024;
/// The longest name of a model, a channel or a chat, in bytes.
const MAX_NAME: usize = 255;

/// What is to change of a heartbeat. What is left out stays; an empty text clears.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct HeartbeatChange {
    /// The agent: its id or key.
    pub agent_id: String,
    /// Whether it runs by itself.
    pub enabled: Option<bool>,
    /// The time between two runs, in seconds: 300 or more.
    #[serde(alias = "interval")]
    pub interval_sec: Option<i64>,
    /// The order that the agent gets.
    pub prompt: Option<String>,
    /// The provider that is asked instead of the agent's. It must be there.
    pub provider_name: Option<String>,
    /// The model that is asked instead of the agent's.
    pub model: Option<String>,
    /// Whether each run has a conversation of its own.
    pub isolated_session: Option<bool>,
    /// Whether the agent's context files stay out of the prompt.
    pub light_context: Option<bool>,
    /// Kept for clients.
    pub ack_max_chars: Option<i64>,
    /// How often a run that failed is tried again: 0 to 10.
    pub max_retries: Option<i64>,
    /// From when on in a day it runs, as `HH:MM`.
    pub active_hours_start: Option<String>,
    /// Until when, exclusive.
    pub active_hours_end: Option<String>,
    /// The IANA time zone of the hours.
    pub timezone: Option<String>,
    /// Where answers are delivered.
    pub channel: Option<String>,
    /// In which chat there.
    pub chat_id: Option<String>,
}

/// A provider that was looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ProviderChoice {
    /// Of the tenant's own ones.
    pub id: Option<ProviderId>,
    pub name: String,
}

/// A change whose values are right by themselves.
pub(super) struct Checked {
    change: HeartbeatChange,
    /// The provider's name; `Some(None)` clears it.
    pub provider: Option<Option<String>>,
    interval: Option<i64>,
    ack_chars: Option<i64>,
    retries: Option<i32>,
    timezone: Option<Option<String>>,
}

impl Checked {
    /// # Errors
    /// `Invalid` for values that are wrong.
    pub fn new(change: HeartbeatChange) -> Result<Self> {
        for (field, value, limit) in [
            ("prompt", &change.prompt, MAX_PROMPT),
            ("model", &change.model, MAX_NAME),
            ("channel", &change.channel, MAX_NAME),
            ("chatId", &change.chat_id, MAX_NAME),
        ] {
            let Some(text) = value else { continue };
            if text.len() > limit {
                return Err(Error::invalid(message::too_long(field, limit)));
            }
            if text.contains(|c: char| c.is_control() && (field != "prompt" || c == '\0')) {
                return Err(Error::invalid_request(format!("{field} holds control characters")));
            }
        }
        for (field, value) in [("activeHoursStart", &change.active_hours_start), ("activeHoursEnd", &change.active_hours_end)] {
            if value.as_deref().is_some_and(|text| !text.is_empty() && hours::minute_of_day(text).is_none()) {
                return Err(Error::invalid(message::invalid_time_of_day(field)));
            }
        }
        let zone = |name: &String| match name.as_str() {
            "" => Ok(None),
            name => hours::zone(name).map(|zone| Some(zone.name().to_owned())).ok_or_else(|| Error::invalid(message::unknown_timezone(name))),
        };
        Ok(Self {
            interval: change.interval_sec.map(|interval| within("intervalSec", interval, MIN_INTERVAL, MAX_INTERVAL)).transpose()?,
            ack_chars: change.ack_max_chars.map(|chars| within("ackMaxChars", chars, 0, i32::MAX.into())).transpose()?,
            retries: change.max_retries.map(|retries| within("maxRetries", retries, 0, MAX_RETRIES)).transpose()?,
            timezone: change.timezone.as_ref().map(zone).transpose()?,
            provider: cleared(&change.provider_name),
            change,
        })
    }

    /// The heartbeat with the changes, and due when it should be then.
    ///
    /// # Errors
    /// `Invalid` if only one end of the active hours would be set.
    pub fn applied(&self, before: Heartbeat, provider: Option<Option<ProviderChoice>>, now: DateTime<Utc>) -> Result<Heartbeat> {
        let Self { change, interval, ack_chars, retries, timezone, .. } = self;
        let mut after = before.clone();
        set(&mut after.enabled, change.enabled);
        set(&mut after.interval_sec, *interval);
        set(&mut after.isolated_session, change.isolated_session);
        set(&mut after.light_context, change.light_context);
        set(&mut after.ack_max_chars, *ack_chars);
        set(&mut after.max_retries, *retries);
        set(&mut after.prompt, cleared(&change.prompt));
        set(&mut after.model, cleared(&change.model));
        set(&mut after.active_hours_start, cleared(&change.active_hours_start));
        set(&mut after.active_hours_end, cleared(&change.active_hours_end));
        set(&mut after.timezone, timezone.clone());
        set(&mut after.channel, cleared(&change.channel));
        set(&mut after.chat_id, cleared(&change.chat_id));
        if let Some(provider) = provider {
            (after.provider_id, after.provider_name) = provider.map_or((None, None), |provider| (provider.id, Some(provider.name)));
        }
        if after.active_hours_start.is_some() != after.active_hours_end.is_some() {
            return Err(Error::invalid(message::heartbeat_half_hours()));
        }
        if after.interval_sec != before.interval_sec && after.next_run_at.is_some() {
            after.next_run_at = Some(now + seconds(after.interval_sec));
        }
        if after.enabled && after.next_run_at.is_none() {
            after.next_run_at = Some(now + seconds(after.interval_sec + stagger(after.agent_id, after.interval_sec)));
        }
        after.updated_at = now;
        Ok(after)
    }
}

/// A heartbeat of which nothing is set yet.
pub(super) fn fresh(id: HeartbeatId, agent: AgentId, now: DateTime<Utc>) -> Heartbeat {
    Heartbeat {
        id,
        agent_id: agent,
        enabled: false,
        interval_sec: DEFAULT_INTERVAL,
        prompt: None,
        provider_id: None,
        provider_name: None,
        model: None,
        isolated_session: true,
        light_context: false,
        ack_max_chars: DEFAULT_ACK_CHARS,
        max_retries: DEFAULT_RETRIES,
        active_hours_start: None,
        active_hours_end: None,
        timezone: None,
        channel: None,
        chat_id: None,
        next_run_at: None,
        last_run_at: None,
        last_status: None,
        last_error: None,
        run_count: 0,
        suppress_count: 0,
        metadata: None,
        created_at: now,
        updated_at: now,
    }
}

/// The heartbeat, switched on or off. One that is due since it was switched off runs at once.
pub(super) fn switched(mut beat: Heartbeat, enabled: bool, now: DateTime<Utc>) -> Heartbeat {
    beat.enabled = enabled;
    if enabled && beat.next_run_at.is_none() {
        beat.next_run_at = Some(now + seconds(beat.interval_sec));
    }
    beat.updated_at = now;
    beat
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

/// A text of a change: `Some(None)` if it is empty, which clears.
fn cleared(text: &Option<String>) -> Option<Option<String>> {
    text.as_ref().map(|text| Some(text.clone()).filter(|text| !text.trim().is_empty()))
}

fn within<T: TryFrom<i64>>(field: &str, value: i64, min: i64, max: i64) -> Result<T> {
    let fits = T::try_from(value).ok().filter(|_| (min..=max).contains(&value));
    fits.ok_or_else(|| Error::invalid(message::out_of_range(field, min, max)))
}

fn seconds(seconds: i64) -> TimeDelta {
    TimeDelta::seconds(seconds)
}

/// How much later than others an agent's first heartbeat is, in seconds, so that agents that were switched on together do
/// not run together: FNV-1a of its id, within a tenth of the interval.
fn stagger(agent: AgentId, interval: i64) -> i64 {
    let hash = agent.0.as_bytes().iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    i64::from(hash) % (interval / 10).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::ErrorKind;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::{Value, json};
    use uuid::Uuid;

    fn now() -> DateTime<Utc> {
        "2026-11-27T10:00:00Z".parse().unwrap()
    }

    fn beat() -> Heartbeat {
        fresh(HeartbeatId(Uuid::nil()), AgentId(Uuid::from_u128(7)), now() - TimeDelta::days(1))
    }

    fn apply(before: Heartbeat, change: Value) -> Result<Heartbeat> {
        Checked::new(serde_json::from_value(change).unwrap())?.applied(before, None, now())
    }

    fn from_now(seconds: i64) -> Option<DateTime<Utc>> {
        Some(now() + TimeDelta::seconds(seconds))
    }

    #[test]
    fn the_first_run_after_switching_on_is_an_interval_and_a_little_away() {
        let late = stagger(beat().agent_id, 1_800);
        assert_eq!(apply(beat(), json!({"enabled": true})).unwrap().next_run_at, from_now(1_800 + late));
        assert_eq!(apply(beat(), json!({"prompt": "x"})).unwrap().next_run_at, None);
        assert_eq!(switched(beat(), true, now()).next_run_at, from_now(1_800));
        assert_eq!(switched(beat(), false, now()).next_run_at, None);
    }

    #[test]
    fn what_was_due_stays_due_unless_the_interval_changes() {
        let due = Heartbeat { enabled: true, next_run_at: from_now(-60), ..beat() };
        for change in [json!({}), json!({"enabled": true, "intervalSec": 1_800}), json!({"enabled": false})] {
            assert_eq!(apply(due.clone(), change).unwrap().next_run_at, from_now(-60));
        }
        assert_eq!(apply(due.clone(), json!({"intervalSec": 600})).unwrap().next_run_at, from_now(600));
        assert_eq!(apply(due.clone(), json!({"interval": 900})).unwrap().next_run_at, from_now(900));
        assert_eq!(switched(Heartbeat { enabled: false, ..due }, true, now()).next_run_at, from_now(-60));
    }

    #[rstest]
    #[case(json!({"intervalSec": 299}), false)]
    #[case(json!({"intervalSec": 300}), true)]
    #[case(json!({"intervalSec": 31_536_001}), false)]
    #[case(json!({"intervalSec": i64::MAX}), false)]
    #[case(json!({"maxRetries": 0}), true)]
    #[case(json!({"maxRetries": 10}), true)]
    #[case(json!({"maxRetries": 11}), false)]
    #[case(json!({"maxRetries": -1}), false)]
    #[case(json!({"ackMaxChars": 0}), true)]
    #[case(json!({"ackMaxChars": -1}), false)]
    #[case(json!({"activeHoursStart": "08:00", "activeHoursEnd": "22:00"}), true)]
    #[case(json!({"activeHoursStart": "08:00"}), false)]
    #[case(json!({"activeHoursEnd": "08:00"}), false)]
    #[case(json!({"activeHoursStart": "8:00", "activeHoursEnd": "22:00"}), false)]
    #[case(json!({"activeHoursStart": "08:00", "activeHoursEnd": "24:00"}), false)]
    #[case(json!({"timezone": "Europe/Berlin"}), true)]
    #[case(json!({"timezone": ""}), true)]
    #[case(json!({"timezone": "Mars/Olympus"}), false)]
    #[case(json!({"channel": "tele\ngram"}), false)]
    #[case(json!({"prompt": "line\nline"}), true)]
    #[case(json!({"prompt": "x\u{0}"}), false)]
    #[case(json!({"model": "m".repeat(256)}), false)]
    fn values_are_checked(#[case] change: Value, #[case] good: bool) {
        let applied = apply(beat(), change);
        assert_eq!(applied.as_ref().err().map(|error| error.kind), (!good).then_some(ErrorKind::Invalid), "{applied:?}");
    }

    #[test]
    fn an_empty_text_clears_and_an_absent_one_keeps() {
        let full = apply(beat(), json!({"prompt": "p", "model": "m", "channel": "c", "chatId": "1", "timezone": "Asia/Tokyo"})).unwrap();
        let kept = apply(full.clone(), json!({})).unwrap();
        assert_eq!(kept, full);
        let empty = apply(full, json!({"prompt": "", "model": "", "channel": "", "chatId": "", "timezone": ""})).unwrap();
        assert_eq!(empty, Heartbeat { updated_at: now(), ..beat() });
    }

    #[test]
    fn the_stagger_is_fnv_1a_within_a_tenth_of_the_interval() {
        // FNV-1a of sixteen zero bytes.
        let hash = (0..16).fold(0x811c_9dc5_u32, |hash, _| hash.wrapping_mul(0x0100_0193));
        assert_eq!(stagger(AgentId(Uuid::nil()), 1_800), i64::from(hash % 180));
        assert_eq!(stagger(AgentId(Uuid::from_u128(1)), 5), 0);
    }

    proptest! {
        #[test]
        fn no_stagger_reaches_a_tenth(id: u128, interval in MIN_INTERVAL..=MAX_INTERVAL) {
            prop_assert!((0..interval / 10).contains(&stagger(AgentId(Uuid::from_u128(id)), interval)));
        }
    }
}
