//! One process of an agent, and the conversation over its standard input and output.

use super::{
    handlers::Handlers,
    wire::{self, Failure, Incoming},
};
use crate::{lines, question::Question};
use goclaw_process::Group;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    path::Path,
    process::Stdio,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader},
    process::{ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// How many lines to the agent wait, and how many pieces of its answer do.
const WAITING: usize = 64;
/// How many questions of an agent are worked on at once.
const AT_ONCE: usize = 32;
/// How much of its complaints is kept, in bytes: their end.
const COMPLAINT: usize = 4 << 10;
/// How long a process may take to end when it is asked to.
const STOP: Duration = Duration::from_secs(5);

/// What is started.
pub struct Start<'a> {
    pub program: &'a Path,
    pub arguments: &'a [String],
    pub environment: &'a [(String, String)],
    /// Where it works.
    pub root: &'a Path,
    /// How long it may take to begin.
    pub patience: Duration,
}

/// A running agent. Its process, and what that started, end when this is dropped.
pub struct Agent {
    pub handlers: Arc<Handlers>,
    shared: Arc<Shared>,
    session: String,
    takes_images: bool,
    group: Group,
    _tasks: [AbortOnDropHandle<()>; 3],
}

type Pending = HashMap<u64, oneshot::Sender<Result<Value, Failure>>>;

struct Shared {
    lines: mpsc::Sender<String>,
    next: AtomicU64,
    pending: Mutex<Pending>,
    /// Who listens to what it says.
    updates: Mutex<Option<mpsc::Sender<String>>>,
    /// When something was last heard of it.
    heard: watch::Sender<Instant>,
    ended: CancellationToken,
}

impl Shared {
    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn tell(&self, line: String) -> Result<(), String> {
        self.lines.send(line).await.map_err(|_| "the agent has ended".to_owned())
    }

    /// Asks, and answers with what the agent says; `Err` in words.
    async fn call(self: Arc<Self>, method: &'static str, params: Value) -> Result<Value, String> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.pending().insert(id, sender);
        // One that ended in between would never answer.
        if self.ended.is_cancelled() {
            self.pending().clear();
        }
        self.tell(wire::request(id, method, &params)).await?;
        match answer.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(failure)) => Err(format!("{method}: {} ({})", failure.message, failure.code)),
            Err(_) => Err("the agent has ended".to_owned()),
        }
    }
}

impl Agent {
    /// Starts an agent and opens a session with it.
    ///
    /// # Errors
    /// Why it cannot, in words.
    pub async fn start(start: Start<'_>, handlers: Arc<Handlers>) -> Result<Self, String> {
        let mut command = Command::new(start.program);
        command.args(start.arguments).env_clear().envs(start.environment.iter().map(|(name, value)| (name, value))).current_dir(start.root);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut group = Group::spawn(&mut command).map_err(|error| format!("the agent cannot be started: {error}"))?;
        let (Some(stdin), Some(stdout), Some(stderr)) = group.pipes() else { return Err("the agent's pipes cannot be opened".into()) };
        let (lines, waiting) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared {
            lines,
            next: AtomicU64::new(1),
            pending: Mutex::default(),
            updates: Mutex::default(),
            heard: watch::Sender::new(Instant::now()),
            ended: CancellationToken::new(),
        });
        let name = start.program.display().to_string();
        let tasks = [tokio::spawn(write(stdin, waiting)), tokio::spawn(read(stdout, shared.clone(), handlers.clone())), tokio::spawn(complaints(stderr, name))];
        let mut agent = Self { handlers, shared, session: String::new(), takes_images: false, group, _tasks: tasks.map(AbortOnDropHandle::new) };
        let opened = timeout(start.patience, agent.open(start.root)).await;
        (agent.session, agent.takes_images) = opened.map_err(|_| format!("timeout: the agent did not begin within {:?}", start.patience))??;
        Ok(agent)
    }

    async fn open(&self, root: &Path) -> Result<(String, bool), String> {
        let welcome = self.shared.clone().call("initialize", wire::initialize()).await?;
        self.handlers.speak(wire::is_published(&welcome));
        let session = self.shared.clone().call("session/new", json!({"cwd": root, "mcpServers": []})).await?;
        let session = session["sessionId"].as_str().ok_or_else(|| "session/new: the agent named no session".to_owned())?;
        Ok((session.to_owned(), wire::takes_images(&welcome)))
    }

    /// Whether the process has ended.
    pub fn has_ended(&self) -> bool {
        self.shared.ended.is_cancelled()
    }

    /// What it says from now on; whoever listened before hears no more.
    pub fn listen(&self) -> mpsc::Receiver<String> {
        let (sender, updates) = mpsc::channel(WAITING);
        *self.shared.updates.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        self.shared.heard.send_replace(Instant::now());
        updates
    }

    /// Asks, with pictures if the agent takes any: otherwise the text has to do, which names their files. Answers with the reason
    /// for which the agent stopped, when it has; `Err` in words.
    pub fn prompt(&self, question: &Question) -> impl Future<Output = Result<String, String>> + Send + use<> {
        let images = if self.takes_images { question.images.as_slice() } else { &[] };
        let asked = self.shared.clone().call("session/prompt", wire::prompt(&self.session, &question.with_prompt(), images));
        async move { asked.await.map(|result| wire::stop_reason(&result)) }
    }

    /// Tells it to stop answering.
    pub fn cancel(&self) {
        *self.shared.updates.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // One that has ended needs not be told, and for one that reads nothing this must not wait.
        let _ = self.shared.lines.try_send(wire::notice("session/cancel", &json!({"sessionId": self.session})));
    }

    /// Ends when nothing was heard of it for `limit`.
    pub async fn silent(&self, limit: Duration) {
        let mut heard = self.shared.heard.subscribe();
        loop {
            let until = *heard.borrow_and_update() + limit;
            tokio::select! {
                () = sleep_until(until) => return,
                changed = heard.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Asks the process to end, and kills it if it does not.
    pub async fn stop(mut self) {
        self.group.terminate();
        // Whatever is left is killed when this is dropped.
        let _ = timeout(STOP, self.group.wait()).await;
    }
}

async fn write(mut stdin: ChildStdin, mut lines: mpsc::Receiver<String>) {
    while let Some(line) = lines.recv().await {
        if stdin.write_all(line.as_bytes()).await.is_err() || stdin.flush().await.is_err() {
            return;
        }
    }
}

async fn read(stdout: ChildStdout, shared: Arc<Shared>, handlers: Arc<Handlers>) {
    let (mut reader, mut line, mut work) = (BufReader::new(stdout), Vec::new(), JoinSet::new());
    loop {
        match lines::next(&mut reader, &mut line).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => {
                tracing::warn!(%error, "an agent's output cannot be read");
                break;
            }
        }
        shared.heard.send_replace(Instant::now());
        let read = wire::read(&std::mem::take(&mut line));
        while work.try_join_next().is_some() {}
        match read {
            Some(Incoming::Answer(id, answer)) => {
                if let Some(waiting) = shared.pending().remove(&id) {
                    // Whoever asked may have gone.
                    let _ = waiting.send(answer);
                }
            }
            Some(Incoming::Request { id, .. }) if work.len() >= AT_ONCE => {
                // If it has ended nobody waits for this.
                let _ = shared.tell(wire::answer(&id, Err(Failure::failed("too many requests at once")))).await;
            }
            Some(Incoming::Request { id, method, params }) => {
                let (shared, handlers) = (shared.clone(), handlers.clone());
                work.spawn(async move {
                    let answer = handlers.handle(&method, &params).await;
                    // If it has ended nobody waits for this.
                    let _ = shared.tell(wire::answer(&id, answer)).await;
                });
            }
            Some(Incoming::Notice { method, params }) if method == "session/update" => {
                let listener = shared.updates.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if let (Some(listener), Some(said)) = (listener, wire::said(&params)) {
                    // Whoever asked may have gone.
                    let _ = listener.send(said).await;
                }
            }
            Some(Incoming::Notice { .. }) | None => {}
        }
    }
    shared.ended.cancel();
    shared.pending().clear();
}

/// Keeps the end of what the agent complains about, and logs it when the agent has ended.
async fn complaints(mut stderr: impl AsyncRead + Unpin, program: String) {
    let (mut kept, mut chunk) = (Vec::new(), vec![0; COMPLAINT]);
    while let Ok(read @ 1..) = stderr.read(&mut chunk).await {
        kept.extend_from_slice(&chunk[..read]);
        kept.drain(..kept.len().saturating_sub(COMPLAINT));
    }
    let text = String::from_utf8_lossy(&kept);
    if !text.trim().is_empty() {
        tracing::info!(program, said = text.trim(), "an agent has ended");
    }
}
