//! What runs and providers are counted by. Labels hold only words of ours: whatever clients choose could make any number of series.

use goclaw_ports::llm::Usage;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use std::time::Duration;

const RUNS_STARTED: &str = "goclaw_runs_started_total";
const RUNS_ENDED: &str = "goclaw_runs_total";
const RUNS_ACTIVE: &str = "goclaw_runs_active";
const LANE_RUNS: &str = "goclaw_lane_runs";
const RUN_SECONDS: &str = "goclaw_run_seconds";
const FIRST_TOKEN: &str = "goclaw_run_first_token_seconds";
const LLM_CALLS: &str = "goclaw_llm_calls_total";
const LLM_SECONDS: &str = "goclaw_llm_call_seconds";
const LLM_TOKENS: &str = "goclaw_llm_tokens_total";
const LLM_RETRIES: &str = "goclaw_llm_retries_total";
const TOOL_CALLS: &str = "goclaw_tool_calls_total";
const TOOL_SECONDS: &str = "goclaw_tool_call_seconds";
const COMPACTIONS: &str = "goclaw_compactions_total";
const SPANS_DELAYED: &str = "goclaw_trace_spans_delayed_total";
const SPANS_DROPPED: &str = "goclaw_trace_spans_dropped_total";
const AUDIT_DROPPED: &str = "goclaw_audit_notes_dropped_total";
const HEARTBEATS: &str = "goclaw_heartbeats_total";
const EVENTS_MISSED: &str = "goclaw_events_missed_total";

/// Says what the counters mean, and shows those that should stay at 0 from the beginning.
pub fn describe() {
    describe_counter!(RUNS_STARTED, "Runs that began, by channel");
    describe_counter!(RUNS_ENDED, "Runs that ended, by outcome");
    describe_gauge!(RUNS_ACTIVE, "Runs that go on or wait for their turn");
    describe_gauge!(LANE_RUNS, "Runs that go on, by lane");
    describe_histogram!(RUN_SECONDS, Unit::Seconds, "Time from the beginning of a run to its end, its wait included");
    describe_histogram!(FIRST_TOKEN, Unit::Seconds, "Time from the beginning of a run to the first text of its answer");
    describe_counter!(LLM_CALLS, "Calls of LLM providers, by provider type and outcome");
    describe_histogram!(LLM_SECONDS, Unit::Seconds, "Time of a call of an LLM provider, retries included");
    describe_counter!(LLM_TOKENS, "Tokens that LLM providers counted, by provider type and direction");
    describe_counter!(LLM_RETRIES, "Calls of LLM providers that were tried again, by provider type");
    describe_counter!(TOOL_CALLS, "Calls of tools, by tool and whether they failed");
    describe_histogram!(TOOL_SECONDS, Unit::Seconds, "Time of a call of a tool");
    describe_counter!(COMPACTIONS, "Conversations that were summed up, by where (within a run or for good) and outcome");
    describe_counter!(SPANS_DELAYED, "Spans of traces that waited for the end of their run because the queue was full");
    describe_counter!(SPANS_DROPPED, "Spans of traces that could not be stored");
    describe_counter!(AUDIT_DROPPED, "Notes for the audit log that came too fast and were dropped");
    describe_counter!(HEARTBEATS, "Heartbeats that ran or were skipped, by status");
    describe_counter!(EVENTS_MISSED, "Events that a listener of the bus was too slow for");
    for name in [SPANS_DELAYED, SPANS_DROPPED, AUDIT_DROPPED, EVENTS_MISSED] {
        counter!(name).increment(0);
    }
    gauge!(RUNS_ACTIVE).increment(0.0);
}

pub(crate) fn audit_dropped() {
    counter!(AUDIT_DROPPED).increment(1);
}

pub(crate) fn run_registered() {
    gauge!(RUNS_ACTIVE).increment(1.0);
}

pub(crate) fn run_left() {
    gauge!(RUNS_ACTIVE).decrement(1.0);
}

pub(crate) fn lane_entered(lane: &'static str) {
    gauge!(LANE_RUNS, "lane" => lane).increment(1.0);
}

pub(crate) fn lane_left(lane: &'static str) {
    gauge!(LANE_RUNS, "lane" => lane).decrement(1.0);
}

pub(crate) fn run_started(channel: String) {
    counter!(RUNS_STARTED, "channel" => channel).increment(1);
}

pub(crate) fn run_ended(outcome: &'static str, took: Duration) {
    counter!(RUNS_ENDED, "outcome" => outcome).increment(1);
    histogram!(RUN_SECONDS).record(took);
}

pub(crate) fn first_token(after: Duration) {
    histogram!(FIRST_TOKEN).record(after);
}

/// `provider_type` is one of the types that this build speaks.
pub(crate) fn llm_call(provider_type: &str, ok: bool, took: Duration) {
    let outcome = if ok { "ok" } else { "error" };
    counter!(LLM_CALLS, "provider_type" => provider_type.to_owned(), "outcome" => outcome).increment(1);
    histogram!(LLM_SECONDS, "provider_type" => provider_type.to_owned()).record(took);
}

pub(crate) fn llm_tokens(provider_type: &str, usage: Usage) {
    for (direction, tokens) in [("in", usage.prompt_tokens), ("out", usage.completion_tokens)] {
        let tokens = u64::try_from(tokens).unwrap_or(0);
        counter!(LLM_TOKENS, "provider_type" => provider_type.to_owned(), "direction" => direction).increment(tokens);
    }
}

pub(crate) fn llm_retry(provider_type: &str) {
    counter!(LLM_RETRIES, "provider_type" => provider_type.to_owned()).increment(1);
}

pub(crate) fn tool_call(tool: &'static str, is_error: bool, took: Duration) {
    counter!(TOOL_CALLS, "tool" => tool, "error" => if is_error { "true" } else { "false" }).increment(1);
    histogram!(TOOL_SECONDS, "tool" => tool).record(took);
}

/// `scope` is `run` or `session`.
pub(crate) fn compaction(scope: &'static str, ok: bool) {
    counter!(COMPACTIONS, "scope" => scope, "outcome" => if ok { "ok" } else { "error" }).increment(1);
}

pub(crate) fn span_delayed() {
    counter!(SPANS_DELAYED).increment(1);
}

pub(crate) fn spans_dropped(count: usize) {
    counter!(SPANS_DROPPED).increment(count as u64);
}

pub(crate) fn heartbeat(status: &'static str) {
    counter!(HEARTBEATS, "status" => status).increment(1);
}

/// Counts events that a listener of the bus missed; 0 if nobody knows how many, which counts as one.
pub fn events_missed(count: u64) {
    counter!(EVENTS_MISSED).increment(count.max(1));
}
