//! `tailscaled`, as a child.

use super::{TailnetOptions, Trouble};
use goclaw_process::Group;
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{
    collections::VecDeque,
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    time::{MissedTickBehavior, interval, timeout},
};

/// How long the daemon may take to open its socket, and to end when it is asked to.
const OPENING: Duration = Duration::from_secs(30);
const ENDING: Duration = Duration::from_secs(5);
/// How often it is looked whether the socket is there.
const LOOK: Duration = Duration::from_millis(50);
/// The longest path of a socket, in bytes, on every system that we know.
const LONGEST_SOCKET: usize = 100;
/// How much of what it said last is kept, in bytes.
const LAST_WORDS: usize = 1000;

/// The daemon and what it starts.
pub struct Daemon {
    group: Group,
    said: Arc<Mutex<VecDeque<u8>>>,
}

/// The daemon's socket.
pub fn socket(options: &TailnetOptions) -> PathBuf {
    options.state_dir.join("tailscaled.sock")
}

impl Daemon {
    /// Starts it and waits until it can be spoken to.
    pub async fn start(options: &TailnetOptions, program: &Path) -> Result<Self, Trouble> {
        let socket = socket(options);
        if socket.as_os_str().len() > LONGEST_SOCKET {
            return Err(Trouble::LongPath(socket));
        }
        let state = |error| Trouble::State { path: options.state_dir.clone(), error };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&options.state_dir).map_err(state)?;
        fs::set_permissions(&options.state_dir, fs::Permissions::from_mode(0o700)).map_err(state)?;
        end_leftovers(&socket);
        // One that a crash left behind would look like a daemon that listens.
        match fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Trouble::State { path: socket, error }),
            _ => (),
        }
        let mut command = Command::new(program);
        command.args(arguments(options, &socket)).env_clear().envs(options.environment.iter().cloned()).current_dir(&options.state_dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut group = Group::spawn(&mut command).map_err(Trouble::NotStarted)?;
        let said = Arc::<Mutex<VecDeque<u8>>>::default();
        if let (_, _, Some(stderr)) = group.pipes() {
            // It ends with the pipe, that is, with the group.
            tokio::spawn(listen(stderr, said.clone()));
        }
        let mut daemon = Self { group, said };
        let opened = tokio::select! {
            trouble = daemon.ended() => Err(trouble),
            opened = timeout(OPENING, appears(&socket)) => opened.map_err(|_| Trouble::Silent(OPENING)),
        };
        if let Err(trouble) = opened {
            daemon.end().await;
            return Err(trouble);
        }
        Ok(daemon)
    }

    /// Waits until it has ended by itself, which it never should.
    pub async fn ended(&mut self) -> Trouble {
        let how = match self.group.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect::<Vec<_>>();
        Trouble::Ended { how, said: in_words(&said) }
    }

    /// Has it leave the network, and kills it if it does not.
    pub async fn end(&mut self) {
        self.group.terminate();
        if timeout(ENDING, self.group.wait()).await.is_err() {
            self.group.kill();
            // It was killed, so this is over at once; it leaves no zombie.
            let _ = self.group.wait().await;
        }
    }
}

/// Ends what an earlier gateway had no time to take along: two daemons must not share a state. The socket's path, which is this
/// gateway's alone, tells them from the machine's own. Where there is no `/proc`, nobody can be told apart, and nobody is ended.
fn end_leftovers(socket: &Path) {
    let ours = format!("--socket={}", socket.display());
    let Ok(processes) = fs::read_dir("/proc") else { return };
    for process in processes.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let arguments = fs::read(process.path().join("cmdline")).unwrap_or_default();
        if arguments.split(|byte| *byte == 0).any(|argument| argument == ours.as_bytes()) {
            tracing::warn!(process = id, "ending a Tailscale program that an earlier gateway left behind");
            // It leads a group of its own. None of that number: it has ended just now.
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
}

fn arguments(options: &TailnetOptions, socket: &Path) -> Vec<String> {
    let state_dir = options.state_dir.display();
    // What is only in memory is forgotten by both sides.
    let state = if options.ephemeral { "mem:".to_owned() } else { format!("{state_dir}/tailscaled.state") };
    vec![
        "--tun=userspace-networking".to_owned(),
        format!("--statedir={state_dir}"),
        format!("--state={state}"),
        format!("--socket={}", socket.display()),
        // Any port that is free: the usual one may belong to the machine's own daemon.
        "--port=0".to_owned(),
    ]
}

async fn appears(socket: &Path) {
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !tokio::fs::try_exists(socket).await.unwrap_or(false) {
        looks.tick().await;
    }
}

/// Keeps the end of what the daemon says.
async fn listen(mut from: impl AsyncRead + Unpin, said: Arc<Mutex<VecDeque<u8>>>) {
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        said.extend(&chunk[..read]);
        let surplus = said.len().saturating_sub(LAST_WORDS);
        said.drain(..surplus);
    }
}

/// What a program said, as the end of a sentence; nothing if it said nothing.
pub fn in_words(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let said: String = said.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if said.is_empty() { said } else { format!(": {said}") }
}
