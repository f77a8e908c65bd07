//! Commands that an agent runs.

use super::wire::Failure;
use goclaw_process::Group;
use std::{
    collections::{HashMap, VecDeque},
    os::unix::process::ExitStatusExt,
    process::{ExitStatus, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
    sync::watch,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How much of a command's output is kept, in bytes: its end.
const OUTPUT: usize = 10 << 20;
/// The most commands of one agent at once, ended ones among them until they are released.
const TERMINALS: usize = 16;
/// How long an agent may wait for the end of a command.
const WAIT: Duration = Duration::from_secs(600);
/// How long output is still read after a command has ended.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// The commands of one agent. They end when this is dropped.
#[derive(Default)]
pub struct Terminals {
    next: AtomicU64,
    running: Mutex<HashMap<String, Arc<Terminal>>>,
}

struct Terminal {
    output: Arc<Mutex<Output>>,
    ended: watch::Receiver<Option<Exit>>,
    kill: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Output {
    bytes: VecDeque<u8>,
    limit: usize,
    truncated: bool,
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// What a command printed so far.
pub struct Printed {
    pub text: String,
    pub truncated: bool,
    pub exit: Option<Exit>,
}

impl Output {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
        let over = self.bytes.len().saturating_sub(self.limit);
        if over > 0 {
            self.bytes.drain(..over);
            self.truncated = true;
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Terminals {
    /// Starts a command and answers with the terminal's id. Of its output the last `limit` bytes are kept, at most 10 MiB.
    pub fn create(&self, mut command: Command, limit: Option<usize>) -> Result<String, Failure> {
        let mut running = locked(&self.running);
        if running.len() >= TERMINALS {
            return Err(Failure::failed("too many terminals: release some first"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::spawn(&mut command).map_err(|error| Failure::failed(format!("the command cannot be started: {}", error.kind())))?;
        let (_, Some(stdout), Some(stderr)) = group.pipes() else { return Err(Failure::failed("the command's output cannot be read")) };
        let output = Arc::new(Mutex::new(Output { limit: limit.unwrap_or(OUTPUT).min(OUTPUT), ..Output::default() }));
        let (tell, ended) = watch::channel(None);
        let kill = CancellationToken::new();
        let task = tokio::spawn(run(group, [Box::new(stdout) as _, Box::new(stderr) as _], output.clone(), kill.clone(), tell));
        let id = format!("term-{}", self.next.fetch_add(1, Ordering::Relaxed) + 1);
        running.insert(id.clone(), Arc::new(Terminal { output, ended, kill, _task: AbortOnDropHandle::new(task) }));
        Ok(id)
    }

    fn find(&self, id: &str) -> Result<Arc<Terminal>, Failure> {
        locked(&self.running).get(id).cloned().ok_or_else(|| Failure::failed(format!("terminal not found: {id}")))
    }

    /// What a command printed so far.
    pub fn output(&self, id: &str) -> Result<Printed, Failure> {
        let terminal = self.find(id)?;
        let exit = *terminal.ended.borrow();
        let mut output = locked(&terminal.output);
        let text = String::from_utf8_lossy(output.bytes.make_contiguous()).into_owned();
        Ok(Printed { text, truncated: output.truncated, exit })
    }

    /// Waits until a command has ended.
    pub async fn wait(&self, id: &str) -> Result<Exit, Failure> {
        let mut ended = self.find(id)?.ended.clone();
        let exit = timeout(WAIT, ended.wait_for(Option::is_some)).await.map_err(|_| Failure::failed(format!("the command runs on after {WAIT:?}")))?;
        exit.ok().and_then(|exit| *exit).ok_or_else(|| Failure::failed("the command was lost"))
    }

    /// Ends a command. What it printed stays.
    pub fn kill(&self, id: &str) -> Result<(), Failure> {
        self.find(id)?.kill.cancel();
        Ok(())
    }

    /// Forgets a command, and ends it if it runs.
    pub fn release(&self, id: &str) {
        locked(&self.running).remove(id);
    }
}

async fn run(
    mut group: Group,
    pipes: [Box<dyn AsyncRead + Send + Unpin>; 2],
    output: Arc<Mutex<Output>>,
    kill: CancellationToken,
    tell: watch::Sender<Option<Exit>>,
) {
    let [stdout, stderr] = pipes;
    let reading = async { tokio::join!(keep(stdout, &output), keep(stderr, &output)) };
    tokio::pin!(reading);
    let ending = async {
        tokio::select! {
            status = group.wait() => status,
            () = kill.cancelled() => {
                group.kill();
                group.wait().await
            }
        }
    };
    tokio::pin!(ending);
    let status = tokio::select! {
        status = &mut ending => {
            let _ = timeout(LAST_WORDS, &mut reading).await;
            status
        }
        // A command may close its output and go on.
        _ = &mut reading => ending.await,
    };
    let exit = |status: ExitStatus| Exit { code: status.code(), signal: status.signal() };
    tell.send_replace(Some(status.map_or(Exit { code: None, signal: None }, exit)));
}

async fn keep(mut from: impl AsyncRead + Unpin, output: &Mutex<Output>) {
    let mut chunk = vec![0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut chunk).await {
        locked(output).add(&chunk[..read]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(script);
        command
    }

    #[tokio::test]
    async fn a_command_is_started_read_and_waited_for() {
        let terminals = Terminals::default();
        let id = terminals.create(sh("echo out; echo err >&2; exit 3"), None).unwrap();
        assert_eq!(id, "term-1");
        assert_eq!(terminals.wait(&id).await.unwrap(), Exit { code: Some(3), signal: None });
        let printed = terminals.output(&id).unwrap();
        assert!(printed.text.contains("out\n") && printed.text.contains("err\n") && !printed.truncated);
        terminals.release(&id);
        assert!(terminals.output(&id).is_err());
        terminals.release("term-9");
    }

    #[tokio::test]
    async fn a_killed_command_ends_with_what_it_started() {
        let terminals = Terminals::default();
        let id = terminals.create(sh("sleep 1000 & sleep 1000"), None).unwrap();
        terminals.kill(&id).unwrap();
        assert_eq!(terminals.wait(&id).await.unwrap(), Exit { code: None, signal: Some(9) });
    }

    #[tokio::test]
    async fn the_end_of_a_long_output_is_kept() {
        let terminals = Terminals::default();
        let id = terminals.create(sh("head -c 100000 /dev/zero | tr '\\0' x; echo the end"), Some(20)).unwrap();
        terminals.wait(&id).await.unwrap();
        let printed = terminals.output(&id).unwrap();
        assert!(printed.truncated && printed.text.ends_with("the end\n") && printed.text.len() == 20, "{}", printed.text);
    }

    #[tokio::test]
    async fn there_is_a_limit() {
        let terminals = Terminals::default();
        let ids: Vec<_> = (0..TERMINALS).map(|_| terminals.create(sh("exit"), None).unwrap()).collect();
        assert!(terminals.create(sh("exit"), None).is_err());
        terminals.release(&ids[0]);
        terminals.create(sh("exit"), None).unwrap();
    }
}
