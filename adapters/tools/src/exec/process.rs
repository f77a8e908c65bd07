//! One command as a process group: started, read, and ended whatever happens.

use super::{ExecOptions, Site};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};
use std::{process::Stdio, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
};

/// How long output is still read after the shell has ended. Its group is dead by then; only a process that left the
/// group can hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How a command ended, and what it printed.
pub struct Ended {
    pub end: End,
    pub stdout: Captured,
    pub stderr: Captured,
}

/// How a command ended.
pub enum End {
    /// By itself, with success.
    Success,
    /// By itself; how, in words.
    Failure(String),
    /// It was killed after this time.
    Timeout(Duration),
    /// It never ran; why.
    NotStarted(String),
}

/// The first bytes of an output, and how many there were.
#[derive(Default)]
pub struct Captured {
    pub kept: Vec<u8>,
    pub total: u64,
}

impl Captured {
    /// Reads to the end and keeps the first `limit` bytes. Whatever was read stays, even if this is dropped midway.
    async fn fill(&mut self, mut from: impl AsyncRead + Unpin, limit: usize) {
        let mut chunk = vec![0; 16 << 10];
        while let Ok(read @ 1..) = from.read(&mut chunk).await {
            self.total += read as u64;
            let room = limit.saturating_sub(self.kept.len()).min(read);
            self.kept.extend_from_slice(&chunk[..room]);
        }
    }
}

/// A shell and all processes of its group. They are killed when this is dropped.
struct Group {
    child: Child,
    id: Option<Pid>,
}

impl Group {
    fn kill(&mut self) {
        if let Some(id) = self.id.take() {
            // No such group: all have ended already.
            let _ = killpg(id, Signal::SIGKILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The runtime reaps the child when it is dropped.
        self.kill();
    }
}

/// A duration the way people say it: `1m0s`, `90ms`.
pub fn in_words(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0) => format!("{}ms", duration.as_millis()),
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

fn shell(command: &str, site: &Site, options: &ExecOptions) -> Command {
    let mut shell = Command::new("/bin/sh");
    shell.arg("-c").arg(command);
    // The process' own environment holds the installation's secrets.
    shell.env_clear().env("PATH", &options.path).env("HOME", &site.workspace);
    shell.env("LANG", "C.UTF-8").env("TZ", "UTC").env("TERM", "dumb");
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    shell.process_group(0).kill_on_drop(true);
    #[cfg(target_os = "linux")]
    {
        // Entering the directory by its handle leaves no time in which it could be exchanged for a link.
        use std::os::fd::AsRawFd;
        shell.current_dir(format!("/proc/self/fd/{}", site.directory.as_raw_fd()));
    }
    #[cfg(not(target_os = "linux"))]
    shell.current_dir(&site.path);
    shell
}

/// Runs `command` to its end or to the timeout. Dropping the future kills it with all that it started.
pub async fn run(command: &str, site: &Site, options: &ExecOptions) -> Ended {
    let (mut stdout, mut stderr) = (Captured::default(), Captured::default());
    let end = run_into(&mut stdout, &mut stderr, command, site, options).await;
    Ended { end, stdout, stderr }
}

async fn run_into(stdout: &mut Captured, stderr: &mut Captured, command: &str, site: &Site, options: &ExecOptions) -> End {
    let mut child = match shell(command, site, options).spawn() {
        Ok(child) => child,
        Err(error) => {
            tracing::error!(%error, "the shell cannot be started");
            return End::NotStarted(error.kind().to_string());
        }
    };
    let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) else {
        return End::NotStarted("its output cannot be read".into());
    };
    let id = child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
    let mut group = Group { child, id };
    let limit = options.capture_limit;
    let reading = async { tokio::join!(stdout.fill(out, limit), stderr.fill(err, limit)) };
    let ending = async {
        let status = tokio::time::timeout(options.timeout, group.child.wait()).await;
        group.kill();
        match status {
            Ok(Ok(status)) if status.success() => End::Success,
            Ok(Ok(status)) => End::Failure(status.to_string()),
            Ok(Err(error)) => End::Failure(error.kind().to_string()),
            Err(_) => {
                // It was killed above, so this is over at once; it leaves no zombie.
                let _ = group.child.wait().await;
                End::Timeout(options.timeout)
            }
        }
    };
    tokio::pin!(reading, ending);
    tokio::select! {
        end = &mut ending => {
            let _ = tokio::time::timeout(LAST_WORDS, &mut reading).await;
            end
        }
        // A command may close its output and go on.
        _ = &mut reading => ending.await,
    }
}
