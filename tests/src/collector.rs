//! An OpenTelemetry collector for traces: OTLP over gRPC and over HTTP, on one port.

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value::Value as AnyValue},
    trace::v1::Span,
};
use prost::Message;
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(20);
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HTTP_PATH: &str = "/v1/traces";

/// A collector on a port of its own.
pub struct Collector {
    port: u16,
    inbox: Arc<Inbox>,
    task: JoinHandle<()>,
}

struct Inbox {
    /// What HTTP requests are answered with; gRPC requests fail if it is not 200.
    status: AtomicU16,
    requests: Mutex<Vec<Export>>,
    count: watch::Sender<usize>,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Export {
    /// Whether it came over gRPC.
    pub grpc: bool,
    /// Its headers, in lower case.
    pub headers: BTreeMap<String, String>,
    /// What it holds.
    pub body: ExportTraceServiceRequest,
}

impl Export {
    /// The attributes of its resource.
    #[must_use]
    pub fn resource(&self) -> BTreeMap<String, String> {
        self.body.resource_spans.first().and_then(|spans| spans.resource.as_ref()).map(|resource| texts(&resource.attributes)).unwrap_or_default()
    }

    /// Its spans.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.body.resource_spans.iter().flat_map(|spans| &spans.scope_spans).flat_map(|spans| spans.spans.clone()).collect()
    }
}

/// Attributes as texts.
#[must_use]
pub fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &AnyValue| match value {
        AnyValue::StringValue(text) => text.clone(),
        AnyValue::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    };
    let of = |attribute: &KeyValue| Some((attribute.key.clone(), text(attribute.value.as_ref()?.value.as_ref()?)));
    attributes.iter().filter_map(of).collect()
}

impl Collector {
    /// Starts one.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let inbox = Arc::new(Inbox { status: AtomicU16::new(200), requests: Mutex::default(), count: watch::Sender::new(0) });
        let task = tokio::spawn({
            let inbox = inbox.clone();
            async move {
                while let Ok((socket, _)) = listener.accept().await {
                    tokio::spawn(serve(socket, inbox.clone()));
                }
            }
        });
        Self { port, inbox, task }
    }

    /// Where it listens, as `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Answers with this HTTP status from now on; gRPC requests fail if it is not 200.
    pub fn answer(&self, status: u16) {
        self.inbox.status.store(status, Ordering::SeqCst);
    }

    /// The requests so far.
    #[must_use]
    pub fn requests(&self) -> Vec<Export> {
        self.inbox.requests.lock().expect("the requests").clone()
    }

    /// The spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.requests().iter().flat_map(Export::spans).collect()
    }

    /// Waits until the collector has this many spans, and answers with all it has.
    ///
    /// # Panics
    /// If they do not come.
    pub async fn wait_for_spans(&self, count: usize) -> Vec<Span> {
        self.wait(|| self.spans().len() >= count).await;
        self.spans()
    }

    async fn wait(&self, enough: impl Fn() -> bool) {
        let mut count = self.inbox.count.subscribe();
        let waiting = async {
            while !enough() {
                count.changed().await.expect("the collector lives");
            }
        };
        timeout(PATIENCE, waiting).await.expect("the collector gets what it waits for");
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Inbox {
    fn take(&self, export: Export) -> u16 {
        let mut requests = self.requests.lock().expect("the requests");
        requests.push(export);
        self.count.send_replace(requests.len());
        self.status.load(Ordering::SeqCst)
    }
}

/// A connection that ends early is the client's business.
async fn serve(socket: TcpStream, inbox: Arc<Inbox>) {
    let mut start = [0; 3];
    if matches!(socket.peek(&mut start).await, Ok(3)) && &start == b"PRI" {
        let _ = grpc(socket, &inbox).await;
    } else {
        let _ = http(socket, &inbox).await;
    }
}

async fn grpc(socket: TcpStream, inbox: &Inbox) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(socket).await?;
    while let Some(request) = connection.accept().await {
        let (request, mut respond) = request?;
        assert_eq!(request.uri().path(), GRPC_PATH);
        let headers = request.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect();
        // The body only comes while the connection is driven: a task reads it, this loop drives.
        let (mut body, mut bytes) = (request.into_body(), Vec::new());
        let reading = async {
            while let Some(chunk) = body.data().await {
                let chunk = chunk?;
                body.flow_control().release_capacity(chunk.len())?;
                bytes.extend_from_slice(&chunk);
            }
            Ok::<_, h2::Error>(())
        };
        tokio::select! {
            read = reading => read?,
            closed = std::future::poll_fn(|context| connection.poll_closed(context)) => return closed,
        }
        // One byte says whether it is compressed, four how long it is.
        assert_eq!(bytes[0], 0, "the message is compressed");
        let body = ExportTraceServiceRequest::decode(&bytes[5..]).expect("a message");
        let status = if inbox.take(Export { grpc: true, headers, body }) == 200 { "0" } else { "13" };
        let head = http::Response::builder().header("content-type", "application/grpc").body(()).expect("a response");
        let mut stream = respond.send_response(head, false)?;
        stream.send_data(vec![0; 5].into(), false)?;
        stream.send_trailers([(http::HeaderName::from_static("grpc-status"), http::HeaderValue::from_static(status))].into_iter().collect())?;
    }
    Ok(())
}

async fn http(mut socket: TcpStream, inbox: &Inbox) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            if socket.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
        assert!(head.starts_with(&format!("POST {HTTP_PATH} ")), "{head}");
        let headers: BTreeMap<String, String> =
            head.lines().skip(1).filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
        let length: usize = headers["content-length"].parse().expect("a length");
        while bytes.len() < end + length {
            if socket.read_buf(&mut bytes).await? == 0 {
                return Ok(());
            }
        }
        let body = ExportTraceServiceRequest::decode(&bytes[end..end + length]).expect("a message");
        bytes.drain(..end + length);
        let status = inbox.take(Export { grpc: false, headers, body });
        let answer = ExportTraceServiceResponse::default().encode_to_vec();
        let head = format!("HTTP/1.1 {status} Answer\r\nContent-Type: application/x-protobuf\r\nContent-Length: {}\r\n\r\n", answer.len());
        socket.write_all(head.as_bytes()).await?;
        socket.write_all(&answer).await?;
    }
}
