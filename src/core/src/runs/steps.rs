//! The steps of a run: ask the model, do what it wants done, ask again.

mod ask;
mod calls;
mod fit;

use super::{
    ActiveRun,
    budget::Budget,
    emit::Emitter,
    engine::{Engine, Prepared, shown},
    history::LOST,
    loops::LoopDetector,
    sanitise,
};
use crate::{
    compaction::Gauge,
    traces::{Later, RunTrace},
};
use goclaw_ports::{
    Error, Result,
    llm::{Elsewhere, FinishReason, Routing, Usage},
    sessions::{ChatMessage, MessageRole, SessionDelta, ToolCall},
    tools::MediaResult,
};
use serde_json::json;
use std::{collections::HashSet, sync::Arc};
use tokio::{sync::oneshot, task::JoinHandle};

/// How many cut-off outputs in a row a run puts up with.
const MAX_CUT_OFF: u32 = 3;
/// The answer of a run that came to none.
const EXHAUSTED: &str = "I used up all steps of this run before I was done.";

/// A run under way.
pub(crate) struct Steps<'a> {
    engine: &'a Arc<Engine>,
    prepared: &'a Prepared,
    run: &'a Arc<ActiveRun>,
    emitter: &'a Emitter,
    messages: Vec<ChatMessage>,
    /// What has been said and done but is not stored yet. It survives the run's cancellation.
    spoken: Spoken,
    loops: LoopDetector,
    calls_made: u32,
    budget: Budget,
    /// How the question under way found the account that answers it.
    routing: Option<Routing>,
    /// Who was asked instead of the run's own provider, in the question under way.
    asked_elsewhere: Vec<Elsewhere>,
    gauge: Gauge,
    /// Whether the conversation was summed up, or that was tried.
    compacted: bool,
    /// The beginning of the conversation, until it is in the store.
    opening: Option<Opening>,
    /// Why it did not get there.
    unopened: Option<Error>,
    /// A step on its way into the store: it gets there even if the run is cancelled meanwhile.
    storing: Option<JoinHandle<Result<()>>>,
}

/// The beginning of a conversation that goes into the store while the model thinks.
pub(crate) struct Opening {
    /// What stores it, until the question has left: nothing is to keep that waiting.
    pub later: Option<Later>,
    /// Whether it is there.
    pub opened: oneshot::Receiver<Result<()>>,
}

/// What a run has said and done so far.
#[derive(Default)]
pub(crate) struct Spoken {
    /// The text of the answer that is under way.
    pub text: String,
    /// The thought behind the last answer.
    pub thinking: String,
    /// What the provider calls the last answer in the course of its own.
    pub phase: String,
    /// A step whose tools are still at work, and the results so far.
    pub unstored: Vec<ChatMessage>,
    /// What all calls took.
    pub usage: Option<Usage>,
    /// Files that tools made, or that came with the request.
    pub media: Vec<MediaResult>,
    /// Who was asked last, if it was not the run's own provider.
    pub elsewhere: Option<Elsewhere>,
    /// How often the model was asked.
    pub iterations: i32,
    /// Whether all steps were used up before there was an answer.
    pub exhausted: bool,
}

impl<'a> Steps<'a> {
    pub fn new(
        engine: &'a Arc<Engine>,
        prepared: &'a Prepared,
        messages: Vec<ChatMessage>,
        opening: Option<Opening>,
        run: &'a Arc<ActiveRun>,
        emitter: &'a Emitter,
    ) -> Self {
        Self {
            engine,
            prepared,
            run,
            emitter,
            messages,
            spoken: Spoken { media: prepared.request.options.media.clone(), ..Spoken::default() },
            loops: LoopDetector::default(),
            calls_made: 0,
            budget: Budget::default(),
            routing: None,
            asked_elsewhere: vec![],
            gauge: Gauge::new(prepared.request.agent.context_window, &prepared.compaction()),
            compacted: false,
            opening,
            unopened: None,
            storing: None,
        }
    }

    /// Waits until the conversation is there, and tells so. Nothing else may be told or done before.
    async fn opened(&mut self) -> Result<()> {
        let Some(opening) = &mut self.opening else { return Ok(()) };
        drop(opening.later.take());
        let opened = (&mut opening.opened).await.map_err(Error::internal).flatten();
        self.opening = None;
        match &opened {
            Ok(()) => {
                self.emitter.event("run.started", Some(json!({"message": self.prepared.request.message})));
                self.thinking(self.spoken.iterations);
            }
            Err(error) => self.unopened = Some(error.clone()),
        }
        opened
    }

    fn thinking(&self, iteration: i32) {
        self.emitter.activity(json!({"phase": "thinking", "iteration": iteration}));
    }

    /// What was said and done, with a result for every call, once all that is on its way into the store is there.
    ///
    /// # Errors
    /// If the conversation did not get there.
    pub async fn settle(mut self) -> Result<Spoken> {
        let _ = self.opened().await;
        if let Some(error) = self.unopened {
            return Err(error);
        }
        let mut spoken = self.spoken;
        if let Some(storing) = self.storing {
            let _ = storing.await;
        }
        let calls: Vec<ToolCall> = spoken.unstored.iter().flat_map(|message| message.tool_calls.clone()).collect();
        let answered: HashSet<String> = spoken.unstored.iter().map(|message| message.tool_call_id.clone()).collect();
        let missing = calls.into_iter().filter(|call| !answered.contains(&call.id));
        spoken.unstored.extend(missing.map(|call| ChatMessage::tool_result(call.id, LOST, true)).collect::<Vec<_>>());
        Ok(spoken)
    }

    /// Goes on until there is an answer.
    pub async fn take(&mut self, trace: &mut RunTrace) -> Result<String> {
        let last = self.prepared.max_iterations();
        let mut cut_off = 0;
        let request = &self.prepared.request;
        self.budget = Budget::of(&self.engine.tracer, request.caller.tenant, &request.agent, self.engine.clock.now()).await;
        for iteration in 1..=last {
            self.budget.check()?;
            self.spoken.iterations = iteration;
            if self.opening.is_none() {
                self.thinking(iteration);
            }
            if iteration == last * 3 / 4 && iteration > 1 && iteration < last {
                self.note(include_str!("../../prompts/wrap_up.md"));
            }
            let tools = if iteration == last {
                self.note(include_str!("../../prompts/last_iteration.md"));
                Arc::default()
            } else {
                self.engine.tools.definitions(&self.prepared.offer)
            };
            let response = self.ask(tools, iteration, trace).await?;
            let unparsed = response.tool_calls.iter().any(|call| !call.parse_error.is_empty());
            if unparsed || (response.finish_reason == FinishReason::Length && !response.tool_calls.is_empty()) {
                cut_off += 1;
                if cut_off >= MAX_CUT_OFF {
                    return Ok(or_notice(
                        response.content,
                        "The answer was cut off again and again. Please ask for something shorter, or for one part at a time.",
                    ));
                }
                let said = or_notice(response.content, "(cut off)");
                self.messages.push(ChatMessage::new(MessageRole::Assistant, said));
                self.note(include_str!("../../prompts/cut_off.md"));
                continue;
            }
            cut_off = 0;
            self.spoken.thinking.clone_from(&response.thinking);
            self.spoken.phase.clone_from(&response.phase);
            if response.tool_calls.is_empty() || iteration == last {
                // What comes in during the last step gets a run of its own.
                let injected = if iteration == last { vec![] } else { self.run.drain_or_close_inbox() };
                if injected.is_empty() {
                    self.spoken.text.clear();
                    self.spoken.exhausted = iteration == last && response.content.trim().is_empty();
                    return Ok(or_notice(response.content, if iteration == last { EXHAUSTED } else { "" }));
                }
                let said = ChatMessage { phase: response.phase, ..ChatMessage::new(MessageRole::Assistant, sanitise::sanitised(&response.content)) };
                self.spoken.text.clear();
                self.store(vec![said.clone()]).await?;
                self.messages.push(said);
                Box::pin(self.follow_up(injected)).await;
                continue;
            }
            // On the heap, as all that is not done while the run waits for the model.
            if let Some(answer) = Box::pin(self.act(response, iteration, trace)).await? {
                return Ok(answer);
            }
            let injected = self.run.drain_inbox();
            Box::pin(self.follow_up(injected)).await;
        }
        self.spoken.exhausted = true;
        Ok(EXHAUSTED.into())
    }

    /// The step is done: it goes into the conversation as a whole.
    async fn results_are(&mut self, results: Vec<ChatMessage>) -> Result<()> {
        let mut step = std::mem::take(&mut self.spoken.unstored);
        step.truncate(1);
        step.extend(results.iter().cloned());
        self.store(step).await?;
        self.messages.extend(results);
        Ok(())
    }

    async fn store(&mut self, messages: Vec<ChatMessage>) -> Result<()> {
        let (sessions, now) = (self.engine.sessions.clone(), self.engine.clock.now());
        let (tenant, key) = (self.prepared.request.caller.tenant, self.prepared.request.session_key.clone());
        let delta = SessionDelta { relaxed: true, ..SessionDelta::default() };
        let storing = self.engine.runtime.spawn(async move { sessions.append(tenant, &key, &messages, &delta, now).await });
        let stored = self.storing.insert(storing).await;
        self.storing = None;
        stored.map_err(Error::internal)?
    }

    /// Messages that came in while the run went on. They are in the conversation already.
    async fn follow_up(&mut self, injected: Vec<ChatMessage>) {
        for message in injected {
            let text = &message.content;
            self.emitter.activity(json!({"phase": "injected_message", "content": shown(text)}));
            let content = format!("[Follow-up from the user, sent while you were working]\n{text}");
            let mut follow_up = [ChatMessage { content, ..message }];
            if self.prepared.shows_images {
                self.engine.media.show(&mut follow_up, &self.prepared.context.workspace).await;
            }
            self.messages.extend(follow_up);
        }
    }

    /// A note for the model that is no part of the conversation.
    fn note(&mut self, text: &str) {
        self.messages.push(ChatMessage::new(MessageRole::User, text.trim()));
    }
}

fn or_notice(text: String, notice: &str) -> String {
    if text.trim().is_empty() { notice.to_owned() } else { text }
}
