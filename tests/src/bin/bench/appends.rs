//! How many messages a second the stores take durably.

use crate::{
    gateway::Scratch,
    load::Samples,
    table::{Measure, Table, Target, Unit},
};
use anyhow::{Context, Result};
use goclaw_ports::{
    TenantId,
    sessions::{ChatMessage, MessageRole, SessionDelta},
    stores::Stores,
};
use goclaw_postgres::PostgresOptions;
use goclaw_sqlite::SqliteOptions;
use goclaw_tests::{Edition, fixtures};
use secrecy::SecretString;
use std::time::Duration;
use tokio::{
    runtime,
    task::{JoinSet, spawn_blocking},
    time::Instant,
};

const WRITERS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_secs(3);
/// As many as the gateway holds.
const POSTGRES_CONNECTIONS: u32 = 20;
const TEXT: &str = "A message of the usual length for a chat: two sentences, no more. It is stored, and counted, one hundred bytes.";

static APPENDS: Measure = Measure {
    what: "message appends, 64 writers",
    unit: Unit::PerSecond,
    lite: Target::AtLeast(20_000.0),
    standard: Target::AtLeast(5_000.0),
    comment: "one message per call, a session per writer, through the store; p50 / p99",
};

/// Measures durable appends on a database of their own. `warning` is said beside the figure.
///
/// # Errors
/// If the store fails.
pub async fn measure(table: &mut Table, edition: Edition, warning: &str) -> Result<()> {
    let dir = tempfile::tempdir().context("a temporary directory")?;
    let database = match edition {
        Edition::Lite => None,
        Edition::Standard => Some(Scratch::create().await),
    };
    let (path, dsn) = (dir.path().join("goclaw.db"), database.as_ref().map(|database| SecretString::from(database.dsn())));
    // The stores run as in the gateway: on a runtime with a thread per core.
    let taken = spawn_blocking(move || {
        runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let stores = match dsn {
                None => goclaw_sqlite::open(SqliteOptions { path, readers: 4 }).await?,
                Some(dsn) => {
                    let options = PostgresOptions { dsn, max_connections: POSTGRES_CONNECTIONS, migrate: true, fallback_limiter: None };
                    goclaw_postgres::open(options).await?.stores
                }
            };
            let taken = append(&stores).await;
            stores.database.close().await;
            taken
        })
    });
    let taken = taken.await??;
    let rate = taken.len() as f64 / WINDOW.as_secs_f64();
    let mut note = format!("{:.2} / {:.2} ms", taken.percentile(0.5), taken.percentile(0.99));
    if !warning.is_empty() {
        note = format!("{warning}; {note}");
    }
    table.put(&APPENDS, edition, rate, note);
    Ok(())
}

async fn append(stores: &Stores) -> Result<Samples> {
    let agent = fixtures::agent(TenantId::MASTER, "bench");
    stores.agents.insert(TenantId::MASTER, &agent, &[]).await?;
    let mut keys = Vec::with_capacity(WRITERS);
    for writer in 0..WRITERS {
        let key = format!("agent:bench:ws:direct:{writer}");
        stores.sessions.open(TenantId::MASTER, &fixtures::new_session(agent.id, &key), fixtures::at(0)).await?;
        keys.push(key);
    }
    let from = Instant::now() + WARM_UP;
    let until = from + WINDOW;
    let mut writers = JoinSet::new();
    for key in keys {
        let sessions = stores.sessions.clone();
        writers.spawn(async move {
            let message = [ChatMessage { created_at: Some(fixtures::at(0)), ..ChatMessage::new(MessageRole::User, TEXT) }];
            let mut taken = Vec::new();
            loop {
                let started = Instant::now();
                if started >= until {
                    return anyhow::Ok(taken);
                }
                sessions.append(TenantId::MASTER, &key, &message, &SessionDelta::default(), fixtures::at(1)).await?;
                if started >= from {
                    taken.push(started.elapsed().as_secs_f64() * 1e3);
                }
            }
        });
    }
    let mut all = Vec::new();
    while let Some(taken) = writers.join_next().await {
        all.extend(taken??);
    }
    Ok(Samples::new(all))
}
