//! Clients that take their time over a request.

use crate::common::{create_agent, streamed};
use goclaw_tests::{Answer, Edition, Server, Setup, eventually, fake_llm::Gate, server::GATEWAY_TOKEN, within};
use serde_json::{Value, json};
use std::{fs, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, ReadHalf, split},
    net::TcpStream,
    time::interval,
};

/// How long the gateway of these tests waits for anything, in milliseconds.
const PATIENCE: u64 = 1_000;

async fn impatient(edition: Edition) -> Server {
    let times = json!({"http_head_timeout_ms": PATIENCE, "http_body_timeout_ms": PATIENCE, "http_idle_timeout_ms": PATIENCE});
    Setup::new(edition).await.config(json!({"gateway": times})).start().await
}

async fn open(server: &Server) -> TcpStream {
    TcpStream::connect(("127.0.0.1", server.port())).await.unwrap()
}

/// All that comes until the gateway closes.
async fn rest(reader: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut all = Vec::new();
    // Of a client that goes on writing the connection may be reset.
    drop(within("the gateway to close", reader.read_to_end(&mut all)).await);
    String::from_utf8(all).unwrap()
}

/// Sends a part of a head at once, and then a byte at a time, each long before the gateway would lose its patience with silence.
async fn drip(stream: TcpStream) -> String {
    let (mut reader, mut writer): (ReadHalf<_>, _) = split(stream);
    let dripping = tokio::spawn(async move {
        let mut ticks = interval(Duration::from_millis(PATIENCE / 10));
        let head = b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: ".iter().chain(std::iter::repeat(&b'x'));
        for byte in head {
            ticks.tick().await;
            if writer.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    });
    let rest = rest(&mut reader).await;
    within("the client to notice", dripping).await.unwrap();
    rest
}

/// An answer whose length is told, and nothing after it.
async fn answer(stream: &mut TcpStream) -> String {
    let mut read = Vec::new();
    loop {
        read.push(within("an answer", stream.read_u8()).await.unwrap());
        let Ok(text) = std::str::from_utf8(&read) else { continue };
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok());
            length == Some(body.len())
        });
        if whole {
            return text.to_owned();
        }
    }
}

/// Whether a client that is quick is served.
async fn is_served(server: &Server) -> bool {
    let mut quick = open(server).await;
    quick.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    answer(&mut quick).await.starts_with("HTTP/1.1 200 ")
}

on_both_editions! {
    async fn a_head_that_does_not_come_is_refused(edition) {
        let server = impatient(edition).await;
        let mut silent = open(&server).await;
        silent.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n").await.unwrap();
        let said = rest(&mut silent).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        let said = drip(open(&server).await).await;
        assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
        assert!(is_served(&server).await);
    }

    async fn a_later_head_of_a_connection_has_no_more_time(edition) {
        let server = impatient(edition).await;
        let mut kept = open(&server).await;
        for _ in 0..2 {
            kept.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            assert!(answer(&mut kept).await.ends_with(r#"{"status":"ok","protocol":3}"#), "the connection is kept");
        }
        assert_eq!(drip(kept).await, "", "no second answer comes");
        let mut idle = open(&server).await;
        idle.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        answer(&mut idle).await;
        assert_eq!(rest(&mut idle).await, "");
        assert!(is_served(&server).await);
    }

    async fn an_answer_may_take_longer_than_a_request(edition) {
        let server = impatient(edition).await;
        create_agent(&server.owner(), "fox").await;
        let gate = Gate::closed();
        server.llm.next(Answer::text("late but whole").chunks(1).gated(&gate));
        let body = streamed("fox", "hi").to_string();
        let mut asking = open(&server).await;
        let head = format!("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {GATEWAY_TOKEN}\r\nX-GoClaw-User-Id: system\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        asking.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        // Another connection that was answered before is closed meanwhile: so long it takes at least.
        let mut idle = open(&server).await;
        idle.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        answer(&mut idle).await;
        assert_eq!(drip(idle).await, "");
        gate.open();
        let said = rest(&mut asking).await;
        assert!(said.starts_with("HTTP/1.1 200 ") && said.contains("late but whole") && said.contains("[DONE]"), "{said}");
    }

    async fn a_body_that_stalls_is_refused_and_nothing_is_stored(edition) {
        let server = impatient(edition).await;
        let mut stalled = open(&server).await;
        let head = format!("POST /v1/agents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {GATEWAY_TOKEN}\r\nX-GoClaw-User-Id: system\r\nAccept-Language: vi\r\nContent-Length: 100\r\n\r\n");
        stalled.write_all(format!("{head}{{\"agent_key\": \"fox\"").as_bytes()).await.unwrap();
        let said = answer(&mut stalled).await;
        let refusal: Value = serde_json::from_str(said.split_once("\r\n\r\n").unwrap().1).unwrap();
        assert!(said.starts_with("HTTP/1.1 400 ") && refusal["code"] == "INVALID_REQUEST", "{said}");
        assert!(refusal["error"].as_str().unwrap().contains("quá"), "in the caller's language: {refusal}");
        let agents = format!("GET /v1/agents HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {GATEWAY_TOKEN}\r\nX-GoClaw-User-Id: system\r\n\r\n");
        let mut asking = open(&server).await;
        asking.write_all(agents.as_bytes()).await.unwrap();
        let listed = answer(&mut asking).await;
        assert!(listed.starts_with("HTTP/1.1 200 ") && listed.contains(r#""agents":[]"#), "{listed}");
    }

    async fn a_form_that_stalls_leaves_nothing(edition) {
        let server = impatient(edition).await;
        let mut stalled = open(&server).await;
        let part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nthe beginning";
        let head = format!("POST /v1/media/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {GATEWAY_TOKEN}\r\nX-GoClaw-User-Id: system\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n");
        stalled.write_all(format!("{head}{part}").as_bytes()).await.unwrap();
        let said = answer(&mut stalled).await;
        assert!(said.starts_with("HTTP/1.1 400 ") && said.contains("INVALID_REQUEST"), "{said}");
        assert_eq!(fs::read_dir(server.dir().join("data/uploads/system")).map(Iterator::count).unwrap_or_default(), 0);
        eventually("the connection to be given up", async || stalled.write_all(b"x").await.is_err()).await;
    }
}
