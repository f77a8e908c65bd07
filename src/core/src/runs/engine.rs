//! A run from its beginning to its end: what is stored when, and what is told to whom.

use super::{
    ActiveRun, Runs,
    compact::{Compactions, Left},
    emit::Emitter,
    fallback::{self, WithFallbacks},
    guard, history,
    inbound::Inbound,
    onboarding, prompt,
    queue::{Place, Queueing},
    reasoning::{Reasoning, ReasoningDefaults},
    request::Request,
    sanitise,
    steps::{Opening, Spoken, Steps},
    title::Untitled,
};
use crate::{
    compaction::{self, CompactionSettings},
    context_files::ContextFiles,
    counters, delegation,
    files::{Readable, links},
    known::KnownLinks,
    media::{self, MediaShelf, Shelf},
    policy,
    pools::Routes,
    providers::Registry,
    prune::PruneSettings,
    settings::{InjectionAction, Settings, TenantSettings},
    toolbox::{Offer, ToolBox, tool_agent},
    traces::{Tracer, new_trace},
    workspace::{self, Directories},
};
use futures_util::future::{BoxFuture, FutureExt};
use goclaw_ports::{
    Error, ErrorKind, InboundId, Result, SessionId, TenantId, TraceId,
    agents::{Agent, AgentType},
    clock::{Clock, Ids},
    events::EventBus,
    llm::{Provider, Usage},
    locks::Locks,
    media::MediaRef,
    message,
    sessions::{ChatMessage, MessageRole, NewSession, SessionDelta, SessionStore, Turn},
    tools::{MediaResult, ToolContext},
    traces::TraceStatus,
};
use serde_json::{Value, json};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How many messages of a conversation a run looks back at most.
const LOOK_BACK: i64 = 1_000;

/// Runs agents, on a runtime of its own.
pub(crate) struct Engine {
    pub sessions: Arc<dyn SessionStore>,
    pub inbound: Arc<Inbound>,
    pub locks: Arc<dyn Locks>,
    pub registry: Arc<Registry>,
    pub routes: Arc<Routes>,
    pub tools: Arc<ToolBox>,
    pub media: Arc<MediaShelf>,
    pub directories: Arc<Directories>,
    pub files: Arc<ContextFiles>,
    pub links: Arc<KnownLinks>,
    pub tracer: Tracer,
    pub settings: Arc<TenantSettings>,
    pub bus: Arc<dyn EventBus>,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn Ids>,
    pub runs: Arc<Runs>,
    pub runtime: tokio::runtime::Handle,
    /// Places for titles in the making.
    pub titles: Arc<Semaphore>,
    /// The conversations that are being summed up.
    pub compactions: Compactions,
}

/// What a run answered.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunOutcome {
    /// The text; "" if the agent chose to say nothing.
    pub content: String,
    /// What it took, over all calls; `None` if no provider said.
    pub usage: Option<Usage>,
    /// Files that belong to it.
    pub media: Vec<MediaResult>,
    /// What the links in the text may lead to.
    pub readable: Readable,
    /// The model that answered, and its provider.
    pub model: [String; 2],
    /// How often it was asked.
    pub iterations: i32,
    /// Whether the run used up all its steps before there was an answer.
    pub exhausted: bool,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Completed(RunOutcome),
    Failed(Error),
    Cancelled,
}

/// A run that has been taken on.
pub(crate) struct Started {
    pub run: Arc<ActiveRun>,
    pub end: oneshot::Receiver<End>,
}

/// What is to be done after a run.
#[derive(Default)]
struct After {
    untitled: Option<Untitled>,
    left: Option<Left>,
}

/// What a run knows of its conversation.
#[derive(Default)]
struct Known {
    label: String,
    summary: String,
    past: Vec<ChatMessage>,
}

/// Stores the beginning of a conversation.
type Beginning = BoxFuture<'static, Result<()>>;

/// All that the steps of a run need.
pub(crate) struct Prepared {
    pub request: Box<Request>,
    pub settings: Arc<Settings>,
    pub provider: Arc<dyn Provider>,
    /// The provider that was wanted, if it is not there.
    pub instead_of: Option<String>,
    pub model: String,
    pub reasoning: Reasoning,
    pub offer: Offer,
    pub context: ToolContext,
    /// The turn of a first meeting, from 1 on; `None` if it is none.
    pub meeting: Option<usize>,
    /// Whether the conversation has no title.
    pub untitled: bool,
    /// Whether the model gets to see pictures itself.
    pub shows_images: bool,
    /// What the run's links may lead to.
    pub readable: Readable,
    /// The system prompt, then the conversation up to the user's message, until the steps take it.
    pub messages: Vec<ChatMessage>,
}

impl Prepared {
    /// How often the model is asked at most.
    pub fn max_iterations(&self) -> i32 {
        let own = self.request.agent.max_tool_iterations;
        self.request.options.max_iterations.map_or(own, |fewer| fewer.min(own)).max(1)
    }

    /// When the conversation is summed up.
    pub fn compaction(&self) -> CompactionSettings {
        self.settings.agents.compaction.with_own(self.request.agent.compaction_config.as_ref())
    }

    /// When old results are shortened.
    pub fn pruning(&self) -> PruneSettings {
        let own = self.request.agent.context_pruning.clone().and_then(|own| serde_json::from_value(Value::Object(own)).ok());
        own.unwrap_or_else(|| self.settings.agents.pruning.clone())
    }
}

impl Engine {
    /// Takes a run on. It goes on by itself, whatever becomes of the caller.
    ///
    /// # Errors
    /// `Unavailable` while the gateway stops, `RateLimited` if too many runs wait in this conversation.
    pub fn start(self: &Arc<Self>, request: Request) -> Result<Started> {
        let cancel = request.options.cancel.as_ref().map_or_else(CancellationToken::new, CancellationToken::child_token);
        let asked = request.asked(TraceId(self.ids.row()));
        let run = ActiveRun::new(self.ids.random(), &request.session_key, &request.agent.agent_key, asked, cancel);
        run.owe(&request.owed);
        let queueing = request.options.queueing.unwrap_or_else(|| Queueing { queue: self.settings.installation().gateway.queue, ..Queueing::default() });
        let place = self.runs.register(request.caller.tenant, run.clone(), queueing)?;
        self.inbound.stops(&request.owed, &run.cancel);
        let (ended, end) = oneshot::channel();
        // On the heap, because it is handed on through several futures, each of which would have room for it as long as the run lasts.
        let request = Box::new(request);
        let (engine, active) = (self.clone(), run.clone());
        self.runtime.spawn(async move {
            let end = engine.run(request, &active, place).await;
            let _ = ended.send(end);
        });
        Ok(Started { run, end })
    }

    /// Takes a run on that answers accepted messages. If it is refused, they are no longer owed an answer.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub async fn start_owed(self: &Arc<Self>, request: Request) -> Result<Started> {
        let (tenant, owed) = (request.caller.tenant, request.owed.clone());
        match self.start(request) {
            Ok(started) => Ok(started),
            Err(error) => {
                self.inbound.retract(tenant, owed).await;
                Err(error)
            }
        }
    }

    async fn run(self: &Arc<Self>, request: Box<Request>, run: &Arc<ActiveRun>, mut place: Place) -> End {
        let (emitter, tenant) = (Emitter::new(self.bus.clone(), &request, run), request.caller.tenant);
        let started = std::time::Instant::now();
        counters::run_started(request.origin.kind().to_owned());
        let mut after = After::default();
        let turn = async {
            place.wait().await;
            // Those before it may be other gateways'.
            if request.alone || request.fresh { Ok(None) } else { self.locks.take_turn(tenant, &run.session_key).await.map(Some) }
        };
        let end = tokio::select! {
            biased;
            () = run.cancel.cancelled() => run.refusal().map_or(End::Cancelled, |why| End::Failed(why.clone())),
            turn = turn => match turn {
                Ok(_turn) => self.run_in_turn(request, run, &emitter, &mut after).await,
                Err(error) => End::Failed(error),
            },
        };
        self.release_inbox(tenant, run, &end, &emitter).await;
        run.set_ended();
        let outcome = match &end {
            End::Completed(outcome) => {
                emitter.event("run.completed", Some(completed(outcome)));
                if let Some(untitled) = after.untitled {
                    self.entitle(untitled);
                }
                "completed"
            }
            End::Failed(error) => {
                emitter.event("run.failed", Some(json!({"error": error.message.to_string()})));
                "failed"
            }
            End::Cancelled => {
                emitter.event("run.cancelled", None);
                "cancelled"
            }
        };
        counters::run_ended(outcome, started.elapsed());
        if let Some(left) = after.left {
            self.compact(left);
        }
        end
    }

    async fn run_in_turn(self: &Arc<Self>, request: Box<Request>, run: &Arc<ActiveRun>, emitter: &Emitter, after: &mut After) -> End {
        let (tenant, key) = (request.caller.tenant, request.session_key.clone());
        let options = &request.options;
        let name = if options.trace_name.is_empty() { format!("chat {}", request.agent.agent_key) } else { options.trace_name.clone() };
        let mut trace = new_trace(run.asked.trace, name, self.clock.now());
        trace.parent_trace_id = options.parent_trace;
        trace.tags.clone_from(&options.tags);
        trace.metadata.clone_from(&options.trace_metadata);
        trace.agent_id = Some(request.agent.id);
        trace.user_id = request.caller.user.to_string();
        trace.session_key.clone_from(&key);
        trace.run_id = run.id.to_string();
        trace.channel.clone_from(&request.origin.channel);
        trace.input_preview.clone_from(&request.message);
        // What it takes to begin is given back before the wait for the model, which may be long.
        let fresh = request.fresh;
        let preparing = Box::pin(self.prepare(request, run.id, emitter));
        let (prepared, mut trace, storing) = if fresh {
            // The model waits for neither the conversation nor the trace.
            let prepared = preparing.await;
            let (trace, storing) = self.tracer.begin_later(tenant, trace, run.cancel.clone());
            (prepared, trace, Some(storing))
        } else {
            let trace = self.tracer.begin(tenant, trace, run.cancel.clone());
            (tokio::join!(preparing, trace.noted()).0, trace, None)
        };
        let (mut prepared, beginning) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                log_failure(run.id, &error);
                if let Some(storing) = storing {
                    self.tracer.spawn(storing);
                }
                trace.finish(TraceStatus::Error, &error.message.to_string(), "").await;
                return End::Failed(error);
            }
        };
        if let Some(wanted) = &prepared.instead_of {
            trace.remark("provider", json!({"wanted": wanted, "used": prepared.provider.name()}));
        }
        run.open_inbox();
        after.untitled = Untitled::of(&prepared);
        let messages = std::mem::take(&mut prepared.messages);
        let opening = beginning.zip(storing).map(|(beginning, storing)| {
            let (told, opened) = oneshot::channel();
            // The conversation goes into the store before the trace.
            let both = async move { drop(told.send(tokio::join!(beginning, storing).0)) };
            Opening { later: Some(self.tracer.later(both, &self.runtime)), opened }
        });
        let mut steps = Steps::new(self, &prepared, messages, opening, run, emitter);
        let ended = tokio::select! {
            biased;
            () = run.cancel.cancelled() => None,
            ended = steps.take(&mut trace) => Some(ended),
        };
        let answer = ended.as_ref().and_then(|ended| ended.as_deref().ok()).unwrap_or_default();
        after.left = steps.left(answer);
        let spoken = match steps.settle().await {
            Ok(spoken) => spoken,
            Err(error) => {
                log_failure(run.id, &error);
                self.tracer.finish(trace, TraceStatus::Error, error.message.to_string(), String::new());
                return End::Failed(error);
            }
        };
        let answered = if self.runs.draining() && ended.is_none() { vec![] } else { self.inbound.still_held(run.close_inbox()) };
        let (end, rest) = match ended {
            Some(Ok(answer)) => {
                let (stored, content) = finished(&prepared, &answer);
                let said = ChatMessage::new(MessageRole::Assistant, stored);
                let media_refs = media::refs_of(&spoken.media);
                (Ok(content), Some(ChatMessage { thinking: spoken.thinking.clone(), phase: spoken.phase.clone(), media_refs, ..said }))
            }
            Some(Err(error)) => (Err(Some(error)), partial(&spoken.text)),
            None => (Err(None), partial(&spoken.text)),
        };
        let delta = SessionDelta {
            input_tokens: spoken.usage.map_or(0, |usage| usage.prompt_tokens),
            output_tokens: spoken.usage.map_or(0, |usage| usage.completion_tokens),
            model: Some(spoken.elsewhere.as_ref().map_or(&prepared.model, |other| &other.model).clone()),
            provider: Some(spoken.elsewhere.as_ref().map_or(prepared.provider.name(), |other| &other.provider).to_owned()),
            metadata: result_marks(&prepared.request, end.is_ok(), &spoken),
            answered: answered.clone(),
            relaxed: true,
            ..SessionDelta::default()
        };
        let mut last = spoken.unstored;
        last.extend(rest);
        let stored = self.sessions.append(tenant, &key, &last, &delta, self.clock.now()).await;
        match &stored {
            Ok(()) => self.inbound.forget(&answered),
            Err(_) => run.owe(&answered),
        }
        let end = match (end, stored) {
            (Ok(content), Ok(())) => End::Completed(RunOutcome {
                content,
                usage: spoken.usage,
                media: spoken.media,
                readable: prepared.readable.clone(),
                model: [prepared.model.clone(), prepared.provider.name().to_owned()],
                iterations: spoken.iterations,
                exhausted: spoken.exhausted,
            }),
            (Ok(_), Err(error)) | (Err(Some(error)), _) => End::Failed(error),
            (Err(None), _) => End::Cancelled,
        };
        if matches!(end, End::Completed(_)) && prepared.meeting.is_some_and(|turn| turn >= onboarding::LAST_TURN) {
            let caller = &prepared.request.caller;
            if let Err(error) = self.files.end_onboarding(tenant, prepared.request.agent.id, &caller.user).await {
                tracing::warn!(%error, "a first meeting could not be ended");
            }
        }
        let (status, error, output) = match &end {
            End::Completed(outcome) => (TraceStatus::Completed, String::new(), outcome.content.clone()),
            End::Failed(error) => {
                log_failure(run.id, error);
                (TraceStatus::Error, error.to_string(), String::new())
            }
            End::Cancelled => (TraceStatus::Cancelled, String::new(), String::new()),
        };
        self.tracer.finish(trace, status, crate::redact::redact(&error).into_owned(), output);
        end
    }

    /// Sees to the accepted messages that a run leaves: what it did not see gets a run of its own, and what was dropped is no part
    /// of the conversation.
    async fn release_inbox(&self, tenant: TenantId, run: &ActiveRun, end: &End, emitter: &Emitter) {
        let (owed, unseen) = (run.close_inbox(), run.unseen());
        if owed.is_empty() && unseen.is_empty() {
            return;
        }
        let ids = |unseen: &[(InboundId, ChatMessage)]| unseen.iter().map(|(id, _)| *id).collect::<Vec<_>>();
        match end {
            _ if run.refusal().is_some() => self.inbound.retract(tenant, owed).await,
            // The gateway stops: the next one answers them.
            End::Cancelled if self.runs.draining() => {}
            End::Cancelled => {
                self.inbound.settle(tenant, owed).await;
                self.inbound.retract(tenant, ids(&unseen)).await;
                for (_, message) in &unseen {
                    emitter.event("activity", Some(json!({"phase": "dropped_message", "content": shown(&message.content)})));
                }
            }
            End::Completed(_) | End::Failed(_) => {
                self.inbound.settle(tenant, owed).await;
                self.inbound.release(tenant, ids(&unseen)).await;
            }
        }
    }

    /// Opens the conversation, stores the user's message, and collects what the run needs. From `run.started` on, the
    /// message is safe; the beginning of a new conversation is yet to be stored, and told when it is.
    async fn prepare(&self, mut request: Box<Request>, run: Uuid, emitter: &Emitter) -> Result<(Box<Prepared>, Option<Beginning>)> {
        let settings = self.settings.of(request.caller.tenant).await?;
        // What the gateway itself tells an agent is no user's message.
        if !request.options.hidden {
            request.message = self.checked(&settings, std::mem::take(&mut request.message))?;
        }
        let (caller, agent) = (&request.caller, &request.agent);
        let wanted = [&request.options.provider, &agent.provider].into_iter().find(|name| !name.is_empty()).unwrap_or(&settings.agents.provider);
        // Agents of before may have said something else there.
        let stand_ins = fallback::named(&agent.other_config).unwrap_or_default();
        let find = |name: &str| self.registry.named(caller.tenant, name);
        let provider = match find(wanted) {
            // Who asks for a provider for this one run means it, and no other.
            None if !request.options.provider.is_empty() => return Err(Error::not_found("provider", wanted)),
            None => stand_ins.iter().find_map(|named| find(&named.provider)).or_else(|| self.registry.choose(caller.tenant, wanted)),
            found => found,
        };
        let provider = self.routes.of(caller.tenant, wanted, agent, provider).await;
        let provider = provider.ok_or_else(|| Error::new(ErrorKind::Unavailable, message::no_providers(&agent.agent_key)))?;
        let instead_of = (!wanted.is_empty() && provider.name() != wanted).then(|| wanted.clone());
        let directory = workspace::of_agent(&settings, caller.tenant, &caller.tenant_slug, agent).join(workspace::segment(&request.origin.channel));
        let first = directory.to_string_lossy();
        let new = NewSession {
            id: SessionId(self.ids.row()),
            key: request.session_key.clone(),
            agent_id: agent.id,
            user_id: caller.user.to_string(),
            channel: request.origin.channel.clone(),
        };
        let agent_policy = policy::of_agent(&agent.tools_config);
        let ((profile, mut files), mut offer, links) = tokio::try_join!(
            self.files.enter(caller.tenant, agent, &caller.user, &first, settings.agents.onboarding),
            self.tools.offer(caller.tenant, &settings.tools.policy, &agent_policy, provider.name(), &request.options.allow_tools),
            self.links.of(caller.tenant, agent.id),
        )?;
        let delegates = delegation::targets_of(&links, caller, agent.id);
        offer.allowed.retain(|name| !request.options.deny_tools.contains(name) && (*name != delegation::TOOL || !delegates.is_empty()));
        let directory = workspace::of_conversation(&PathBuf::from(profile), agent, &caller.user, &request.origin.peer_kind);
        let shelf = Shelf { tenant: caller.tenant, session_key: &request.session_key, directory: &directory };
        let kept = self.media.keep(shelf, std::mem::take(&mut request.attachments)).await?;
        request.message = media::told(&kept, &request.message);
        let media_refs: Vec<MediaRef> = kept.into_iter().map(|kept| kept.media).collect();
        let asked = ChatMessage { media_refs, ..ChatMessage::new(MessageRole::User, request.message.clone()) };
        let said = (!request.stored && !request.options.hidden).then(|| ChatMessage { created_at: Some(self.clock.now()), ..asked.clone() });
        let waited = said.as_ref().and(request.owed.first().copied());
        // Whoever asks for a run has looked whose the conversation is; it is refused if somebody else has opened it since.
        let (sessions, tenant, now) = (self.sessions.clone(), caller.tenant, self.clock.now());
        let begun = async move { sessions.begin_turn(tenant, &new, said.as_slice(), waited, LOOK_BACK, now).await };
        let (Known { label, summary, past }, beginning, resolved) = if request.fresh {
            // Nothing can have been said before, so the model need not wait for the store; what it says does.
            let resolved = match self.directories.known(&directory) {
                Some(known) => known,
                None => self.directories.make(&directory).await?,
            };
            let (directories, directory) = (self.directories.clone(), directory.clone());
            let beginning = async move { tokio::try_join!(begun, directories.make(&directory)).map(drop) };
            (Known::default(), Some(beginning.boxed()), resolved)
        } else {
            let (Turn { session, past }, resolved) = tokio::try_join!(begun, self.directories.make(&directory))?;
            (Known { label: session.label, summary: session.summary, past }, None, resolved)
        };
        if beginning.is_none() {
            emitter.event("run.started", Some(json!({"message": request.message})));
        }
        files.retain(|file| Some(file.name.as_str()) != request.options.without_file);
        let meeting = onboarding::turn(&request, &settings, &mut files, &past);
        if meeting.is_some() && agent.agent_type == AgentType::Open {
            offer.allowed.retain(|name| *name == onboarding::ONLY_TOOL);
        }
        let reminder = meeting.and_then(|turn| onboarding::reminder(turn, &past));
        let deny_groups = self.tools.deny_groups(Some(agent));
        let system = prompt::compose(&prompt::Ingredients {
            agent,
            files: if request.options.light_context { &[] } else { &files },
            tools: &self.tools.summaries(&offer),
            delegates: if offer.allowed.contains(delegation::TOOL) { &delegates } else { &[] },
            minimal: onboarding::is_minimal(&request.session_key),
            first_meeting: meeting.is_some(),
            may_install: deny_groups.get("package_install") == Some(&false),
            channel: request.origin.kind(),
            peer_kind: &request.origin.peer_kind,
            provider_type: provider.provider_type(),
            workspace: &directory.to_string_lossy(),
            owners: &settings.gateway.owner_ids,
            extra: &request.options.extra_prompt,
            limits: (settings.agents.bootstrap_max_chars, settings.agents.bootstrap_total_max_chars),
            now: self.clock.now(),
        });
        let mut messages = vec![ChatMessage::new(MessageRole::System, system)];
        if request.options.history_turns != Some(0) {
            messages.extend(compaction::remembered(&summary));
        }
        messages.extend(history::repaired(history::last_turns(past, request.options.history_turns)));
        if request.stored {
            messages.extend(history::still_owed(&messages, &request.message));
        } else {
            messages.push(asked);
        }
        let shows_images = !media::has_own_eyes(&offer);
        if shows_images {
            self.media.show(&mut messages, &directory).await;
        }
        let media = messages.iter().flat_map(|message| &message.media_refs).map(|media| media.id.clone()).collect();
        let readable = Readable { directories: vec![directory.clone(), resolved], media };
        emitter.may_link(readable.clone());
        // For the model only: it is no part of the conversation.
        messages.extend(reminder.map(|text| ChatMessage::new(MessageRole::User, text)));
        let context = ToolContext {
            tenant: caller.tenant,
            agent: Some(tool_agent(agent)),
            user: caller.user.to_string(),
            role: caller.role,
            session_key: request.session_key.clone(),
            run: Some(run),
            channel: request.origin.channel.clone(),
            chat_id: request.origin.chat_id.clone(),
            peer_kind: request.origin.peer_kind.clone(),
            workspace: directory,
            shell_deny_groups: deny_groups,
            run_share: 0.0,
            settings: Default::default(),
        };
        let model = model_of(&request.options.model, agent, &settings, &*provider);
        // Defaults are those of the tenant's own provider: master's are for master.
        let own = self.registry.stored(caller.tenant, provider.name());
        let reasoning = Reasoning::of(&agent.other_config, own.and_then(|own| own.settings().and_then(ReasoningDefaults::of)));
        let others = fallback::candidates(caller.tenant, &*provider, &model, &stand_ins, reasoning, find);
        let provider = WithFallbacks::over(provider, others);
        let prepared = Prepared {
            settings,
            provider,
            instead_of,
            model,
            reasoning,
            offer,
            context,
            meeting,
            untitled: label.is_empty(),
            shows_images,
            readable,
            messages,
            request,
        };
        Ok((Box::new(prepared), beginning))
    }

    /// The message, cut if it is too long; refused if it looks like a takeover and the operator wants that.
    fn checked(&self, settings: &Settings, mut text: String) -> Result<String> {
        let action = settings.gateway.injection_action;
        if action != InjectionAction::Off {
            let found = guard::suspicions(&text);
            if !found.is_empty() {
                let patterns = found.join(", ");
                match action {
                    InjectionAction::Block => return Err(Error::invalid(message::injection_blocked(patterns))),
                    InjectionAction::Warn => tracing::warn!(patterns, "security.injection_suspected"),
                    _ => tracing::info!(patterns, "security.injection_suspected"),
                }
            }
        }
        let (limit, length) = (settings.gateway.max_message_chars, text.chars().count());
        if limit > 0 && length > limit {
            let at = text.char_indices().nth(limit).map_or(text.len(), |(at, _)| at);
            text.truncate(at);
            text.push_str(&format!("\n\n[The message was cut: {limit} of {length} characters are shown.]"));
        }
        Ok(text)
    }

    /// The text of a message that is to be given to a run that goes on, checked as any other.
    ///
    /// # Errors
    /// `Invalid` if it looks like a takeover and the operator wants those blocked.
    pub async fn checked_injection(&self, tenant: TenantId, text: &str) -> Result<String> {
        let settings = self.settings.of(tenant).await?;
        self.checked(&settings, text.to_owned())
    }
}

/// The run's model; else the agent's; else the installation's, if this is its provider; else the provider's own.
pub(crate) fn model_of(run: &str, agent: &Agent, settings: &Settings, provider: &dyn Provider) -> String {
    let default = if provider.name() == settings.agents.provider { settings.agents.model.as_str() } else { "" };
    let named = [run, &agent.model, default, provider.default_model()].into_iter().find(|model| !model.is_empty());
    named.unwrap_or(&settings.agents.model).to_owned()
}

/// A final answer as it is stored, and as it is delivered.
fn finished(prepared: &Prepared, answer: &str) -> (String, String) {
    let mut answer = sanitise::sanitised(answer);
    if prepared.request.agent.agent_type == AgentType::Predefined {
        answer = sanitise::without_leak(answer);
    }
    if answer.is_empty() {
        answer = "...".into();
    }
    let delivered = if sanitise::is_silent(&answer) { String::new() } else { sanitise::delivered(&answer) };
    (answer, delivered)
}

/// Where a session that a task is worked on in says how its run ended.
pub(crate) const ENDED: &str = "run_ended";

/// What a run for a task leaves beside its answer, so that its result is not lost with the process that waits for it.
fn result_marks(request: &Request, answered: bool, spoken: &Spoken) -> BTreeMap<String, String> {
    let ended = if spoken.exhausted { "exhausted" } else { "completed" };
    let marked = answered && matches!(request.options.kind, "subagent" | "delegation");
    marked.then(|| (ENDED.to_owned(), ended.to_owned())).into_iter().collect()
}

/// The beginning of a message, as events show it.
pub(crate) fn shown(text: &str) -> String {
    text.chars().take(200).collect()
}

/// How much of what an interrupted run has said is kept, in bytes: the model is told it again with every question that follows.
const PARTIAL_LIMIT: usize = 1024 * 1024;

/// What an interrupted run has said so far, for the record.
fn partial(text: &str) -> Option<ChatMessage> {
    let text = sanitise::sanitised(&text[..text.floor_char_boundary(PARTIAL_LIMIT)]);
    (!text.is_empty()).then(|| ChatMessage::new(MessageRole::Assistant, text))
}

fn completed(outcome: &RunOutcome) -> Value {
    let mut payload = json!({"content": links::marked(&outcome.content, &outcome.readable)});
    if let Some(usage) = outcome.usage {
        payload["usage"] = json!({
            "prompt_tokens": usage.prompt_tokens,
            "completion_tokens": usage.completion_tokens,
            "total_tokens": usage.total_tokens,
            "cache_creation_tokens": usage.cache_creation_tokens,
            "cache_read_tokens": usage.cache_read_tokens,
        });
    }
    if !outcome.media.is_empty() {
        payload["media"] = links::marked_files(&outcome.media);
    }
    payload
}

fn log_failure(run: Uuid, error: &Error) {
    match error.kind {
        ErrorKind::Internal => tracing::error!(%run, %error, "the run failed"),
        _ => tracing::warn!(%run, %error, "the run failed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_interrupted_run_has_said_is_kept_as_far_as_it_can_be_told_again() {
        assert_eq!(partial(""), None);
        assert_eq!(partial("half").unwrap().content, "half");
        // A character of three bytes lies across the limit.
        assert_eq!(partial(&"€".repeat(PARTIAL_LIMIT)).unwrap().content.len(), PARTIAL_LIMIT / 3 * 3);
    }
}
