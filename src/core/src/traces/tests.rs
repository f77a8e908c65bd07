//! The writer beside the run: what does not fit waits, what cannot be stored yet waits as well, what cannot be stored at all is counted.

use super::{
    writer::{BATCH_BYTES, KEPT, REFUSED},
    *,
};
use async_trait::async_trait;
use chrono::TimeDelta;
use goclaw_ports::{
    AgentId, Error,
    clock::{SystemClock, SystemIds},
    events::{Attendance, Audience, Event, EventStream},
    traces::{CostFilter, CostRow, LlmCall, LlmCallFilter, LostRun, TraceFilter, TraceStatus},
    usage::{AgentUsage, SessionUsage, SessionUsageFilter, UsageKey, UsageSum, UserRequests},
};
use metrics::{Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

/// Keeps what it is given, but refuses a batch with a span that is named [`BAD`]; or keeps nothing at all.
#[derive(Default)]
struct Shelf {
    away: AtomicBool,
    spans: Mutex<HashMap<SpanId, Span>>,
    batches: AtomicU64,
    /// A batch has come, and was kept or not.
    came: tokio::sync::Notify,
    /// The bytes of texts in the largest batch.
    largest: AtomicU64,
    ended: Mutex<Vec<TraceStatus>>,
    begun: Mutex<Vec<Trace>>,
    /// Lets an answer of what runs arrive that was made before.
    arrives: tokio::sync::Notify,
}

const BAD: &str = "bad";

impl Shelf {
    fn give(&self, spans: &[Span]) -> Result<()> {
        if self.away.load(Ordering::Relaxed) {
            return Err(Error::unavailable("the shelf"));
        }
        if spans.iter().any(|span| span.name == BAD) {
            return Err(Error::internal("a bad row"));
        }
        let mut stored = self.spans.lock().unwrap();
        for span in spans {
            let span = span.clone().after(stored.get(&span.id));
            stored.insert(span.id, span);
        }
        Ok(())
    }

    /// Waits for the next batch.
    async fn asked(&self) {
        let before = self.batches.load(Ordering::Relaxed);
        while self.batches.load(Ordering::Relaxed) == before {
            self.came.notified().await;
        }
    }

    /// How a step stands, and what it was given and answered.
    fn step(&self, id: SpanId) -> Option<(TraceStatus, String, String)> {
        let spans = self.spans.lock().unwrap();
        spans.get(&id).map(|span| (span.status, span.input_preview.to_string(), span.output_preview.clone()))
    }
}

#[async_trait]
impl TraceStore for Shelf {
    async fn insert(&self, _: TenantId, trace: &Trace) -> Result<()> {
        self.begun.lock().unwrap().push(trace.clone());
        Ok(())
    }
    async fn put_spans(&self, _: TenantId, spans: &[Span]) -> Result<()> {
        self.batches.fetch_add(1, Ordering::Relaxed);
        let bytes: usize = spans.iter().map(|span| span.input_preview.len() + span.output_preview.len()).sum();
        self.largest.fetch_max(bytes as u64, Ordering::Relaxed);
        let given = self.give(spans);
        self.came.notify_one();
        given
    }
    async fn finish(&self, _: TenantId, _: TraceId, end: &TraceEnd) -> Result<bool> {
        self.ended.lock().unwrap().push(end.status);
        Ok(true)
    }
    async fn find(&self, _: TenantId, _: TraceId) -> Result<Option<(Trace, Vec<Span>)>> {
        Ok(None)
    }
    async fn list(&self, _: TenantId, _: &TraceFilter) -> Result<(Vec<Trace>, i64)> {
        Ok((vec![], 0))
    }
    async fn costs(&self, _: TenantId, _: &CostFilter) -> Result<Vec<CostRow>> {
        Ok(vec![])
    }
    async fn llm_calls(&self, _: TenantId, _: &LlmCallFilter) -> Result<Vec<LlmCall>> {
        Ok(vec![])
    }
    async fn running(&self, _: TenantId, _: Option<AgentId>) -> Result<Vec<(TraceId, AgentId)>> {
        let running = self.begun.lock().unwrap().iter().filter_map(|trace| Some((trace.id, trace.agent_id?))).collect();
        self.arrives.notified().await;
        Ok(running)
    }
    async fn all_tenants_renew_leases(&self, ids: &[TraceId], _: TimeDelta) -> Result<Vec<TraceId>> {
        Ok(ids.to_vec())
    }
    async fn all_tenants_kept_from(&self) -> Result<Option<DateTime<Utc>>> {
        Ok(None)
    }
    async fn all_tenants_fail_running(&self, _: Option<TimeDelta>, _: DateTime<Utc>, _: &str) -> Result<Vec<LostRun>> {
        Ok(vec![])
    }
    async fn all_tenants_prune(&self, _: DateTime<Utc>, _: i64) -> Result<i64> {
        Ok(0)
    }
}

#[async_trait]
impl UsageStore for Shelf {
    async fn hours(&self, _: TenantId, _: &UsageFilter) -> Result<Vec<(DateTime<Utc>, UsageSum)>> {
        Ok(vec![])
    }
    async fn breakdown(&self, _: TenantId, _: &UsageFilter, _: UsageKey) -> Result<Vec<(String, UsageSum)>> {
        Ok(vec![])
    }
    async fn users_since(&self, _: TenantId, _: DateTime<Utc>) -> Result<i64> {
        Ok(0)
    }
    async fn requests(&self, _: TenantId, _: Option<&str>, _: DateTime<Utc>, _: i64) -> Result<Vec<UserRequests>> {
        Ok(vec![])
    }
    async fn sessions(&self, _: TenantId, _: &SessionUsageFilter) -> Result<(Vec<SessionUsage>, i64)> {
        Ok((vec![], 0))
    }
    async fn sessions_by_agent(&self, _: TenantId, _: Option<&str>) -> Result<Vec<AgentUsage>> {
        Ok(vec![])
    }
    async fn all_tenants_counted_until(&self) -> Result<Option<DateTime<Utc>>> {
        Ok(None)
    }
    async fn all_tenants_count_hour(&self, _: DateTime<Utc>) -> Result<Option<DateTime<Utc>>> {
        Ok(None)
    }
}

struct Silence;

impl EventBus for Silence {
    fn publish(&self, _: Event) {}
    fn subscribe(&self) -> Box<dyn EventStream> {
        unreachable!("nobody listens")
    }
    fn subscribe_to_others(&self) -> Box<dyn EventStream> {
        unreachable!("nobody listens")
    }
    fn attend(&self) -> Attendance {
        Audience::default().join()
    }
    fn attended(&self) -> bool {
        false
    }
}

/// Adds up what is counted, by name.
#[derive(Default)]
struct Tally(Mutex<HashMap<String, Arc<Count>>>);

#[derive(Default)]
struct Count(AtomicU64);

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }
    fn absolute(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }
}

impl Tally {
    fn of(&self, name: &str) -> u64 {
        self.0.lock().unwrap().get(name).map_or(0, |count| count.0.load(Ordering::Relaxed))
    }
}

impl Recorder for Tally {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.0.lock().unwrap().entry(key.name().to_owned()).or_default().clone())
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

fn tracer(shelf: &Arc<Shelf>) -> Tracer {
    Tracer::start(shelf.clone(), shelf.clone(), None, Arc::new(Silence), Arc::new(SystemClock), Arc::new(SystemIds), &tokio::runtime::Handle::current())
}

fn begin(tracer: &Tracer) -> RunTrace {
    tracer.begin(TenantId::MASTER, new_trace(TraceId(SystemIds.row()), "run".into(), SystemClock.now()), CancellationToken::new())
}

/// A run with this many steps, from its beginning to the flush at the gateway's end.
async fn run(shelf: &Arc<Shelf>, steps: usize) {
    let tracer = tracer(shelf);
    let mut run = begin(&tracer);
    // No step waits for the writer, which has had no turn yet.
    for _ in 0..steps {
        let step = run.span("tool_call", "step");
        run.end(step, None);
    }
    tracer.finish(run, TraceStatus::Completed, String::new(), "done".into());
    tracer.flush().await;
}

#[tokio::test]
async fn what_does_not_fit_into_the_queue_waits_for_the_end_of_the_run() {
    let (shelf, tally) = (Arc::new(Shelf::default()), Tally::default());
    let _recording = metrics::set_default_local_recorder(&tally);
    run(&shelf, 3 * QUEUE).await;
    let spans = shelf.spans.lock().unwrap();
    assert_eq!(spans.len(), 3 * QUEUE + 1);
    assert!(spans.values().all(|span| span.status == TraceStatus::Completed));
    assert_eq!(*shelf.ended.lock().unwrap(), [TraceStatus::Completed]);
    assert!(shelf.batches.load(Ordering::Relaxed) < 20, "spans are written in batches");
    assert!(tally.of("goclaw_trace_spans_delayed_total") >= 2 * QUEUE as u64);
    assert_eq!(tally.of("goclaw_trace_spans_dropped_total"), 0);
}

#[tokio::test]
async fn long_texts_are_written_before_there_are_many() {
    let shelf = Arc::new(Shelf::default());
    let tracer = tracer(&shelf);
    let mut run = begin(&tracer);
    let long = "word ".repeat(PREVIEW / 5);
    for _ in 0..QUEUE / 4 {
        let mut step = run.span("llm_call", "step");
        step.output_preview.clone_from(&long);
        run.end(step, None);
    }
    tracer.finish(run, TraceStatus::Completed, String::new(), "done".into());
    tracer.flush().await;
    let kept: usize = shelf.spans.lock().unwrap().values().map(|span| span.output_preview.len()).sum();
    assert!(kept >= QUEUE / 4 * long.len(), "every text is kept whole: {kept}");
    let largest = shelf.largest.load(Ordering::Relaxed);
    assert!(largest < (BATCH_BYTES + 2 * PREVIEW) as u64, "{largest} bytes at once");
}

#[tokio::test]
async fn what_is_told_later_about_a_step_is_what_is_kept() {
    let shelf = Arc::new(Shelf::default());
    let tracer = tracer(&shelf);
    let mut run = begin(&tracer);
    let mut steps: Vec<_> = (0..2 * QUEUE).map(|_| run.span("tool_call", "step")).collect();
    steps.iter_mut().for_each(|step| run.put(step));
    // The queue has room again, while half of the beginnings wait for the end of the run.
    tracer.write_noted().await;
    let never_ended = steps.pop().unwrap().id;
    steps.into_iter().for_each(|step| run.end(step, None));
    tracer.finish(run, TraceStatus::Cancelled, String::new(), String::new());
    tracer.flush().await;
    let spans = shelf.spans.lock().unwrap();
    assert_eq!(spans.len(), 2 * QUEUE + 1);
    let steps = spans.values().filter(|span| span.span_type == "tool_call");
    let (ended, stopped): (Vec<_>, Vec<_>) = steps.partition(|span| span.status == TraceStatus::Completed);
    assert_eq!((ended.len(), stopped.len()), (2 * QUEUE - 1, 1));
    assert_eq!((stopped[0].id, stopped[0].status, stopped[0].error.as_str()), (never_ended, TraceStatus::Error, "cancelled"));
}

#[tokio::test]
async fn what_cannot_be_stored_at_the_end_is_counted_and_the_run_ends_all_the_same() {
    let (shelf, tally) = (Arc::new(Shelf { away: true.into(), ..Shelf::default() }), Tally::default());
    let _recording = metrics::set_default_local_recorder(&tally);
    run(&shelf, 3).await;
    assert_eq!(*shelf.ended.lock().unwrap(), [TraceStatus::Completed]);
    assert_eq!(tally.of("goclaw_trace_spans_dropped_total"), 4, "the steps and the run itself");
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_two_flushes_loses_no_end_of_a_step() {
    let (shelf, tally) = (Arc::new(Shelf::default()), Tally::default());
    let _recording = metrics::set_default_local_recorder(&tally);
    let tracer = tracer(&shelf);
    let mut run = begin(&tracer);
    run.noted().await;
    let [mut before, mut within, mut across] = ["before", "within", "across"].map(|name| {
        let mut step = run.span("llm_call", name);
        (step.input_preview, step.output_preview) = ("asked".into(), "answered".into());
        step
    });
    let ids = [before.id, within.id, across.id];
    run.put(&mut before);
    tracer.write_noted().await;
    assert_eq!(shelf.step(before.id).map(|step| step.0), Some(TraceStatus::Running));
    shelf.away.store(true, Ordering::Relaxed);
    run.end(before, None);
    run.put(&mut within);
    run.put(&mut across);
    run.end(within, None);
    shelf.asked().await;
    run.end(across, None);
    shelf.asked().await;
    shelf.away.store(false, Ordering::Relaxed);
    shelf.asked().await;
    for id in ids {
        assert_eq!(shelf.step(id), Some((TraceStatus::Completed, "asked".into(), "answered".into())));
    }
    assert_eq!(tally.of("goclaw_trace_spans_dropped_total"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_long_outage_costs_texts_and_beginnings_before_it_costs_ends_which_are_counted() {
    let (shelf, tally) = (Arc::new(Shelf { away: true.into(), ..Shelf::default() }), Tally::default());
    let _recording = metrics::set_default_local_recorder(&tally);
    let tracer = tracer(&shelf);
    let mut run = begin(&tracer);
    run.noted().await;
    let steps: Vec<_> = (0..KEPT + 100).map(|_| run.span("tool_call", "step")).collect();
    for some in steps.chunks(QUEUE / 2) {
        some.iter().for_each(|step| run.tell(step.clone()));
        tracer.write_noted().await;
    }
    assert_eq!(tally.of("goclaw_trace_spans_dropped_total"), 0, "a step whose beginning is not kept may yet end");
    let long = "word ".repeat(PREVIEW / 5);
    for (n, mut step) in steps.into_iter().enumerate() {
        if n < 50 {
            step.output_preview.clone_from(&long);
        }
        run.end(step, None);
        if n % (QUEUE / 2) == 0 {
            tracer.write_noted().await;
        }
    }
    tracer.write_noted().await;
    assert_eq!(shelf.batches.load(Ordering::Relaxed), 1, "the store is not asked before the next tick");
    shelf.away.store(false, Ordering::Relaxed);
    tracer.finish(run, TraceStatus::Completed, String::new(), "done".into());
    tracer.flush().await;
    let spans = shelf.spans.lock().unwrap();
    assert_eq!(spans.len(), KEPT);
    assert!(spans.values().all(|span| span.status == TraceStatus::Completed));
    let texts: usize = spans.values().map(|span| span.output_preview.len()).sum();
    assert!((BATCH_BYTES..=BATCH_BYTES + PREVIEW).contains(&texts), "{texts} bytes were kept");
    assert_eq!(tally.of("goclaw_trace_spans_dropped_total"), 101, "the steps that found no room");
}

#[tokio::test]
async fn a_batch_with_a_bad_row_costs_that_row_only() {
    let (shelf, tally) = (Arc::new(Shelf::default()), Tally::default());
    let _recording = metrics::set_default_local_recorder(&tally);
    let tracer = tracer(&shelf);
    let mut run = begin(&tracer);
    for n in 0..100 {
        let step = run.span("tool_call", if n == 70 { BAD } else { "step" });
        run.end(step, None);
    }
    tracer.finish(run, TraceStatus::Completed, String::new(), "done".into());
    tracer.flush().await;
    assert_eq!(shelf.spans.lock().unwrap().len(), 100, "the other steps and the run itself");
    assert_eq!(tally.of("goclaw_trace_spans_dropped_total"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_refuses_everything_is_waited_for() {
    let (shelf, tally) = (Arc::new(Shelf::default()), Tally::default());
    let _recording = metrics::set_default_local_recorder(&tally);
    let tracer = tracer(&shelf);
    let mut run = begin(&tracer);
    run.noted().await;
    for _ in 0..100 {
        let step = run.span("tool_call", BAD);
        run.end(step, None);
    }
    tracer.write_noted().await;
    assert_eq!(tally.of("goclaw_trace_spans_dropped_total"), REFUSED as u64);
    let asked = shelf.batches.load(Ordering::Relaxed);
    assert!(asked < 50, "it was asked {asked} times");
}

#[tokio::test]
async fn what_is_told_before_the_trace_is_stored_waits_for_it() {
    let shelf = Arc::new(Shelf::default());
    let tracer = tracer(&shelf);
    let trace = new_trace(TraceId(SystemIds.row()), "run".into(), SystemClock.now());
    let (mut run, storing) = tracer.begin_later(TenantId::MASTER, trace, CancellationToken::new());
    let mut step = run.span("llm_call", "step");
    run.put(&mut step);
    tracer.write_noted().await;
    assert_eq!(shelf.batches.load(Ordering::Relaxed), 0);
    storing.await;
    tracer.write_noted().await;
    assert!(shelf.step(step.id).is_some());
}

#[tokio::test]
async fn what_is_too_long_for_a_column_is_cut_before_it_is_stored() {
    let shelf = Arc::new(Shelf::default());
    let tracer = tracer(&shelf).keeping(1_000);
    let long = |chars: usize| "ü".repeat(chars);
    let asked = Trace { channel: long(60), input_preview: long(900), ..new_trace(TraceId(SystemIds.row()), long(300), SystemClock.now()) };
    let mut run = tracer.begin(TenantId::MASTER, asked, CancellationToken::new());
    let mut step = run.span("tool_call", &long(300));
    (step.tool_name, step.tool_call_id, step.model, step.provider) = (long(300), long(300), long(300), long(300));
    step.input_preview = long(900).into();
    run.put(&mut step);
    step.output_preview = long(900);
    run.end(step, None);
    let messages: Vec<_> = (0..50).map(|n| ChatMessage::new(goclaw_ports::sessions::MessageRole::User, format!("message {n}"))).collect();
    assert!(serde_json::from_str::<Vec<Value>>(&run.conversation(&messages)).is_ok_and(|kept| kept.len() < 50));
    tracer.finish(run, TraceStatus::Completed, String::new(), long(900));
    tracer.flush().await;
    let trace = shelf.begun.lock().unwrap().remove(0);
    assert_eq!((trace.name.chars().count(), trace.channel.chars().count()), (255, 50));
    assert!(trace.input_preview.starts_with("...ü") && trace.input_preview.len() <= 1_000);
    let spans = shelf.spans.lock().unwrap();
    let step = spans.values().find(|span| span.span_type == "tool_call").unwrap();
    let lengths = [&step.name, &step.tool_name, &step.tool_call_id, &step.model, &step.provider].map(|text| text.chars().count());
    assert_eq!(lengths, [255, 200, 100, 200, 50]);
    assert!([&*step.input_preview, &*step.output_preview].iter().all(|text| text.contains("characters left out")));
}

#[tokio::test]
async fn an_own_run_that_ends_while_the_store_answers_is_nobody_elses() {
    let shelf = Arc::new(Shelf::default());
    let (here, there) = (tracer(&shelf), tracer(&shelf));
    let agent = AgentId(SystemIds.row());
    let trace = Trace { agent_id: Some(agent), ..new_trace(TraceId(SystemIds.row()), "run".into(), SystemClock.now()) };
    let run = here.begin(TenantId::MASTER, trace, CancellationToken::new());
    run.noted().await;
    let ending = async {
        run.finish(TraceStatus::Completed, "", "").await;
        shelf.arrives.notify_one();
    };
    assert!(tokio::join!(biased; here.busy_elsewhere(TenantId::MASTER, None), ending).0.unwrap().is_empty());
    shelf.arrives.notify_one();
    assert!(there.busy_elsewhere(TenantId::MASTER, None).await.unwrap().contains(&agent), "the shelf has it yet");
}
