//! The real gateway as a child process.

use crate::{
    FakeLlm, Http, WsClient,
    database::{PostgresDatabase, open_postgres, open_sqlite},
    patience,
};
use goclaw_ports::stores::Stores;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, MissedTickBehavior, interval},
};

/// The token that opens everything.
pub const GATEWAY_TOKEN: &str = "0123456789abcdef0123456789abcdef-test-gateway-token";
/// The key that the gateway sends to the scripted upstream.
pub const UPSTREAM_KEY: &str = "sk-stub-key-of-the-test-upstream";
const ENCRYPTION_KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const BINARY_VARIABLE: &str = "GOCLAW_TEST_BINARY";

/// Which edition the gateway runs as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edition {
    /// SQLite.
    Lite,
    /// PostgreSQL.
    Standard,
}

impl Edition {
    /// Its name in the configuration.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Lite => "lite",
            Self::Standard => "standard",
        }
    }
}

/// A gateway that is not started yet.
pub struct Setup {
    /// The upstream it will talk to.
    pub llm: FakeLlm,
    place: Place,
    environment: BTreeMap<String, String>,
    config: Value,
    seeded: Option<Stores>,
}

/// Where a gateway keeps what outlives it.
struct Place {
    dir: TempDir,
    database: Option<PostgresDatabase>,
    /// Whether the database belongs to another gateway, which removes it.
    borrowed: bool,
}

impl Place {
    fn log(&self) -> PathBuf {
        self.dir.path().join("gateway.log")
    }

    async fn open(&self) -> Stores {
        match &self.database {
            None => open_sqlite(&self.dir.path().join("data/goclaw.db")).await,
            Some(database) => open_postgres(&database.dsn, true).await,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            eprintln!("--- what the gateway wrote ---\n{log}--- end ---");
        }
        if let Some(database) = self.database.take().filter(|_| !self.borrowed) {
            database.remove_blocking();
        }
    }
}

impl Setup {
    /// A gateway of this edition with an empty database, and no limit on requests.
    pub async fn new(edition: Edition) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let llm = FakeLlm::start();
        let database = match edition {
            Edition::Lite => None,
            Edition::Standard => Some(PostgresDatabase::create().await),
        };
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let mut environment = BTreeMap::from(
            [
                ("GOCLAW_EDITION", edition.name().to_owned()),
                ("GOCLAW_STORAGE_BACKEND", if database.is_some() { "postgres" } else { "sqlite" }.to_owned()),
                ("GOCLAW_CONFIG", path("config.json5")),
                ("GOCLAW_DATA_DIR", path("data")),
                ("GOCLAW_WORKSPACE", path("workspace")),
                ("GOCLAW_HOST", "127.0.0.1".to_owned()),
                ("GOCLAW_GATEWAY_TOKEN", GATEWAY_TOKEN.to_owned()),
                ("GOCLAW_ENCRYPTION_KEY", ENCRYPTION_KEY.to_owned()),
                ("GOCLAW_AUTO_UPGRADE", "true".to_owned()),
                ("GOCLAW_OPENAI_API_KEY", UPSTREAM_KEY.to_owned()),
                ("GOCLAW_OPENAI_BASE_URL", llm.base()),
                ("GOCLAW_ANTHROPIC_API_KEY", UPSTREAM_KEY.to_owned()),
                ("GOCLAW_ANTHROPIC_BASE_URL", llm.base()),
                ("GOCLAW_ALLOW_PRIVATE_HOSTS", "127.0.0.1".to_owned()),
                ("GOCLAW_PROVIDER", "openai".to_owned()),
                ("GOCLAW_MODEL", "stub".to_owned()),
                ("GOCLAW_LOG_LEVEL", "debug".to_owned()),
            ]
            .map(|(name, value)| (name.to_owned(), value)),
        );
        if let Some(database) = &database {
            environment.insert("GOCLAW_POSTGRES_DSN".to_owned(), database.dsn.clone());
        }
        let config = json!({
            "agents": {"defaults": {"provider": "openai", "model": "stub", "onboarding": false}},
            "gateway": {"rate_limit_rpm": 0},
            "tools": {"rate_limit_per_hour": 0},
            // The fixtures are old.
            "telemetry": {"trace_days": 0},
        });
        Self { llm, place: Place { dir, database, borrowed: false }, environment, config, seeded: None }
    }

    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Leaves a variable out.
    #[must_use]
    pub fn without_env(mut self, name: &str) -> Self {
        self.environment.remove(name);
        self
    }

    /// Merges these values into the configuration file.
    #[must_use]
    pub fn config(mut self, overlay: Value) -> Self {
        merge(&mut self.config, overlay);
        self
    }

    /// The stores of the gateway's database, for filling it before the start.
    pub async fn stores(&mut self) -> Stores {
        if self.seeded.is_none() {
            self.seeded = Some(self.place.open().await);
        }
        self.seeded.clone().expect("the stores are open")
    }

    /// The directory of this gateway's files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.place.dir.path()
    }

    /// Starts the gateway and waits until it answers.
    pub async fn start(self) -> Server {
        let mut server = self.prepared().await;
        server.launch().await;
        server
    }

    /// Starts the gateway, which is expected to fail, and answers with its exit status and what it wrote.
    pub async fn start_and_fail(self) -> (ExitStatus, String) {
        self.prepared().await.restart_and_fail().await
    }

    async fn prepared(mut self) -> Server {
        if let Some(stores) = self.seeded.take() {
            stores.database.close().await;
        }
        fs::write(self.dir().join("config.json5"), self.config.to_string()).expect("the configuration is written");
        Server { llm: self.llm, child: None, port: 0, environment: self.environment, place: self.place }
    }
}

fn merge(into: &mut Value, overlay: Value) {
    match (into, overlay) {
        (Value::Object(into), Value::Object(overlay)) => {
            for (key, value) in overlay {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, overlay) => *into = overlay,
    }
}

/// A running gateway. It is killed when it is dropped; what it wrote is printed if the test failed.
pub struct Server {
    child: Option<Child>,
    port: u16,
    environment: BTreeMap<String, String>,
    /// The upstream it talks to.
    pub llm: FakeLlm,
    place: Place,
}

impl Server {
    /// Starts a gateway with an empty database.
    pub async fn start(edition: Edition) -> Self {
        Setup::new(edition).await.start().await
    }

    /// Starts a second gateway beside this one: the same database, encryption key, token, upstream and configuration, but a port
    /// and files of its own. It has to be dropped first, since the database goes with this one. Changes of the environment
    /// ([`Self::set_env`]) are taken over.
    ///
    /// # Panics
    /// In the lite edition: its database belongs to one process.
    pub async fn twin(&self) -> Self {
        self.twin_with(&[]).await
    }

    /// The same, with these variables set otherwise.
    pub async fn twin_with(&self, changes: &[(&str, &str)]) -> Self {
        let database = self.place.database.clone().expect("two gateways share a database in the standard edition only");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
        let mut environment = self.environment.clone();
        for (name, file) in [("GOCLAW_CONFIG", "config.json5"), ("GOCLAW_DATA_DIR", "data"), ("GOCLAW_WORKSPACE", "workspace")] {
            environment.insert(name.to_owned(), path(file));
        }
        environment.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        fs::copy(self.dir().join("config.json5"), dir.path().join("config.json5")).expect("the configuration is copied");
        let place = Place { dir, database: Some(database), borrowed: true };
        let mut twin = Self { llm: self.llm.clone(), child: None, port: 0, environment, place };
        twin.launch().await;
        twin
    }

    /// A client without credentials.
    #[must_use]
    pub fn anonymous(&self) -> Http {
        Http::new(&format!("http://127.0.0.1:{}", self.port))
    }

    /// A client that owns the installation.
    #[must_use]
    pub fn owner(&self) -> Http {
        self.gateway_user("system")
    }

    /// A client with the gateway token that acts as `user`.
    #[must_use]
    pub fn gateway_user(&self, user: &str) -> Http {
        self.anonymous().token(GATEWAY_TOKEN).user(user)
    }

    /// A client with this API key.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Http {
        self.anonymous().token(key)
    }

    /// A WebSocket that has not said `connect` yet.
    pub async fn socket(&self) -> WsClient {
        WsClient::open(&format!("ws://127.0.0.1:{}/ws", self.port)).await
    }

    /// A WebSocket that is connected as the installation's owner.
    pub async fn owner_socket(&self) -> WsClient {
        self.socket_as("system").await
    }

    /// A WebSocket that is connected with the gateway token as `user`.
    pub async fn socket_as(&self, user: &str) -> WsClient {
        self.connected(&json!({"token": GATEWAY_TOKEN, "user_id": user})).await
    }

    /// A WebSocket that is connected with these parameters.
    pub async fn connected(&self, params: &Value) -> WsClient {
        let mut socket = self.socket().await;
        socket.call("connect", params).await.expect("connect succeeds");
        socket
    }

    /// A WebSocket that is connected with the gateway token as `user`, to a gateway that may be gone.
    pub async fn try_socket_as(&self, user: &str) -> Option<WsClient> {
        let mut socket = WsClient::try_open(&format!("ws://127.0.0.1:{}/ws", self.port)).await?;
        socket.try_call("connect", &json!({"token": GATEWAY_TOKEN, "user_id": user})).await?.ok()?;
        Some(socket)
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its files: `data`, `workspace`, `config.json5`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.place.dir.path()
    }

    /// What it wrote so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.place.log()).unwrap_or_default()
    }

    /// Forgets what it wrote so far.
    pub fn forget_log(&self) {
        File::create(self.place.log()).expect("the log is emptied");
    }

    /// The database file of the lite edition.
    #[must_use]
    pub fn database_file(&self) -> PathBuf {
        self.dir().join("data/goclaw.db")
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the gateway runs").id()
    }

    /// Ends it at once, as a crash does.
    pub async fn crash(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait_for_exit().await;
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).expect("a process id")), signal).expect("the gateway gets the signal");
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_for_exit().await
    }

    /// Waits until it has ended.
    pub async fn wait_for_exit(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the gateway runs");
        let pid = child.id();
        let waiting = tokio::task::spawn_blocking(move || child.wait());
        match tokio::time::timeout(patience() * 2, waiting).await {
            Ok(joined) => joined.expect("the wait ends").expect("the gateway's status"),
            Err(_) => {
                kill(Pid::from_raw(i32::try_from(pid).expect("a process id")), Signal::SIGKILL).ok();
                panic!("the gateway did not end");
            }
        }
    }

    /// Starts it again on the same data, after it ended.
    pub async fn restart(&mut self) {
        self.launch().await;
    }

    /// Starts it again, which is expected to fail, and answers with its exit status and all that it wrote so far.
    pub async fn restart_and_fail(&mut self) -> (ExitStatus, String) {
        self.port = free_port();
        self.spawn();
        let status = self.wait_for_exit().await;
        (status, self.log())
    }

    /// Sets a variable for the next start and answers with what it was.
    pub fn set_env(&mut self, name: &str, value: &str) -> Option<String> {
        self.environment.insert(name.to_owned(), value.to_owned())
    }

    /// The variables that it runs with, its port among them: what a command needs to find it.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = self.environment.clone();
        environment.insert("GOCLAW_PORT".to_owned(), self.port.to_string());
        environment
    }

    /// The stores of its database. It must not be running.
    pub async fn stores(&self) -> Stores {
        assert!(self.child.is_none(), "the gateway holds its database");
        self.place.open().await
    }

    fn spawn(&mut self) {
        let log = File::options().create(true).append(true).open(self.place.log()).expect("a log file");
        let child = Command::new(binary())
            .env_clear()
            .envs(inherited())
            .envs(&self.environment)
            .env("GOCLAW_PORT", self.port.to_string())
            .current_dir(self.place.dir.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", binary().display()));
        self.child = Some(child);
    }

    /// Starts the process. A port that somebody took in between is given up for another.
    async fn launch(&mut self) {
        for _ in 0..3 {
            self.port = free_port();
            self.spawn();
            if self.answers().await {
                return;
            }
        }
        panic!("the gateway does not start:\n{}", self.log());
    }

    async fn answers(&mut self) -> bool {
        let deadline = Instant::now() + patience();
        let mut attempts = interval(Duration::from_millis(10));
        attempts.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            attempts.tick().await;
            // Another process may have taken the port: only a gateway that says so listens there.
            if is_healthy(self.port).await && self.log().contains(&format!("listens on http://127.0.0.1:{}", self.port)) {
                return true;
            }
            let child = self.child.as_mut().expect("the gateway was started");
            if let Some(status) = child.try_wait().expect("the gateway's status") {
                assert!(self.log().to_lowercase().contains("in use"), "the gateway ended at once ({status}):\n{}", self.log());
                return false;
            }
            assert!(Instant::now() < deadline, "the gateway does not answer:\n{}", self.log());
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

async fn is_healthy(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return false };
    let mut answer = Vec::new();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.is_ok()
        && stream.read_to_end(&mut answer).await.is_ok()
        && answer.starts_with(b"HTTP/1.1 200")
}

/// A port that nobody listens on at this moment.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

#[expect(clippy::disallowed_methods, reason = "tests have no configuration loader")]
fn inherited() -> Option<(String, String)> {
    std::env::var("PATH").ok().map(|path| ("PATH".to_owned(), path))
}

/// The gateway's binary: [`BINARY_VARIABLE`], else the one that cargo built beside the tests.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tests have no configuration loader")]
pub fn binary() -> PathBuf {
    let path = std::env::var(BINARY_VARIABLE).map_or_else(
        |_| {
            let own = std::env::current_exe().expect("the program's own path");
            let beside = own.parent().expect("target/debug, or target/debug/deps of a test");
            if beside.ends_with("deps") { beside.with_file_name("goclaw") } else { beside.join("goclaw") }
        },
        PathBuf::from,
    );
    assert!(path.exists(), "{} does not exist: run `cargo build -p goclaw` first, or set {BINARY_VARIABLE}", path.display());
    path
}
