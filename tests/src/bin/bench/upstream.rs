//! A model that costs next to nothing: OpenAI's dialect, answered from a socket loop on a thread of its own.

use crate::wire::{Wire, contains};
use anyhow::{Context, Result};
use std::{
    io,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::TcpListener,
    runtime,
    sync::oneshot,
    time::{self, MissedTickBehavior},
};

/// What the model says when it does not stream.
pub const TEXT: &str = "Hello from the benchmark.";

/// What somebody says whom the model answers with a call of the tool `exec`; the command follows, up to the next `"` or `\`.
pub const RUN: &str = "Run this: ";

/// The time since the start of this process, in microseconds, on the clock that streamed chunks are stamped with.
pub fn micros() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(START.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// The model. It ends when it is dropped.
pub struct Upstream {
    port: u16,
    manner: Arc<Manner>,
    _stop: oneshot::Sender<()>,
}

/// How the model answers from now on.
#[derive(Default)]
struct Manner {
    delay_us: AtomicU64,
    chunks: AtomicU32,
    every_us: AtomicU64,
}

impl Upstream {
    /// Starts it on a free port of loopback.
    ///
    /// # Errors
    /// If there is no port or no thread.
    pub fn start() -> Result<Self> {
        micros();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("a port for the model")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let manner = Arc::new(Manner::default());
        let (stop, stopped) = oneshot::channel::<()>();
        let served = manner.clone();
        std::thread::Builder::new().name("upstream".to_owned()).spawn(move || {
            runtime.block_on(async move {
                tokio::select! {
                    outcome = accept(listener, served) => {
                        if let Err(error) = outcome {
                            eprintln!("bench: the model ended: {error}");
                        }
                    }
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { port, manner, _stop: stop })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its base URL.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// Answers that are not streamed come after `delay`; streamed ones come in `chunks` pieces, one `every` so often.
    pub fn answer(&self, delay: Duration, chunks: u32, every: Duration) {
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.manner.delay_us.store(micros(delay), Ordering::Relaxed);
        self.manner.chunks.store(chunks, Ordering::Relaxed);
        self.manner.every_us.store(micros(every), Ordering::Relaxed);
    }
}

async fn accept(listener: std::net::TcpListener, manner: Arc<Manner>) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let manner = manner.clone();
        // An error is a client that went away, which the client's side counts.
        tokio::spawn(async move { serve(Wire::new(stream)?, &manner).await });
    }
}

async fn serve(mut wire: Wire, manner: &Manner) -> io::Result<()> {
    loop {
        let head = wire.head().await?;
        let body = wire.body(head).await?;
        if head.is_get {
            wire.send(&json(r#"{"object":"list","data":[{"id":"stub","object":"model"}]}"#)).await?;
        } else {
            let delay = Duration::from_micros(manner.delay_us.load(Ordering::Relaxed));
            if !delay.is_zero() {
                time::sleep(delay).await;
            }
            if let Some(command) = command(&body) {
                wire.send(&call(command, contains(&body, br#""stream":true"#))).await?;
            } else if contains(&body, br#""stream":true"#) {
                let every = Duration::from_micros(manner.every_us.load(Ordering::Relaxed));
                stream(&mut wire, manner.chunks.load(Ordering::Relaxed), every).await?;
            } else {
                wire.send(&json(&completion())).await?;
            }
        }
    }
}

/// The command that somebody wants to be run, unless it was.
fn command(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let (_, command) = text.rsplit_once(RUN)?;
    let command = command.split(['"', '\\']).next()?;
    (!text.contains(r#""role":"tool""#)).then_some(command)
}

/// The model's answer that calls the tool `exec`.
fn call(command: &str, stream: bool) -> Vec<u8> {
    let arguments = serde_json::json!({ "command": command }).to_string();
    let call = serde_json::json!({"index": 0, "id": "call_bench", "type": "function", "function": {"name": "exec", "arguments": arguments}});
    let message = format!(r#"{{"role":"assistant","content":null,"tool_calls":[{call}]}}"#);
    if stream {
        let records = [record(&choice(&message, "null")), record(&choice("{}", r#""tool_calls""#)), record("[DONE]")].concat();
        return format!("{STREAM_HEAD}{records}0\r\n\r\n").into_bytes();
    }
    let choice = format!(r#"{{"index":0,"message":{message},"finish_reason":"tool_calls"}}"#);
    json(&format!(r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1,"model":"stub","choices":[{choice}],{USAGE}}}"#))
}

fn json(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn completion() -> String {
    let choice = format!(r#"{{"index":0,"message":{{"role":"assistant","content":"{TEXT}"}},"finish_reason":"stop"}}"#);
    format!(r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1,"model":"stub","choices":[{choice}],{USAGE}}}"#)
}

const USAGE: &str = r#""usage":{"prompt_tokens":12,"completion_tokens":7,"total_tokens":19}"#;
const STREAM_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Streams `chunks` pieces of text, each of which is the time at which it is sent and a space.
async fn stream(wire: &mut Wire, chunks: u32, every: Duration) -> io::Result<()> {
    let opening = record(&choice(r#"{"role":"assistant","content":""}"#, "null"));
    wire.send(format!("{STREAM_HEAD}{opening}").as_bytes()).await?;
    let mut ticks = (!every.is_zero()).then(|| time::interval_at(time::Instant::now() + every, every));
    if let Some(ticks) = &mut ticks {
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    }
    for _ in 0..chunks {
        if let Some(ticks) = &mut ticks {
            ticks.tick().await;
        }
        let piece = record(&choice(&format!(r#"{{"content":"{} "}}"#, micros()), "null"));
        wire.send(piece.as_bytes()).await?;
    }
    let usage = format!(r#"{{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1,"model":"stub","choices":[],{USAGE}}}"#);
    let closing = format!("{}{}{}0\r\n\r\n", record(&choice("{}", r#""stop""#)), record(&usage), record("[DONE]"));
    wire.send(closing.as_bytes()).await
}

fn choice(delta: &str, finish: &str) -> String {
    let choice = format!(r#"{{"index":0,"delta":{delta},"finish_reason":{finish}}}"#);
    format!(r#"{{"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1,"model":"stub","choices":[{choice}]}}"#)
}

/// One server-sent event as one chunk of the body.
fn record(data: &str) -> String {
    format!("{:x}\r\ndata: {data}\n\n\r\n", data.len() + "data: \n\n".len())
}
