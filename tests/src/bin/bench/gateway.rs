//! The shipped gateway as a child process, started the way an operator starts it.

use anyhow::{Context, Result, bail};
use goclaw_ports::{TenantId, roles::Scope};
use goclaw_tests::{
    Edition,
    database::{PostgresDatabase, open_postgres, open_sqlite},
    fixtures::add_api_key,
    server::{GATEWAY_TOKEN, free_port},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    pin::pin,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::time::interval;

/// The user that the API key acts as, who owns the agents.
pub const USER: &str = "bench@example.com";
const ENCRYPTION_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const START_LIMIT: Duration = Duration::from_secs(20);
const STOP_LIMIT: Duration = Duration::from_secs(40);
/// How long to wait between two questions whether it is up: short against what is measured, and no spinning on a core that the
/// gateway could use.
const POLL: Duration = Duration::from_micros(250);

/// Everything a gateway is started with, and what outlives it. Removed when it is dropped.
pub struct Site {
    binary: PathBuf,
    dir: TempDir,
    database: Option<Scratch>,
    environment: Vec<(&'static str, String)>,
}

/// A PostgreSQL database that is removed when this is dropped.
pub struct Scratch(Option<PostgresDatabase>);

impl Scratch {
    /// Makes an empty one on the test server.
    pub async fn create() -> Self {
        Self(Some(PostgresDatabase::create_empty().await))
    }

    /// How to connect to it.
    pub fn dsn(&self) -> &str {
        self.0.as_ref().map_or("", |database| &database.dsn)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(database) = self.0.take() {
            database.remove_blocking();
        }
    }
}

impl Site {
    /// A gateway with nothing in its data directory and database, whose only provider is the model at `base`.
    pub async fn new(binary: &Path, edition: Edition, base: &str) -> Result<Self> {
        let dir = tempfile::tempdir().context("a temporary directory")?;
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let mut environment = vec![
            ("GOCLAW_EDITION", edition.name().to_owned()),
            ("GOCLAW_CONFIG", path("config.json5")),
            ("GOCLAW_DATA_DIR", path("data")),
            ("GOCLAW_WORKSPACE", path("workspace")),
            ("GOCLAW_HOST", "127.0.0.1".to_owned()),
            ("GOCLAW_GATEWAY_TOKEN", GATEWAY_TOKEN.to_owned()),
            ("GOCLAW_ENCRYPTION_KEY", ENCRYPTION_KEY.to_owned()),
            ("GOCLAW_AUTO_UPGRADE", "true".to_owned()),
            ("GOCLAW_OPENAI_API_KEY", "sk-of-the-benchmark".to_owned()),
            ("GOCLAW_OPENAI_BASE_URL", base.to_owned()),
            ("GOCLAW_ALLOW_PRIVATE_HOSTS", "127.0.0.1".to_owned()),
            ("GOCLAW_PROVIDER", "openai".to_owned()),
            ("GOCLAW_MODEL", "stub".to_owned()),
            ("HOME", path("")),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ];
        let database = match edition {
            Edition::Lite => {
                environment.push(("GOCLAW_STORAGE_BACKEND", "sqlite".to_owned()));
                None
            }
            Edition::Standard => {
                let database = Scratch::create().await;
                environment.push(("GOCLAW_STORAGE_BACKEND", "postgres".to_owned()));
                environment.push(("GOCLAW_POSTGRES_DSN", database.dsn().to_owned()));
                Some(database)
            }
        };
        // New users get no script to begin with: most turns are none of the first three, and their tools are few.
        let config = r#"{"agents": {"defaults": {"provider": "openai", "model": "stub", "onboarding": false}}, "gateway": {"rate_limit_rpm": 0}, "tools": {"rate_limit_per_hour": 0}}"#;
        fs::write(dir.path().join("config.json5"), config)?;
        Ok(Self { binary: binary.to_owned(), dir, database, environment })
    }

    /// The address of its PostgreSQL database, if it has one.
    pub fn dsn(&self) -> Option<&str> {
        self.database.as_ref().map(Scratch::dsn)
    }

    /// Stores an API key that may do everything. The gateway must have run once, and must not run now.
    pub async fn add_key(&self) -> String {
        self.add_key_of(Scope::Admin, USER).await
    }

    /// Stores an API key with which anybody may chat, as [`Site::add_key`].
    pub async fn add_clients_key(&self) -> String {
        self.add_key_of(Scope::Write, "").await
    }

    async fn add_key_of(&self, scope: Scope, owner: &str) -> String {
        let stores = match self.dsn() {
            None => open_sqlite(&self.dir.path().join("data/goclaw.db")).await,
            Some(dsn) => open_postgres(dsn, false).await,
        };
        let key = add_api_key(&stores, Some(TenantId::MASTER), &[scope], owner).await;
        stores.database.close().await;
        key
    }

    /// Starts the gateway and blocks until it answers.
    ///
    /// # Errors
    /// If it does not; the text holds the end of what it wrote.
    pub fn launch(&self) -> Result<Gateway> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let port = free_port();
        let mut command = Command::new(&self.binary);
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value))).env("GOCLAW_PORT", port.to_string());
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("{} does not start", self.binary.display()))?;
        let mut gateway = Gateway { child: Some(child), port, first_answer: Duration::ZERO };
        while !is_healthy(port) {
            if let Some(status) = gateway.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("the gateway ended at once ({status}):\n{}", self.end_of_log());
            }
            if started.elapsed() > START_LIMIT {
                bail!("the gateway does not answer:\n{}", self.end_of_log());
            }
            thread::sleep(POLL);
        }
        gateway.first_answer = started.elapsed();
        Ok(gateway)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("gateway.log")
    }

    fn end_of_log(&self) -> String {
        let log = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A running gateway. It is killed when it is dropped.
pub struct Gateway {
    child: Option<Child>,
    /// The port it listens on.
    pub port: u16,
    /// From its start to its first 200.
    pub first_answer: Duration,
}

impl Gateway {
    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Asks it to stop and blocks until it has.
    ///
    /// # Errors
    /// If it does not, or fails.
    pub fn stop(mut self) -> Result<()> {
        let Some(child) = self.child.as_mut() else { return Ok(()) };
        kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM).context("the signal to stop")?;
        let asked = Instant::now();
        loop {
            if let Some(status) = child.try_wait()? {
                self.child = None;
                return if status.success() { Ok(()) } else { bail!("the gateway stopped with {status}") };
            }
            if asked.elapsed() > STOP_LIMIT {
                bail!("the gateway does not stop");
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Both fail only if it has ended already.
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Does the work, and answers with the most memory that the process had meanwhile, in bytes.
pub async fn with_peak<T>(pid: u32, work: impl Future<Output = T>) -> (T, u64) {
    let mut work = pin!(work);
    let mut ticks = interval(Duration::from_millis(100));
    let mut peak = 0;
    loop {
        tokio::select! {
            outcome = &mut work => return (outcome, peak),
            _ = ticks.tick() => peak = peak.max(resident(pid).unwrap_or_default()),
        }
    }
}

/// The memory of a process that is in RAM, in bytes.
///
/// # Errors
/// If there is no such process.
pub fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the status of the gateway's process")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmRSS")?;
    Ok(kib * 1024)
}

fn is_healthy(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let mut answer = [0; 12];
    stream.set_read_timeout(Some(Duration::from_secs(2))).is_ok()
        && stream.write_all(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && &answer == b"HTTP/1.1 200"
}
