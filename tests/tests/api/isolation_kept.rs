//! What a gateway keeps, in its database and in files.

use goclaw_ports::TenantId;
use goclaw_tests::Server;
use rusqlite::{Connection, OpenFlags};
use sha2::{Digest, Sha256};
use std::{collections::BTreeSet, fs, path::Path};

/// Columns that change because somebody calls at all.
const RESTLESS: [&str; 1] = ["last_used_at"];
/// Tables that keep nothing: what gateways tell each other, and how often somebody called.
const PASSING: [&str; 2] = ["bus_events", "rate_limits"];

/// Every row and every file, as text.
pub struct Kept(BTreeSet<String>);

impl Kept {
    /// What is there. The gateway is started anew, so that everything was written.
    pub async fn of(server: &mut Server) -> Self {
        server.stop().await;
        let mut kept = BTreeSet::new();
        match server.environment().get("GOCLAW_POSTGRES_DSN") {
            Some(dsn) => postgres(dsn, &mut kept).await,
            None => sqlite(&server.dir().join("data/goclaw.db"), &mut kept),
        }
        for directory in ["data", "workspace"] {
            files(&server.dir().join(directory), &mut kept);
        }
        server.restart().await;
        assert!(kept.len() > 50, "a tenant has one of everything: {}", kept.len());
        Self(kept)
    }

    /// What is here but not there, other than what names one of these tenants.
    pub fn missing_in(&self, other: &Self, but: &[TenantId]) -> Vec<String> {
        self.0.difference(&other.0).filter(|row| !but.iter().any(|tenant| names(row, *tenant))).cloned().collect()
    }
}

/// Whether a row names this tenant.
pub fn names(row: &str, tenant: TenantId) -> bool {
    row.contains(&tenant.to_string()) || row.to_lowercase().contains(&tenant.0.simple().to_string())
}

async fn postgres(dsn: &str, kept: &mut BTreeSet<String>) {
    let (client, connection) = tokio_postgres::connect(dsn, tokio_postgres::NoTls).await.unwrap();
    let connection = tokio::spawn(connection);
    let tables = client.query("select table_name::text from information_schema.tables where table_schema = 'public' and table_type = 'BASE TABLE'", &[]);
    for table in tables.await.unwrap() {
        let table: String = table.get(0);
        if PASSING.contains(&table.as_str()) {
            continue;
        }
        let without: String = RESTLESS.iter().map(|column| format!(" - '{column}'")).collect();
        for row in client.query(&format!("select (to_jsonb(t){without})::text from \"{table}\" t"), &[]).await.unwrap() {
            kept.insert(format!("{table}: {}", row.get::<_, String>(0)));
        }
    }
    drop(client);
    connection.await.unwrap().unwrap();
}

fn sqlite(path: &Path, kept: &mut BTreeSet<String>) {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let texts = |query: &str| -> Vec<String> {
        let mut statement = connection.prepare(query).unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    };
    for table in texts("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'") {
        let columns = texts(&format!("select name from pragma_table_info('{table}')"));
        let columns: Vec<_> =
            columns.iter().filter(|column| !RESTLESS.contains(&column.as_str())).map(|column| format!("'{column}=' || quote(\"{column}\")")).collect();
        kept.extend(texts(&format!("select {} from \"{table}\"", columns.join(" || ' ' || "))).into_iter().map(|row| format!("{table}: {row}")));
    }
}

/// Every file below, but the database.
fn files(directory: &Path, kept: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, kept);
        } else if !entry.file_name().to_string_lossy().starts_with("goclaw.db") {
            kept.insert(format!("{}: {}", path.display(), hex::encode(Sha256::digest(fs::read(&path).unwrap()))));
        }
    }
}
