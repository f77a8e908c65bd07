//! Claude's command line. It keeps the conversation and has tools of its own; a question hands it the last message.

mod account;
mod arguments;
mod home;
mod output;
mod record;

pub use account::auth_status;

use crate::{Ground, ProgramsOptions, environment, lines, offered::Offered, program, question::Question, streamed};
use arguments::Arguments;
use async_trait::async_trait;
use goclaw_ports::{
    Result,
    llm::{ChatEvent, ChatRequest, ChatResponse, ChatStream, Conversation, LONGEST_ANSWER, LlmError, LlmErrorKind, ModelInfo, Provider, ProviderSpec},
};
use goclaw_process::{Captured, Group};
use home::Home;
use output::{Output, Said};
use record::Recording;
use serde_json::Value;
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    process::Command,
    sync::{Semaphore, mpsc},
    time::timeout,
};

/// The models that it takes.
const MODELS: &[(&str, &str)] = &[("sonnet", "Sonnet"), ("opus", "Opus"), ("haiku", "Haiku")];
/// How many of these run at once.
const AT_ONCE: usize = 16;
/// How much of its complaints is kept, in bytes.
const COMPLAINT: usize = 8 << 10;
/// How much of them is told, in characters.
const TOLD: usize = 300;
/// How long it is waited for once it has closed its output.
const LAST_WORDS: Duration = Duration::from_secs(5);

type Events = mpsc::Sender<Result<ChatEvent, LlmError>>;

/// Claude's command line as a provider.
pub struct ClaudeCli {
    name: String,
    default_model: String,
    asking: Arc<Asking>,
}

/// What a question needs, after the provider that was asked may be gone.
struct Asking {
    name: String,
    program: PathBuf,
    permission_mode: String,
    directory: PathBuf,
    hooks_directory: PathBuf,
    environment: Vec<(String, String)>,
    ground: Arc<dyn Ground>,
    recording: Recording,
    idle: Duration,
    at_once: Semaphore,
    /// One question at a time in each directory.
    turns: Mutex<HashMap<PathBuf, Weak<tokio::sync::Mutex<()>>>>,
}

impl ClaudeCli {
    pub fn new(spec: ProviderSpec, options: &ProgramsOptions) -> Result<Self> {
        let text = |key: &str| spec.settings.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let asking = Asking {
            name: spec.name.clone(),
            program: program(&spec.api_base, options)?,
            permission_mode: text("perm_mode").filter(|mode| mode.bytes().all(|byte| byte.is_ascii_alphabetic())).unwrap_or("bypassPermissions").to_owned(),
            directory: text("work_dir").or(text("base_work_dir")).map_or_else(|| options.claude_directory.clone(), PathBuf::from),
            hooks_directory: options.hooks_directory.clone(),
            environment: environment::of_claude(&options.environment),
            ground: options.ground.clone(),
            recording: Recording::of(&options.environment),
            idle: options.idle_timeout,
            at_once: Semaphore::new(AT_ONCE),
            turns: Mutex::default(),
        };
        Ok(Self { name: spec.name, default_model: spec.default_model, asking: Arc::new(asking) })
    }
}

#[async_trait]
impl Provider for ClaudeCli {
    fn name(&self) -> &str {
        &self.name
    }

    fn provider_type(&self) -> &str {
        "claude_cli"
    }

    fn default_model(&self) -> &str {
        &self.default_model
    }

    fn chat(&self, request: ChatRequest) -> ChatStream {
        let (asking, default) = (self.asking.clone(), self.default_model.clone());
        streamed(move |events| async move { asking.ask(request, &default, events).await })
    }

    async fn models(&self) -> Result<Vec<ModelInfo>, LlmError> {
        Ok(MODELS.iter().map(|(id, name)| ModelInfo { id: (*id).to_owned(), name: Some((*name).to_owned()) }).collect())
    }

    async fn forget(&self, conversation: &Conversation) {
        let home = self.asking.home(conversation);
        let turn = self.asking.turn(&home.directory);
        let _turn = turn.lock().await;
        let forgotten = tokio::task::spawn_blocking(move || home.forget()).await.map_err(io::Error::other).flatten();
        if let Err(error) = forgotten {
            tracing::warn!(provider = self.name, %error, "a conversation could not be forgotten");
        }
    }
}

impl Asking {
    fn home(&self, conversation: &Conversation) -> Home {
        Home::new(&self.directory, &self.hooks_directory, conversation, environment::get(&self.environment, "HOME"))
    }

    fn turn(&self, directory: &Path) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(directory).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::default();
        turns.insert(directory.to_owned(), Arc::downgrade(&turn));
        turn
    }

    async fn ask(&self, request: ChatRequest, default: &str, events: Events) -> Result<(), LlmError> {
        let model = if request.model.is_empty() { default } else { &request.model };
        if !MODELS.iter().any(|(known, _)| *known == model) {
            return Err(self.failure(LlmErrorKind::Model, &format!("{model} is no model of Claude's command line: it takes sonnet, opus or haiku")));
        }
        let Question { prompt, text, images } = Question::of(&request);
        // A question that belongs to no conversation has a directory of its own, which goes away with it.
        let alone = Conversation { tenant: goclaw_ports::TenantId::MASTER, session_key: format!("once-{}", uuid::Uuid::new_v4()) };
        let lasting = request.conversation.as_ref().filter(|conversation| !conversation.session_key.is_empty());
        let home = self.home(lasting.unwrap_or(&alone));
        let turn = self.turn(&home.directory);
        let _turn = tokio::select! {
            turn = turn.lock() => turn,
            () = events.closed() => return Ok(()),
        };
        let Ok(_permit) = self.at_once.acquire().await else { return Ok(()) };
        let hook = self.ground.hook(&home.directory);
        let prepared = home.clone();
        let session = tokio::task::spawn_blocking(move || home.prepare(&prompt, hook.as_deref())).await.map_err(io::Error::other).flatten();
        let session = session.map_err(|error| self.failure(LlmErrorKind::Other, &error.to_string()))?;
        let arguments = Arguments {
            model,
            permission_mode: &self.permission_mode,
            session: &session,
            offered: Offered::of(&request.tools),
            message: &text,
            images: &images,
            stream: request.stream,
        };
        let answered = tokio::select! {
            answered = self.run(&prepared, &arguments, &events) => answered.map(Some),
            // The program ends with whoever asked.
            () = events.closed() => Ok(None),
        };
        if lasting.is_none() {
            // What stays of it is found by nobody.
            let _ = tokio::task::spawn_blocking(move || prepared.forget_all()).await;
        }
        if let Some(response) = answered? {
            let _ = events.send(Ok(ChatEvent::Done(Box::new(response)))).await;
        }
        Ok(())
    }

    /// Runs the program to its end and passes on what it says meanwhile.
    async fn run(&self, home: &Home, arguments: &Arguments<'_>, events: &Events) -> Result<ChatResponse, LlmError> {
        let (words, input) = (arguments.words(), arguments.input());
        let mut record = self.recording.begin(&home.directory).await;
        record.asked(&words, input.as_ref().map(String::len)).await;
        let mut command = Command::new(&self.program);
        command.args(words).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value))).current_dir(&home.directory);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() }).stdout(Stdio::piped()).stderr(Stdio::piped());
        let not_started = |why: &str| self.failure(LlmErrorKind::Other, &format!("the program cannot be started: {why}"));
        let mut group = Group::spawn(&mut command).map_err(|error| not_started(&error.to_string()))?;
        let (stdin, Some(stdout), Some(stderr)) = group.pipes() else { return Err(not_started("its output cannot be read")) };
        let writing = async {
            if let (Some(mut stdin), Some(input)) = (stdin, input) {
                // A program need not read what it is given.
                let _ = stdin.write_all(input.as_bytes()).await;
            }
        };
        let mut complaint = Captured::default();
        let mut output = Output::default();
        let reading = async {
            let (mut reader, mut line) = (BufReader::new(stdout), Vec::new());
            loop {
                let more = timeout(self.idle, lines::next(&mut reader, &mut line)).await;
                match more {
                    Err(_) => return Err(self.failure(LlmErrorKind::Timeout, &format!("timeout: the program said nothing for {:?}", self.idle))),
                    Ok(Err(error)) => return Err(self.failure(LlmErrorKind::Other, &format!("its output cannot be read: {error}"))),
                    Ok(Ok(false)) => return Ok(()),
                    Ok(Ok(true)) => {}
                }
                let read = std::mem::take(&mut line);
                record.add("said", &read).await;
                for said in output.line(&read) {
                    if output.size() > LONGEST_ANSWER {
                        return Err(self.failure(LlmErrorKind::Other, "the answer is too long"));
                    }
                    let event = match said {
                        Said::Text(text) => ChatEvent::Text(text),
                        Said::Thought(thought) => ChatEvent::Thinking(thought),
                    };
                    if arguments.stream && events.send(Ok(event)).await.is_err() {
                        return Ok(());
                    }
                }
            }
        };
        {
            let talking = async { tokio::join!(complaint.fill(stderr, COMPLAINT), writing) };
            tokio::pin!(reading, talking);
            let mut talked = false;
            loop {
                tokio::select! {
                    read = &mut reading => break read?,
                    _ = &mut talking, if !talked => talked = true,
                }
            }
            if !talked {
                let _ = timeout(LAST_WORDS, &mut talking).await;
            }
        }
        // Its outputs are closed; a program that goes on all the same is not waited for.
        let status = timeout(LAST_WORDS, group.wait()).await;
        let success = matches!(&status, Ok(Ok(status)) if status.success());
        record.add("complained", &complaint.kept).await;
        let ended = match &status {
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("not within {LAST_WORDS:?}"),
        };
        record.add("ended", ended.as_bytes()).await;
        record.end().await;
        output.end(success).map_err(|reported| {
            let complaint = String::from_utf8_lossy(&complaint.kept);
            let why = if reported.is_empty() { complaint.trim() } else { &reported };
            self.failure(kind_of(why), if why.is_empty() { "the program answered nothing" } else { why })
        })
    }

    fn failure(&self, kind: LlmErrorKind, text: &str) -> LlmError {
        let text: String = text.chars().take(TOLD).collect();
        LlmError { kind, status: None, text: format!("{}: {text}", self.name), retry_after: None }
    }
}

/// What kind of failure a text tells of.
fn kind_of(text: &str) -> LlmErrorKind {
    let text = text.to_lowercase();
    let has = |signs: &[&str]| signs.iter().any(|sign| text.contains(sign));
    if has(&["timed out", "timeout"]) {
        LlmErrorKind::Timeout
    } else if has(&["prompt is too long", "context window"]) {
        LlmErrorKind::ContextOverflow
    } else if has(&["rate limit", "usage limit", "limit reached"]) {
        LlmErrorKind::RateLimit
    } else if has(&["overloaded"]) {
        LlmErrorKind::Overloaded
    } else if has(&["credit balance", "billing"]) {
        LlmErrorKind::Billing
    } else if has(&["/login", "log in", "logged in", "authentication", "api key", "unauthorized"]) {
        LlmErrorKind::Auth
    } else {
        LlmErrorKind::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        assert_eq!(kind_of("Invalid API key · Please run /login"), LlmErrorKind::Auth);
        assert_eq!(kind_of("Claude usage limit reached"), LlmErrorKind::RateLimit);
        assert_eq!(kind_of("Credit balance is too low"), LlmErrorKind::Billing);
        assert_eq!(kind_of("Segmentation fault"), LlmErrorKind::Other);
    }
}
