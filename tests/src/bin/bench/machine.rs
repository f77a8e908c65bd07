//! What the figures were taken on.

use anyhow::{Context, Result};
use chrono::{DateTime, SecondsFormat, Utc};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};
use std::{fmt, fs, thread::available_parallelism, time::SystemTime};
use tokio_postgres::NoTls;

/// Lets this process and its children open as many files as the system allows them.
///
/// # Errors
/// If the system refuses.
pub fn raise_file_limit() -> Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).context("the limit of open files")?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most).context("the limit of open files")
}

/// How many files this process may open.
pub fn file_limit() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(limit, _)| limit)
}

/// The machine, and the PostgreSQL server if there is one.
#[derive(Debug, Clone)]
pub struct Machine {
    time: String,
    cores: usize,
    memory_mib: u64,
    processor: String,
    kernel: String,
    postgres: Option<Postgres>,
}

/// A PostgreSQL server, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Postgres {
    version: String,
    fsync: String,
    synchronous_commit: String,
}

impl Postgres {
    /// Asks the server behind `dsn`.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn ask(dsn: &str) -> Result<Self> {
        let (client, connection) = tokio_postgres::connect(dsn, NoTls).await?;
        let driver = tokio::spawn(connection);
        let row = client.query_one("select current_setting('server_version'), current_setting('fsync'), current_setting('synchronous_commit')", &[]).await?;
        let server = Self { version: row.get(0), fsync: row.get(1), synchronous_commit: row.get(2) };
        drop(client);
        driver.await??;
        Ok(server)
    }

    /// What keeps it from surviving a crash; "" if nothing does.
    pub fn durability_note(&self) -> &'static str {
        match (self.fsync.as_str(), self.synchronous_commit.as_str()) {
            ("off", _) => "NOT durable: fsync is off",
            (_, "off") => "NOT durable: synchronous_commit is off",
            _ => "",
        }
    }
}

impl Machine {
    /// This machine.
    pub fn here(postgres: Option<Postgres>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim_start().strip_prefix(':'));
            line.map(|value| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let processor = field(&read("/proc/cpuinfo"), "model name");
        Self {
            time: DateTime::<Utc>::from(SystemTime::now()).to_rfc3339_opts(SecondsFormat::Secs, true),
            cores: available_parallelism().map_or(0, usize::from),
            memory_mib: memory.trim_end_matches("kB").trim().parse::<u64>().unwrap_or_default() / 1024,
            processor: if processor.is_empty() { std::env::consts::ARCH.to_owned() } else { processor },
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            postgres,
        }
    }

    /// The same as JSON.
    pub fn to_json(&self) -> Value {
        let postgres =
            self.postgres.as_ref().map(|server| json!({"version": server.version, "fsync": server.fsync, "synchronous_commit": server.synchronous_commit}));
        json!({"time": self.time, "cores": self.cores, "memory_mib": self.memory_mib, "processor": self.processor, "kernel": self.kernel, "postgres": postgres})
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { time, cores, memory_mib, processor, kernel, postgres } = self;
        writeln!(f, "{time}: {cores} cores ({processor}), {memory_mib} MiB of memory, Linux {kernel}")?;
        match postgres {
            None => writeln!(f, "no PostgreSQL"),
            Some(Postgres { version, fsync, synchronous_commit }) => {
                writeln!(f, "PostgreSQL {version}, fsync {fsync}, synchronous_commit {synchronous_commit}")
            }
        }
    }
}
