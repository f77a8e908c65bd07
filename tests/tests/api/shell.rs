//! A shell for the command line's tests: a machine, its gateway, and what commands leave behind.

use goclaw_tests::{
    Edition, PATIENCE, Server,
    database::PostgresDatabase,
    server::{GATEWAY_TOKEN, binary, free_port},
    within,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{Child, ChildStdout, Command},
};

/// Where commands are typed, and with which environment.
pub struct Shell {
    pub dir: PathBuf,
    pub environment: BTreeMap<String, String>,
}

/// What a command left behind.
pub struct Outcome {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Shell {
    /// Beside a running gateway, with its environment.
    pub fn beside(server: &Server) -> Self {
        Self { dir: server.dir().to_owned(), environment: server.environment() }
    }

    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    pub fn unset(&mut self, name: &str) -> &mut Self {
        self.environment.remove(name);
        self
    }

    /// With the programs of this machine in reach.
    #[expect(clippy::disallowed_methods, reason = "tests have no configuration loader")]
    pub fn with_programs(mut self) -> Self {
        self.set("PATH", &std::env::var("PATH").unwrap());
        self
    }

    pub fn command(&self, line: &str) -> Command {
        let mut command = Command::new(binary());
        command.args(line.split_whitespace()).env_clear().envs(&self.environment).current_dir(&self.dir).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub async fn run(&self, line: &str) -> Outcome {
        self.run_with(line, "").await
    }

    /// Runs `goclaw` with these arguments and this standard input.
    pub async fn run_with(&self, line: &str, input: &str) -> Outcome {
        let mut child = self.command(line).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // A command that reads nothing may be gone before everything is written.
        stdin.write_all(input.as_bytes()).await.ok();
        drop(stdin);
        let output = within("a command to end", child.wait_with_output()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }
}

impl Outcome {
    /// Asserts that it ended with this code.
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("no JSON ({error}): {}", self.out))
    }

    /// Asserts that the error says all of this.
    pub fn says(self, parts: &[&str]) -> Self {
        for part in parts {
            assert!(self.err.contains(part), "nothing about {part:?} in: {}", self.err);
        }
        self
    }

    /// Asserts that none of this was printed.
    pub fn hides(self, secrets: &[&str]) -> Self {
        for secret in secrets {
            assert!(!self.out.contains(secret) && !self.err.contains(secret), "{secret} was printed:\n{}{}", self.out, self.err);
        }
        self
    }
}

/// A machine on which nobody ran anything yet: an empty home directory and, in standard, an empty database.
pub struct Machine {
    pub shell: Shell,
    pub root: TempDir,
    pub database: Option<PostgresDatabase>,
}

impl Machine {
    pub async fn new(edition: Edition) -> Self {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("home");
        fs::create_dir(&home).unwrap();
        let mut shell = Shell { dir: home.clone(), environment: BTreeMap::new() };
        shell = shell.with_programs();
        shell.set("HOME", &home.to_string_lossy()).set("GOCLAW_PORT", &free_port().to_string());
        let database = match edition {
            Edition::Lite => None,
            Edition::Standard => {
                let database = PostgresDatabase::create_empty().await;
                shell.set("GOCLAW_POSTGRES_DSN", &database.dsn).set("GOCLAW_HOST", "127.0.0.1");
                shell.set("GOCLAW_ENCRYPTION_KEY", &"5e".repeat(32)).set("GOCLAW_GATEWAY_TOKEN", GATEWAY_TOKEN);
                Some(database)
            }
        };
        Self { shell, root, database }
    }

    /// The same, ready for a gateway: lite makes its database itself, standard is migrated first.
    pub async fn migrated(edition: Edition) -> Self {
        let machine = Self::new(edition).await;
        if edition == Edition::Standard {
            machine.run("migrate up").await.expect(0);
        }
        machine
    }

    pub async fn run(&self, line: &str) -> Outcome {
        self.shell.run(line).await
    }

    /// A file of the home directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.shell.dir.join(name)
    }

    pub fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.shell.environment["GOCLAW_PORT"])
    }

    /// Starts the gateway and waits until it says where it listens. A port that somebody took in between is given up for another.
    pub async fn start(&mut self) -> Gateway {
        let log = self.root.path().join("gateway.log");
        for _ in 0..3 {
            let mut child = self.shell.command("").stderr(File::create(&log).unwrap()).spawn().unwrap();
            let mut out = BufReader::new(child.stdout.take().unwrap());
            let mut announced = String::new();
            within("the gateway to start", out.read_line(&mut announced)).await.unwrap();
            if !announced.is_empty() {
                return Gateway { child, out, announced };
            }
            let log = fs::read_to_string(&log).unwrap();
            assert!(log.contains("in use"), "the gateway ended at once:\n{log}");
            self.shell.set("GOCLAW_PORT", &free_port().to_string());
        }
        panic!("there is no free port");
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(database) = self.database.take() {
            database.remove_blocking();
        }
    }
}

/// A running gateway of a [`Machine`].
pub struct Gateway {
    pub child: Child,
    pub out: BufReader<ChildStdout>,
    pub announced: String,
}

impl Gateway {
    /// Stops it and answers with all that it wrote to standard output.
    pub async fn stop(mut self) -> String {
        kill(Pid::from_raw(self.child.id().unwrap().try_into().unwrap()), Signal::SIGTERM).unwrap();
        let status = tokio::time::timeout(PATIENCE * 2, self.child.wait()).await.expect("the gateway stops").unwrap();
        assert!(status.success(), "{status}");
        self.out.read_to_string(&mut self.announced).await.unwrap();
        self.announced
    }
}

pub fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).permissions().mode() & 0o777
}

/// Whether some file below `dir` holds this text.
pub fn is_kept_below(dir: &Path, text: &str) -> bool {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => is_kept_below(&path, text),
        false => fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()),
    })
}
