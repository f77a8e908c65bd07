//! Clients that go away in the middle of an answer, without a word.

use crate::{load::setup, options::Options, remains, report::Outcome};
use goclaw_tests::{
    Answer, Edition, Server,
    census::{self, Census},
    eventually,
    fake_llm::Gate,
    server::GATEWAY_TOKEN,
    within,
};
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::sleep,
};

const CLIENTS: usize = 10_000;
/// How many of them go at once; fewer, if there are so few that there would be no waves.
const WAVE: usize = 250;
const WAVES: usize = 4;
/// Who hears of everything that others do is sent away if it reads too slowly: so many users hear of their own.
const USERS: usize = 16;
/// Of so many clients one has its agent run a command, and one is sending a file.
const OTHERS: usize = 50;
/// How large that file is, and how much of it comes.
const FILE: usize = 4 << 20;
const SENT: usize = 1 << 20;
/// What may stay open for the next use: connections to the model and the database, and threads that come and go.
const SPARE: usize = 40;
/// What memory may have grown by: the conversations get longer, and what was needed once stays at hand. In bytes.
const GROWTH: u64 = 80_000_000;

pub async fn attack(edition: Edition, options: &Options) -> Outcome {
    let mut outcome = Outcome::default();
    let server = setup(edition).await.env("GOCLAW_LANE_MAIN", "1000").start().await;
    server.owner().post("/v1/agents", &json!({"agent_key": "fox", "agent_type": "predefined", "is_default": true})).await.expect(201);
    server.llm.on(|asked| {
        let pause = asked.last_user_text().strip_prefix("run ")?.to_owned();
        Some(Answer::text("I do.").and_tool("exec", &json!({"command": format!("sleep {pause} & sleep {pause}")})))
    });
    let key = server.owner().post("/v1/api-keys", &json!({"name": "clients", "scopes": ["operator.write"]})).await.expect(201);
    let key = key["key"].as_str().unwrap_or_default();
    let clients = options.rounds_or(CLIENTS);
    let size = WAVE.min(clients.div_ceil(WAVES));
    let begun = Instant::now();
    // The first wave opens what stays open: it is no leak.
    outcome.find_all(wave(&server, key, size).await);
    let before = Census::of(&server).await;
    let mut gone = size;
    while gone < clients {
        let count = size.min(clients - gone);
        outcome.find_all(wave(&server, key, count).await);
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
        sleep(Duration::from_millis(100)).await;
        after = Census::of(&server).await;
    }
    outcome.find_all(after.excess(&before, SPARE));
    let running = server.owner().get("/v1/traces?status=running&limit=1").await.expect(200)["total"].as_i64().unwrap_or_default();
    outcome.hold(running == 0, || format!("{running} traces are still running"));
    outcome.find_all(remains::drafts(&server, Edition::Lite).await);
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

/// So many clients come, see their answers begin, and vanish; then the answers go on to their end. Says which commands go on, too.
async fn wave(server: &Server, key: &str, count: usize) -> Vec<String> {
    let gate = Gate::closed();
    server.llm.always(Answer::text("word ".repeat(40)).chunks(20).gated(&gate));
    let mut clients = JoinSet::new();
    let mut commands = Vec::new();
    for n in 0..count {
        if n % OTHERS == 2 {
            let pause = format!("600.{}{n:03}", std::process::id());
            commands.push(pause.clone());
            clients.spawn(command(server.port(), pause));
        } else if n % OTHERS == 12 {
            clients.spawn(send(server.port()));
        } else if n.is_multiple_of(2) {
            clients.spawn(listen(server.port(), n.is_multiple_of(4)));
        } else {
            let user = json!({"token": key, "user_id": format!("user-{}", n % USERS)});
            let (mut socket, session) = (server.connected(&user).await, format!("agent:fox:ws:direct:vanish-{n}"));
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
    let mut left = Vec::new();
    for pause in commands {
        left.extend(remains::orphans(&pause).await);
    }
    left
}

/// A stream that is read until it has begun. What goes `rudely` leaves something unread, so that the connection is reset.
async fn listen(port: u16, rudely: bool) {
    let mut stream = ask(port, "tell me").await;
    if rudely {
        stream.readable().await.expect("an answer begins");
    } else {
        begun(&mut stream).await;
    }
}

/// A stream during which the agent runs a command, which is under way.
async fn command(port: u16, pause: String) {
    let mut stream = ask(port, &format!("run {pause}")).await;
    begun(&mut stream).await;
    // It is under way within moments; a wave that does not vanish in time is found.
    while census::with_argument(&pause).is_empty() {
        sleep(Duration::from_millis(20)).await;
    }
}

/// A file of which one part comes.
async fn send(port: u16) {
    let part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"half.txt\"\r\nContent-Type: text/plain\r\n\r\n";
    let mut stream = post(port, "/v1/media/upload", "multipart/form-data; boundary=b", part.len() + FILE).await;
    stream.write_all(part.as_bytes()).await.expect("the beginning goes out");
    stream.write_all(&vec![b'x'; SENT]).await.expect("a part of the file goes out");
}

/// A question whose answer comes as a stream.
async fn ask(port: u16, text: &str) -> TcpStream {
    let body = json!({"model": "goclaw:fox", "stream": true, "messages": [{"role": "user", "content": text}]}).to_string();
    let mut stream = post(port, "/v1/chat/completions", "application/json", body.len()).await;
    stream.write_all(body.as_bytes()).await.expect("the request goes out");
    stream
}

/// The head of a request.
async fn post(port: u16, path: &str, content_type: &str, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the gateway takes connections");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {GATEWAY_TOKEN}\r\nX-GoClaw-User-Id: system\r\n\
         Content-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the head goes out");
    stream
}

async fn begun(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.windows(5).any(|part| part == b"data:") {
        let mut buffer = [0; 1_024];
        let count = stream.read(&mut buffer).await.expect("the answer comes");
        assert!(count > 0, "the answer ended before it began: {}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&buffer[..count]);
    }
}
