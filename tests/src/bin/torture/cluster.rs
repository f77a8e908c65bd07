//! A PostgreSQL server of the harness's own, which it may kill.

use crate::mount::is_root;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::File,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

const START_LIMIT: Duration = Duration::from_secs(60);
const NOBODY: u32 = 65_534;

/// The server. It goes with this, data and all.
pub struct Cluster {
    dir: TempDir,
    programs: PathBuf,
    /// Where it listens.
    pub port: u16,
    process: Option<Child>,
}

impl Cluster {
    /// Makes and starts one that survives crashes, with an empty database `goclaw`.
    ///
    /// # Errors
    /// Why there can be none here.
    pub async fn start() -> Result<Self, String> {
        let programs = programs().ok_or("there are no programs of PostgreSQL (initdb, postgres) in PATH")?;
        let dir = tempfile::Builder::new().prefix("goclaw-torture.").tempdir().map_err(|error| error.to_string())?;
        if is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).map_err(|error| error.to_string())?;
        }
        let data = dir.path().join("data");
        let made = as_nobody(&programs.join("initdb"))
            .args(["-U", "postgres", "-E", "UTF8", "--locale=C", "-A", "trust", "-D"])
            .arg(&data)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("initdb: {error}"))?;
        if !made.status.success() {
            return Err(format!("initdb: {}", String::from_utf8_lossy(&made.stderr)));
        }
        let mut cluster = Self { dir, programs, port: goclaw_tests::server::free_port(), process: None };
        cluster.up().await;
        let client = cluster.connect("postgres").await.map_err(|error| error.to_string())?;
        client.batch_execute("create database goclaw").await.map_err(|error| error.to_string())?;
        Ok(cluster)
    }

    /// How to connect to a database through this port.
    pub fn dsn(port: u16, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/{database}")
    }

    /// Starts the server, whatever became of the one before, and waits until it serves.
    pub async fn up(&mut self) {
        let deadline = Instant::now() + START_LIMIT;
        loop {
            self.spawn();
            while self.process.as_mut().is_some_and(|process| matches!(process.try_wait(), Ok(None))) {
                if self.connect("postgres").await.is_ok() {
                    return;
                }
                assert!(Instant::now() < deadline, "PostgreSQL does not start:\n{}", self.log());
                sleep(Duration::from_millis(50)).await;
            }
            // What is left of a killed server still holds its memory for a moment.
            assert!(Instant::now() < deadline, "PostgreSQL ends at once:\n{}", self.log());
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Kills the server's first process; those of its connections notice.
    pub fn kill(&mut self) {
        self.end(Signal::SIGKILL);
    }

    /// Has it stop at once, without saving anything.
    pub fn quit(&mut self) {
        self.end(Signal::SIGQUIT);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut process) = self.process.take() {
            send(process.id(), signal);
            // It was started here.
            drop(process.wait());
        }
    }

    /// Kills the process of one of the gateway's connections, at which the server drops them all and recovers.
    pub async fn kill_backend(&self) {
        let Ok(client) = self.connect("postgres").await else { return };
        let query = "select pid from pg_stat_activity where datname = 'goclaw' order by (state = 'active') desc, random() limit 1";
        if let Ok(Some(row)) = client.query_opt(query, &[]).await {
            let pid: i32 = row.get(0);
            send(u32::try_from(pid).unwrap_or(0), Signal::SIGKILL);
        }
    }

    /// Has the server end all of the gateway's connections.
    pub async fn terminate_backends(&self) {
        let Ok(client) = self.connect("postgres").await else { return };
        drop(client.batch_execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'goclaw'").await);
    }

    async fn connect(&self, database: &str) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = tokio_postgres::connect(&Self::dsn(self.port, database), NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.dir.path().join("log")).expect("a log file");
        // The death signal stops it if this program is killed.
        let mut command = as_nobody(Path::new("setpriv"));
        command.args(["--pdeathsig", "QUIT"]).arg(self.programs.join("postgres")).arg("-D").arg(self.dir.path().join("data"));
        for setting in
            [format!("port={}", self.port), "listen_addresses=127.0.0.1".to_owned(), "unix_socket_directories=".to_owned(), "max_connections=200".to_owned()]
        {
            command.args(["-c", &setting]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.process = Some(command.spawn().expect("PostgreSQL starts"));
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.end(Signal::SIGQUIT);
    }
}

fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 0
    {
        // It may be gone already.
        let _ = kill(Pid::from_raw(pid), signal);
    }
}

/// PostgreSQL refuses to run as root.
fn as_nobody(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
    command
}

#[expect(clippy::disallowed_methods, reason = "the program has no configuration loader")]
fn programs() -> Option<PathBuf> {
    let path = std::env::var("PATH").ok()?;
    std::env::split_paths(&path).find(|directory| directory.join("initdb").exists() && directory.join("postgres").exists())
}
