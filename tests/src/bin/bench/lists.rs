//! How long lists of very many sessions take, and pages of a very long one.

use crate::{
    load::Samples,
    options::Effort,
    store::{TEXT, with_stores},
    table::{Measure, Table, Target, Unit},
};
use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use goclaw_ports::{
    TenantId,
    sessions::{NewSession, SessionDelta, SessionFilter, SessionStore},
    stores::Stores,
};
use goclaw_tests::{Edition, fixtures};
use std::sync::Arc;
use tokio::time::Instant;

const SESSIONS: usize = 100_000;
const MESSAGES: usize = 10_000;
/// How many sessions a user has.
const OF_EACH_USER: i64 = 100;
const AGENTS: i64 = 10;
const ROUNDS: usize = 20;

const fn in_50_ms(what: &'static str, comment: &'static str) -> Measure {
    Measure { what, unit: Unit::Ms, lite: Target::AtMost(50.0), standard: Target::AtMost(50.0), comment }
}

static FIRST: Measure = in_50_ms("sessions, first page of 100,000", "20 rows and the number of all, through the store; p50, slowest behind it");
static DEEP: Measure = in_50_ms("sessions, last page of 100,000", "20 rows after 99,980");
static OF_AGENT: Measure = in_50_ms("sessions, of one agent of ten", "20 rows after 5,000");
static OF_CHANNEL: Measure = in_50_ms("sessions, of one channel of three", "20 rows after 5,000");
static OF_USER: Measure = in_50_ms("sessions, of one user of a thousand", "20 rows");
static HISTORY: Measure = in_50_ms("history, last page of 10,000 messages", "2,000 messages, the largest page");
static OLDEST: Measure = in_50_ms("history, first page of 10,000 messages", "2,000 messages");

/// Measures lists on a database of their own.
///
/// # Errors
/// If the store fails.
pub async fn measure(table: &mut Table, edition: Edition, effort: Effort) -> Result<()> {
    let measured = with_stores(edition, async move |stores| lists(stores, effort).await).await?;
    for (measure, taken) in measured {
        table.put(measure, edition, taken.percentile(0.5), format!("{:.2} ms", taken.percentile(1.0)));
    }
    Ok(())
}

async fn lists(stores: &Stores, effort: Effort) -> Result<Vec<(&'static Measure, Samples)>> {
    let count = i64::try_from(effort.count(SESSIONS))?;
    fill(stores, count).await?;
    let sessions = &stores.sessions;
    let all = SessionFilter { limit: 20, ..SessionFilter::default() };
    let pages = [
        (&FIRST, all.clone()),
        (&DEEP, SessionFilter { offset: count - 20, ..all.clone() }),
        (&OF_AGENT, SessionFilter { agent_key: Some("a3".into()), offset: count / 20, ..all.clone() }),
        (&OF_CHANNEL, SessionFilter { channel: Some("ws".into()), offset: count / 20, ..all.clone() }),
        (&OF_USER, SessionFilter { user_id: Some("user7".into()), ..all }),
    ];
    let mut measured = Vec::new();
    for (measure, filter) in pages {
        let list = async || {
            let (page, _) = sessions.list(TenantId::MASTER, &filter).await?;
            anyhow::ensure!(page.len() == 20, "{}: {} rows", measure.what, page.len());
            Ok(())
        };
        measured.push((measure, timed(list).await?));
    }
    for (measure, before) in [(&HISTORY, None), (&OLDEST, Some(2_001))] {
        let read = async || {
            let page = sessions.messages_before(TenantId::MASTER, LONG, before, 2_000).await?;
            anyhow::ensure!(page.len() >= 1_999, "{}: {} messages", measure.what, page.len());
            Ok(())
        };
        measured.push((measure, timed(read).await?));
    }
    Ok(measured)
}

const LONG: &str = "agent:a0:cli:direct:long";

async fn fill(stores: &Stores, count: i64) -> Result<()> {
    let mut agents = Vec::new();
    for n in 0..AGENTS {
        let agent = fixtures::agent(TenantId::MASTER, &format!("a{n}"));
        stores.agents.insert(TenantId::MASTER, &agent, &[]).await?;
        agents.push(agent.id);
    }
    let channels = ["ws", "http", "telegram"];
    let open = |n: i64| {
        let place = usize::try_from(n).unwrap_or_default();
        let channel = channels[place % channels.len()];
        let key = format!("agent:a{}:{channel}:direct:{n}", n % AGENTS);
        let new = NewSession {
            user_id: format!("user{}", n % (count / OF_EACH_USER)),
            channel: channel.into(),
            ..fixtures::new_session(agents[place % agents.len()], &key)
        };
        let sessions: Arc<dyn SessionStore> = stores.sessions.clone();
        async move { sessions.open(TenantId::MASTER, &new, fixtures::at(n * 7919 % count)).await.map(drop) }
    };
    stream::iter((0..count).map(open)).buffer_unordered(64).try_collect::<()>().await?;
    let long = fixtures::new_session(agents[0], LONG);
    stores.sessions.open(TenantId::MASTER, &long, fixtures::at(0)).await?;
    let messages: Vec<_> = (0..MESSAGES).map(|_| fixtures::said(TEXT)).collect();
    for batch in messages.chunks(500) {
        stores.sessions.append(TenantId::MASTER, LONG, batch, &SessionDelta::default(), fixtures::at(1)).await?;
    }
    Ok(())
}

async fn timed(mut once: impl AsyncFnMut() -> Result<()>) -> Result<Samples> {
    once().await?;
    let mut taken = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        once().await?;
        taken.push(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Samples::new(taken))
}
