//! Every sealed secret, wherever it is kept.

use crate::{
    database::Sqlite,
    values::{Columns, Text},
};
use async_trait::async_trait;
use goclaw_ports::{
    Error, Result,
    sealer::{Sealed, SealedRow, SealedRows},
};
use rusqlite::params;

/// A column of sealed secrets, as the use cases name it when they seal, and the column with the row's identity.
struct Column {
    table: &'static str,
    column: &'static str,
    row: &'static str,
}

const COLUMNS: [Column; 2] =
    [Column { table: "llm_providers", column: "api_key", row: "id" }, Column { table: "config_secrets", column: "value", row: "name" }];

#[async_trait]
impl SealedRows for Sqlite {
    async fn all_tenants_sealed(&self) -> Result<Vec<SealedRow>> {
        self.read(|connection| {
            let snapshot = connection.unchecked_transaction()?;
            let mut rows = Vec::new();
            for &Column { table, column, row: id } in &COLUMNS {
                let mut statement =
                    snapshot.prepare_cached(&format!("select tenant_id, {id}, {column} from {table} where {column} is not null order by tenant_id, {id}"))?;
                let sealed = statement
                    .query_map([], |row| Ok(SealedRow { tenant: row.id("tenant_id")?, table, column, row: row.get(1)?, sealed: Sealed(row.get(2)?) }))?;
                for row in sealed {
                    rows.push(row?);
                }
            }
            Ok(rows)
        })
        .await
    }

    async fn all_tenants_reseal(&self, changes: &[(SealedRow, Sealed)]) -> Result<usize> {
        let changes = changes.to_vec();
        self.write(move |connection| {
            let mut replaced = 0;
            for (old, new) in changes {
                let known = COLUMNS.iter().find(|known| (known.table, known.column) == (old.table, old.column));
                let Column { table, column, row: id } = known.ok_or_else(|| Error::internal(format!("no secrets are kept in {}.{}", old.table, old.column)))?;
                replaced += connection
                    .prepare_cached(&format!("update {table} set {column} = ?4 where tenant_id = ?1 and {id} = ?2 and {column} = ?3"))?
                    .execute(params![Text(old.tenant), old.row, old.sealed.0, new.0])?;
            }
            Ok(replaced)
        })
        .await
    }
}
