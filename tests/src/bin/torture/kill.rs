//! kill -9, again and again, while clients of every kind write.

use crate::{
    load::{Load, setup},
    options::{Chance, Options},
    readback::read_back,
    remains,
    report::Outcome,
};
use goclaw_tests::{Edition, census, within};
use serde_json::json;
use std::time::{Duration, Instant};

const ROUNDS: usize = 200;
/// So many rounds long the clients talk in the same conversations.
const ERA: usize = 5;
/// The gateway is killed after between these many acknowledged writes.
const LEAST: usize = 10;
const MOST: usize = 120;

pub async fn attack(edition: Edition, options: &Options) -> Outcome {
    // What outlives the gateway becomes a child of this process, whatever its name is.
    nix::sys::prctl::set_child_subreaper(true).expect("a process may adopt");
    let (mut outcome, mut chance) = (Outcome::default(), Chance::new(options.seed));
    let mut server = setup(edition).await.start().await;
    server.owner().post("/v1/agents", &json!({"agent_key": "fox", "agent_type": "predefined"})).await.expect(201);
    let load = Load::new(false);
    load.script(&server.llm);
    let (mut slowest, rounds) = (Duration::ZERO, options.rounds_or(ROUNDS));
    for round in 0..rounds {
        let before = load.recorder.count();
        let mut clients = load.begin(&server, round / ERA).await;
        within("acknowledged writes", load.recorder.wait_for(before + LEAST + chance.below(MOST - LEAST))).await;
        // Anywhere within what goes on.
        tokio::time::sleep(Duration::from_micros(chance.below(5_000) as u64)).await;
        let own = census::children(std::process::id());
        server.crash().await;
        within("the clients to notice", async { while clients.join_next().await.transpose().expect("clients do not fail").is_some() {} }).await;
        outcome.find_all(remains::orphans(&load.pause).await);
        outcome.find_all(remains::strays(&own).await);
        if edition == Edition::Lite {
            outcome.find_all(remains::damages(&server.database_file()).await);
        }
        server.llm.forget();
        server.forget_log();
        let begun = Instant::now();
        server.restart().await;
        slowest = slowest.max(begun.elapsed());
        remains::idle(&server).await;
        outcome.find_all(read_back(&server, &load).await);
        if edition == Edition::Lite {
            outcome.find_all(remains::running_traces(&server, edition).await);
        }
        outcome.round();
        if (round + 1).is_multiple_of(20) {
            eprintln!("torture: {}: {} kills, {} acknowledged writes", edition.name(), round + 1, load.recorder.count());
        }
    }
    outcome.find_all(remains::running_traces(&server, edition).await);
    outcome.find_all(remains::drafts(&server, edition).await);
    outcome.find_all(remains::tasks(&mut server, rounds / ERA).await);
    outcome.note(format!("{} acknowledged writes, slowest start {} ms", load.recorder.count(), slowest.as_millis()));
    outcome
}
