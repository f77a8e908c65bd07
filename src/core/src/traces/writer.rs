//! The task that stores the steps of runs: in batches, beside the runs, and through outages of the store.

use crate::counters;
use goclaw_ports::{
    Error, ErrorKind, SpanId, TenantId, TraceId,
    events::{Event, EventBus},
    message,
    traces::{Span, TraceStore},
};
use serde_json::json;
use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// How many changes wait at most to be taken by the writer; half of them are a batch.
pub(super) const QUEUE: usize = 1_000;
const FLUSH: Duration = Duration::from_secs(5);
/// How long a flush may take. What it has not stored by then waits for the next one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many spans wait at most for a store that cannot be reached: about 10 MB, as their texts have a limit of their own. Half of the
/// room is for those that have ended: they are told once, and without them a step would go on for ever.
pub(super) const KEPT: usize = 10 * QUEUE;
/// How many spans of a tenant a flush drops at most because each of them is refused. A store that refuses more is at fault itself (its
/// disk is full, it may only be read), and is waited for.
pub(super) const REFUSED: usize = 10;
/// How many bytes of texts wait at most before they are written: a store holds a batch several times over on its way, and a connection
/// to PostgreSQL keeps room for the largest that it ever sent.
pub(super) const BATCH_BYTES: usize = 512 << 10;

/// What is handed over.
pub(super) enum Write {
    /// With what ends when its trace is stored, or could not be, if that is still to come.
    Span(Whose, Box<Span>, Option<CancellationToken>),
    Ended(Whose, TraceId),
    Flush(oneshot::Sender<()>),
    /// The same, and there is no later flush to wait for.
    Last(oneshot::Sender<()>),
}

/// The tenant and the user of a run; "" is nobody.
pub(super) type Whose = (TenantId, Arc<str>);

/// Writes what it is handed, a batch at a time, and tells who looks at traces.
pub(super) struct Writer {
    store: Arc<dyn TraceStore>,
    bus: Arc<dyn EventBus>,
    waiting: HashMap<SpanId, Span>,
    /// Traces that were not stored yet when their first spans came, with what ends when they are. A store leaves out the spans of a
    /// trace that it does not have.
    unstored: HashMap<TraceId, CancellationToken>,
    /// The traces that are no longer as they were last told of.
    changed: HashMap<Whose, BTreeSet<TraceId>>,
    /// How many changes came since the last flush.
    count: usize,
    /// What the texts come to that came since then, and those that it left.
    bytes: usize,
    /// The store is waited for: it could not be reached, or not in time. It is asked again at the next tick and not before.
    behind: bool,
}

impl Writer {
    pub fn new(store: Arc<dyn TraceStore>, bus: Arc<dyn EventBus>) -> Self {
        Self { store, bus, waiting: HashMap::new(), unstored: HashMap::new(), changed: HashMap::new(), count: 0, bytes: 0, behind: false }
    }

    /// Works until nobody is left who hands anything over.
    pub async fn work(mut self, mut writes: mpsc::Receiver<Write>) {
        let mut tick = tokio::time::interval(FLUSH);
        loop {
            let (due, flushed) = tokio::select! {
                write = writes.recv() => match write {
                    Some(Write::Flush(done)) => (!self.behind, Some(done)),
                    Some(Write::Last(done)) => {
                        self.write_last().await;
                        (false, Some(done))
                    }
                    Some(write) => {
                        self.take(write);
                        (!self.behind && (self.count >= QUEUE / 2 || self.bytes >= BATCH_BYTES), None)
                    }
                    None => return self.write_last().await,
                },
                _ = tick.tick() => (true, None),
            };
            if due {
                self.write_all().await;
                // A flush that took long is not to be followed by the next at once: what was handed over meanwhile is to be taken.
                tick.reset();
            }
            if let Some(done) = flushed {
                let _ = done.send(());
            }
        }
    }

    fn take(&mut self, write: Write) {
        let (whose, trace) = match write {
            Write::Span(whose, mut span, unstored) => {
                let (id, trace, ended) = (span.id, span.trace_id, span.end_time.is_some());
                let room = if ended { KEPT } else { KEPT / 2 };
                if self.waiting.len() >= room && !self.waiting.contains_key(&id) {
                    // Nothing is lost of a step that goes on but its input: its end says the rest.
                    if ended {
                        counters::spans_dropped(1);
                    }
                    return;
                }
                if self.behind && self.bytes >= BATCH_BYTES {
                    (span.input_preview, span.output_preview) = (Arc::default(), String::new());
                }
                if let Some(unstored) = unstored {
                    self.unstored.insert(trace, unstored);
                }
                self.bytes += texts(&span);
                let span = span.after(self.waiting.get(&id));
                self.waiting.insert(id, span);
                (whose, trace)
            }
            Write::Ended(whose, trace) => (whose, trace),
            Write::Flush(_) | Write::Last(_) => return,
        };
        self.changed.entry(whose).or_default().insert(trace);
        self.count += 1;
    }

    /// Writes what waits. If the store is to be waited for, what it has not taken waits on; and so does what came before its trace.
    async fn write_all(&mut self) {
        (self.count, self.bytes, self.behind) = (0, 0, false);
        self.unstored.retain(|_, stored| !stored.is_cancelled());
        // In another order each time, so that no tenant whose spans take too long is always the first.
        let mut tenants: HashMap<TenantId, Vec<Span>> = HashMap::new();
        for (id, span) in std::mem::take(&mut self.waiting) {
            if self.unstored.contains_key(&span.trace_id) {
                self.waiting.insert(id, span);
            } else {
                tenants.entry(span.tenant_id).or_default().push(span);
            }
        }
        let until = Instant::now() + PATIENCE;
        for (tenant, mut spans) in tenants {
            spans.sort_by_key(|span| span.start_time);
            let done = if self.behind { 0 } else { self.put(tenant, &spans, until).await };
            self.behind |= done < spans.len();
            self.waiting.extend(spans.into_iter().skip(done).map(|span| (span.id, span)));
        }
        if self.behind {
            self.bytes = self.waiting.values().map(texts).sum();
        }
        self.tell_changed();
    }

    /// Writes what waits for the last time.
    async fn write_last(&mut self) {
        self.write_all().await;
        if !self.waiting.is_empty() {
            counters::spans_dropped(self.waiting.len());
            tracing::error!(spans = self.waiting.len(), "spans could not be stored before the end");
            self.waiting.clear();
        }
    }

    /// Stores spans of a tenant, in parts of the size of a batch. A part that is refused is halved, until what is refused is a single
    /// span: that one is dropped. Answers with how many of the first ones are done with: all, unless the store is to be waited for.
    async fn put(&self, tenant: TenantId, spans: &[Span], until: Instant) -> usize {
        let (mut done, mut dropped, mut refused) = (0, 0, None);
        let mut parts = vec![spans];
        while let Some(part) = parts.pop() {
            let (first, second) = part.split_at(part.len() / 2);
            let single = first.is_empty();
            if !single && (part.len() > QUEUE / 2 || part.iter().map(texts).sum::<usize>() > BATCH_BYTES) {
                parts.extend([second, first]);
                continue;
            }
            let late = |_| Err(Error::new(ErrorKind::Timeout, message::timeout("the store of traces")));
            match timeout_at(until, self.store.put_spans(tenant, part)).await.unwrap_or_else(late) {
                Ok(()) => done += part.len(),
                Err(error) if matches!(error.kind, ErrorKind::Unavailable | ErrorKind::Timeout) || single && dropped == REFUSED => {
                    tracing::error!(%error, spans = spans.len() - done, "spans could not be stored yet and wait");
                    break;
                }
                Err(error) if single => {
                    (done, dropped, refused) = (done + 1, dropped + 1, Some(error));
                }
                Err(_) => parts.extend([second, first]),
            }
        }
        if let Some(error) = refused {
            counters::spans_dropped(dropped);
            tracing::error!(%error, spans = dropped, "spans could not be stored");
        }
        done
    }

    /// Tells of the traces that have changed, but for those whose spans wait on.
    fn tell_changed(&mut self) {
        let unwritten: BTreeSet<TraceId> = self.waiting.values().map(|span| span.trace_id).collect();
        self.changed.retain(|(tenant, user), traces| {
            let (later, told): (BTreeSet<TraceId>, BTreeSet<TraceId>) = traces.iter().copied().partition(|trace| unwritten.contains(trace));
            if !told.is_empty() {
                self.bus.publish(Event::new(*tenant, "trace.updated", json!({"trace_ids": told})).of_user(user));
            }
            *traces = later;
            !traces.is_empty()
        });
    }
}

/// What the texts of a span come to, in bytes.
fn texts(span: &Span) -> usize {
    span.input_preview.len() + span.output_preview.len()
}
