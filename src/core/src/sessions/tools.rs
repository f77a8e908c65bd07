//! What an agent may do with the conversations that it has with the same user.

use crate::{
    agents::Agents,
    caller::Caller,
    runs::{
        engine::Engine,
        inbound::Accepted,
        request::{Origin, Request, RunOptions},
        resume::Kept,
    },
};
use async_trait::async_trait;
use goclaw_ports::{
    Error, JsonObject, Result, TenantId,
    clock::Clock,
    sessions::{ChatMessage, MessageRole, Session, SessionFilter, SessionStore},
    tenants::TenantStore,
    tools::{Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
};

/// How many sessions and messages are told unless more are asked for, and at most.
const FEW: i64 = 20;
const MANY: i64 = 200;
/// How much of one message is told, in characters, and of all, in bytes.
const MESSAGE: usize = 4_000;
const ALL: usize = 80 * 1024;
/// How many messages are read at once, and how often, in search of those that are told.
const PAGE: i64 = 200;
const PAGES: usize = 10;

/// What the runs are known by that a message from another session started.
const SENDER: &str = "session_send_tool";

/// What the tools work with.
pub(crate) struct Conversations {
    pub store: Arc<dyn SessionStore>,
    pub agents: Arc<Agents>,
    pub tenants: Arc<dyn TenantStore>,
    pub clock: Arc<dyn Clock>,
    /// The engine needs the tools, so it comes later.
    pub engine: OnceLock<Weak<Engine>>,
    /// Sessions that answer a message from another one now.
    pub answering: Mutex<HashSet<(TenantId, String)>>,
}

/// All of them.
pub(crate) fn all(conversations: &Arc<Conversations>) -> Vec<Arc<dyn Tool>> {
    let tool = |kind| Arc::new(SessionTool { spec: spec(kind), kind, conversations: conversations.clone() }) as Arc<dyn Tool>;
    [Kind::List, Kind::Status, Kind::History, Kind::Send].map(tool).into()
}

#[derive(Clone, Copy)]
enum Kind {
    List,
    Status,
    History,
    Send,
}

struct SessionTool {
    spec: ToolSpec,
    kind: Kind,
    conversations: Arc<Conversations>,
}

fn spec(kind: Kind) -> ToolSpec {
    let text = |description: &str| json!({"type": "string", "description": description});
    let number = |description: &str| json!({"type": "number", "description": description});
    let (name, description, properties, required) = match kind {
        Kind::List => (
            "sessions_list",
            "List your other conversations with this user, the newest first.",
            json!({"limit": number("How many at most. Default 20."), "active_minutes": number("Only those in which something was said in the last so many minutes.")}),
            json!([]),
        ),
        Kind::Status => (
            "session_status",
            "Tell about a conversation: its model, its length, the tokens it took, when it was last active.",
            json!({"session_key": text("Which conversation. Default: this one.")}),
            json!([]),
        ),
        Kind::History => (
            "sessions_history",
            "Read the newest messages of one of your conversations with this user.",
            json!({
                "session_key": text("Which conversation, as sessions_list names it."),
                "limit": number("How many messages at most. Default 20."),
                "include_tools": {"type": "boolean", "description": "Whether tool calls and their results are shown too. Default false."},
            }),
            json!(["session_key"]),
        ),
        Kind::Send => (
            "sessions_send",
            "Send a message into another of your conversations with this user. You answer it there, on your own; nothing comes back here.",
            json!({
                "message": text("What is said there."),
                "session_key": text("Which conversation, as sessions_list names it."),
                "label": text("Its title, instead of its key."),
            }),
            json!(["message"]),
        ),
    };
    let effect = if matches!(kind, Kind::Send) { ToolEffect::Changes } else { ToolEffect::Reads };
    ToolSpec { name, description: description.into(), parameters: json!({"type": "object", "properties": properties, "required": required}), effect }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Arguments {
    session_key: String,
    label: String,
    message: String,
    limit: Option<f64>,
    active_minutes: Option<f64>,
    include_tools: bool,
}

impl Arguments {
    fn limit(&self) -> i64 {
        #[expect(clippy::cast_possible_truncation, reason = "casts of floats saturate")]
        self.limit.map(|limit| limit as i64).filter(|limit| *limit > 0).unwrap_or(FEW).min(MANY)
    }
}

#[async_trait]
impl Tool for SessionTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult {
        let arguments: Arguments = match serde_json::from_value(Value::Object(arguments)) {
            Ok(arguments) => arguments,
            Err(error) => return ToolResult::error(format!("bad arguments: {error}")),
        };
        let Some(agent) = &context.agent else { return ToolResult::error("sessions belong to agents, and no agent calls") };
        if context.user.is_empty() {
            return ToolResult::error("sessions belong to users, and this call is for none");
        }
        let scope = Scope { context, prefix: format!("agent:{}:", agent.key) };
        let told = match self.kind {
            Kind::List => self.conversations.list(&scope, &arguments).await,
            Kind::Status => self.conversations.status(&scope, &arguments).await,
            Kind::History => self.conversations.history(&scope, &arguments).await,
            Kind::Send => self.conversations.send(&scope, &arguments).await,
        };
        match told {
            Ok(Ok(text)) => ToolResult::silent(text),
            Ok(Err(refusal)) => ToolResult::error(refusal),
            Err(error) => {
                tracing::warn!(tool = self.spec.name, %error, "a tool failed");
                ToolResult::error(format!("{} failed: {}", self.spec.name, error.message))
            }
        }
    }
}

/// Which sessions a call reaches: those of the agent that calls, with the user that it works for.
struct Scope<'c> {
    context: &'c ToolContext,
    prefix: String,
}

impl Scope<'_> {
    fn holds(&self, session: &Session) -> bool {
        session.key.starts_with(&self.prefix) && session.user_id == self.context.user
    }
}

/// What the model is told, or why it is refused.
type Told = Result<Result<String, String>>;

impl Conversations {
    async fn list(&self, scope: &Scope<'_>, arguments: &Arguments) -> Told {
        #[expect(clippy::cast_possible_truncation, reason = "casts of floats saturate")]
        let since = arguments.active_minutes.filter(|minutes| *minutes > 0.0).and_then(|minutes| {
            let span = chrono::TimeDelta::try_seconds((minutes * 60.0) as i64)?;
            self.clock.now().checked_sub_signed(span)
        });
        let filter = SessionFilter { updated_since: since, limit: arguments.limit(), ..self.filter(scope) };
        let (sessions, _) = self.store.list(scope.context.tenant, &filter).await?;
        let shown: Vec<_> = sessions
            .iter()
            .map(|session| {
                let mut shown = json!({"key": session.key, "message_count": session.message_count, "updated": session.updated_at});
                if !session.label.is_empty() {
                    shown["label"] = session.label.as_str().into();
                }
                shown
            })
            .collect();
        Ok(Ok(json!({"count": shown.len(), "sessions": shown}).to_string()))
    }

    async fn status(&self, scope: &Scope<'_>, arguments: &Arguments) -> Told {
        let key = if arguments.session_key.is_empty() { &scope.context.session_key } else { &arguments.session_key };
        let Some(session) = self.find(scope, key).await? else { return Ok(Err(unknown(key))) };
        let updated = session.updated_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let label = if session.label.is_empty() { "(none)" } else { &session.label };
        Ok(Ok(format!(
            "key: {}\nmodel: {}\nprovider: {}\nchannel: {}\nmessages: {}\ntokens: {} in, {} out\ncompactions: {}\nsummary: {} characters\nlabel: {label}\nupdated: {updated}",
            session.key,
            session.model,
            session.provider,
            session.channel,
            session.message_count,
            session.input_tokens,
            session.output_tokens,
            session.compaction_count,
            session.summary.chars().count(),
        )))
    }

    async fn history(&self, scope: &Scope<'_>, arguments: &Arguments) -> Told {
        let key = &arguments.session_key;
        if self.find(scope, key).await?.is_none() {
            return Ok(Err(unknown(key)));
        }
        let limit = usize::try_from(arguments.limit()).unwrap_or(usize::MAX);
        let mut told = Vec::new();
        let mut before = None;
        for _ in 0..PAGES {
            let page = self.store.messages_before(scope.context.tenant, key, before, PAGE).await?;
            before = page.first().map(|first| first.seq);
            let shown = page.iter().rev().filter_map(|stored| shown(&stored.message, arguments.include_tools));
            told.extend(shown.take(limit - told.len()));
            if told.len() >= limit || before.is_none() {
                break;
            }
        }
        told.reverse();
        let answer = json!({"session_key": key, "messages": told, "count": told.len()}).to_string();
        if answer.len() > ALL {
            let error = "the messages are too long to be shown at once; ask for fewer with limit";
            return Ok(Ok(json!({"session_key": key, "error": error, "count": told.len()}).to_string()));
        }
        Ok(Ok(answer))
    }

    async fn send(self: &Arc<Self>, scope: &Scope<'_>, arguments: &Arguments) -> Told {
        let (context, text) = (scope.context, arguments.message.trim());
        if text.is_empty() {
            return Ok(Err("message is required".into()));
        }
        let session = match (arguments.session_key.as_str(), arguments.label.as_str()) {
            ("", "") => return Ok(Err("session_key or label is required".into())),
            ("", label) => self.labelled(scope, label).await?,
            (key, _) => self.find(scope, key).await?,
        };
        let Some(session) = session else {
            return Ok(Err(unknown(if arguments.session_key.is_empty() { &arguments.label } else { &arguments.session_key })));
        };
        if session.key == context.session_key {
            return Ok(Err("this is the conversation that you are in; just say it".into()));
        }
        if self.answering().contains(&(context.tenant, context.session_key.clone())) {
            return Ok(Err("you are answering a message from another conversation, so you cannot send one: two conversations would talk for ever".into()));
        }
        let (engine, tenant) = (self.engine.get().and_then(Weak::upgrade), self.tenants.find(context.tenant).await?);
        let (Some(engine), Some(tenant), Some(agent)) = (engine, tenant, &context.agent) else { return Err(Error::unavailable("the gateway")) };
        let caller = Caller::without_credential(context.tenant, &tenant.slug, context.role, &context.user);
        let agent = self.agents.resolve(&caller, &agent.key).await?;
        let text = engine
            .checked_injection(
                context.tenant,
                &format!(
                    "[From your conversation {}]
{text}",
                    context.session_key
                ),
            )
            .await?;
        let origin = Origin::direct(&session.channel, &*caller.user);
        let options = RunOptions { tags: vec![SENDER.into()], ..RunOptions::default() };
        let kept = Kept { tags: options.tags.clone(), ..Kept::default() }.metadata();
        let accepted = Accepted { caller: &caller, agent: agent.id, session_key: &session.key, text: &text, origin: &origin, metadata: kept };
        // Stored first: what was accepted must not be lost before its turn comes.
        let Some(owed) = engine.inbound.say(accepted, &[]).await? else { return Ok(Err(unknown(&session.key))) };
        let answering = Answering::begin(self, context.tenant, &session.key);
        let started = engine.start_owed(Request {
            stored: true,
            owed: vec![owed],
            stream: true,
            options,
            ..Request::new(caller, agent, session.key.clone(), text, origin)
        });
        let started = started.await?;
        engine.runtime.spawn(async move {
            let _ = started.end.await;
            drop(answering);
        });
        Ok(Ok(json!({"status": "accepted", "session_key": session.key}).to_string()))
    }

    fn answering(&self) -> MutexGuard<'_, HashSet<(TenantId, String)>> {
        self.answering.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn filter(&self, scope: &Scope<'_>) -> SessionFilter {
        let agent_key = scope.context.agent.as_ref().map(|agent| agent.key.clone());
        SessionFilter { agent_key, user_id: Some(scope.context.user.clone()), ..SessionFilter::default() }
    }

    async fn find(&self, scope: &Scope<'_>, key: &str) -> Result<Option<Session>> {
        Ok(self.store.find(scope.context.tenant, key).await?.filter(|session| scope.holds(session)))
    }

    /// The session with this title, of several the one that changed last.
    async fn labelled(&self, scope: &Scope<'_>, label: &str) -> Result<Option<Session>> {
        let filter = SessionFilter { label: Some(label.into()), limit: 1, ..self.filter(scope) };
        Ok(self.store.list(scope.context.tenant, &filter).await?.0.pop())
    }
}

/// A session that answers a message from another one, until this is dropped.
struct Answering(Arc<Conversations>, (TenantId, String));

impl Answering {
    fn begin(conversations: &Arc<Conversations>, tenant: TenantId, key: &str) -> Self {
        let session = (tenant, key.to_owned());
        conversations.answering().insert(session.clone());
        Self(conversations.clone(), session)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering().remove(&self.1);
    }
}

fn unknown(key: &str) -> String {
    format!("there is no such session: {key}; sessions_list shows those that there are")
}

/// A message as another conversation is told of it; `None` if it is not.
fn shown(message: &ChatMessage, tools: bool) -> Option<Value> {
    let is_tools = message.role == MessageRole::Tool || (message.content.trim().is_empty() && !message.tool_calls.is_empty());
    if is_tools && !tools {
        return None;
    }
    let names: Vec<&str> = message.tool_calls.iter().map(|call| call.name.as_str()).collect();
    let content: String = match names.as_slice() {
        names if tools && !names.is_empty() => format!("{}\n(calls {})", message.content, names.join(", ")).trim_start().chars().take(MESSAGE).collect(),
        _ => message.content.chars().take(MESSAGE).collect(),
    };
    Some(json!({"role": message.role, "content": content}))
}
