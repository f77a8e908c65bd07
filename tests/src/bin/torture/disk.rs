//! A data directory that is full, and one that cannot be written.

use crate::{
    load::{Load, setup},
    mount::SmallDisk,
    options::Options,
    readback::read_back,
    remains,
    report::Outcome,
};
use goclaw_tests::{Edition, Reply, Server, eventually, within};
use serde_json::json;
use std::{fs, time::Duration};
use tokio::time::sleep;

const ROUNDS: usize = 5;
const MEGABYTES: usize = 48;
/// How long the disk stays full.
const FULL: Duration = Duration::from_millis(1_500);
const WRITES: usize = 40;
/// How many agents a database may find room for on a full disk, at most.
const AGENTS: usize = 5_000;
/// How large the uploads are that there is no room for: what the gateway itself gives up now and then is less.
const PROBE: usize = 4 << 20;

pub async fn attack(edition: Edition, options: &Options) -> Outcome {
    let setup = setup(edition).await;
    let data = setup.dir().join("data");
    let disk = match SmallDisk::mount(&data, MEGABYTES) {
        Ok(disk) => disk,
        Err(reason) => return Outcome::not_run(reason),
    };
    let mut outcome = Outcome::default();
    let mut server = setup.start().await;
    server.owner().post("/v1/agents", &json!({"agent_key": "fox", "agent_type": "predefined"})).await.expect(201);
    let load = Load::new(true);
    load.script(&server.llm);
    for round in 0..options.rounds_or(ROUNDS) {
        let clients = load.begin(&server, round).await;
        within("acknowledged writes", load.recorder.wait_for(load.recorder.count() + WRITES)).await;
        disk.fill();
        let made = full(&server, edition, round, &mut outcome).await;
        sleep(FULL).await;
        disk.free();
        eventually("writes when there is room again", async || upload(&server).await.is_some_and(|reply| reply.status == 200)).await;
        within("acknowledged writes when there is room again", load.recorder.wait_for(load.recorder.count() + WRITES)).await;
        for agent in made {
            let gone = server.owner().delete(&format!("/v1/agents/{agent}")).await;
            outcome.hold(gone.status == 200, || format!("an agent that was made on a full disk answered its removal with {}: {}", gone.status, gone.text()));
        }
        drop(clients);
        outcome.find_all(remains::quiet(&server, &load, round).await);
        outcome.find_all(read_back(&server, &load).await);
        server.crash().await;
        if edition == Edition::Lite {
            outcome.find_all(remains::damages(&server.database_file()).await);
        }
        if round == 0 {
            read_only(&mut server, &disk, edition, &mut outcome).await;
        }
        server.restart().await;
        remains::idle(&server).await;
        outcome.find_all(read_back(&server, &load).await);
        clear_uploads(&data);
        outcome.round();
    }
    // The end of a run that could not be stored is noticed later.
    outcome.find_all(remains::running_traces(&server, Edition::Standard).await);
    outcome.find_all(remains::drafts(&server, edition).await);
    outcome.note(format!("{} acknowledged writes", load.recorder.count()));
    drop(disk);
    outcome
}

async fn upload(server: &Server) -> Option<Reply> {
    server.gateway_user("filler").attempt_upload("/v1/media/upload", "probe.txt", &vec![b'x'; PROBE]).await
}

/// While the disk is full the gateway lives, reads, and says clearly that it cannot write. Answers with the agents that it could make.
async fn full(server: &Server, edition: Edition, round: usize, outcome: &mut Outcome) -> Vec<String> {
    let refused = upload(server).await.map(|reply| (reply.status, reply.text()));
    outcome.hold(refused.as_ref().is_some_and(says_so), || format!("an upload that the disk has no room for answered {refused:?}"));
    let mut made = Vec::new();
    if edition == Edition::Lite {
        // The log that it writes ahead has some room left; then it refuses.
        let refused = loop {
            let body = json!({"agent_key": format!("full{round}-{}", made.len()), "display_name": "x".repeat(200), "frontmatter": "y".repeat(4_000)});
            let reply = server.owner().post("/v1/agents", &body).await;
            if reply.status != 201 || made.len() == AGENTS {
                break (reply.status, reply.text());
            }
            made.push(reply.json()["id"].as_str().unwrap_or_default().to_owned());
        };
        outcome.hold(says_so(&refused), || format!("a write on a full disk, after {} more, answered {refused:?}", made.len()));
    }
    let health = server.anonymous().get("/health").await.status;
    outcome.hold(health == 200, || format!("/health on a full disk answered {health}"));
    let read = server.owner().get("/v1/agents").await;
    outcome.hold(read.status == 200, || format!("reading on a full disk answered {}: {}", read.status, read.text()));
    made
}

/// Whether an answer says that there is no room.
fn says_so((status, text): &(u16, String)) -> bool {
    *status == 503 && text.contains("disk is full or cannot be written")
}

/// A gateway that cannot write its data directory says so and ends, or goes on without it; it takes no harm.
async fn read_only(server: &mut Server, disk: &SmallDisk, edition: Edition, outcome: &mut Outcome) {
    if let Err(reason) = disk.set_read_only(true) {
        outcome.note(format!("read-only not run: {reason}"));
        return;
    }
    if edition == Edition::Lite {
        server.forget_log();
        let (status, log) = server.restart_and_fail().await;
        let log = log.to_lowercase();
        outcome.hold(!status.success() && (log.contains("read-only") || log.contains("readonly")), || {
            format!("a start on a read-only directory ended with {status}: {log}")
        });
    } else {
        server.restart().await;
        let refused = upload(server).await.map(|reply| (reply.status, reply.text()));
        outcome.hold(refused.as_ref().is_some_and(says_so), || format!("an upload into a read-only directory answered {refused:?}"));
        let read = server.owner().get("/v1/agents").await.status;
        outcome.hold(read == 200, || format!("reading beside a read-only directory answered {read}"));
    }
    disk.set_read_only(false).unwrap_or_else(|error| panic!("the directory stays read-only: {error}"));
    if edition == Edition::Standard {
        let taken = upload(server).await.map(|reply| (reply.status, reply.text()));
        outcome.hold(taken.as_ref().is_some_and(|(status, _)| *status == 200), || format!("an upload when writing is allowed again answered {taken:?}"));
        server.stop().await;
    }
}

/// The probes' files, which are to leave room for the next round.
fn clear_uploads(data: &std::path::Path) {
    // It is there if a probe was taken.
    drop(fs::remove_dir_all(data.join("uploads/filler")));
}
