//! Chat: asking an agent, over REST or WebSocket.

mod inject;
mod input;
mod lines;
mod rest;

pub use crate::runs::engine::RunOutcome;
pub use inject::{Injected, Injection};
pub use input::{Completion, ImageUrl, InputContent, InputMessage, InputPart, Wake, select_agent};
pub(crate) use lines::Lines;
pub use rest::Woken;

use crate::{
    agents::{Agents, DEFAULT_KEY},
    caller::{Access, Caller},
    files::{FileLinks, Files, MediaInput},
    media::{self, Shelf},
    quotas::{RequestQuotas, Source},
    rate::RequestRate,
    runs::{
        Runs,
        elsewhere::Elsewhere,
        engine::{End, Engine},
        inbound::Accepted,
        queue::QueueMode,
        request::{Origin, Request},
    },
    sessions::Sessions,
};
use goclaw_ports::{
    Error, JsonObject, Message, Result,
    clock::Ids,
    media::MediaRef,
    message,
    roles::Role,
    sessions::{ChatMessage, MessageRole},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::DropGuard;
use uuid::Uuid;

/// The longest session key, in bytes.
const MAX_SESSION_KEY: usize = 500;

/// Asking an agent.
pub struct Chat {
    pub(crate) engine: Arc<Engine>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) runs: Arc<Runs>,
    pub(crate) elsewhere: Elsewhere,
    pub(crate) rate: Arc<RequestRate>,
    pub(crate) quotas: Arc<RequestQuotas>,
    pub(crate) lines: Lines,
    pub(crate) files: Arc<Files>,
    pub(crate) ids: Arc<dyn Ids>,
}

/// A run whose answer somebody waits for. Dropping it stops the run.
pub struct RunHandle {
    /// Its id.
    pub run_id: Uuid,
    pieces: mpsc::Receiver<String>,
    end: oneshot::Receiver<End>,
    ended: bool,
    links: FileLinks,
    _stop: DropGuard,
}

/// What comes of a run.
#[derive(Debug, Clone)]
pub enum RunEvent {
    /// The next bit of the answer.
    Text(String),
    /// The end: all of it.
    Done(RunOutcome),
    /// The end: it failed.
    Failed(Error),
    /// The end: it was stopped.
    Cancelled,
}

impl RunHandle {
    /// What comes next; nothing after the end.
    pub async fn next(&mut self) -> Option<RunEvent> {
        if self.ended {
            return None;
        }
        if let Some(text) = self.pieces.recv().await {
            return Some(RunEvent::Text(self.links.sealed(&text).into_owned()));
        }
        self.ended = true;
        Some(match (&mut self.end).await {
            Ok(End::Completed(outcome)) => RunEvent::Done(self.links.outcome(outcome)),
            Ok(End::Failed(error)) => RunEvent::Failed(error),
            Ok(End::Cancelled) => RunEvent::Cancelled,
            Err(_) => RunEvent::Failed(Error::internal("the run ended without an end")),
        })
    }
}

/// A message for an agent, as `chat.send` takes it. "" is absent.
#[derive(Debug, Clone, Default)]
pub struct Send {
    /// What is asked.
    pub message: String,
    /// Who is asked: a key or an id.
    pub agent_id: String,
    /// In which conversation; a new one if it is empty.
    pub session_key: String,
    /// Whether the answer should come in pieces.
    pub stream: bool,
    /// The files that come with it.
    pub media: Vec<MediaInput>,
    /// The connection that asks, for the rate limit of callers without a user.
    pub connection: String,
}

/// How `chat.send` ended.
#[derive(Debug, Clone)]
pub enum Sent {
    /// With an answer.
    Completed {
        /// The run that answered.
        run_id: Uuid,
        /// What it answered.
        outcome: RunOutcome,
    },
    /// The conversation's run, which goes on, has taken the message in.
    Injected,
    /// The run was stopped.
    Cancelled,
    /// The message was a command: it was carried out, and this is its answer.
    Command(Message),
}

impl Serialize for Sent {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Completed { run_id, outcome } => {
                let mut result = json!({"runId": run_id, "content": outcome.content, "usage": outcome.usage});
                if !outcome.media.is_empty() {
                    result["media"] = json!(outcome.media);
                }
                result
            }
            Self::Injected => json!({"injected": true}),
            Self::Cancelled => json!({"cancelled": true}),
            Self::Command(answer) => json!({"content": answer.to_string()}),
        }
        .serialize(serializer)
    }
}

/// Which runs were stopped.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Aborted {
    /// Always true: there being nothing to stop is no error.
    pub ok: bool,
    /// Whether any was.
    pub aborted: bool,
    /// Which.
    pub run_ids: Vec<String>,
}

/// Whether a conversation's agent is at work.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SessionStatus {
    /// Whether it is.
    pub is_running: bool,
    /// The run; "" if there is none.
    pub run_id: String,
    /// What it does.
    pub activity: Option<Value>,
}

impl Chat {
    /// Asks an agent in a conversation that goes on (`chat.send`), and waits for the end of the run. The run does not
    /// depend on the caller: it goes on if nobody waits any more.
    ///
    /// # Errors
    /// `Forbidden` below operator, for an agent or a conversation that is not the caller's; `RateLimited`; `Invalid`
    /// without a user or a message; `NotFound` for an unknown agent; whatever made the run fail.
    pub async fn send(&self, caller: &Caller, request: Send) -> Result<Sent> {
        caller.require(Role::Operator, Access::Write, "chat.send")?;
        // Before anything is waited for: who came first must be first.
        let first = match &*request.session_key {
            "" => None,
            key => Some(self.lines.stand(caller.tenant, key).await),
        };
        let key = if caller.user.is_empty() { format!("conn:{}", request.connection) } else { format!("user:{}:{}", caller.tenant, caller.user) };
        self.rate.take(caller.tenant, &key).await?;
        if caller.user.is_empty() {
            return Err(Error::invalid(message::user_id_required()));
        }
        if request.message.trim().is_empty() && request.media.is_empty() {
            return Err(Error::invalid(message::message_required()));
        }
        let named = [request.agent_id.as_str(), agent_in(&request.session_key), DEFAULT_KEY].into_iter().find(|named| !named.is_empty());
        let agent = self.agents.resolve(caller, named.unwrap_or(DEFAULT_KEY)).await?;
        let session_key = if request.session_key.is_empty() {
            format!("agent:{}:ws:direct:{}", agent.agent_key, self.ids.random())
        } else {
            self.check_session(caller, &request.session_key, &agent.agent_key).await?;
            request.session_key
        };
        if let Some(answer) = self.command(caller, &session_key, request.message.trim()) {
            return Ok(Sent::Command(answer));
        }
        let mut attachments = self.files.attachments(caller, &request.media).await?;
        self.quotas.admit(caller.tenant, Source { user: &caller.user, channel: "ws", provider: &agent.provider }).await?;
        let (mut text, origin) = (request.message, Origin::direct("ws", &*caller.user));
        let mut owed = vec![];
        let interrupts = self.engine.settings.installation().gateway.queue.mode == QueueMode::Interrupt;
        let current = self.runs.taking_in(caller.tenant, &session_key);
        if let Some(run) = current.filter(|run| run.user == caller.user && !interrupts) {
            let checked = self.engine.checked_injection(caller.tenant, &text).await?;
            let directory = self.engine.tools.workspace_of(caller, Some(&agent), "ws").await?;
            let shelf = Shelf { tenant: caller.tenant, session_key: &session_key, directory: &directory };
            let kept = self.engine.media.keep(shelf, std::mem::take(&mut attachments)).await?;
            let told = media::told(&kept, &checked);
            let media_refs: Vec<MediaRef> = kept.into_iter().map(|kept| kept.media).collect();
            let accepted = Accepted { caller, agent: agent.id, session_key: &session_key, text: &told, origin: &origin, metadata: JsonObject::new() };
            if let Some(id) = self.engine.inbound.say(accepted, &media_refs).await? {
                self.engine.inbound.stops(&[id], &run.cancel);
                if run.inject(id, ChatMessage { media_refs, ..ChatMessage::new(MessageRole::User, told.clone()) }) {
                    return Ok(Sent::Injected);
                }
                owed.push(id);
                text = told;
            } else {
                // The conversation was deleted meanwhile; the new one gets files of its own.
                attachments = self.files.attachments(caller, &request.media).await?;
            }
        }
        let started = self.engine.start_owed(Request {
            fresh: first.is_none(),
            stored: !owed.is_empty(),
            owed,
            attachments,
            stream: request.stream,
            ..Request::new(caller.clone(), agent, session_key, text, origin)
        });
        let started = started.await?;
        drop(first);
        match started.end.await {
            Ok(End::Completed(outcome)) => Ok(Sent::Completed { run_id: started.run.id, outcome: self.files.links.outcome(outcome) }),
            Ok(End::Cancelled) => Ok(Sent::Cancelled),
            Ok(End::Failed(error)) => Err(error),
            Err(_) => Err(Error::internal("the run ended without an end")),
        }
    }

    /// Carries `/stop` and `/stopall` out: the one stops the run that goes on, the other turns away those that wait as well.
    /// `None` if the message is neither.
    fn command(&self, caller: &Caller, session_key: &str, text: &str) -> Option<Message> {
        let stopped = match text {
            "/stop" => self.runs.stop_one(caller.tenant, session_key).then(message::stopped_run),
            "/stopall" => Some(self.runs.stop_all(caller.tenant, session_key)).filter(|count| *count > 0).map(message::stopped_all),
            _ => return None,
        };
        Some(stopped.unwrap_or_else(message::nothing_to_stop))
    }

    /// Stops runs, at whichever gateway they are: those of a conversation, one by its id, or one by its id in a conversation. Only the
    /// caller's own, below admin.
    ///
    /// # Errors
    /// `Forbidden` below operator, `Invalid` if neither is named.
    pub async fn abort(&self, caller: &Caller, session_key: &str, run_id: &str) -> Result<Aborted> {
        caller.require(Role::Operator, Access::Write, "chat.abort")?;
        if session_key.is_empty() && run_id.is_empty() {
            return Err(Error::required("sessionKey or runId"));
        }
        let mut runs = self.runs.find(caller.tenant, session_key, run_id);
        runs.retain(|run| caller.is_admin() || (!caller.user.is_empty() && run.user == caller.user));
        runs.iter().for_each(|run| run.cancel.cancel());
        let mut run_ids: Vec<String> = runs.iter().map(|run| run.id.to_string()).collect();
        let of_user = (!caller.is_admin()).then_some(&*caller.user);
        if of_user != Some("") {
            run_ids.extend(self.elsewhere.stop(caller.tenant, session_key, run_id, of_user).await?);
        }
        Ok(Aborted { ok: true, aborted: !run_ids.is_empty(), run_ids })
    }

    /// Whether a conversation's agent is at work, at whichever gateway. What it does is known at its own only.
    ///
    /// # Errors
    /// `Forbidden` below viewer, or for another user's conversation below admin; `Invalid` without a key.
    pub async fn status(&self, caller: &Caller, session_key: &str) -> Result<SessionStatus> {
        caller.require(Role::Viewer, Access::Read, "chat.session.status")?;
        if session_key.is_empty() {
            return Err(Error::required("sessionKey"));
        }
        self.sessions.visible(caller, session_key).await?;
        let run = self.runs.current(caller.tenant, session_key).filter(|run| caller.is_admin() || run.user == caller.user);
        if run.is_none() {
            let of_user = (!caller.is_admin()).then_some(&*caller.user);
            let elsewhere = if of_user == Some("") { vec![] } else { self.elsewhere.find(caller.tenant, session_key, "", of_user).await? };
            let elsewhere = elsewhere.into_iter().next();
            return Ok(SessionStatus { is_running: elsewhere.is_some(), run_id: elsewhere.unwrap_or_default(), activity: None });
        }
        Ok(SessionStatus {
            is_running: run.is_some(),
            run_id: run.as_ref().map(|run| run.id.to_string()).unwrap_or_default(),
            activity: run.and_then(|run| run.activity()),
        })
    }

    /// A conversation's key must name the agent that is asked, and the conversation must be the caller's.
    async fn check_session(&self, caller: &Caller, key: &str, agent_key: &str) -> Result<()> {
        well_formed("sessionKey", key)?;
        if agent_in(key) != agent_key && agent_in(key) != DEFAULT_KEY {
            return Err(Error::forbidden("the session belongs to another agent"));
        }
        if let Some(session) = self.engine.sessions.find(caller.tenant, key).await?
            && session.user_id != *caller.user
        {
            return Err(Error::forbidden("this session belongs to another user"));
        }
        Ok(())
    }
}

/// A session's key must not be too long, and nobody can see control characters.
fn well_formed(field: &str, key: &str) -> Result<()> {
    if key.len() > MAX_SESSION_KEY {
        return Err(Error::invalid(message::too_long(field, MAX_SESSION_KEY)));
    }
    if key.contains(char::is_control) {
        return Err(Error::invalid_request(format!("{field} holds control characters")));
    }
    Ok(())
}

/// The agent that a session key names: `agent:{this}:…`.
fn agent_in(session_key: &str) -> &str {
    let mut parts = session_key.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("agent"), Some(agent), Some(_)) => agent,
        _ => "",
    }
}
