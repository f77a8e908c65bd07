//! Counters, kept by the `metrics` crate and shown in Prometheus's format.

use actix_web::http::{Method, StatusCode};
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::{sync::OnceLock, time::Duration};

const HTTP_REQUESTS: &str = "goclaw_http_requests_total";
const HTTP_DURATION: &str = "goclaw_http_request_duration_seconds";
const WS_CONNECTIONS: &str = "goclaw_ws_connections";
const WS_MESSAGES: &str = "goclaw_ws_messages_total";
const WS_UNAUTHENTICATED: &str = "goclaw_ws_unauthenticated_connections";
const WS_SLOW: &str = "goclaw_ws_slow_client_closes_total";
const RPC_REQUESTS: &str = "goclaw_rpc_requests_total";
const RPC_DURATION: &str = "goclaw_rpc_request_duration_seconds";
const BUILD: &str = "goclaw_build_info";
const MEMORY: &str = "goclaw_process_resident_memory_bytes";
const OPEN_FILES: &str = "goclaw_process_open_fds";
const THREADS: &str = "goclaw_process_threads";
/// In seconds: from a cached read to a long run.
const DURATION_BUCKETS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];

/// How often old samples must be folded in, so that they do not pile up between scrapes.
pub(crate) const UPKEEP: Duration = Duration::from_secs(5);

/// Has what happens in this process counted from now on. What happened before is not, so it comes first.
pub fn start_counting() {
    recorder();
}

/// The counters of this process; the first call makes them the ones that the `metrics` macros write to.
pub(crate) fn recorder() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE.get_or_init(install).clone()
}

fn install() -> PrometheusHandle {
    let builder = || -> Result<PrometheusBuilder, BuildError> {
        PrometheusBuilder::new().set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), DURATION_BUCKETS)
    };
    let recorder = builder().unwrap_or_default().build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::warn!("another recorder of metrics is installed; /metrics will stay empty");
    }
    metrics::describe_counter!(HTTP_REQUESTS, "HTTP requests by method, route and status");
    metrics::describe_histogram!(HTTP_DURATION, metrics::Unit::Seconds, "Time to the head of the response");
    metrics::describe_gauge!(WS_CONNECTIONS, "Open WebSocket connections");
    metrics::describe_counter!(WS_MESSAGES, "WebSocket messages by direction");
    metrics::describe_gauge!(WS_UNAUTHENTICATED, "Open WebSocket connections that have not said who they are");
    metrics::describe_counter!(WS_SLOW, "WebSocket connections that were closed because their client read too slowly");
    metrics::describe_counter!(RPC_REQUESTS, "WebSocket requests by method and status");
    metrics::describe_histogram!(RPC_DURATION, metrics::Unit::Seconds, "Time from a WebSocket request to its answer");
    metrics::describe_gauge!(BUILD, "1; the label is the version that runs");
    metrics::describe_gauge!(MEMORY, metrics::Unit::Bytes, "Memory that the process holds");
    metrics::describe_gauge!(OPEN_FILES, "Files and sockets that the process has open");
    metrics::describe_gauge!(THREADS, "Threads of the process");
    goclaw_core::counters::describe();
    gauge!(BUILD, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    for connections in [WS_CONNECTIONS, WS_UNAUTHENTICATED] {
        gauge!(connections).increment(0.0);
    }
    counter!(WS_SLOW).increment(0);
    handle
}

/// Looks at the process itself; reads files, so not on a thread that serves. What the system does not tell stays absent.
pub(crate) fn observe_process() {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').split_whitespace().next()?.parse::<u32>().ok().map(f64::from)
    };
    if let Some(kibibytes) = number("VmRSS") {
        gauge!(MEMORY).set(kibibytes * 1024.0);
    }
    if let Some(threads) = number("Threads") {
        gauge!(THREADS).set(threads);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauge!(OPEN_FILES).set(f64::from(u32::try_from(open.count()).unwrap_or(u32::MAX)));
    }
}

/// Counts an HTTP request.
pub(crate) fn http(method: &Method, route: &'static str, status: StatusCode, elapsed: Duration) {
    let (method, status) = (method_label(method), status_label(status));
    counter!(HTTP_REQUESTS, "method" => method, "route" => route, "status" => status).increment(1);
    histogram!(HTTP_DURATION, "method" => method, "route" => route).record(elapsed);
}

/// Counts a WebSocket that was opened.
pub(crate) fn ws_opened() {
    gauge!(WS_CONNECTIONS).increment(1.0);
}

/// Counts a WebSocket that was closed.
pub(crate) fn ws_closed() {
    gauge!(WS_CONNECTIONS).decrement(1.0);
}

/// Counts a message from a client.
pub(crate) fn ws_received() {
    counter!(WS_MESSAGES, "direction" => "in").increment(1);
}

/// Counts a message to a client.
pub(crate) fn ws_sent() {
    counter!(WS_MESSAGES, "direction" => "out").increment(1);
}

/// Counts connections that have not said who they are.
pub(crate) fn ws_unauthenticated(change: f64) {
    gauge!(WS_UNAUTHENTICATED).increment(change);
}

/// Counts a WebSocket that was closed because its client read too slowly.
pub(crate) fn ws_slow_closed() {
    counter!(WS_SLOW).increment(1);
}

/// Counts a WebSocket request. Neither label is the client's to choose.
pub(crate) fn rpc(method: &'static str, status: &'static str, elapsed: Duration) {
    counter!(RPC_REQUESTS, "method" => method, "status" => status).increment(1);
    histogram!(RPC_DURATION, "method" => method).record(elapsed);
}

/// Labels must not be chosen by clients, or they could make any number of series.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() {
        101 => "101",
        200 => "200",
        201 => "201",
        204 => "204",
        304 => "304",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        409 => "409",
        413 => "413",
        426 => "426",
        429 => "429",
        500 => "500",
        503 => "503",
        504 => "504",
        code => match code / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        },
    }
}
