//! What a collector gets.
#![expect(clippy::unwrap_used, reason = "a failure has to fail the test")]

#[path = "../../../tests/src/collector.rs"]
#[expect(clippy::expect_used, reason = "shared with the black-box tests, which may")]
mod collector;

use chrono::{DateTime, TimeDelta, Utc};
use collector::{Collector, texts};
use goclaw_ports::{
    AgentId, JsonObject, SpanId, TenantId, TraceId,
    traces::{Span, Trace, TraceExporter, TraceStatus},
};
use goclaw_telemetry::{OtlpExporter, OtlpOptions, Protocol, StartError};
use opentelemetry_proto::tonic::trace::v1::{span::SpanKind, status::StatusCode};
use std::{sync::Arc, time::Duration};
use tokio::{net::TcpListener, runtime::Handle, time::Instant};
use uuid::Uuid;

const PROTOCOLS: [Protocol; 2] = [Protocol::Grpc, Protocol::Http];

fn options(endpoint: &str, protocol: Protocol) -> OtlpOptions {
    OtlpOptions {
        endpoint: endpoint.to_owned(),
        protocol,
        insecure: true,
        service_name: "goclaw-gateway".into(),
        service_version: "1.2.3".into(),
        headers: vec![("X-Collector-Key".into(), "the-key".into())],
    }
}

fn exporter(endpoint: &str, protocol: Protocol) -> Arc<OtlpExporter> {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    OtlpExporter::start(options(endpoint, protocol), client, &Handle::current()).unwrap()
}

fn start() -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap()
}

fn trace() -> Trace {
    let id = TraceId(Uuid::parse_str("01900000-0000-7000-8000-0000000000aa").unwrap());
    Trace {
        id,
        parent_trace_id: None,
        agent_id: None,
        user_id: String::new(),
        session_key: String::new(),
        run_id: String::new(),
        start_time: start(),
        end_time: Some(start() + TimeDelta::milliseconds(2_500)),
        duration_ms: Some(2_500),
        name: "chat fox".into(),
        channel: String::new(),
        input_preview: String::new(),
        output_preview: String::new(),
        total_input_tokens: 0,
        total_output_tokens: 0,
        total_cost: 0.0,
        span_count: 0,
        llm_call_count: 0,
        tool_call_count: 0,
        status: TraceStatus::Completed,
        error: String::new(),
        metadata: JsonObject::new(),
        tags: vec![],
        team_id: None,
        created_at: start(),
    }
}

fn span(n: u128, span_type: &str) -> Span {
    let id = SpanId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + n));
    Span {
        end_time: Some(start() + TimeDelta::microseconds(1_001)),
        duration_ms: Some(1),
        status: TraceStatus::Completed,
        ..Span::begun(id, TenantId::MASTER, trace().id, span_type, &format!("{span_type} {n}"), start())
    }
}

fn run() -> Vec<Span> {
    let root = span(1, "agent");
    let agent = AgentId(Uuid::from_u128(7));
    let call = Span {
        parent_span_id: Some(root.id),
        agent_id: Some(agent),
        model: "stub".into(),
        provider: "openai".into(),
        input_tokens: Some(12),
        output_tokens: Some(3),
        finish_reason: "stop".into(),
        input_preview: "ü".repeat(600).into(),
        output_preview: "hello".into(),
        ..span(2, "llm_call")
    };
    let tool = Span {
        parent_span_id: Some(root.id),
        tool_name: "exec".into(),
        tool_call_id: "call_1".into(),
        status: TraceStatus::Error,
        error: "no such file".into(),
        end_time: None,
        duration_ms: None,
        ..span(3, "tool_call")
    };
    vec![root, call, tool]
}

#[tokio::test]
async fn a_trace_arrives_with_its_own_ids_times_and_attributes() {
    for protocol in PROTOCOLS {
        let collector = Collector::start().await;
        let exporter = exporter(&collector.address(), protocol);
        exporter.export(&trace(), &run());
        exporter.stop().await;
        let requests = collector.requests();
        assert_eq!(requests.len(), 1, "{protocol:?}");
        assert_eq!(requests[0].grpc, protocol == Protocol::Grpc);
        assert_eq!(requests[0].headers["x-collector-key"], "the-key");
        let resource = requests[0].resource();
        assert_eq!((resource["service.name"].as_str(), resource["service.version"].as_str()), ("goclaw-gateway", "1.2.3"));

        let spans = requests[0].spans();
        let [root, call, tool] = &spans[..] else { panic!("{spans:?}") };
        for span in &spans {
            assert_eq!(span.trace_id, trace().id.0.as_bytes());
            assert_eq!(span.start_time_unix_nano, 1_700_000_000_123_456_000);
        }
        assert_eq!((root.span_id.as_slice(), root.parent_span_id.len()), (&[0x80, 0, 0, 0, 0, 0, 0, 1][..], 0));
        assert_eq!(root.name, "agent 1");
        assert_eq!((root.kind, call.kind, tool.kind), (SpanKind::Internal as i32, SpanKind::Client as i32, SpanKind::Internal as i32));
        assert_eq!((&call.parent_span_id, &tool.parent_span_id), (&root.span_id, &root.span_id));
        assert_eq!(call.end_time_unix_nano, 1_700_000_000_124_457_000);
        assert_eq!(tool.end_time_unix_nano, 1_700_000_002_623_456_000, "it was cut off at the end of the run");

        let attributes = texts(&call.attributes);
        let expected = [
            ("gen_ai.request.model", "stub"),
            ("gen_ai.response.finish_reason", "stop"),
            ("gen_ai.system", "openai"),
            ("gen_ai.usage.input_tokens", "12"),
            ("gen_ai.usage.output_tokens", "3"),
            ("goclaw.agent_id", "00000000-0000-0000-0000-000000000007"),
            ("goclaw.duration_ms", "1"),
            ("goclaw.input_preview", &"ü".repeat(500)),
            ("goclaw.output_preview", "hello"),
            ("goclaw.span_id", "01900000-0000-7000-8000-000000000002"),
            ("goclaw.span_type", "llm_call"),
            ("goclaw.trace_id", "01900000-0000-7000-8000-0000000000aa"),
        ];
        assert_eq!(attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect::<Vec<_>>(), expected);
        let attributes = texts(&tool.attributes);
        assert_eq!((attributes["goclaw.tool.name"].as_str(), attributes["goclaw.tool.call_id"].as_str()), ("exec", "call_1"));
        let status = tool.status.clone().unwrap();
        assert_eq!((status.code(), status.message.as_str()), (StatusCode::Error, "no such file"));
        assert_ne!(call.status.clone().unwrap_or_default().code(), StatusCode::Error);
    }
}

#[tokio::test]
async fn spans_go_in_batches_of_a_hundred() {
    for protocol in PROTOCOLS {
        let collector = Collector::start().await;
        let exporter = exporter(&collector.address(), protocol);
        let spans: Vec<Span> = (1..=250).map(|n| span(n, "event")).collect();
        exporter.export(&trace(), &spans);
        collector.wait_for_spans(200).await;
        exporter.stop().await;
        assert_eq!(collector.requests().iter().map(|request| request.spans().len()).collect::<Vec<_>>(), [100, 100, 50]);
    }
}

#[tokio::test]
async fn a_few_spans_do_not_wait_for_more_forever() {
    let collector = Collector::start().await;
    let exporter = exporter(&collector.address(), Protocol::Http);
    let before = Instant::now();
    exporter.export(&trace(), &run());
    collector.wait_for_spans(3).await;
    assert!(before.elapsed() >= Duration::from_secs(4), "they waited for others: {:?}", before.elapsed());
}

#[tokio::test]
async fn a_collector_that_refuses_costs_its_spans_and_is_asked_again() {
    for protocol in PROTOCOLS {
        let collector = Collector::start().await;
        let exporter = exporter(&collector.address(), protocol);
        collector.answer(400);
        exporter.export(&trace(), &run());
        exporter.stop().await;
        collector.answer(200);
        exporter.export(&trace(), &[span(9, "event")]);
        exporter.stop().await;
        let spans: Vec<usize> = collector.requests().iter().map(|request| request.spans().len()).collect();
        assert_eq!(spans, [3, 1], "{protocol:?}");
    }
}

#[tokio::test]
async fn a_collector_that_is_not_there_holds_up_nothing() {
    for protocol in PROTOCOLS {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let exporter = exporter(&address, protocol);
        let before = Instant::now();
        // More than the queue holds.
        let spans: Vec<Span> = (1..=5_000).map(|n| span(n, "event")).collect();
        exporter.export(&trace(), &spans);
        assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
        exporter.stop().await;
        assert!(before.elapsed() < Duration::from_secs(6), "{:?}", before.elapsed());
    }
}

#[tokio::test]
async fn a_collector_that_never_answers_does_not_hold_up_the_end() {
    for protocol in PROTOCOLS {
        // The system accepts connections on its behalf.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let exporter = exporter(&silent.local_addr().unwrap().to_string(), protocol);
        exporter.export(&trace(), &run());
        let before = Instant::now();
        exporter.stop().await;
        assert!(before.elapsed() < Duration::from_secs(4), "{:?}", before.elapsed());
    }
}

#[tokio::test]
async fn what_cannot_work_is_refused_at_the_start() {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let start = |options| OtlpExporter::start(options, client.clone(), &Handle::current()).map(|_| ());
    let address = "127.0.0.1:1";
    assert!(matches!(start(options("ftp://collector", Protocol::Grpc)), Err(StartError::Endpoint(_))));
    let header = |name: &str, value: &str| OtlpOptions { headers: vec![(name.into(), value.into())], ..options(address, Protocol::Http) };
    assert!(matches!(start(header("a b", "c")), Err(StartError::Header(_))));
    let Err(error) = start(header("x-key", "the\nsecret")) else { panic!("it is taken") };
    assert!(!error.to_string().contains("secret"));
    assert!(start(OtlpOptions { insecure: false, ..options("collector.example:4317", Protocol::Grpc) }).is_ok(), "TLS is there");
}
