//! Stored spans as OpenTelemetry has them.

use goclaw_ports::{
    SpanId as StoredSpanId,
    traces::{Span, Trace, TraceStatus},
};
use opentelemetry::{
    InstrumentationScope, KeyValue, Value,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

/// How much of a text goes along, in characters.
const PREVIEW: usize = 500;

/// A span of a trace that has ended. A step without an end was cut off when the trace ended.
pub fn span_data(trace: &Trace, span: &Span, scope: &InstrumentationScope) -> SpanData {
    let end = span.end_time.or(trace.end_time).unwrap_or(span.start_time).max(span.start_time);
    SpanData {
        span_context: SpanContext::new(TraceId::from_bytes(span.trace_id.0.into_bytes()), span_id(span.id), TraceFlags::SAMPLED, false, TraceState::NONE),
        parent_span_id: span.parent_span_id.map_or(SpanId::INVALID, span_id),
        parent_span_is_remote: false,
        span_kind: if span.span_type == "llm_call" { SpanKind::Client } else { SpanKind::Internal },
        name: if span.name.is_empty() { span.span_type.clone() } else { span.name.clone() }.into(),
        start_time: span.start_time.into(),
        end_time: end.into(),
        attributes: attributes(span),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: match span.status {
            TraceStatus::Error | TraceStatus::Cancelled => Status::error(preview(&span.error)),
            TraceStatus::Running | TraceStatus::Completed => Status::Unset,
        },
        instrumentation_scope: scope.clone(),
    }
}

fn span_id(id: StoredSpanId) -> SpanId {
    // The first eight bytes are the time, which many spans share.
    let bytes = id.0.into_bytes();
    SpanId::from_bytes(bytes.last_chunk().copied().unwrap_or_default())
}

fn attributes(span: &Span) -> Vec<KeyValue> {
    let text = |value: &str| (!value.is_empty()).then(|| Value::from(value.to_owned()));
    [
        ("goclaw.span_type", text(&span.span_type)),
        ("gen_ai.request.model", text(&span.model)),
        ("gen_ai.system", text(&span.provider)),
        ("gen_ai.usage.input_tokens", span.input_tokens.map(Value::from)),
        ("gen_ai.usage.output_tokens", span.output_tokens.map(Value::from)),
        ("gen_ai.response.finish_reason", text(&span.finish_reason)),
        ("goclaw.tool.name", text(&span.tool_name)),
        ("goclaw.tool.call_id", text(&span.tool_call_id)),
        ("goclaw.duration_ms", span.duration_ms.map(Value::from)),
        ("goclaw.agent_id", span.agent_id.and_then(|agent| text(&agent.to_string()))),
        ("goclaw.input_preview", text(&preview(&span.input_preview))),
        ("goclaw.output_preview", text(&preview(&span.output_preview))),
        ("goclaw.trace_id", text(&span.trace_id.to_string())),
        ("goclaw.span_id", text(&span.id.to_string())),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(KeyValue::new(name, value?)))
    .collect()
}

fn preview(text: &str) -> String {
    text.chars().take(PREVIEW).collect()
}
