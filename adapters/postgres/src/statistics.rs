//! What the server knows of its tables. Of a new database it knows nothing, and it looks once a minute at the soonest; until then
//! statements go by plans that were made for empty tables, for which any index is as good as another, and read more and more.

use crate::{connect::Server, pool::Postgres};
use diesel::{QueryResult, dsl::sql_query, prelude::*, sql_types::Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use goclaw_ports::{Error, Result};
use std::sync::atomic::{AtomicUsize, Ordering};

/// After how many rows there is something to know, and something new.
const LOOKS: [usize; 3] = [100, 1_000, 10_000];

const UNKNOWN: &str = "\
    select relid::regclass::text as name from pg_stat_user_tables \
    where schemaname = any(current_schemas(false)) and last_autoanalyze is null \
    order by name";

/// How many rows this process has written to the tables that grow fastest.
#[derive(Default)]
pub(crate) struct Statistics(AtomicUsize);

#[derive(QueryableByName)]
struct Table {
    #[diesel(sql_type = Text)]
    name: String,
}

impl Postgres {
    /// Counts rows. Now and then the server looks, beside all else, at the tables that it has not looked at by itself yet.
    pub(crate) fn has_written(&self, rows: usize) {
        let before = self.statistics.0.fetch_add(rows, Ordering::Relaxed);
        let after = before.saturating_add(rows);
        if LOOKS.iter().any(|look| before < *look && *look <= after) {
            let server = self.server().clone();
            self.background().spawn(async move {
                if let Err(error) = gather(&server).await {
                    tracing::warn!(%error, "the statistics of the database could not be gathered");
                }
            });
        }
    }
}

async fn gather(server: &Server) -> Result<()> {
    // As the owner of the tables, which the roles of the pools are not.
    let mut connection = server.connect("set statement_timeout = '60s'").await.map_err(Error::internal)?;
    analyzed(&mut connection).await.map_err(Error::internal)
}

async fn analyzed(connection: &mut AsyncPgConnection) -> QueryResult<()> {
    let unknown: Vec<Table> = sql_query(UNKNOWN).load(connection).await?;
    for Table { name } in unknown {
        connection.batch_execute(&format!("analyze {name}")).await?;
    }
    Ok(())
}
