//! PostgreSQL that is killed, and a way to it that is cut, slow or silent, while clients of every kind write.

use crate::{
    cluster::Cluster,
    load::{Load, setup},
    options::{Chance, Options},
    proxy::{Proxy, Way},
    readback::read_back,
    remains,
    report::Outcome,
};
use goclaw_tests::{Edition, Server, eventually, within};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio::time::sleep;

const ROUNDS: usize = 20;
/// How long a disturbance lasts at least.
const AWHILE: Duration = Duration::from_millis(1_500);
/// How long `/health` may take whatever the database does.
const PROMPT: Duration = Duration::from_secs(1);
/// How many writes are to be acknowledged before an attack and after it.
const WRITES: usize = 30;

#[derive(Debug, Clone, Copy)]
enum Attack {
    Cut,
    Terminate,
    KillBackend,
    KillServer,
    QuitServer,
    Slow,
    Stall,
    Refuse,
}

const ATTACKS: [Attack; 8] =
    [Attack::Cut, Attack::KillServer, Attack::Terminate, Attack::Refuse, Attack::KillBackend, Attack::Stall, Attack::Slow, Attack::QuitServer];

pub async fn attack(options: &Options) -> Outcome {
    let mut cluster = match Cluster::start().await {
        Ok(cluster) => cluster,
        Err(reason) => return Outcome::not_run(reason),
    };
    let proxy = Proxy::start(cluster.port).await;
    let (mut outcome, mut chance) = (Outcome::default(), Chance::new(options.seed));
    let setup = setup(Edition::Standard).await.env("GOCLAW_POSTGRES_DSN", &Cluster::dsn(proxy.port, "goclaw"));
    let server = setup.start().await;
    server.owner().post("/v1/agents", &json!({"agent_key": "fox", "agent_type": "predefined"})).await.expect(201);
    let load = Load::new(true);
    load.script(&server.llm);
    let mut slowest = Duration::ZERO;
    for round in 0..options.rounds_or(ROUNDS) {
        let attack = ATTACKS[round % ATTACKS.len()];
        let clients = load.begin(&server, round).await;
        within("acknowledged writes", load.recorder.wait_for(load.recorder.count() + WRITES)).await;
        sleep(Duration::from_micros(chance.below(20_000) as u64)).await;
        disturb(attack, &mut cluster, &proxy, &server, &mut outcome).await;
        let begun = Instant::now();
        eventually(&format!("readiness after {attack:?}"), async || ready(&server).await.0 == 200).await;
        within(&format!("acknowledged writes after {attack:?}"), load.recorder.wait_for(load.recorder.count() + WRITES)).await;
        slowest = slowest.max(begun.elapsed());
        drop(clients);
        outcome.find_all(remains::quiet(&server, &load, round).await);
        outcome.find_all(read_back(&server, &load).await.into_iter().map(|wrong| format!("after {attack:?}: {wrong}")));
        outcome.round();
    }
    outcome.find_all(remains::running_traces(&server, Edition::Standard).await);
    outcome.note(format!("{} acknowledged writes, at work again within {} ms", load.recorder.count(), slowest.as_millis()));
    outcome
}

async fn disturb(attack: Attack, cluster: &mut Cluster, proxy: &Proxy, server: &Server, outcome: &mut Outcome) {
    match attack {
        Attack::Cut => proxy.cut(),
        Attack::Terminate => cluster.terminate_backends().await,
        Attack::KillBackend => cluster.kill_backend().await,
        Attack::KillServer => {
            cluster.kill();
            without_database(server, outcome).await;
            cluster.up().await;
        }
        Attack::QuitServer => {
            cluster.quit();
            without_database(server, outcome).await;
            cluster.up().await;
        }
        Attack::Slow => {
            proxy.set(Way::Slow(Duration::from_millis(20)));
            lives(server, outcome).await;
            sleep(AWHILE * 2).await;
            proxy.set(Way::Open);
        }
        Attack::Stall => {
            proxy.set(Way::Stalled);
            without_database(server, outcome).await;
            proxy.set(Way::Open);
        }
        Attack::Refuse => {
            proxy.set(Way::Closed);
            without_database(server, outcome).await;
            proxy.set(Way::Open);
        }
    }
}

/// While the database is away the gateway lives, says that the database is what is missing, and refuses clearly.
async fn without_database(server: &Server, outcome: &mut Outcome) {
    let begun = Instant::now();
    lives(server, outcome).await;
    let (status, body) = ready(server).await;
    outcome.hold(status == 503 && body["database"] == "error", || format!("/ready without a database answered {status}: {body}"));
    let reply = server.owner().attempt("POST", "/v1/agents", &json!({"agent_key": "never", "display_name": "Never"})).await;
    match reply {
        None => outcome.find("a write without a database was cut off instead of refused"),
        Some(reply) => {
            let (clear, text) = (reply.status == 503 || reply.status == 504, reply.text());
            outcome.hold(clear, || format!("a write without a database answered {}: {text}", reply.status));
        }
    }
    lives(server, outcome).await;
    sleep(AWHILE.saturating_sub(begun.elapsed())).await;
}

async fn lives(server: &Server, outcome: &mut Outcome) {
    let begun = Instant::now();
    let reply = server.anonymous().attempt("GET", "/health", &Value::Null).await;
    let status = reply.map(|reply| reply.status);
    outcome.hold(status == Some(200), || format!("/health answered {status:?} while the process lives"));
    outcome.hold(begun.elapsed() < PROMPT, || format!("/health took {} ms", begun.elapsed().as_millis()));
}

async fn ready(server: &Server) -> (u16, Value) {
    let reply = server.anonymous().get("/ready").await;
    (reply.status, reply.json())
}
