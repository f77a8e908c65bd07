//! Connections to an upstream are kept and used again.

use super::{ANTHROPIC_OK, OPENAI_OK, ask, provider_at, run};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
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
