//! Finished traces, sent to a collector over OTLP.
//!
//! Every step of a run is a span whose ids are the stored ones, so that a trace found in one place is found in the other: the
//! trace id is the trace's UUID, the span id the last eight bytes of the span's. A collector that is slow, wrong or away costs
//! its spans and nothing else.
#![deny(missing_docs)]

mod convert;
mod endpoint;
mod export;

pub use export::OtlpExporter;

use secrecy::SecretString;

/// How spans travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// gRPC over HTTP/2; collectors listen on port 4317.
    #[default]
    Grpc,
    /// Protobuf over HTTP; collectors listen on port 4318.
    Http,
}

/// Where spans go, and as what.
#[derive(Debug, Clone)]
pub struct OtlpOptions {
    /// The collector: a URL, or `host:port`. Over HTTP, `/v1/traces` is added unless it is there.
    pub endpoint: String,
    /// How to speak to it.
    pub protocol: Protocol,
    /// Whether an endpoint without `http://` or `https://` is spoken to without TLS.
    pub insecure: bool,
    /// The resource's `service.name`.
    pub service_name: String,
    /// The resource's `service.version`.
    pub service_version: String,
    /// What to send with each request, such as a collector's credentials.
    pub headers: Vec<(String, SecretString)>,
}

/// Why traces cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The endpoint is no address.
    #[error("the endpoint is no URL and no host:port: {0}")]
    Endpoint(String),
    /// A header cannot be sent.
    #[error("the header {0:?} cannot be sent")]
    Header(String),
    /// The client cannot be made.
    #[error("{0}")]
    Client(String),
}
