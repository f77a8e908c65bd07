//! Asking an agent over REST.

use super::{Chat, Completion, RunHandle, Wake, agent_in, input::Question, well_formed};
use crate::{
    auth::MAX_USER_ID,
    caller::{Access, Caller},
    quotas::Source,
    runs::{
        engine::{End, RunOutcome},
        inbound::Accepted,
        request::{Origin, Request, RunOptions},
        resume::Kept,
    },
};
use goclaw_ports::{Error, ErrorKind, Result, agents::Agent, message, roles::Role};
use std::sync::Arc;
use tokio::sync::mpsc;
use uuid::Uuid;

/// How many pieces of an answer wait for a client.
const PIECES: usize = 64;
/// How much data a wake may bring along, in bytes of JSON.
const MAX_METADATA: usize = 16 * 1024;

/// What a woken agent answered.
#[derive(Debug, Clone)]
pub struct Woken {
    /// The run that answered.
    pub run_id: Uuid,
    /// What it answered.
    pub outcome: RunOutcome,
}

impl Chat {
    /// Asks an agent in a new conversation (`POST /v1/chat/completions`).
    ///
    /// # Errors
    /// `Forbidden` below operator or for an agent that the caller may not use, `RateLimited`, `Invalid` without a user or
    /// a user message, `NotFound` for an unknown agent.
    pub async fn complete(&self, caller: &Caller, request: Completion) -> Result<RunHandle> {
        caller.require(Role::Operator, Access::Write, "/v1/chat/completions")?;
        self.rate.take(caller.tenant, &caller.limit_key).await?;
        let question = request.question()?;
        let caller = standing_in(caller, &request.user)?;
        caller.named_user()?;
        let agent = self.agents.resolve(&caller, &request.agent).await?;
        self.answer(caller, agent, "http", question, request.stream, RunOptions::default()).await
    }

    /// The same for `POST /v1/responses`: nobody has to be named, and there may be orders for this one answer.
    ///
    /// # Errors
    /// As [`Chat::complete`].
    pub async fn respond(&self, caller: &Caller, request: Completion) -> Result<RunHandle> {
        caller.require(Role::Operator, Access::Write, "/v1/responses")?;
        self.rate.take(caller.tenant, &caller.limit_key).await?;
        let question = request.question()?;
        let caller = standing_in(caller, &request.user)?;
        let agent = self.agents.resolve(&caller, &request.agent).await?;
        let extra_prompt =
            if request.instructions.trim().is_empty() { String::new() } else { self.engine.checked_injection(caller.tenant, &request.instructions).await? };
        self.answer(caller, agent, "responses", question, request.stream, RunOptions { extra_prompt, ..RunOptions::default() }).await
    }

    /// Wakes an agent and waits for its answer. The run does not depend on the caller: it goes on if nobody waits any more.
    ///
    /// # Errors
    /// `Forbidden` below operator, and for an agent or a conversation that is not the caller's; `Invalid` without a message;
    /// `NotFound` for an unknown agent; whatever made the run fail.
    pub async fn wake(&self, caller: &Caller, agent: &str, request: Wake) -> Result<Woken> {
        caller.require(Role::Operator, Access::Write, "/v1/agents/{id}/wake")?;
        let message = request.message.filter(|text| !text.trim().is_empty()).ok_or_else(|| Error::invalid(message::message_required()))?;
        let metadata = request.metadata.unwrap_or_default();
        if serde_json::to_vec(&metadata).map_err(Error::internal)?.len() > MAX_METADATA {
            return Err(Error::invalid(message::too_long("metadata", MAX_METADATA)));
        }
        let mut caller = acting_as(caller, request.user_id.as_deref().unwrap_or_default())?;
        let agent = self.agents.resolve(&caller, agent).await?;
        let session_key = match request.session_key.filter(|key| !key.is_empty()) {
            None => format!("agent:{}:wake-{}", agent.agent_key, self.short_id()),
            Some(key) => {
                caller.user = self.owner_of(&caller, &key, &agent).await?;
                key
            }
        };
        self.quotas.admit(caller.tenant, Source { user: &caller.user, channel: "wake", provider: &agent.provider }).await?;
        let origin = Origin::direct("wake", "api");
        let kept = Kept { trace_metadata: metadata.clone(), ..Kept::default() }.metadata();
        let accepted = Accepted { caller: &caller, agent: agent.id, session_key: &session_key, text: &message, origin: &origin, metadata: kept };
        // From here on the agent is woken, once, whatever becomes of this process.
        let owed = vec![self.engine.inbound.keep(accepted).await?];
        let started = self.engine.start_owed(Request {
            owed,
            options: RunOptions { trace_metadata: metadata, ..RunOptions::default() },
            ..Request::new(caller, agent, session_key, message, origin)
        });
        let started = started.await?;
        match started.end.await {
            Ok(End::Completed(outcome)) => Ok(Woken { run_id: started.run.id, outcome: self.files.links.outcome(outcome) }),
            Ok(End::Cancelled) => Err(Error::new(ErrorKind::Unavailable, message::run_cancelled())),
            Ok(End::Failed(error)) => Err(error),
            Err(_) => Err(Error::internal("the run ended without an end")),
        }
    }

    /// Whose conversation this is: an admin may wake an agent in anybody's, and then speaks for its user.
    async fn owner_of(&self, caller: &Caller, key: &str, agent: &Agent) -> Result<Arc<str>> {
        well_formed("session_key", key)?;
        if agent_in(key) != agent.agent_key {
            return Err(Error::forbidden("the session belongs to another agent"));
        }
        match self.engine.sessions.find(caller.tenant, key).await? {
            Some(session) if session.user_id == *caller.user => Ok(caller.user.clone()),
            Some(session) if caller.is_admin() => Ok(session.user_id.into()),
            Some(_) => Err(Error::forbidden("this session belongs to another user")),
            None => Ok(caller.user.clone()),
        }
    }

    /// Starts a run in a conversation of its own, for a client that waits for the answer.
    async fn answer(&self, caller: Caller, agent: Agent, kind: &str, question: Question, stream: bool, options: RunOptions) -> Result<RunHandle> {
        self.quotas.admit(caller.tenant, Source { user: &caller.user, channel: "http", provider: &agent.provider }).await?;
        let id = self.short_id();
        let session_key = match &*caller.user {
            "" => format!("agent:{}:{kind}-{id}", agent.agent_key),
            user => format!("agent:{}:{kind}-{user}-{id}", agent.agent_key),
        };
        let (pieces, received) = mpsc::channel(PIECES);
        let started = self.engine.start(Request {
            fresh: true,
            stream,
            pieces: stream.then_some(pieces),
            options,
            attachments: question.pictures,
            ..Request::new(caller, agent, session_key, question.text, Origin::direct("http", "api"))
        })?;
        let stop = started.run.cancel.clone().drop_guard();
        Ok(RunHandle { run_id: started.run.id, pieces: received, end: started.end, ended: false, links: self.files.links.clone(), _stop: stop })
    }

    /// Enough of a random id for the name of a conversation.
    fn short_id(&self) -> String {
        self.ids.random().simple().to_string()[..12].to_owned()
    }
}

/// The caller as this user, if nothing else names one.
fn standing_in(caller: &Caller, user: &str) -> Result<Caller> {
    if caller.user.is_empty() { acting_as(caller, user) } else { Ok(caller.clone()) }
}

/// The caller as this user, if one is named and the credential does not say who it is.
fn acting_as(caller: &Caller, user: &str) -> Result<Caller> {
    if user.len() > MAX_USER_ID {
        return Err(Error::invalid(message::too_long("user", MAX_USER_ID)));
    }
    if user.contains(char::is_control) {
        return Err(Error::invalid_request("user holds control characters"));
    }
    let mut caller = caller.clone();
    if caller.bound {
        if !user.is_empty() && user != &*caller.user {
            tracing::warn!(user = %caller.user, "security.user_ignored: the credential names the user");
        }
    } else if !user.is_empty() {
        caller.user = user.into();
    }
    Ok(caller)
}
