//! Connections that break, and many callers at once.

use crate::support::{Database, agent, at, session, tenant};
use futures_util::future;
use goclaw_ports::{
    ErrorKind, TenantId,
    sessions::{ChatMessage, MessageRole, SessionDelta},
};
use goclaw_postgres::PostgresOptions;
use secrecy::SecretString;
use std::{collections::HashMap, time::Duration};

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dsn = SecretString::from(format!("postgres://u:hunter2@127.0.0.1:{free}/d"));
    let options = PostgresOptions { dsn, max_connections: 4, migrate: true, fallback_limiter: None };
    assert!(!format!("{options:?}").contains("hunter2"));
    let error = goclaw_postgres::open(options).await.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(!format!("{error:?}").contains("hunter2"));
}

#[tokio::test]
async fn the_pool_recovers_when_the_server_cuts_every_connection() {
    let (database, stores) = Database::opened().await;
    future::try_join_all((0..8).map(|_| stores.agents.count(TenantId::MASTER))).await.unwrap();
    stores.database.ping().await.unwrap();

    let client = database.client().await;
    let theirs = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    let cut: Vec<i32> = client.query(theirs, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert!(cut.len() >= 2);
    client.query("select pg_terminate_backend(pid) from unnest($1::int[]) as pid", &[&cut]).await.unwrap();
    // What the stores do by themselves may have opened others since.
    while client.query_one("select count(*) from pg_stat_activity where pid = any($1)", &[&cut]).await.unwrap().get::<_, i64>(0) > 0 {}

    // A connection whose end has not arrived yet may fail a call once; none fails it for long.
    let mut failures = 0;
    loop {
        match future::try_join(stores.agents.count(TenantId::MASTER), stores.database.ping()).await {
            Ok(_) => break,
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
                failures += 1;
                assert!(failures <= 10, "the pool still hands out broken connections: {error}");
            }
        }
    }
    future::try_join_all((0..16).map(|_| stores.agents.count(TenantId::MASTER))).await.unwrap();
}

/// The threads that serve requests have runtimes of their own, which end while runs are still being written down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_outlives_the_thread_that_needed_it_first() {
    let (_database, stores) = Database::opened().await;
    let first = stores.clone();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(future::try_join_all((0..4).map(|_| first.agents.count(TenantId::MASTER)))).unwrap();
    });
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    future::try_join_all((0..4).map(|_| stores.agents.count(TenantId::MASTER))).await.unwrap();
}

#[tokio::test]
async fn after_closing_everything_is_unavailable() {
    let (_database, stores) = Database::opened().await;
    stores.database.close().await;
    assert_eq!(stores.database.ping().await.unwrap_err().kind, ErrorKind::Unavailable);
    assert_eq!(stores.agents.count(TenantId::MASTER).await.unwrap_err().kind, ErrorKind::Unavailable);
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_nothing_behind() {
    let (_database, stores) = Database::opened().await;
    let tenant = tenant(&stores).await;
    for delay in 0..40 {
        let mut one = agent(tenant, &format!("a{delay}"));
        one.is_default = true;
        let cut = tokio::time::timeout(Duration::from_micros(delay * 100), stores.agents.insert(tenant, &one, &[])).await;
        let stored = stores.agents.find(tenant, &one.agent_key).await.unwrap().is_some();
        assert!(stored || cut.is_err(), "an acknowledged agent is missing");
    }
    let defaults = stores.agents.list(tenant, &Default::default()).await.unwrap().iter().filter(|agent| agent.is_default).count();
    assert!(defaults <= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_get_their_turn_on_few_connections() {
    let (_database, stores) = Database::opened().await;
    let callers = (0..200).map(|_| {
        let agents = stores.agents.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                agents.count(TenantId::MASTER).await.unwrap();
            }
        })
    });
    future::try_join_all(callers).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_that_share_connections_see_their_own_rows() {
    let (_database, stores) = Database::opened().await;
    let mut tenants = Vec::new();
    for number in 0..8 {
        let tenant = tenant(&stores).await;
        for agent_number in 0..=number {
            stores.agents.insert(tenant, &agent(tenant, &format!("a{agent_number}")), &[]).await.unwrap();
        }
        tenants.push((tenant, number + 1));
    }
    let calls = (0..50).flat_map(|_| tenants.iter()).map(|&(tenant, expected)| {
        let agents = stores.agents.clone();
        tokio::spawn(async move { assert_eq!(agents.count(tenant).await.unwrap(), expected) })
    });
    future::try_join_all(calls).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn appends_of_two_processes_neither_collide_nor_mix() {
    const WRITERS: usize = 16;
    const CALLS: usize = 10;
    let (database, first) = Database::opened().await;
    let second = database.open(false).await.unwrap();
    let tenant = tenant(&first).await;
    let agent = agent(tenant, "a");
    first.agents.insert(tenant, &agent, &[]).await.unwrap();
    let key = "agent:a:ws:1";
    let opened = future::try_join_all((0..WRITERS).map(|_| async { first.sessions.open(tenant, &session(&agent, key), at(0)).await })).await.unwrap();
    assert!(opened.iter().all(|session| session.id == opened[0].id));

    let writers = (0..WRITERS).map(|writer| {
        let sessions = if writer % 2 == 0 { first.sessions.clone() } else { second.sessions.clone() };
        tokio::spawn(async move {
            for call in 0..CALLS {
                let messages: Vec<_> = (0..3).map(|part| ChatMessage::new(MessageRole::User, format!("{writer} {call} {part}"))).collect();
                let delta = SessionDelta { input_tokens: 1, output_tokens: 2, ..SessionDelta::default() };
                sessions.append(tenant, key, &messages, &delta, at(1)).await.unwrap();
            }
        })
    });
    future::try_join_all(writers).await.unwrap();

    let messages = second.sessions.messages(tenant, key, None).await.unwrap();
    assert_eq!(messages.len(), WRITERS * CALLS * 3);
    let mut next_call: HashMap<String, usize> = HashMap::new();
    for call in messages.chunks(3) {
        let said: Vec<Vec<&str>> = call.iter().map(|message| message.content.split(' ').collect()).collect();
        let (writer, expected) = (said[0][0], next_call.entry(said[0][0].to_owned()).or_default());
        for (part, words) in said.iter().enumerate() {
            assert_eq!(*words, [writer, &expected.to_string(), &part.to_string()]);
        }
        *expected += 1;
    }
    let session = first.sessions.find(tenant, key).await.unwrap().unwrap();
    assert_eq!(session.message_count, messages.len() as i64);
    assert_eq!((session.input_tokens, session.output_tokens), ((WRITERS * CALLS) as i64, (WRITERS * CALLS * 2) as i64));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_new_defaults_one_stays() {
    let (_database, stores) = Database::opened().await;
    let tenant = tenant(&stores).await;
    let inserts = (0..8).map(|number| {
        let agents = stores.agents.clone();
        let one = agent(tenant, &format!("a{number}"));
        tokio::spawn(async move {
            let id = one.id;
            agents.insert(tenant, &goclaw_ports::agents::Agent { is_default: number % 2 == 0, ..one }, &[]).await.unwrap();
            let patch = goclaw_ports::agents::AgentPatch { is_default: Some(true), ..Default::default() };
            assert!(agents.update(tenant, id, &patch, &[], at(1)).await.unwrap().unwrap().is_default);
        })
    });
    future::try_join_all(inserts).await.unwrap();
    let agents = stores.agents.list(tenant, &Default::default()).await.unwrap();
    assert_eq!((agents.len(), agents.iter().filter(|agent| agent.is_default).count()), (8, 1));
}
