//! The gateway's wall clock jumps, forward and back, while it works. The clock of the machine stays as it is: the C compiler
//! that Rust needs anyway makes a few lines of C into a library, which is loaded before the system's and shifts this one process.

use crate::{
    load::{Load, setup},
    options::Options,
    readback::{history, read_back},
    remains,
    report::Outcome,
};
use goclaw_tests::{Answer, Edition, Server, WsClient, census::Census, eventually, fake_llm::Gate, within};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tokio::time::{sleep, timeout};

const ROUNDS: usize = 3;
const HOUR: i64 = 3_600;
/// Where the clock stands in turn, in seconds off. Less than a day: uploads that no message took are removed after one.
const JUMPS: [i64; 6] = [2 * HOUR, -3 * HOUR, 20 * HOUR, 0, -20 * HOUR, 0];
/// A gateway looks at the leases of runs every 10 s; a long run is to outlive that.
const A_LOOK_AT_LEASES: Duration = Duration::from_secs(12);
/// It looks for events of other replicas every 5 s.
const A_LOOK_AT_EVENTS: Duration = Duration::from_secs(7);
const WRITES: usize = 30;

/// The clock of one gateway.
struct Clock(PathBuf);

impl Clock {
    fn new(path: PathBuf) -> Self {
        let clock = Self(path);
        fs::write(&clock.0, 0_i64.to_ne_bytes()).expect("the file with the shift");
        clock
    }

    /// In place: the file is mapped into the gateway.
    fn shift(&self, seconds: i64) {
        let file = File::options().write(true).open(&self.0).expect("the file with the shift");
        file.write_all_at(&seconds.to_ne_bytes(), 0).expect("the shift is written");
    }

    /// Jumps. On standard, a gateway that sees that it may have slept sends all its clients away, up to some seconds later: the witness.
    async fn jump(&self, server: &Server, edition: Edition, from: i64, to: i64) -> Option<WsClient> {
        let witness = if edition == Edition::Standard && to > from { Some(server.owner_socket().await) } else { None };
        self.shift(to);
        witness
    }
}

/// Waits until the witness was sent away, so that whoever comes now is not. It stays if the gateway did not look while the clock
/// stood where this jump came from.
async fn sent_away(witness: Option<WsClient>) {
    if let Some(mut witness) = witness {
        drop(timeout(A_LOOK_AT_EVENTS, witness.wait_for_close()).await);
    }
}

pub async fn attack(edition: Edition, options: &Options) -> Outcome {
    let setup = setup(edition).await;
    let library = match library(setup.dir()) {
        Ok(library) => library,
        Err(reason) => return Outcome::not_run(reason),
    };
    let clock = Clock::new(setup.dir().join("clock"));
    let setup = setup.env("LD_PRELOAD", &library.to_string_lossy()).env("TORTURE_CLOCK", &clock.0.to_string_lossy());
    let mut outcome = Outcome::default();
    let mut server = setup.start().await;
    server.owner().post("/v1/agents", &json!({"agent_key": "fox", "agent_type": "predefined"})).await.expect(201);
    if let Some(reason) = deaf(&server, &clock).await {
        return Outcome::not_run(reason);
    }
    let load = Load::new(false);
    load.script(&server.llm);
    keys_expire_by_the_clock(&server, edition, &clock, &mut outcome).await;
    let mut stands = 0;
    for round in 0..options.rounds_or(ROUNDS) {
        for (n, shift) in JUMPS.into_iter().enumerate() {
            let clients = load.begin(&server, round * JUMPS.len() + n).await;
            within("acknowledged writes", load.recorder.wait_for(load.recorder.count() + WRITES)).await;
            let witness = clock.jump(&server, edition, std::mem::replace(&mut stands, shift), shift).await;
            within("acknowledged writes after a jump", load.recorder.wait_for(load.recorder.count() + WRITES)).await;
            drop(clients);
            sent_away(witness).await;
            outcome.find_all(remains::quiet(&server, &load, round * JUMPS.len() + n).await);
            for path in ["/health", "/ready"] {
                let status = server.anonymous().get(path).await.status;
                outcome.hold(status == 200, || format!("{path} answered {status} after a jump to {shift} s"));
            }
            outcome.find_all(read_back(&server, &load).await.into_iter().map(|wrong| format!("after a jump to {shift} s: {wrong}")));
            outcome.round();
        }
    }
    for (from, to) in [(0, 6 * HOUR), (6 * HOUR, 0)] {
        long_runs_survive(&server, &clock, from, to, &mut outcome).await;
    }
    limits_hold(&server, &clock, &mut outcome).await;
    clock.shift(0);
    let status = server.stop().await;
    outcome.hold(status.success(), || format!("the gateway stopped with {status}"));
    outcome.note(format!("{} acknowledged writes", load.recorder.count()));
    outcome
}

/// Why jumps cannot be made: the gateway does not see them.
async fn deaf(server: &Server, clock: &Clock) -> Option<String> {
    let now = async || {
        server.owner().post("/v1/chat/completions", &json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": "time"}]})).await.expect(200)["created"].as_i64()
    };
    let before = now().await;
    clock.shift(HOUR);
    let after = now().await;
    clock.shift(0);
    let seen = before.zip(after).is_some_and(|(before, after)| after - before > HOUR - 60);
    (!seen).then(|| "the gateway does not take the time from the C library".to_owned())
}

async fn keys_expire_by_the_clock(server: &Server, edition: Edition, clock: &Clock, outcome: &mut Outcome) {
    let body = json!({"name": "an hour", "scopes": ["operator.read"], "expires_in": HOUR});
    let key = server.owner().post("/v1/api-keys", &body).await.expect(201)["key"].as_str().unwrap_or_default().to_owned();
    let mut stands = 0;
    for (shift, expected) in [(0, 200), (2 * HOUR, 401), (0, 200), (-2 * HOUR, 200), (0, 200)] {
        let witness = clock.jump(server, edition, std::mem::replace(&mut stands, shift), shift).await;
        let status = server.with_key(&key).user("mai").get("/v1/agents").await.status;
        outcome.hold(status == expected, || format!("a key that holds for an hour answered {status} when the clock is {shift} s off"));
        sent_away(witness).await;
    }
}

/// A run that is under way when the clock jumps goes on to its end, whatever its lease says.
async fn long_runs_survive(server: &Server, clock: &Clock, from: i64, to: i64, outcome: &mut Outcome) {
    clock.shift(from);
    let gate = Gate::closed();
    server.llm.next(Answer::text("a long story").chunks(2).gated(&gate));
    let mut socket = server.owner_socket().await;
    let session = format!("agent:fox:ws:direct:long-{from}-{to}");
    socket.send("chat.send", &json!({"message": "tell me", "agentId": "fox", "sessionKey": session, "stream": true})).await;
    server.llm.wait_for_open_answers(1).await;
    clock.shift(to);
    sleep(A_LOOK_AT_LEASES).await;
    gate.open();
    eventually("the run to end", async || Census::of(server).await.runs == 0.0).await;
    // A gateway that was asleep for so long may have missed events: it asks its clients to connect again.
    let mut socket = server.owner_socket().await;
    let stored = history(&mut socket, &session).await;
    let told = stored.last().is_some_and(|last| last["content"] == "a long story");
    outcome.hold(told, || format!("a run during which the clock jumped from {from} to {to} s left {stored:?}"));
}

/// What may be asked so often in a minute is that often, whatever the clock does: neither more at once, nor nothing for hours.
async fn limits_hold(server: &Server, clock: &Clock, outcome: &mut Outcome) {
    clock.shift(0);
    let mut socket = server.owner_socket().await;
    socket.call("config.patch", &json!({"raw": "{gateway: {rate_limit_rpm: 60}}"})).await.unwrap_or_else(|error| panic!("config.patch: {error:?}"));
    let client = server.owner();
    let body = json!({"model": "goclaw:fox", "messages": [{"role": "user", "content": "hi"}]});
    let ask = async || client.attempt("POST", "/v1/chat/completions", &body).await.map_or(0, |reply| reply.status);
    for shift in [0, 20 * HOUR, -20 * HOUR] {
        clock.shift(shift);
        let mut statuses = Vec::new();
        for _ in 0..20 {
            statuses.push(ask().await);
        }
        outcome.hold(statuses.contains(&429), || format!("no limit holds when the clock is {shift} s off: {statuses:?}"));
        eventually(&format!("a request to be let in when the clock is {shift} s off"), async || ask().await == 200).await;
    }
    let undo: Value = json!({"raw": "{gateway: {rate_limit_rpm: 0}}"});
    socket.call("config.patch", &undo).await.unwrap_or_else(|error| panic!("config.patch: {error:?}"));
}

/// Compiles the library.
fn library(dir: &Path) -> Result<PathBuf, String> {
    let (source, library) = (dir.join("skew.c"), dir.join("skew.so"));
    fs::write(&source, include_str!("skew.c")).map_err(|error| error.to_string())?;
    let output = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(&source).output().map_err(|error| format!("cc: {error}"))?;
    if output.status.success() { Ok(library) } else { Err(format!("cc: {}", String::from_utf8_lossy(&output.stderr))) }
}
