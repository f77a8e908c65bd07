//! WebSocket clients that say nothing.

use goclaw_tests::{Edition, Server, Setup, server::GATEWAY_TOKEN, within};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
};

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A WebSocket whose pings nobody answers by themselves.
struct Raw(BufReader<TcpStream>);

impl Raw {
    async fn open(server: &Server) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", server.port())).await.unwrap();
        let request = "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut raw = Self(BufReader::new(stream));
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(raw.0.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
        raw
    }

    async fn connected(server: &Server) -> Self {
        let mut raw = Self::open(server).await;
        raw.call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": "system"})).await;
        raw
    }

    async fn call(&mut self, method: &str, params: &Value) {
        self.send(TEXT, json!({"type": "req", "id": "1", "method": method, "params": params}).to_string().as_bytes()).await;
        while self.frame().await.0 != TEXT {}
    }

    /// Sends a short frame. It may be too late.
    async fn send(&mut self, kind: u8, data: &[u8]) {
        let length = u16::try_from(data.len()).unwrap();
        // The mask is zero, which leaves the data as they are.
        let frame = [&[0x80 | kind, 0x80 | 126][..], &length.to_be_bytes(), &[0; 4], data].concat();
        let short = [&[0x80 | kind, 0x80 | u8::try_from(length % 126).unwrap()][..], &[0; 4], data].concat();
        drop(self.0.write_all(if length < 126 { &short } else { &frame }).await);
    }

    /// The next frame: what it is, and its data. A connection that just ends has closed.
    async fn frame(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let kind = self.0.read_u8().await? & 0x0f;
            let length = match self.0.read_u8().await? & 0x7f {
                126 => u64::from(self.0.read_u16().await?),
                127 => self.0.read_u64().await?,
                length => u64::from(length),
            };
            let mut data = vec![0; usize::try_from(length).unwrap()];
            self.0.read_exact(&mut data).await?;
            Ok::<_, std::io::Error>((kind, data))
        };
        within("a frame", read).await.unwrap_or((CLOSE, vec![]))
    }
}

async fn with_times(edition: Edition, ping: u32, connect: u32) -> Server {
    Setup::new(edition).await.config(json!({"gateway": {"ws_ping_interval_ms": ping, "ws_connect_timeout_ms": connect}})).start().await
}

const POLICY: [u8; 2] = 1008_u16.to_be_bytes();

on_both_editions! {
    async fn a_client_that_answers_no_ping_is_cut_off(edition) {
        let server = with_times(edition, 150, 30_000).await;
        let mut raw = Raw::connected(&server).await;
        let mut pings = 0;
        let code = loop {
            match raw.frame().await {
                (PING, _) => pings += 1,
                (CLOSE, code) => break code,
                _ => {}
            }
        };
        assert!(code.starts_with(&POLICY), "{code:?}");
        assert!(pings >= 1, "it was asked");
    }

    async fn an_idle_client_that_answers_pings_stays(edition) {
        let server = with_times(edition, 150, 30_000).await;
        let mut raw = Raw::connected(&server).await;
        // Four times as long as a silent one would last.
        let mut answered = 0;
        while answered < 8 {
            match raw.frame().await {
                (PING, data) => {
                    raw.send(PONG, &data).await;
                    answered += 1;
                }
                (CLOSE, code) => panic!("closed after {answered} pings: {code:?}"),
                _ => {}
            }
        }
        raw.call("health", &json!({})).await;
    }

    async fn a_client_that_reads_nothing_is_sent_away_and_misses_no_answer_in_between(edition) {
        let server = Server::start(edition).await;
        let mut raw = Raw::connected(&server).await;
        let closed = async || server.anonymous().get("/metrics").await.text().contains("goclaw_ws_slow_client_closes_total 1");
        let mut sent = 0;
        while !closed().await {
            assert!(sent < 20_000, "{sent} answers wait");
            for _ in 0..100 {
                sent += 1;
                raw.send(TEXT, json!({"type": "req", "id": sent.to_string(), "method": "config.get"}).to_string().as_bytes()).await;
            }
        }
        let mut answered = 0;
        loop {
            let (kind, data) = raw.frame().await;
            match kind {
                TEXT => {
                    let frame: Value = serde_json::from_slice(&data).unwrap();
                    if frame["type"] == "res" {
                        answered += 1;
                        assert_eq!(frame["id"], answered.to_string());
                    }
                }
                CLOSE => {
                    assert!(data.is_empty() || data[..2] == 1013u16.to_be_bytes(), "{data:?}");
                    break;
                }
                _ => {}
            }
        }
        assert!((1..sent).contains(&answered), "{answered} of {sent}");
        // The others are served as before.
        server.owner_socket().await.call("status", &json!({})).await.unwrap();
    }

    async fn who_does_not_say_who_it_is_is_cut_off_for_all_its_answers(edition) {
        let server = with_times(edition, 100, 400).await;
        let mut raw = Raw::open(&server).await;
        let mut pings = 0;
        let code = loop {
            match raw.frame().await {
                (PING, data) => {
                    pings += 1;
                    raw.send(PONG, &data).await;
                }
                (CLOSE, code) => break code,
                (kind, _) => panic!("a frame of kind {kind}"),
            }
        };
        assert!(code.starts_with(&POLICY), "{code:?}");
        assert!(pings >= 2, "it answered {pings} pings: it was not cut off for its silence");
        let (mut refused, answer) = (Raw::open(&server).await, json!({"token": "wrong"}));
        refused.call("health", &answer).await;
        while refused.frame().await.0 != CLOSE {}
    }
}
