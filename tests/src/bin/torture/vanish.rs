//! Clients that go away in the middle of an answer, without a word.

use crate::{load::setup, options::Options, report::Outcome};
use goclaw_tests::{Answer, Edition, Server, census::Census, eventually, fake_llm::Gate, server::GATEWAY_TOKEN, within};
use serde_json::json;
use std::time::Instant;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const CLIENTS: usize = 10_000;
const WAVE: usize = 250;
/// What may stay open for the next use: connections to the model and the database, and threads that come and go.
const SPARE: usize = 40;
/// What memory may have grown by: the conversations get longer, and what was needed once stays at hand. In bytes.
const GROWTH: u64 = 80_000_000;

pub async fn attack(edition: Edition, options: &Options) -> Outcome {
    let mut outcome = Outcome::default();
    let server = setup(edition).await.env("GOCLAW_LANE_MAIN", "1000").start().await;
    server.owner().post("/v1/agents", &json!({"agent_key": "fox", "agent_type": "predefined"})).await.expect(201);
    let clients = options.rounds_or(CLIENTS);
    let begun = Instant::now();
    // The first wave opens what stays open: it is no leak.
    wave(&server, WAVE.min(clients)).await;
    let before = Census::of(&server).await;
    let mut gone = WAVE.min(clients);
    while gone < clients {
        let count = WAVE.min(clients - gone);
        wave(&server, count).await;
        gone += count;
        if gone.is_multiple_of(2_500) {
            eprintln!("torture: {}: {gone} clients have vanished", edition.name());
        }
    }
    outcome.rounds(gone);
    // Connections that are closed are seen a moment later.
    let mut after = Census::of(&server).await;
    for _ in 0..50 {
        if after.excess(&before, SPARE).is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        after = Census::of(&server).await;
    }
    outcome.find_all(after.excess(&before, SPARE));
    let running = server.owner().get("/v1/traces?status=running&limit=1").await.expect(200)["total"].as_i64().unwrap_or_default();
    outcome.hold(running == 0, || format!("{running} traces are still running"));
    let grown = after.resident.saturating_sub(before.resident);
    outcome.hold(grown <= GROWTH, || format!("memory grew by {grown} bytes"));
    let mb = |bytes: u64| bytes / 1_000_000;
    outcome.note(format!(
        "{} s; descriptors {} → {}, threads {} → {}, memory {} → {} MB",
        begun.elapsed().as_secs(),
        before.descriptors,
        after.descriptors,
        before.threads,
        after.threads,
        mb(before.resident),
        mb(after.resident)
    ));
    outcome
}

/// So many clients come, see their answers begin, and vanish; then the answers go on to their end.
async fn wave(server: &Server, count: usize) {
    let gate = Gate::closed();
    server.llm.always(Answer::text("word ".repeat(40)).chunks(20).gated(&gate));
    let mut clients = JoinSet::new();
    for n in 0..count {
        if n.is_multiple_of(2) {
            clients.spawn(listen(server.port(), n.is_multiple_of(4)));
        } else {
            let (mut socket, session) = (server.owner_socket().await, format!("agent:fox:ws:direct:vanish-{n}"));
            clients.spawn(async move {
                socket.send("chat.send", &json!({"message": "tell me", "agentId": "fox", "sessionKey": session, "stream": true})).await;
                socket.event(|event| event["payload"]["type"] == "run.started" && event["payload"]["sessionKey"] == session.as_str()).await;
            });
        }
    }
    within("a wave to vanish", async { while clients.join_next().await.transpose().expect("clients do not fail").is_some() {} }).await;
    gate.open();
    eventually("every run to end and every client to be gone", async || {
        let census = Census::of(server).await;
        census.runs == 0.0 && census.clients == 0.0
    })
    .await;
    server.llm.forget();
}

/// A stream that is read until it has begun. What goes `rudely` leaves something unread, so that the connection is reset.
async fn listen(port: u16, rudely: bool) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the gateway takes connections");
    let body = json!({"model": "goclaw:fox", "stream": true, "messages": [{"role": "user", "content": "tell me"}]}).to_string();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {GATEWAY_TOKEN}\r\nX-GoClaw-User-Id: system\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(format!("{head}{body}").as_bytes()).await.expect("the request goes out");
    if rudely {
        stream.readable().await.expect("an answer begins");
        return;
    }
    let mut seen = Vec::new();
    while !seen.windows(5).any(|part| part == b"data:") {
        let mut buffer = [0; 1_024];
        let count = stream.read(&mut buffer).await.expect("the answer comes");
        assert!(count > 0, "the answer ended before it began: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
}
