//! Agents that speak the Agent Client Protocol: one process for each conversation.

mod agent;
mod handlers;
mod permission;
mod terminals;
mod wire;

use crate::{ProgramsOptions, environment, offered::Offered, place, program, question::Question, streamed};
use agent::{Agent, Start};
use async_trait::async_trait;
use goclaw_ports::{
    Error, Result, TenantId,
    llm::{
        ChatEvent, ChatRequest, ChatResponse, ChatStream, Conversation, FinishReason, LONGEST_ANSWER, LlmError, LlmErrorKind, ModelInfo, Provider,
        ProviderSpec, Usage,
    },
    message,
};
use handlers::Handlers;
use permission::Mode;
use serde_json::Value;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{Instant, interval, timeout},
};

/// The programs that go by their name; others need an absolute path.
const KNOWN: &[(&str, &str)] = &[("claude", "Claude"), ("codex", "Codex"), ("gemini", "Gemini")];
/// How long an unused process stays.
const IDLE_TTL: Duration = Duration::from_secs(300);
/// How often is looked for unused ones, at most.
const LOOK: Duration = Duration::from_secs(30);
/// The most processes of one provider.
const PROCESSES: usize = 32;
/// The longest wait for an agent that was told to stop answering.
const CANCEL: Duration = Duration::from_secs(5);
/// How much of a failure is told, in characters.
const TOLD: usize = 300;

type Events = mpsc::Sender<Result<ChatEvent, LlmError>>;

/// An agent as a provider.
pub struct Acp {
    name: String,
    default_model: String,
    pool: Arc<Pool>,
}

/// The processes of an agent.
struct Pool {
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    directory: PathBuf,
    environment: Vec<(String, String)>,
    mode: Mode,
    idle_ttl: Duration,
    silence: Duration,
    options: ProgramsOptions,
    conversations: Mutex<HashMap<Conversation, Arc<Slot>>>,
}

/// A conversation's process, if there is one. Whoever holds it asks.
struct Slot {
    agent: tokio::sync::Mutex<Option<Agent>>,
    used: Mutex<Instant>,
}

impl Acp {
    pub fn new(spec: ProviderSpec, options: &ProgramsOptions) -> Result<Arc<Self>> {
        if !spec.api_base.starts_with('/') && !KNOWN.iter().any(|(known, _)| *known == spec.api_base) {
            return Err(Error::invalid(message::bad_provider_url("invalid binary path")));
        }
        let text = |key: &str| spec.settings.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
        let arguments = spec.settings.get("args").and_then(Value::as_array).into_iter().flatten();
        let idle_ttl = text("idle_ttl").and_then(duration).unwrap_or(IDLE_TTL);
        let pool = Arc::new(Pool {
            name: spec.name.clone(),
            program: program(&spec.api_base, options)?,
            arguments: arguments.filter_map(|argument| argument.as_str().map(str::to_owned)).collect(),
            directory: text("work_dir").map_or_else(|| options.acp_directory.clone(), PathBuf::from),
            environment: environment::of_agent(&options.environment),
            mode: Mode::parse(text("perm_mode").unwrap_or_default()),
            idle_ttl,
            silence: options.idle_timeout,
            options: options.clone(),
            conversations: Mutex::default(),
        });
        tokio::spawn(look_after(Arc::downgrade(&pool), idle_ttl.min(LOOK)));
        Ok(Arc::new(Self { name: spec.name, default_model: spec.default_model, pool }))
    }
}

/// Ends processes that nobody has used for long, for as long as there is a pool.
async fn look_after(pool: Weak<Pool>, every: Duration) {
    let mut ticks = interval(every.max(Duration::from_millis(10)));
    loop {
        ticks.tick().await;
        let Some(pool) = pool.upgrade() else { return };
        for agent in pool.unused(Some(pool.idle_ttl), usize::MAX) {
            agent.stop().await;
        }
    }
}

/// A duration as people write it: `90s`, `5m`, `1h`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.trim().split_at(text.trim().find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        "h" => Some(Duration::from_secs(number.checked_mul(3_600)?)),
        _ => None,
    }
    .filter(|duration| !duration.is_zero())
}

#[async_trait]
impl Provider for Acp {
    fn name(&self) -> &str {
        &self.name
    }

    fn provider_type(&self) -> &str {
        "acp"
    }

    fn default_model(&self) -> &str {
        &self.default_model
    }

    fn chat(&self, request: ChatRequest) -> ChatStream {
        let pool = self.pool.clone();
        streamed(move |events| async move { pool.ask(request, events).await })
    }

    async fn models(&self) -> Result<Vec<ModelInfo>, LlmError> {
        Ok(KNOWN.iter().map(|(id, name)| ModelInfo { id: (*id).to_owned(), name: Some((*name).to_owned()) }).collect())
    }

    async fn forget(&self, conversation: &Conversation) {
        let slot = self.pool.conversations().remove(conversation);
        if let Some(slot) = slot {
            let agent = slot.agent.lock().await.take();
            if let Some(agent) = agent {
                agent.stop().await;
            }
        }
    }
}

impl Pool {
    fn conversations(&self) -> MutexGuard<'_, HashMap<Conversation, Arc<Slot>>> {
        self.conversations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes agents that nobody asks now out of the pool, those first that were not used for longest: at most `count`, and only
    /// those that were not used for `longer_than`.
    fn unused(&self, longer_than: Option<Duration>, count: usize) -> Vec<Agent> {
        let mut conversations = self.conversations();
        let used = |slot: &Slot| *slot.used.lock().unwrap_or_else(PoisonError::into_inner);
        let mut oldest: Vec<_> = conversations.iter().map(|(conversation, slot)| (used(slot), conversation.clone())).collect();
        oldest.sort_by_key(|(used, _)| *used);
        let mut taken = Vec::new();
        for (used, conversation) in oldest {
            if taken.len() == count || longer_than.is_some_and(|least| used.elapsed() < least) {
                break;
            }
            let Some(slot) = conversations.get(&conversation) else { continue };
            // Somebody asks, or waits for their turn.
            if Arc::strong_count(slot) > 1 {
                continue;
            }
            let Ok(agent) = slot.agent.try_lock().map(|mut agent| agent.take()) else { continue };
            conversations.remove(&conversation);
            taken.extend(agent);
        }
        taken
    }

    /// The conversation's place; makes room for a new one.
    async fn slot(&self, conversation: &Conversation) -> Result<Arc<Slot>, LlmError> {
        if let Some(slot) = self.conversations().get(conversation) {
            return Ok(slot.clone());
        }
        let full = self.conversations().len() >= PROCESSES;
        if full {
            for agent in self.unused(None, 1) {
                agent.stop().await;
            }
        }
        let mut conversations = self.conversations();
        if conversations.len() >= PROCESSES && !conversations.contains_key(conversation) {
            return Err(self.failure(LlmErrorKind::Overloaded, "overloaded: too many conversations at once"));
        }
        let slot = conversations.entry(conversation.clone());
        Ok(slot.or_insert_with(|| Arc::new(Slot { agent: tokio::sync::Mutex::default(), used: Mutex::new(Instant::now()) })).clone())
    }

    async fn ask(&self, request: ChatRequest, events: Events) -> Result<(), LlmError> {
        let lasting = request.conversation.is_some();
        // A question that belongs to no conversation has a process of its own.
        let alone = || Conversation { tenant: TenantId::MASTER, session_key: format!("once-{}", uuid::Uuid::new_v4()) };
        let conversation = request.conversation.clone().unwrap_or_else(alone);
        let slot = self.slot(&conversation).await?;
        let answered = tokio::select! {
            mut agent = slot.agent.lock() => self.ask_in_turn(&mut agent, &conversation, &request, &events).await,
            () = events.closed() => Ok(()),
        };
        *slot.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if !lasting {
            self.conversations().remove(&conversation);
            let agent = slot.agent.lock().await.take();
            if let Some(agent) = agent {
                agent.stop().await;
            }
            let directory = place::of(&self.directory, &conversation);
            // What stays of it is found by nobody.
            let _ = tokio::fs::remove_dir_all(directory).await;
        }
        answered
    }

    async fn ask_in_turn(&self, slot: &mut Option<Agent>, conversation: &Conversation, request: &ChatRequest, events: &Events) -> Result<(), LlmError> {
        if slot.as_ref().is_none_or(Agent::has_ended) {
            *slot = None;
            *slot = Some(self.start(conversation).await?);
        }
        let Some(agent) = slot else { return Ok(()) };
        agent.handlers.offer(Offered::of(&request.tools));
        let (mut updates, prompt) = (agent.listen(), agent.prompt(&Question::of(request)));
        tokio::pin!(prompt);
        let mut response = ChatResponse::default();
        let stopped = loop {
            tokio::select! {
                biased;
                Some(piece) = updates.recv() => match self.take(piece, &mut response, request.stream, events).await {
                    Ok(true) => {}
                    Ok(false) => break None,
                    Err(error) => {
                        agent.cancel();
                        *slot = None;
                        return Err(error);
                    }
                },
                outcome = &mut prompt => break Some(outcome),
                () = events.closed() => break None,
                // What is heard of the agent, its own questions included, starts the time anew.
                () = agent.silent(self.silence) => {
                    agent.cancel();
                    *slot = None;
                    return Err(self.failure(LlmErrorKind::Timeout, &format!("timeout: the agent said nothing for {:?}", self.silence)));
                }
            }
        };
        let Some(outcome) = stopped else {
            // Nobody listens any more. An agent that does not stop talking is stopped.
            drop(updates);
            agent.cancel();
            if timeout(CANCEL, prompt).await.is_err() {
                *slot = None;
            }
            return Ok(());
        };
        // What was said last may have come with the end.
        while let Ok(piece) = updates.try_recv() {
            if !self.take(piece, &mut response, request.stream, events).await? {
                return Ok(());
            }
        }
        let reason = match outcome {
            Ok(reason) => reason,
            Err(why) => {
                if agent.has_ended() {
                    *slot = None;
                }
                return Err(self.failure(LlmErrorKind::Other, &why));
            }
        };
        response.finish_reason = if matches!(reason.as_str(), "maxContextLength" | "max_tokens") { FinishReason::Length } else { FinishReason::Stop };
        response.usage = Some(Usage::default());
        let _ = events.send(Ok(ChatEvent::Done(Box::new(response)))).await;
        Ok(())
    }

    /// Adds a piece to the answer, and passes it on to those who want pieces. `false` if nobody listens any more.
    async fn take(&self, piece: String, response: &mut ChatResponse, stream: bool, events: &Events) -> Result<bool, LlmError> {
        response.content.push_str(&piece);
        if response.content.len() > LONGEST_ANSWER {
            return Err(self.failure(LlmErrorKind::Other, "the answer is too long"));
        }
        Ok(!stream || events.send(Ok(ChatEvent::Text(piece))).await.is_ok())
    }

    async fn start(&self, conversation: &Conversation) -> Result<Agent, LlmError> {
        let directory = place::of(&self.directory, conversation);
        let root = directory.clone();
        let made = tokio::task::spawn_blocking(move || place::make(&root, true).and_then(|()| root.canonicalize()));
        let root = made.await.map_err(std::io::Error::other).flatten().map_err(|error| self.failure(LlmErrorKind::Other, &error.to_string()))?;
        let handlers = Handlers::new(self.options.ground.clone(), root.clone(), self.mode, self.environment.clone());
        let start = Start { program: &self.program, arguments: &self.arguments, environment: &self.environment, root: &root, patience: self.silence };
        Agent::start(start, Arc::new(handlers)).await.map_err(|why| self.failure(LlmErrorKind::Other, &why))
    }

    fn failure(&self, kind: LlmErrorKind, text: &str) -> LlmError {
        let text: String = text.chars().take(TOLD).collect();
        LlmError { kind, status: None, text: format!("{}: {text}", self.name), retry_after: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "5", "m", "0s", "1.5h", "5 m"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
