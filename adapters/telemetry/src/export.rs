//! The queue, and who empties it.

use crate::{OtlpOptions, Protocol, StartError, convert::span_data, endpoint};
use goclaw_ports::traces::{Span, Trace, TraceExporter};
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{
    SpanExporter as OtlpSpans, WithExportConfig, WithHttpConfig, WithTonicConfig,
    tonic_types::{metadata::MetadataMap, transport::ClientTlsConfig},
};
use opentelemetry_sdk::{
    Resource,
    trace::{SpanData, SpanExporter},
};
use secrecy::{ExposeSecret, SecretString};
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    sync::{mpsc, oneshot},
    time::{Instant, sleep_until, timeout},
};

/// How many spans wait at most.
const QUEUE: usize = 4_096;
/// How many spans go together, and how long the first of them waits for the others.
const BATCH: usize = 100;
const LINGER: Duration = Duration::from_secs(5);
/// How long sending a batch may take, further attempts included.
const SEND_LIMIT: Duration = Duration::from_secs(10);
/// How long the end may take.
const STOP_LIMIT: Duration = Duration::from_secs(3);

enum Item {
    Span(Box<SpanData>),
    Flush(oneshot::Sender<()>),
}

/// Sends spans to a collector.
pub struct OtlpExporter {
    queue: mpsc::Sender<Item>,
    scope: InstrumentationScope,
}

impl OtlpExporter {
    /// Sends from a task on `runtime`; over HTTP with this client. The collector need not be there.
    ///
    /// # Errors
    /// If the endpoint or a header makes no sense.
    pub fn start(options: OtlpOptions, client: reqwest::Client, runtime: &Handle) -> Result<Arc<Self>, StartError> {
        // The gRPC channel is tied to the runtime that it is made on.
        let _entered = runtime.enter();
        let url = endpoint::url(&options.endpoint, options.protocol, options.insecure)?;
        let headers = headers(&options.headers)?;
        let failed = |error: opentelemetry_otlp::ExporterBuildError| StartError::Client(error.to_string());
        let mut spans = match options.protocol {
            Protocol::Grpc => {
                let builder = OtlpSpans::builder().with_tonic().with_metadata(MetadataMap::from_headers(headers));
                let tls = url.scheme() == "https";
                let builder = builder.with_endpoint(url).with_timeout(SEND_LIMIT);
                let builder = if tls { builder.with_tls_config(ClientTlsConfig::new().with_native_roots()) } else { builder };
                builder.build().map_err(failed)?
            }
            Protocol::Http => {
                let headers = headers.iter().filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned()))).collect();
                let builder = OtlpSpans::builder().with_http().with_http_client(client).with_headers(headers);
                builder.with_endpoint(url).with_timeout(SEND_LIMIT).build().map_err(failed)?
            }
        };
        let service = [KeyValue::new("service.name", options.service_name), KeyValue::new("service.version", options.service_version.clone())];
        spans.set_resource(&Resource::builder_empty().with_attributes(service).build());
        let scope = InstrumentationScope::builder("goclaw").with_version(options.service_version).build();
        let (queue, items) = mpsc::channel(QUEUE);
        runtime.spawn(send_all(spans, items));
        Ok(Arc::new(Self { queue, scope }))
    }

    /// Sends what waits, within three seconds.
    pub async fn stop(&self) {
        let (done, sent) = oneshot::channel();
        let stopping = async {
            if self.queue.send(Item::Flush(done)).await.is_ok() {
                drop(sent.await);
            }
        };
        if timeout(STOP_LIMIT, stopping).await.is_err() {
            tracing::warn!("not all spans reached the collector");
        }
    }
}

impl TraceExporter for OtlpExporter {
    fn export(&self, trace: &Trace, spans: &[Span]) {
        let mut dropped = 0;
        for span in spans {
            let span = Box::new(span_data(trace, span, &self.scope));
            if self.queue.try_send(Item::Span(span)).is_err() {
                dropped += 1;
            }
        }
        count_dropped(dropped);
    }
}

fn count_dropped(spans: u64) {
    if spans > 0 {
        metrics::counter!("goclaw_telemetry_spans_dropped_total").increment(spans);
    }
}

fn headers(given: &[(String, SecretString)]) -> Result<HeaderMap, StartError> {
    given
        .iter()
        .map(|(name, value)| {
            let refused = || StartError::Header(name.clone());
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused())?;
            let mut value = HeaderValue::from_str(value.expose_secret()).map_err(|_| refused())?;
            value.set_sensitive(true);
            Ok((header, value))
        })
        .collect()
}

/// Sends batches until nobody can add to them any more.
async fn send_all(spans: OtlpSpans, mut items: mpsc::Receiver<Item>) {
    let mut sender = Sender { spans, batch: Vec::with_capacity(BATCH), failing: false };
    let mut due = Instant::now();
    loop {
        let item = tokio::select! {
            item = items.recv() => item,
            () = sleep_until(due), if !sender.batch.is_empty() => {
                sender.send().await;
                continue;
            }
        };
        match item {
            Some(Item::Span(span)) => {
                if sender.batch.is_empty() {
                    due = Instant::now() + LINGER;
                }
                sender.batch.push(*span);
                if sender.batch.len() >= BATCH {
                    sender.send().await;
                }
            }
            Some(Item::Flush(done)) => {
                sender.send().await;
                let _ = done.send(());
            }
            None => return sender.send().await,
        }
    }
}

struct Sender {
    spans: OtlpSpans,
    batch: Vec<SpanData>,
    failing: bool,
}

impl Sender {
    /// Sends the batch. What cannot be sent is dropped: it is in the database, and there is more to come.
    async fn send(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let count = batch.len() as u64;
        // The client ends by itself within its limit; this is for the case that it does not.
        let outcome = timeout(SEND_LIMIT + Duration::from_secs(1), self.spans.export(batch)).await;
        let error = match outcome {
            Ok(Ok(())) => {
                metrics::counter!("goclaw_telemetry_spans_total").increment(count);
                if std::mem::take(&mut self.failing) {
                    tracing::info!("the trace collector takes spans again");
                }
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "it took too long".to_owned(),
        };
        count_dropped(count);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(error, "the trace collector does not take spans; they are dropped until it does");
        }
    }
}
