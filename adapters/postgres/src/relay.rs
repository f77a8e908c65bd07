//! Events between replicas: batches in a table, wake-ups by NOTIFY.

use crate::{
    error::{DATABASE, Failure},
    json::text,
    pool::Postgres,
    statement::Fixed,
};
use async_trait::async_trait;
use diesel::{
    ConnectionError, QueryResult, QueryableByName, sql_query,
    sql_types::{Array, BigInt, Text, Uuid as SqlUuid},
};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::StreamExt;
use goclaw_ports::{
    Error, Result,
    events::{Batch, EventRelay, Wakes},
};
use std::{pin::pin, time::Duration};
use tokio::{sync::mpsc, time::timeout};
use uuid::Uuid;

/// After how long without a wake-up the line is asked whether it is still there: a server that vanished without a word
/// says nothing for ever.
const SILENCE: Duration = Duration::from_secs(15);
/// How long the line may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The line works in the engine's role and outlives any limit on idle sessions.
const LISTEN: &str = "set role goclaw_engine; set statement_timeout = '5s'; set idle_session_timeout = 0; listen goclaw_events";

/// Nobody needs a batch after a crash, so nobody waits for the disk. A batch that is sent again, because its answer was lost, is
/// stored once.
const SEND: &str = "\
    with stored as (insert into bus_events (origin, seq, events) values ($1, $2, $3) on conflict do nothing) \
    select set_config('synchronous_commit', 'off', true), pg_notify('goclaw_events', '')";

/// The replicas that have batches stored, found by skipping from one to the next in the index instead of reading all of it.
macro_rules! origins {
    ($select:literal) => {
        concat!(
            "with recursive origins (origin) as ( \
                (select origin from bus_events order by origin limit 1) \
                union all \
                select (select batch.origin from bus_events batch where batch.origin > last.origin order by batch.origin limit 1) \
                from origins last where last.origin is not null \
            ) ",
            $select
        )
    };
}

const NEWEST: &str = origins!(
    "select batch.origin, batch.seq from origins cross join lateral ( \
        select kept.origin, kept.seq from bus_events kept where kept.origin = origins.origin order by kept.seq desc limit 1 \
    ) batch"
);

const NEWER: &str = origins!(
    "select batch.origin, batch.seq, batch.events \
    from origins left join unnest($2, $3) as known (origin, seq) on known.origin = origins.origin \
    cross join lateral ( \
        select kept.origin, kept.seq, kept.events from bus_events kept \
        where kept.origin = origins.origin and kept.seq > coalesce(known.seq, 0) order by kept.seq limit $4 \
    ) batch \
    where origins.origin <> $1 order by batch.origin, batch.seq limit $4"
);

/// Two replicas that prune at once do not wait for each other.
const PRUNE: &str = "\
    delete from bus_events where (origin, seq) in ( \
        select origin, seq from bus_events where created_at < now() - interval '10 minutes' for update skip locked \
    )";

#[derive(QueryableByName)]
struct Newest {
    #[diesel(sql_type = SqlUuid)]
    origin: Uuid,
    #[diesel(sql_type = BigInt)]
    seq: i64,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    origin: Uuid,
    #[diesel(sql_type = BigInt)]
    seq: i64,
    #[diesel(sql_type = Text)]
    events: String,
}

#[async_trait]
impl EventRelay for Postgres {
    async fn send(&self, batch: &Batch) -> Result<()> {
        let connection = self.engine().await?;
        let query = Fixed(sql_query(SEND).bind::<SqlUuid, _>(batch.origin).bind::<BigInt, _>(batch.seq).bind::<Text, _>(text(&batch.events)));
        Ok(connection.run(query.execute(&mut connection.pipe())).await.map(drop)?)
    }

    async fn listen(&self) -> Result<Box<dyn Wakes>> {
        if self.background().has_ended() {
            return Err(Error::unavailable(DATABASE).because("the database was closed"));
        }
        let mut connection = self.server().connect(LISTEN).await.map_err(|error| match error {
            ConnectionError::CouldntSetupConfiguration(error) => Failure::from(error).into(),
            error => Error::unavailable(DATABASE).because(error),
        })?;
        // One wake-up is as good as many.
        let (wake, wakes) = mpsc::channel(1);
        self.background().spawn(async move {
            let dead = tokio::select! {
                dead = hear(&mut connection, &wake) => dead,
                () = wake.closed() => return,
            };
            // It fails if nobody listens any more.
            drop(wake.send(Err(dead)).await);
        });
        Ok(Box::new(Line(wakes)))
    }

    async fn newest(&self) -> Result<Vec<(Uuid, i64)>> {
        let connection = self.engine().await?;
        let rows: Vec<Newest> = connection.run(Fixed(sql_query(NEWEST)).load(&mut connection.pipe())).await?;
        Ok(rows.into_iter().map(|row| (row.origin, row.seq)).collect())
    }

    async fn newer(&self, own: Uuid, known: &[(Uuid, i64)], limit: i64) -> Result<Vec<Batch>> {
        let connection = self.engine().await?;
        let (origins, seqs): (Vec<Uuid>, Vec<i64>) = known.iter().copied().unzip();
        let query = sql_query(NEWER).bind::<SqlUuid, _>(own).bind::<Array<SqlUuid>, _>(origins).bind::<Array<BigInt>, _>(seqs);
        let query = Fixed(query.bind::<BigInt, _>(limit.max(0)));
        let rows: Vec<Row> = connection.run(query.load(&mut connection.pipe())).await?;
        Ok(rows.into_iter().map(|row| Batch { origin: row.origin, seq: row.seq, events: row.events }).collect())
    }

    async fn prune(&self) -> Result<()> {
        let connection = self.engine().await?;
        Ok(connection.run(Fixed(sql_query(PRUNE)).execute(&mut connection.pipe())).await.map(drop)?)
    }
}

/// Passes wake-ups on until the line is dead, and says why it is.
async fn hear(connection: &mut AsyncPgConnection, wake: &mpsc::Sender<Result<()>>) -> Error {
    let dead = |cause: String| Error::unavailable(DATABASE).because(cause);
    loop {
        let heard: Option<Option<QueryResult<_>>> = timeout(SILENCE, pin!(connection.notifications_stream()).next()).await.ok();
        match heard {
            // If one waits already, it will do.
            Some(Some(Ok(_))) => drop(wake.try_send(Ok(()))),
            Some(Some(Err(error))) => return dead(error.to_string()),
            Some(None) => return dead("the connection was closed".into()),
            None => match timeout(ANSWER, connection.batch_execute("select 1")).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return dead(error.to_string()),
                Err(_) => return dead(format!("no answer within {} s", ANSWER.as_secs())),
            },
        }
    }
}

/// A connection that listens.
struct Line(mpsc::Receiver<Result<()>>);

#[async_trait]
impl Wakes for Line {
    async fn next(&mut self) -> Result<()> {
        self.0.recv().await.unwrap_or_else(|| Err(Error::unavailable(DATABASE).because("the line is closed")))
    }
}
