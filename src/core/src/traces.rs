//! Traces, as runs write them: beside the run, in batches, never in its way.

mod leases;
mod preview;
mod reading;
mod retention;
#[cfg(test)]
mod tests;

pub use preview::{LIMIT as PREVIEW, VERBOSE as VERBOSE_PREVIEW};
pub use reading::{CostSummary, ExportedTrace, TraceDetail, TracePage, Traces};
pub(crate) use retention::Retention;

use crate::{
    counters,
    usage::{HOUR, hour_of},
};
use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use goclaw_ports::{
    AgentId, Error, ErrorKind, JsonObject, Result, SpanId, TenantId, TraceId,
    clock::{Clock, Ids},
    events::{Event, EventBus},
    llm::Routing,
    message,
    sessions::ChatMessage,
    traces::{ROUTING, Span, Trace, TraceEnd, TraceExporter, TraceStatus, TraceStore},
    usage::{UsageFilter, UsageStore},
};
use leases::{Lease, Leases};
use serde_json::{Value, json};
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How many changes wait at most to be taken by the writer; half of them are a batch.
const QUEUE: usize = 1_000;
const FLUSH: Duration = Duration::from_secs(5);
/// How long a flush may take. What it has not stored by then waits for the next one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many spans wait at most for a store that cannot be reached: about 10 MB, as their texts have a limit of their own. Half of the
/// room is for those that have ended: they are told once, and without them a step would go on for ever.
const KEPT: usize = 10 * QUEUE;
/// How many spans of a tenant a flush drops at most because each of them is refused. A store that refuses more is at fault itself (its
/// disk is full, it may only be read), and is waited for.
const REFUSED: usize = 10;
/// How many bytes of texts wait at most before they are written: a store holds a batch several times over on its way, and a connection
/// to PostgreSQL keeps room for the largest that it ever sent.
const BATCH_BYTES: usize = 512 << 10;
/// How many spans of a run are exported, and how much of a text, in characters.
const EXPORTED: usize = 2_000;
const EXPORTED_PREVIEW: usize = 500;

enum Write {
    /// With what ends when its trace is stored, or could not be, if that is still to come.
    Span(Whose, Box<Span>, Option<CancellationToken>),
    Ended(Whose, TraceId),
    Flush(oneshot::Sender<()>),
    /// The same, and there is no later flush to wait for.
    Last(oneshot::Sender<()>),
}

/// The tenant and the user of a run; "" is nobody.
type Whose = (TenantId, Arc<str>);

/// Writes traces.
#[derive(Clone)]
pub struct Tracer {
    store: Arc<dyn TraceStore>,
    usage: Arc<dyn UsageStore>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn Ids>,
    queue: mpsc::Sender<Write>,
    exporter: Option<Arc<dyn TraceExporter>>,
    /// The beginnings and ends of traces that are being written.
    writing: TaskTracker,
    leases: Arc<Leases>,
    /// How much of a text is kept, in bytes.
    preview: usize,
}

impl Tracer {
    /// Writes to this store from a task on this runtime.
    pub fn start(
        store: Arc<dyn TraceStore>,
        usage: Arc<dyn UsageStore>,
        exporter: Option<Arc<dyn TraceExporter>>,
        bus: Arc<dyn EventBus>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn Ids>,
        runtime: &tokio::runtime::Handle,
    ) -> Self {
        let (queue, writes) = mpsc::channel(QUEUE);
        runtime.spawn(Writer::new(store.clone(), bus).work(writes));
        Self { store, usage, clock, ids, queue, exporter, writing: TaskTracker::new(), leases: Arc::default(), preview: PREVIEW }
    }

    /// The same, keeping so much of each text, in bytes.
    #[must_use]
    pub fn keeping(self, preview: usize) -> Self {
        Self { preview, ..self }
    }

    /// Begins a run's trace, and makes of its input what a trace keeps. It is stored beside what the run does next; if it cannot be
    /// stored, the run goes on without. `stop` stops the run if others take its process for gone and give the run up.
    pub fn begin(&self, tenant: TenantId, trace: Trace, stop: CancellationToken) -> RunTrace {
        let (mut run, storing) = self.begin_later(tenant, trace, stop);
        self.writing.spawn(storing);
        run.tell_root();
        run
    }

    /// The same, but that it is stored by a future, for [`Tracer::later`] or [`Tracer::spawn`]. The trace has no end before.
    pub(crate) fn begin_later(&self, tenant: TenantId, mut trace: Trace, stop: CancellationToken) -> (RunTrace, impl Future<Output = ()> + Send + use<>) {
        trace.name = cut(&trace.name, 255);
        trace.channel = cut(&trace.channel, 50);
        let limit = self.preview;
        let (id, user) = (trace.id, trace.user_id.as_str().into());
        let mut root = self.span(tenant, id, "agent", trace.tags.first().unwrap_or(&trace.name));
        root.agent_id = trace.agent_id;
        let shown = || Trace { input_preview: preview::ending(&trace.input_preview, limit), ..trace.clone() };
        let export = self.exporter.clone().map(|exporter| Export { exporter, trace: shown(), spans: vec![] });
        let (store, lease, noted) = (self.store.clone(), self.leases.take(id, stop), CancellationToken::new());
        let told = noted.clone().drop_guard();
        let (held, begun) = oneshot::channel();
        let storing = async move {
            trace.input_preview = preview::ending(&trace.input_preview, limit);
            match store.insert(tenant, &trace).await {
                Ok(()) => {
                    lease.begin();
                    drop(held.send(lease));
                }
                Err(error) => tracing::warn!(%error, "the trace could not be stored; the run goes on without"),
            }
            drop(told);
        };
        let (tracer, whose, left) = (self.clone(), (tenant, user), HashMap::new());
        (RunTrace { tracer, whose, trace: id, root, told: false, open: vec![], left, export, noted, begun }, storing)
    }

    /// Has something done that traces wait for, and that [`Tracer::flush`] waits for.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.writing.spawn(work);
    }

    /// The same, once the answer is dropped.
    pub(crate) fn later(&self, work: impl Future<Output = ()> + Send + 'static, runtime: &tokio::runtime::Handle) -> Later {
        Later { writing: self.writing.clone(), runtime: runtime.clone(), work: Mutex::new(Some(Box::pin(work))) }
    }

    fn span(&self, tenant: TenantId, trace: TraceId, span_type: &str, name: &str) -> Span {
        Span::begun(self.ids.row().into(), tenant, trace, span_type, &cut(name, 255), self.clock.now())
    }

    /// Ends a run's trace beside whatever comes next.
    pub fn finish(&self, trace: RunTrace, status: TraceStatus, error: String, output: String) {
        self.writing.spawn(async move { trace.finish(status, &error, &output).await });
    }

    /// What an agent's runs have cost since then (a whole hour), in US dollars, with the calls that this process has noted so far.
    pub(crate) async fn cost_since(&self, tenant: TenantId, agent: AgentId, since: DateTime<Utc>) -> Result<f64> {
        self.write_noted().await;
        let filter = UsageFilter { agent_id: Some(agent), ..UsageFilter::between(since, hour_of(self.clock.now()) + HOUR) };
        Ok(self.usage.hours(tenant, &filter).await?.into_iter().map(|(_, sum)| sum.total_cost).sum())
    }

    /// Waits until everything that was handed over is written, at the gateway's end: what cannot be written now is lost.
    pub async fn flush(&self) {
        self.writing.close();
        self.writing.wait().await;
        self.hand_over(Write::Last).await;
    }

    /// Waits until what was handed over is written. While the store cannot be reached, it waits for nothing.
    async fn write_noted(&self) {
        self.hand_over(Write::Flush).await;
    }

    async fn hand_over(&self, flush: fn(oneshot::Sender<()>) -> Write) {
        let (done, wait) = oneshot::channel();
        if self.queue.send(flush(done)).await.is_ok() {
            let _ = wait.await;
        }
    }
}

/// Work that begins when this is dropped.
pub(crate) struct Later {
    writing: TaskTracker,
    runtime: tokio::runtime::Handle,
    /// In a mutex only so that it may be looked at from several threads; nobody does.
    work: Mutex<Option<BoxFuture<'static, ()>>>,
}

impl Drop for Later {
    fn drop(&mut self) {
        if let Some(work) = self.work.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            self.writing.spawn_on(work, &self.runtime);
        }
    }
}

/// Writes what it is handed, a batch at a time, and tells who looks at traces.
struct Writer {
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
    fn new(store: Arc<dyn TraceStore>, bus: Arc<dyn EventBus>) -> Self {
        Self { store, bus, waiting: HashMap::new(), unstored: HashMap::new(), changed: HashMap::new(), count: 0, bytes: 0, behind: false }
    }

    async fn work(mut self, mut writes: mpsc::Receiver<Write>) {
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

/// The trace of one run.
pub struct RunTrace {
    tracer: Tracer,
    whose: Whose,
    trace: TraceId,
    root: Span,
    /// Whether the root was handed over.
    told: bool,
    /// Steps that have begun and not ended. A run that is stopped leaves some.
    open: Vec<Span>,
    /// Spans that did not fit into the queue, as they are now; they are handed over at the end.
    left: HashMap<SpanId, Span>,
    export: Option<Export>,
    /// Ends when the trace is stored, or could not be.
    noted: CancellationToken,
    /// The lease of the run, once its trace is stored; closed if that failed.
    begun: oneshot::Receiver<Lease>,
}

/// What another system gets when the run has ended.
struct Export {
    exporter: Arc<dyn TraceExporter>,
    trace: Trace,
    spans: Vec<Span>,
}

impl Export {
    /// Notes a step as it is now. Of a very long run the first steps are exported.
    fn put(&mut self, span: &Span) {
        // What changes is nearly always the newest.
        let known = self.spans.iter().rposition(|known| known.id == span.id);
        if known.is_none() && self.spans.len() >= EXPORTED {
            return;
        }
        let span = Span {
            input_preview: cut(&span.input_preview, EXPORTED_PREVIEW).into(),
            output_preview: cut(&span.output_preview, EXPORTED_PREVIEW),
            ..span.clone()
        };
        match known {
            Some(at) => self.spans[at] = span.after(self.spans.get(at)),
            None => self.spans.push(span),
        }
    }

    fn end(mut self, end: &TraceEnd) {
        self.trace.end_time = Some(end.end_time);
        self.trace.duration_ms = Some((end.end_time - self.trace.start_time).num_milliseconds());
        self.trace.status = end.status;
        self.trace.error = end.error.clone();
        self.trace.output_preview = cut(&end.output_preview, EXPORTED_PREVIEW);
        self.exporter.export(&self.trace, &self.spans);
    }
}

impl RunTrace {
    /// Waits until the trace is stored. If that fails, the run goes on without.
    pub fn noted(&self) -> impl Future<Output = ()> + use<> {
        self.noted.clone().cancelled_owned()
    }

    /// A step of the run that begins now, below the run itself.
    #[must_use]
    pub fn span(&self, span_type: &str, name: &str) -> Span {
        let mut span = self.tracer.span(self.whose.0, self.trace, span_type, name);
        span.parent_span_id = Some(self.root.id);
        span.agent_id = self.root.agent_id;
        span
    }

    /// What is kept of a conversation: its first message and the last ones, as JSON.
    #[must_use]
    pub fn conversation(&self, messages: &[ChatMessage]) -> String {
        preview::list(messages, self.tracer.preview).unwrap_or_else(|| serde_json::to_string(messages).unwrap_or_default())
    }

    /// Notes something about the run as a whole.
    pub fn remark(&mut self, key: &str, value: Value) {
        self.root.metadata.insert(key.to_owned(), value);
        self.told = false;
        self.tell_root();
    }

    fn tell_root(&mut self) {
        if !std::mem::replace(&mut self.told, true) {
            self.tell(self.root.clone());
        }
    }

    /// Notes a step that has begun, and makes of its input what a trace keeps; it is not said again.
    pub fn put(&mut self, span: &mut Span) {
        span.input_preview = preview::kept(&span.input_preview, self.tracer.preview).into();
        self.tell_root();
        self.tell(span.clone());
        // It may be the largest part of what a run keeps, and it is told.
        span.input_preview = Arc::default();
        self.open.push(span.clone());
    }

    /// Hands a step over as it is now. Its texts are fit to be kept.
    fn tell(&mut self, mut span: Span) {
        span.model = cut(&span.model, 200);
        span.provider = cut(&span.provider, 50);
        span.tool_name = cut(&span.tool_name, 200);
        span.tool_call_id = cut(&span.tool_call_id, 100);
        if let Some(export) = &mut self.export {
            export.put(&span);
        }
        // What is older must not be written after it.
        if let Some(older) = self.left.get_mut(&span.id) {
            *older = span.after(Some(older));
            return;
        }
        let unstored = (!self.noted.is_cancelled()).then(|| self.noted.clone());
        let write = Write::Span(self.whose.clone(), Box::new(span), unstored);
        if let Err(mpsc::error::TrySendError::Full(Write::Span(_, span, _))) = self.tracer.queue.try_send(write) {
            self.left.insert(span.id, *span);
        }
    }

    /// Ends a step that [`RunTrace::put`] noted.
    pub fn end(&mut self, mut span: Span, error: Option<String>) {
        let now = self.tracer.clock.now();
        self.open.retain(|open| open.id != span.id);
        span.duration_ms = Some((now - span.start_time).num_milliseconds());
        span.end_time = Some(now);
        span.status = if error.is_some() { TraceStatus::Error } else { TraceStatus::Completed };
        span.output_preview = preview::kept(&span.output_preview, self.tracer.preview);
        span.error = crate::redact::redact(&error.unwrap_or_default()).into_owned();
        self.tell(span);
    }

    /// Ends the run.
    pub async fn finish(mut self, status: TraceStatus, error: &str, output: &str) {
        let end_time = self.tracer.clock.now();
        // The lease ends with this call, when the end is stored.
        let Ok(_lease) = (&mut self.begun).await else { return };
        let root = self.root.clone();
        let end = TraceEnd { end_time, status, error: error.into(), output_preview: preview::ending(output, self.tracer.preview) };
        let failed = (status != TraceStatus::Completed).then(|| if error.is_empty() { status.as_str().to_owned() } else { error.to_owned() });
        for step in std::mem::take(&mut self.open) {
            self.end(step, Some(failed.clone().unwrap_or_else(|| "the run ended before".to_owned())));
        }
        self.end(root, failed);
        if let Some(export) = self.export.take() {
            export.end(&end);
        }
        for span in std::mem::take(&mut self.left).into_values() {
            counters::span_delayed();
            let _ = self.tracer.queue.send(Write::Span(self.whose.clone(), Box::new(span), None)).await;
        }
        if let Err(error) = self.tracer.store.finish(self.whose.0, self.trace, &end).await {
            tracing::error!(%error, "the end of a trace could not be stored");
        }
        let _ = self.tracer.queue.send(Write::Ended(self.whose, self.trace)).await;
    }
}

/// Notes how a call found its account.
pub(crate) fn note_routing(span: &mut Span, routing: &Routing) {
    let served = [&routing.serving_provider, &routing.selected_provider].into_iter().find(|name| !name.is_empty());
    if let Some(name) = served {
        span.provider.clone_from(name);
    }
    span.metadata.insert(ROUTING.to_owned(), json!(routing));
}

/// A trace that begins now.
pub fn new_trace(id: TraceId, name: String, now: chrono::DateTime<chrono::Utc>) -> Trace {
    Trace {
        id,
        parent_trace_id: None,
        agent_id: None,
        user_id: String::new(),
        session_key: String::new(),
        run_id: String::new(),
        start_time: now,
        end_time: None,
        duration_ms: None,
        name,
        channel: String::new(),
        input_preview: String::new(),
        output_preview: String::new(),
        total_input_tokens: 0,
        total_output_tokens: 0,
        total_cost: 0.0,
        span_count: 0,
        llm_call_count: 0,
        tool_call_count: 0,
        status: TraceStatus::Running,
        error: String::new(),
        metadata: JsonObject::new(),
        tags: vec![],
        team_id: None,
        created_at: now,
    }
}

fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((at, _)) => text[..at].to_owned(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod export_tests {
    use super::*;
    use chrono::{DateTime, TimeDelta};
    use std::sync::Mutex;
    use uuid::Uuid;

    #[derive(Default)]
    struct Recorder(Mutex<Vec<(Trace, Vec<Span>)>>);

    impl TraceExporter for Recorder {
        fn export(&self, trace: &Trace, spans: &[Span]) {
            self.0.lock().unwrap().push((trace.clone(), spans.to_vec()));
        }
    }

    fn span(n: usize) -> Span {
        let id = SpanId(Uuid::from_u128(n as u128));
        let begun = Span::begun(id, TenantId::MASTER, TraceId(Uuid::nil()), "event", "", DateTime::UNIX_EPOCH);
        Span { input_preview: "ü".repeat(EXPORTED_PREVIEW + 1).into(), ..begun }
    }

    #[test]
    fn what_is_exported_is_each_step_as_it_was_last_and_never_too_much() {
        let recorder = Arc::new(Recorder::default());
        let trace = new_trace(TraceId(Uuid::nil()), "run".into(), DateTime::UNIX_EPOCH);
        let mut export = Export { exporter: recorder.clone(), trace, spans: vec![] };
        for n in 0..=EXPORTED {
            export.put(&span(n));
        }
        export.put(&Span { status: TraceStatus::Completed, ..span(3) });
        let end_time = DateTime::UNIX_EPOCH + TimeDelta::milliseconds(7);
        export.end(&TraceEnd { end_time, status: TraceStatus::Error, error: "why".into(), output_preview: "o".into() });
        let (trace, spans) = recorder.0.lock().unwrap().remove(0);
        assert_eq!((trace.end_time, trace.duration_ms, trace.status, trace.error.as_str()), (Some(end_time), Some(7), TraceStatus::Error, "why"));
        assert_eq!(spans.len(), EXPORTED);
        assert_eq!((spans[3].status, spans[4].status), (TraceStatus::Completed, TraceStatus::Running));
        assert_eq!(spans[0].input_preview.chars().count(), EXPORTED_PREVIEW);
    }
}
