//! How events look between replicas: a batch is a JSON array of them.

use chrono::{DateTime, Utc};
use goclaw_ports::{TenantId, events::Event};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{borrow::Cow, sync::Arc};

/// The event that says no more than that its replica is there. No listener hears it.
const ALIVE: &str = "bus.alive";
/// The last event of a replica that stops. No listener hears it either.
const LEAVING: &str = "bus.leaving";

#[derive(Serialize)]
struct Written<'a> {
    /// When it was published, in milliseconds since 1970.
    at: i64,
    tenant: TenantId,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    payload: &'a Value,
}

#[derive(Deserialize)]
struct Read {
    at: i64,
    tenant: TenantId,
    name: String,
    user: Option<Arc<str>>,
    payload: Arc<Value>,
}

/// One event.
pub fn line(event: &Event, now: DateTime<Utc>) -> String {
    let written = Written { at: now.timestamp_millis(), tenant: event.tenant, name: &event.name, user: event.user.as_deref(), payload: &event.payload };
    // It fails only for maps whose keys are no strings, and a JSON value has none.
    serde_json::to_string(&written).unwrap_or_default()
}

/// "I am here."
pub fn alive(now: DateTime<Utc>) -> String {
    line(&Event::new(TenantId::MASTER, ALIVE, json!(null)), now)
}

/// "I go."
pub fn leaving(now: DateTime<Utc>) -> String {
    line(&Event::new(TenantId::MASTER, LEAVING, json!(null)), now)
}

/// The events of a batch.
pub fn batch(lines: &[String]) -> String {
    format!("[{}]", lines.join(","))
}

/// What a batch holds.
pub struct Opened {
    /// What listeners are to hear.
    pub events: Vec<Event>,
    /// When the newest of it was published.
    pub at: Option<i64>,
    /// Whether its replica says nothing more.
    pub leaving: bool,
}

/// Reads a batch.
///
/// # Errors
/// If it is none.
pub fn open(batch: &str) -> Result<Opened, serde_json::Error> {
    let read: Vec<Read> = serde_json::from_str(batch)?;
    let at = read.last().map(|read| read.at);
    let leaving = read.last().is_some_and(|read| read.name == LEAVING);
    let events = read
        .into_iter()
        .filter(|read| read.name != ALIVE && read.name != LEAVING)
        .map(|read| Event { tenant: read.tenant, name: Cow::Owned(read.name), user: read.user, payload: read.payload })
        .collect();
    Ok(Opened { events, at, leaving })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_arrive_as_they_were_sent() {
        let one = Event::new(TenantId::MASTER, "agent", json!({"text": "a \"b\" \u{0}\u{2028} ü", "n": [1, 2.5, null]})).of_user("u");
        let other = Event::new(TenantId(uuid::Uuid::nil()), "session.updated", json!(null));
        let now = DateTime::from_timestamp_millis(1_700_000_000_123).unwrap();
        let opened = open(&batch(&[line(&one, now), alive(now), line(&other, now)])).unwrap();
        assert_eq!(opened.events, [one, other]);
        assert_eq!((opened.at, opened.leaving), (Some(1_700_000_000_123), false));
    }

    #[test]
    fn a_replica_that_says_something_more_does_not_leave() {
        let now = DateTime::UNIX_EPOCH;
        let opened = open(&batch(&[alive(now), leaving(now)])).unwrap();
        assert!(opened.leaving && opened.events.is_empty());
        assert!(!open(&batch(&[leaving(now), alive(now)])).unwrap().leaving);
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        assert!(open("{}").is_err());
        assert!(open("[{\"name\": \"agent\"}]").is_err());
    }
}
