//! What the stores do, without the gateway.

use crate::{
    gateway::Scratch,
    load::Samples,
    options::Effort,
    table::{Measure, Table, Target, Unit},
};
use anyhow::{Context, Result};
use goclaw_ports::{
    TenantId,
    sessions::{ChatMessage, MessageRole, NewSession, SessionDelta, SessionFilter},
    stores::Stores,
};
use goclaw_postgres::PostgresOptions;
use goclaw_sqlite::SqliteOptions;
use goclaw_tests::{Edition, fixtures};
use secrecy::SecretString;
use std::{sync::Arc, time::Duration};
use tokio::{
    runtime,
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep},
};

const CALLERS: usize = 64;
const WARM_UP: Duration = Duration::from_millis(500);
const WINDOW: Duration = Duration::from_secs(3);
/// Between calls that do not meet: as often as runs end in the section `chat` with a model that takes a second.
const PAUSE: Duration = Duration::from_millis(20);
/// As many as the gateway holds.
const POSTGRES_CONNECTIONS: u32 = 20;
/// As many as the gateway has.
const SQLITE_READERS: usize = 4;
/// A message of the usual length for a chat.
pub const TEXT: &str = "A message of the usual length for a chat: two sentences, no more. It is stored, and counted, one hundred bytes.";

const fn rate(what: &'static str, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::PerSecond, lite: Target::Open, standard: Target::Open, comment }
}

static APPEND: Measure = Measure {
    lite: Target::AtLeast(20_000.0),
    standard: Target::AtLeast(5_000.0),
    ..rate("message appends, 64 writers", "one message per call, a session per writer, through the store; p50 / p99")
};
static ALONE: Measure = Measure {
    unit: Unit::Ms,
    ..rate("message append, alone", "durable, one every 20 ms and nothing else: what the end of a run waits for at the least; p50, p99 behind it")
};
static OPEN: Measure = rate("store: opening sessions", "64 callers, a new one each, through the store; p50 / p99");
static GET: Measure = rate("store: getting a session", "64 callers, one of those that were opened; p50 / p99");
static LIST: Measure = rate("store: listing sessions", "64 callers, 20 of one user's 64 and their number; p50 / p99");

/// Does something with a store on a database of its own, on a runtime with a thread per core, as in the gateway.
///
/// # Errors
/// If the store does not open, or what is done fails.
pub async fn with_stores<T: Send + 'static>(edition: Edition, work: impl AsyncFnOnce(&Stores) -> Result<T> + Send + 'static) -> Result<T> {
    let dir = tempfile::tempdir().context("a temporary directory")?;
    let database = match edition {
        Edition::Lite => None,
        Edition::Standard => Some(Scratch::create().await),
    };
    let (path, dsn) = (dir.path().join("goclaw.db"), database.as_ref().map(|database| SecretString::from(database.dsn())));
    let working = spawn_blocking(move || {
        runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let stores = match dsn {
                None => goclaw_sqlite::open(SqliteOptions { path, readers: SQLITE_READERS }).await?,
                Some(dsn) => {
                    let options = PostgresOptions { dsn, max_connections: POSTGRES_CONNECTIONS, migrate: true, fallback_limiter: None };
                    goclaw_postgres::open(options).await?.stores
                }
            };
            let outcome = work(&stores).await;
            stores.database.close().await;
            outcome
        })
    });
    working.await?
}

/// Measures single operations. `warning` is said beside the figures of those that write.
///
/// # Errors
/// If the store fails.
pub async fn measure(table: &mut Table, edition: Edition, effort: Effort, warning: &'static str) -> Result<()> {
    let (taken, alone) = with_stores(edition, async move |stores| Ok((operations(stores, effort).await?, alone(stores, effort).await?))).await?;
    table.put(&ALONE, edition, alone.percentile(0.5), format!("{:.2} ms", alone.percentile(0.99)));
    for (measure, samples) in taken {
        let rate = samples.len() as f64 / effort.time(WINDOW).as_secs_f64();
        let mut note = format!("{:.2} / {:.2} ms", samples.percentile(0.5), samples.percentile(0.99));
        if !warning.is_empty() && [&APPEND, &OPEN].contains(&measure) {
            note = format!("{warning}; {note}");
        }
        table.put(measure, edition, rate, note);
    }
    Ok(())
}

/// Appends to one of the sessions that are there, so seldom that no call meets another.
async fn alone(stores: &Stores, effort: Effort) -> Result<Samples> {
    let mut taken = Vec::new();
    let until = Instant::now() + effort.time(WINDOW);
    while Instant::now() < until {
        sleep(PAUSE).await;
        let message = [ChatMessage { created_at: Some(fixtures::at(0)), ..ChatMessage::new(MessageRole::Assistant, TEXT) }];
        let started = Instant::now();
        stores.sessions.append(TenantId::MASTER, &key(0, 0), &message, &SessionDelta::default(), fixtures::at(3)).await?;
        taken.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Samples::new(taken))
}

async fn operations(stores: &Stores, effort: Effort) -> Result<Vec<(&'static Measure, Samples)>> {
    let agent = fixtures::agent(TenantId::MASTER, "bench");
    stores.agents.insert(TenantId::MASTER, &agent, &[]).await?;
    let agent = agent.id;
    for caller in 0..CALLERS {
        let new = fixtures::new_session(agent, &key(caller, 0));
        stores.sessions.open(TenantId::MASTER, &new, fixtures::at(0)).await?;
    }
    let sessions = stores.sessions.clone();
    let append = hammer(effort, move |caller, _| {
        let sessions = sessions.clone();
        async move {
            let message = [ChatMessage { created_at: Some(fixtures::at(0)), ..ChatMessage::new(MessageRole::User, TEXT) }];
            Ok(sessions.append(TenantId::MASTER, &key(caller, 0), &message, &SessionDelta::default(), fixtures::at(1)).await?)
        }
    });
    let append = append.await?;
    let sessions = stores.sessions.clone();
    let open = hammer(effort, move |caller, number| {
        let sessions = sessions.clone();
        async move {
            let new = NewSession { user_id: format!("user{}-{caller}", number / 64), ..fixtures::new_session(agent, &key(caller, number + 1)) };
            sessions.open(TenantId::MASTER, &new, fixtures::at(2)).await?;
            Ok(())
        }
    });
    let open = open.await?;
    let sessions = stores.sessions.clone();
    let get = hammer(effort, move |caller, _| {
        let sessions = sessions.clone();
        async move {
            anyhow::ensure!(sessions.find(TenantId::MASTER, &key(caller, 1)).await?.is_some(), "a session is not there");
            Ok(())
        }
    });
    let get = get.await?;
    let sessions = stores.sessions.clone();
    let list = hammer(effort, move |caller, _| {
        let sessions = sessions.clone();
        async move {
            let filter = SessionFilter { user_id: Some(format!("user0-{caller}")), limit: 20, ..SessionFilter::default() };
            let (page, _) = sessions.list(TenantId::MASTER, &filter).await?;
            anyhow::ensure!(!page.is_empty(), "no session is listed");
            Ok(())
        }
    });
    Ok(vec![(&APPEND, append), (&OPEN, open), (&GET, get), (&LIST, list.await?)])
}

fn key(caller: usize, number: u64) -> String {
    format!("agent:bench:ws:direct:{caller}-{number}")
}

/// Keeps all callers busy with an operation, which learns who calls and how often before, and answers how long each took. What is done
/// while it warms up does not count.
async fn hammer<F, O>(effort: Effort, operation: F) -> Result<Samples>
where
    F: Fn(usize, u64) -> O + Send + Sync + 'static,
    O: Future<Output = Result<()>> + Send,
{
    let operation = Arc::new(operation);
    let from = Instant::now() + effort.time(WARM_UP);
    let until = from + effort.time(WINDOW);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let operation = operation.clone();
        callers.spawn(async move {
            let mut taken = Vec::new();
            for number in 0.. {
                let started = Instant::now();
                if started >= until {
                    break;
                }
                operation(caller, number).await?;
                if started >= from {
                    taken.push(started.elapsed().as_secs_f64() * 1e3);
                }
            }
            anyhow::Ok(taken)
        });
    }
    let mut all = Vec::new();
    while let Some(taken) = callers.join_next().await {
        all.extend(taken??);
    }
    Ok(Samples::new(all))
}
