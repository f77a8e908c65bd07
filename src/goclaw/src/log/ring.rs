//! The newest lines in memory, and those who watch.

use super::fields::{Fields, start_of};
use async_trait::async_trait;
use goclaw_ports::{
    clock::{Clock, SystemClock},
    logs::{LogLevel, LogRecord, LogStream, Logs},
    message,
};
use serde_json::Value;
use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::broadcast::{self, error::RecvError};
use tracing::{Event, Level, Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_subscriber::{
    Layer,
    layer::{Context, Filter},
    registry::LookupSpan,
};

/// How many lines are kept, of info and above; as many of debug while somebody wants those.
const KEPT: usize = 1_000;
/// How far a watcher may be behind before it misses lines.
const BEHIND: usize = 1_024;
/// The longest message, in bytes.
const MESSAGE: usize = 8 << 10;
/// The most of all attributes together, in bytes.
const ATTRIBUTES: usize = 2 << 10;
/// Attributes that say which part of the gateway speaks.
const SOURCES: [&str; 3] = ["component", "source", "module"];
/// Whose debug lines are ever wanted: our own crates'.
const OURS: &str = "goclaw";

type Record = Arc<LogRecord>;

/// The newest lines.
pub struct Ring {
    kept: Mutex<Kept>,
    /// Lines of info and above. Who does not want debug lines must not miss others because of them.
    important: broadcast::Sender<Record>,
    all: broadcast::Sender<Record>,
    debugging: AtomicBool,
    /// How many want debug lines.
    debuggers: Mutex<usize>,
}

/// Lines with their numbers, oldest first.
#[derive(Default)]
struct Kept {
    next: u64,
    important: VecDeque<(u64, Record)>,
    debug: VecDeque<(u64, Record)>,
}

impl Default for Ring {
    fn default() -> Self {
        Self {
            kept: Mutex::default(),
            important: broadcast::Sender::new(BEHIND),
            all: broadcast::Sender::new(BEHIND),
            debugging: AtomicBool::new(false),
            debuggers: Mutex::default(),
        }
    }
}

/// The layer that fills the ring.
pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(ring: &Arc<Ring>) -> impl Layer<S> {
    Filling(ring.clone()).with_filter(Wanted(ring.clone()))
}

impl Ring {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, record: LogRecord) {
        let record = Arc::new(record);
        let mut kept = self.kept();
        let number = kept.next;
        kept.next += 1;
        let important = record.level > LogLevel::Debug;
        let lines = if important { &mut kept.important } else { &mut kept.debug };
        if lines.len() >= KEPT {
            lines.pop_front();
        }
        lines.push_back((number, record.clone()));
        // Under the lock, so that a new watcher neither misses a line nor gets it twice. It fails if nobody watches.
        if important {
            drop(self.important.send(record.clone()));
        }
        drop(self.all.send(record));
    }

    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && (*metadata.level() <= Level::INFO
                || (*metadata.level() == Level::DEBUG && self.debugging.load(Ordering::Relaxed) && metadata.target().starts_with(OURS)))
    }

    fn count_debuggers(&self, change: impl FnOnce(&mut usize)) {
        let mut debuggers = self.debuggers.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut debuggers);
        let wanted = *debuggers > 0;
        if self.debugging.swap(wanted, Ordering::Relaxed) != wanted {
            tracing::callsite::rebuild_interest_cache();
            if !wanted {
                self.kept().debug = VecDeque::new();
            }
        }
    }
}

struct Filling(Arc<Ring>);

impl<S: Subscriber> Layer<S> for Filling {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.0.push(record_of(event));
    }
}

struct Wanted(Arc<Ring>);

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.0.wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.0.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if self.0.debugging.load(Ordering::Relaxed) { LevelFilter::DEBUG } else { LevelFilter::INFO })
    }
}

fn record_of(event: &Event<'_>) -> LogRecord {
    let fields = Fields::of(event);
    let mut record = LogRecord {
        timestamp: SystemClock.now().timestamp_millis(),
        level: match *event.metadata().level() {
            Level::ERROR => LogLevel::Error,
            Level::WARN => LogLevel::Warn,
            Level::INFO => LogLevel::Info,
            _ => LogLevel::Debug,
        },
        message: start_of(&fields.message, MESSAGE).to_owned(),
        source: String::new(),
        attrs: BTreeMap::new(),
    };
    let mut room = ATTRIBUTES;
    for field in fields.values {
        let text = match field.value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let text = start_of(&text, room);
        room -= text.len();
        if SOURCES.contains(&field.name) && record.source.is_empty() {
            text.clone_into(&mut record.source);
        } else {
            record.attrs.insert(field.name.to_owned(), text.to_owned());
        }
    }
    if record.source.is_empty() {
        let target = fields.target.as_deref().unwrap_or_else(|| event.metadata().target());
        target.rsplit("::").next().unwrap_or(target).clone_into(&mut record.source);
    }
    record
}

/// The ring, for those who watch it.
pub struct Watched(pub Arc<Ring>);

impl Logs for Watched {
    fn tail(&self, level: LogLevel, count: usize) -> (Vec<Record>, Box<dyn LogStream>) {
        let debugging = (level == LogLevel::Debug).then(|| Debugging::begin(&self.0));
        let kept = self.0.kept();
        let records = if debugging.is_some() { &self.0.all } else { &self.0.important }.subscribe();
        let important = kept.important.iter().rev().filter(|(_, record)| record.level >= level).take(count);
        let debug = kept.debug.iter().rev().filter(|_| debugging.is_some()).take(count);
        let mut newest: Vec<_> = important.chain(debug).cloned().collect();
        drop(kept);
        newest.sort_by_key(|(number, _)| *number);
        let newest = newest.split_off(newest.len().saturating_sub(count));
        (newest.into_iter().map(|(_, record)| record).collect(), Box::new(Watching { records, level, _debugging: debugging }))
    }
}

/// Keeps debug lines coming until it is dropped.
struct Debugging(Arc<Ring>);

impl Debugging {
    fn begin(ring: &Arc<Ring>) -> Self {
        ring.count_debuggers(|debuggers| *debuggers += 1);
        Self(ring.clone())
    }
}

impl Drop for Debugging {
    fn drop(&mut self) {
        self.0.count_debuggers(|debuggers| *debuggers -= 1);
    }
}

struct Watching {
    records: broadcast::Receiver<Record>,
    level: LogLevel,
    _debugging: Option<Debugging>,
}

#[async_trait]
impl LogStream for Watching {
    async fn next(&mut self) -> Option<Record> {
        loop {
            match self.records.recv().await {
                Ok(record) if record.level < self.level => {}
                Ok(record) => return Some(record),
                Err(RecvError::Lagged(count)) => {
                    let record = LogRecord {
                        timestamp: SystemClock.now().timestamp_millis(),
                        level: LogLevel::Warn,
                        message: message::log_lines_skipped(count).to_string(),
                        source: "gateway".to_owned(),
                        attrs: BTreeMap::new(),
                    };
                    return Some(Arc::new(record));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tracing_subscriber::prelude::*;

    fn ring() -> (Arc<Ring>, Watched) {
        let ring = Arc::new(Ring::default());
        (ring.clone(), Watched(ring))
    }

    /// Runs `log` with a log that fills the ring.
    fn logged(ring: &Arc<Ring>, log: impl FnOnce()) {
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer(ring)), log);
    }

    fn messages(records: &[Record]) -> Vec<&str> {
        records.iter().map(|record| record.message.as_str()).collect()
    }

    fn waiting(stream: &mut Box<dyn LogStream>) -> Vec<Record> {
        std::iter::from_fn(|| stream.next().now_or_never().flatten()).collect()
    }

    #[test]
    fn the_newest_lines_are_kept_and_replayed_oldest_first() {
        let (ring, watched) = ring();
        logged(&ring, || {
            (0..KEPT + 10).for_each(|n| tracing::info!("line {n}"));
            tracing::error!("bad");
        });
        assert_eq!(ring.kept().important.len(), KEPT);
        let (past, _) = watched.tail(LogLevel::Info, 3);
        assert_eq!(messages(&past), ["line 1008", "line 1009", "bad"]);
        assert_eq!(messages(&watched.tail(LogLevel::Warn, 100).0), ["bad"]);
    }

    #[test]
    fn a_line_carries_its_attributes_without_secrets() {
        let (ring, watched) = ring();
        logged(&ring, || {
            tracing::info!(component = "cron", user_token = "abc", count = 3, url = "redis://:hunter2@h", "ran");
            tracing::info!(target: "goclaw_core::runs::engine", "{}", "x".repeat(3 * MESSAGE));
            tracing::info!(one = "z".repeat(ATTRIBUTES - 1), two = "two", "long");
        });
        let (past, _) = watched.tail(LogLevel::Info, 100);
        let attrs = BTreeMap::from([("user_token", "***"), ("count", "3"), ("url", "[REDACTED]")].map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!((past[0].source.as_str(), past[0].message.as_str(), &past[0].attrs), ("cron", "ran", &attrs));
        assert!(past[0].timestamp > 1_600_000_000_000);
        assert_eq!((past[1].source.as_str(), past[1].message.len()), ("engine", MESSAGE));
        assert_eq!(past[2].attrs["two"], "t");
    }

    #[test]
    fn new_lines_reach_watchers_of_their_level() {
        let (ring, watched) = ring();
        let (mut info, mut error) = (watched.tail(LogLevel::Info, 0).1, watched.tail(LogLevel::Error, 0).1);
        logged(&ring, || {
            tracing::info!("a");
            tracing::error!("b");
        });
        assert_eq!((messages(&waiting(&mut info)), messages(&waiting(&mut error))), (vec!["a", "b"], vec!["b"]));
    }

    #[test]
    fn debug_lines_of_ours_are_made_while_somebody_wants_them() {
        fn log() {
            tracing::debug!(target: "goclaw_core::x", "ours");
            tracing::debug!(target: "hyper", "theirs");
            tracing::trace!(target: "goclaw_core::x", "too much");
        }
        let (ring, watched) = ring();
        let mut info = watched.tail(LogLevel::Info, 0).1;
        logged(&ring, || {
            log();
            let (_, mut debug) = watched.tail(LogLevel::Debug, 100);
            log();
            assert_eq!(messages(&waiting(&mut debug)), ["ours"]);
            assert_eq!(messages(&watched.tail(LogLevel::Debug, 100).0), ["ours"], "they are replayed as well");
            drop(debug);
            assert!(ring.kept().debug.is_empty());
            log();
            tracing::info!("end");
        });
        assert_eq!(messages(&waiting(&mut info)), ["end"], "who wants info gets no debug lines");
        assert_eq!(messages(&watched.tail(LogLevel::Debug, 100).0), ["end"]);
    }

    #[test]
    fn a_flood_of_debug_lines_pushes_nothing_else_out() {
        let (ring, watched) = ring();
        let (mut info, _debug) = (watched.tail(LogLevel::Info, 0).1, watched.tail(LogLevel::Debug, 0).1);
        logged(&ring, || {
            tracing::info!("important");
            (0..3 * KEPT).for_each(|n| tracing::debug!(target: "goclaw", "{n}"));
        });
        assert_eq!(messages(&waiting(&mut info)), ["important"]);
        assert_eq!(messages(&watched.tail(LogLevel::Info, 100).0), ["important"]);
        assert_eq!(ring.kept().debug.len(), KEPT);
    }

    #[test]
    fn a_slow_watcher_is_told_how_much_it_missed() {
        let (ring, watched) = ring();
        let mut stream = watched.tail(LogLevel::Info, 0).1;
        logged(&ring, || (0..BEHIND + 7).for_each(|n| tracing::info!("{n}")));
        let lines = waiting(&mut stream);
        assert!(lines[0].message.starts_with("7 "), "{}", lines[0].message);
        assert_eq!((lines.len(), lines[1].message.as_str()), (BEHIND + 1, "7"));
    }
}
