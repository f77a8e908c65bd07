//! Every sealed secret, for changing the key.

use crate::{
    error::Failure,
    json::text,
    pool::{Postgres, within},
    schema::{config_secrets, llm_providers},
    statement::Fixed,
};
use async_trait::async_trait;
use diesel::{
    prelude::*,
    sql_query,
    sql_types::{Array, Text, Uuid as SqlUuid},
};
use diesel_async::{AsyncConnection, RunQueryDsl};
use goclaw_ports::{
    Error, Result, TenantId,
    sealer::{Sealed, SealedRow, SealedRows},
};
use uuid::Uuid;

const PROVIDERS: (&str, &str) = ("llm_providers", "api_key");
const SECRETS: (&str, &str) = ("config_secrets", "value");

const RESEAL_PROVIDERS: &str = "\
    update llm_providers as kept set api_key = change.new \
    from unnest($1, $2, $3, $4) as change (tenant_id, id, old, new) \
    where kept.tenant_id = change.tenant_id and kept.id = change.id and kept.api_key = change.old";

const RESEAL_SECRETS: &str = "\
    update config_secrets as kept set value = change.new \
    from unnest($1, $2, $3, $4) as change (tenant_id, name, old, new) \
    where kept.tenant_id = change.tenant_id and kept.name = change.name and kept.value = change.old";

/// Changes of one table, column by column.
#[derive(Default)]
struct Columns<Row> {
    tenants: Vec<Uuid>,
    rows: Vec<Row>,
    old: Vec<String>,
    new: Vec<String>,
}

impl<Row> Columns<Row> {
    fn push(&mut self, row: Row, before: &SealedRow, after: &Sealed) {
        self.tenants.push(before.tenant.0);
        self.rows.push(row);
        self.old.push(text(&before.sealed.0));
        self.new.push(text(&after.0));
    }
}

#[async_trait]
impl SealedRows for Postgres {
    async fn all_tenants_sealed(&self) -> Result<Vec<SealedRow>> {
        let connection = self.engine().await?;
        let keys = llm_providers::table.filter(llm_providers::api_key.is_not_null()).order((llm_providers::tenant_id, llm_providers::id)).select((
            llm_providers::tenant_id,
            llm_providers::id,
            llm_providers::api_key.assume_not_null(),
        ));
        let keys: Vec<(Uuid, Uuid, String)> = connection.run(keys.load(&mut connection.pipe())).await?;
        let secrets = config_secrets::table.order((config_secrets::tenant_id, config_secrets::name)).select((
            config_secrets::tenant_id,
            config_secrets::name,
            config_secrets::value,
        ));
        let secrets: Vec<(Uuid, String, String)> = connection.run(secrets.load(&mut connection.pipe())).await?;
        let row = |(table, column), tenant, row, sealed| SealedRow { tenant: TenantId(tenant), table, column, row, sealed: Sealed(sealed) };
        let keys = keys.into_iter().map(|(tenant, id, sealed)| row(PROVIDERS, tenant, id.to_string(), sealed));
        Ok(keys.chain(secrets.into_iter().map(|(tenant, name, sealed)| row(SECRETS, tenant, name, sealed))).collect())
    }

    async fn all_tenants_reseal(&self, changes: &[(SealedRow, Sealed)]) -> Result<usize> {
        let (mut providers, mut secrets) = (Columns::default(), Columns::default());
        for (before, after) in changes {
            match (before.table, before.column) {
                PROVIDERS => providers.push(Uuid::parse_str(&before.row).map_err(Error::internal)?, before, after),
                SECRETS => secrets.push(text(&before.row), before, after),
                (table, column) => return Err(Error::internal(format!("no secrets are kept in {table}.{column}"))),
            }
        }
        let mut connection = self.engine().await?;
        let sealing = connection.raw().transaction(async |connection| -> Result<usize, Failure> {
            let keys = sql_query(RESEAL_PROVIDERS).bind::<Array<SqlUuid>, _>(&providers.tenants).bind::<Array<SqlUuid>, _>(&providers.rows);
            let keys = keys.bind::<Array<Text>, _>(&providers.old).bind::<Array<Text>, _>(&providers.new);
            let values = sql_query(RESEAL_SECRETS).bind::<Array<SqlUuid>, _>(&secrets.tenants).bind::<Array<Text>, _>(&secrets.rows);
            let values = values.bind::<Array<Text>, _>(&secrets.old).bind::<Array<Text>, _>(&secrets.new);
            Ok(Fixed(keys).execute(connection).await? + Fixed(values).execute(connection).await?)
        });
        Ok(within(sealing).await?)
    }
}
