//! Connections to an upstream are kept and used again, and speak HTTP/2 where it does.

use super::{ANTHROPIC_OK, OPENAI_OK, ask, provider_at, run, spec};
use goclaw_llm::{LlmOptions, RetryPolicy, factory};
use goclaw_outbound::{Outbound, OutboundOptions};
use goclaw_ports::llm::ProviderSpec;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
};

const OPENAI_PIECES: &[&str] = &[r#"{"choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}"#, "[DONE]"];
const ANTHROPIC_PIECES: &[&str] = &[
    r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":"Hi"}}"#,
    r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"}}"#,
    r#"{"type":"message_stop"}"#,
];

/// What a client that speaks HTTP/2 and, if it must, HTTP/1.1 puts into the first message of TLS.
const BOTH_PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// An upstream that never closes a connection, and counts them.
struct Keeper {
    base: String,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
}

impl Keeper {
    /// Answers with `whole`, or with `pieces` to those who want a stream; the first request of all fails with status 503.
    async fn start(whole: &'static str, pieces: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let (connections, requests) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (count, seen) = (connections.clone(), requests.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(socket, seen.clone(), whole, pieces));
            }
        });
        Self { base, connections, requests }
    }
}

async fn serve(socket: TcpStream, requests: Arc<AtomicUsize>, whole: &str, pieces: &[&str]) {
    let mut socket = BufReader::new(socket);
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = socket.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.unwrap();
        let streams = String::from_utf8(body).unwrap().contains(r#""stream":true"#);
        let answer = if requests.fetch_add(1, Ordering::SeqCst) == 0 {
            "HTTP/1.1 503 X\r\ncontent-length: 4\r\n\r\nbusy".to_owned()
        } else if streams {
            let events: String = pieces.iter().map(|piece| format!("data: {piece}\n\n")).collect();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked";
            format!("{head}\r\n\r\n{:x}\r\n{events}\r\n0\r\n\r\n", events.len())
        } else {
            format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{whole}", whole.len())
        };
        socket.get_mut().write_all(answer.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn one_connection_serves_call_after_call() {
    for (kind, whole, pieces) in [("openai_compat", OPENAI_OK, OPENAI_PIECES), ("anthropic_native", ANTHROPIC_OK, ANTHROPIC_PIECES)] {
        let upstream = Keeper::start(whole, pieces).await;
        let provider = provider_at(kind, &upstream.base);
        for n in 0..20 {
            assert_eq!(run(&provider, ask("m", n % 3 != 0)).await.1.unwrap().content, "Hi", "{kind}");
        }
        assert_eq!(upstream.requests.load(Ordering::SeqCst), 21, "{kind}: one failed and was made again");
        // A call that follows at once may find the only connection on its way back to the pool, and opens one more; never a third.
        let connections = upstream.connections.load(Ordering::SeqCst);
        assert!(connections <= 2, "{kind}: {connections} connections for whole answers, streams and a failure");
    }
}

/// The first message of TLS that a client sends.
async fn hello(listener: TcpListener) -> Vec<u8> {
    let (mut socket, _) = listener.accept().await.unwrap();
    let mut head = [0; 5];
    socket.read_exact(&mut head).await.unwrap();
    let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    socket.read_exact(&mut hello).await.unwrap();
    hello
}

#[tokio::test]
async fn http_2_is_offered_to_every_upstream_before_http_1() {
    for trusted in [true, false] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("https://{}/v1", listener.local_addr().unwrap());
        let hello = tokio::spawn(hello(listener));
        let outbound = Outbound::new(OutboundOptions { allow_private_hosts: vec!["127.0.0.1".into()], ..OutboundOptions::default() }).unwrap();
        let retry = RetryPolicy { attempts: 1, ..RetryPolicy::default() };
        let providers = factory(Arc::new(outbound), LlmOptions { retry, ..LlmOptions::default() });
        let provider = providers.build(ProviderSpec { trusted, ..spec("openai_compat", &base) }).unwrap();
        assert!(run(&provider, ask("m", false)).await.1.is_err(), "nobody answers the hello");
        let hello = tokio::time::timeout(Duration::from_secs(10), hello).await.expect("the upstream is called").unwrap();
        assert!(hello.windows(BOTH_PROTOCOLS.len()).any(|bytes| bytes == BOTH_PROTOCOLS), "trusted: {trusted}");
    }
}
