//! The database as a whole.

use crate::{error::Failure, migrations, pool::Postgres};
use async_trait::async_trait;
use diesel_async::RunQueryDsl;
use goclaw_ports::{Result, stores::Database};
use std::time::Duration;

/// How long the database may take to say that it is there.
const PING_TIMEOUT: Duration = Duration::from_secs(2);

#[async_trait]
impl Database for Postgres {
    async fn ping(&self) -> Result<()> {
        let answer = async {
            let connection = self.engine().await?;
            connection.run(diesel::select(diesel::dsl::sql::<diesel::sql_types::Integer>("1")).execute(&mut connection.pipe())).await?;
            Ok(())
        };
        tokio::time::timeout(PING_TIMEOUT, answer).await.unwrap_or_else(|_| Err(Failure::Timeout.into()))
    }

    async fn schema_version(&self) -> Result<i64> {
        migrations::current(self.engine().await?.pipe()).await
    }

    async fn close(&self) {
        self.background().end().await;
        self.turns.end().await;
        self.release();
    }
}
