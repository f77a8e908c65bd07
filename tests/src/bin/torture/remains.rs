//! What must not be left behind.

use crate::{
    load::{Load, session},
    readback::sessions_with_tasks,
};
use goclaw_ports::{
    TenantId,
    subagents::TaskStatus,
    traces::{TraceFilter, TraceStatus},
};
use goclaw_tests::{
    Edition, Server,
    census::{self, Census},
    eventually,
};
use serde_json::json;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long processes may live on after the gateway was killed.
const DYING: Duration = Duration::from_secs(5);
/// How long runs may go on when nobody talks any more.
const LINGERING: Duration = Duration::from_secs(100);
/// How long it takes the gateway to remove what its last end left half written.
const SWEEPING: Duration = Duration::from_secs(5);
/// How often the gateway is started so that it tells what it has to tell.
const TELLING: usize = 5;
/// How long the end of a run that was taken up again takes to be written.
const WRITING: Duration = Duration::from_secs(15);
/// How long the lease of a run holds whose gateway is gone, and until another looks.
const LEASES: Duration = Duration::from_secs(75);

/// Processes that the killed gateway had started, and that live on. They are ended.
pub async fn orphans(argument: &str) -> Vec<String> {
    let deadline = Instant::now() + DYING;
    loop {
        let left = census::with_argument(argument);
        if left.is_empty() {
            return Vec::new();
        }
        if Instant::now() > deadline {
            left.iter().for_each(|pid| end(*pid));
            return vec!["processes that agents started outlive the gateway".to_owned()];
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Children of this process that it did not have before, and that live on: the killed gateway had started them. They are ended.
pub async fn strays(before: &[u32]) -> Vec<String> {
    let left = || census::children(std::process::id()).into_iter().filter(|pid| !before.contains(pid) && census::is_alive(*pid)).collect::<Vec<_>>();
    let deadline = Instant::now() + DYING;
    while !left().is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
    let strays = left();
    strays.iter().for_each(|pid| end(*pid));
    strays.into_iter().map(|pid| format!("a process outlives the gateway: {}", census::command(pid))).collect()
}

fn end(pid: u32) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(pid).unwrap_or(0));
    // It may have ended by itself.
    let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
}

/// Waits until nothing runs and nothing waits.
pub async fn idle(server: &Server) {
    let deadline = Instant::now() + LINGERING;
    while Census::of(server).await.runs != 0.0 {
        if Instant::now() > deadline {
            let running = server.owner().get("/v1/traces?status=running&limit=5").await.expect(200);
            panic!("runs go on and on: {running}");
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Stops the command that the clients of this era had an agent run, and waits until nothing goes on; for clients that were dropped while
/// the gateway lives. Says which processes live on all the same.
pub async fn quiet(server: &Server, load: &Load, era: usize) -> Vec<String> {
    let mut socket = server.owner_socket().await;
    let runner = json!({"sessionKey": session(&format!("runner-e{era}"))});
    eventually("the command to be stopped", async || {
        // It may be about to begin, and the database may just be back.
        drop(socket.call("chat.abort", &runner).await);
        Census::of(server).await.runs == 0.0
    })
    .await;
    socket.close().await;
    server.llm.forget();
    orphans(&load.pause).await
}

/// Drafts of files that were never finished, in the data directory, the workspace and beside the configuration. Those of uploads go with
/// the next start, or after an hour where another gateway may be writing them; those of the configuration go with its next change.
pub async fn drafts(server: &Server, edition: Edition) -> Vec<String> {
    let mut socket = server.owner_socket().await;
    socket.call("config.patch", &json!({"raw": "{mine: {end: true}}"})).await.unwrap_or_else(|error| panic!("config.patch: {error:?}"));
    socket.close().await;
    let (dir, uploads) = (server.dir(), server.dir().join("data/uploads"));
    let is_draft = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
        ["tmp", "draft", ".part", ".new", "upload-"].iter().any(|mark| name.contains(mark))
    };
    let left = || files(dir).into_iter().filter(|path| is_draft(path) && (edition == Edition::Lite || !path.starts_with(&uploads))).collect::<Vec<_>>();
    let deadline = Instant::now() + SWEEPING;
    while !left().is_empty() && Instant::now() < deadline {
        sleep(Duration::from_millis(100)).await;
    }
    left().into_iter().map(|path| format!("a draft is left: {}", path.strip_prefix(dir).unwrap_or(&path).display())).collect()
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).flat_map(|path| if path.is_dir() && !path.is_symlink() { files(&path) } else { vec![path] }).collect()
}

/// What SQLite finds wrong with the database of a gateway that does not run.
pub async fn damages(path: &Path) -> Vec<String> {
    match goclaw_sqlite::inspect(path.to_owned(), true).await {
        Ok(Some(found)) => found.problems.into_iter().map(|problem| format!("integrity: {problem}")).collect(),
        Ok(None) => vec!["the database is gone".to_owned()],
        Err(error) => vec![format!("the database cannot be read: {error:?}")],
    }
}

/// Waits until the leases of killed gateways are over, and says which runs go on all the same.
pub async fn running_traces(server: &Server, edition: Edition) -> Vec<String> {
    let deadline = Instant::now() + if edition == Edition::Lite { WRITING } else { LEASES };
    loop {
        let listed = server.owner().get("/v1/traces?status=running&limit=5").await.expect(200);
        let running = listed["total"].as_i64().unwrap_or_default();
        if running == 0 {
            return Vec::new();
        }
        if Instant::now() > deadline {
            return vec![format!("{running} traces are running that nobody works on: {listed}")];
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Stops the gateway and says which tasks nobody works on, and which their conversations are never told of. What was not told before
/// the stop is told after the next start.
pub async fn tasks(server: &mut Server, eras: usize) -> Vec<String> {
    for _ in 0..TELLING {
        let status = server.stop().await;
        if !status.success() {
            return vec![format!("the gateway stopped with {status}")];
        }
        let wrong = open_tasks(server, eras).await;
        if wrong.is_empty() {
            return wrong;
        }
        server.restart().await;
        // Results that come within a second of each other are told together.
        sleep(Duration::from_secs(2)).await;
        idle(server).await;
    }
    server.stop().await;
    open_tasks(server, eras).await
}

async fn open_tasks(server: &Server, eras: usize) -> Vec<String> {
    let stores = server.stores().await;
    let mut wrong = Vec::new();
    for session in sessions_with_tasks(eras) {
        for task in stores.subagents.of_session(TenantId::MASTER, &session, 1_000).await.unwrap_or_else(|error| panic!("tasks: {error:?}")) {
            if task.status == TaskStatus::Running || task.told_at.is_none() {
                wrong.push(format!("a task of {session} is {} and told at {:?}", task.status.as_str(), task.told_at));
            }
        }
    }
    let filter = TraceFilter { status: Some(TraceStatus::Running), limit: 1, ..TraceFilter::default() };
    let (_, running) = stores.traces.list(TenantId::MASTER, &filter).await.unwrap_or_else(|error| panic!("traces: {error:?}"));
    if running > 0 {
        wrong.push(format!("{running} traces are running after the end"));
    }
    stores.database.close().await;
    wrong
}
