//! Traces, as runs write them: beside the run, in batches, never in its way.

mod leases;
mod preview;
mod reading;
mod retention;
#[cfg(test)]
mod tests;
mod writer;

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
    AgentId, JsonObject, Result, SpanId, TenantId, TraceId,
    clock::{Clock, Ids},
    events::EventBus,
    llm::Routing,
    sessions::ChatMessage,
    traces::{ROUTING, Span, Trace, TraceEnd, TraceExporter, TraceStatus, TraceStore},
    usage::{UsageFilter, UsageStore},
};
use leases::{Lease, Leases};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use writer::{QUEUE, Whose, Write, Writer};

/// How many spans of a run are exported, and how much of a text, in characters.
const EXPORTED: usize = 2_000;
const EXPORTED_PREVIEW: usize = 500;

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
