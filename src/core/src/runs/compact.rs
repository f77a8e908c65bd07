//! Summing up: in the middle of a run, for the model alone; and after it, for good.

use super::{
    engine::{Engine, Prepared},
    sanitise,
};
use crate::{
    compaction::{self, CompactionSettings, Gauge},
    counters, pricing, prune,
    settings::Settings,
    tokens,
    traces::{RunTrace, new_trace, note_routing},
};
use futures_util::StreamExt;
use goclaw_ports::{
    AgentId, Error, ErrorKind, Result, TenantId, TraceId,
    llm::{ChatEvent, ChatRequest, LlmError, LlmErrorKind, Provider},
    message,
    sessions::{ChatMessage, Compaction, MessageRole, Session},
    traces::{Span, TraceStatus},
};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

/// How long summing up may take within a run, and after it.
pub(crate) const WITHIN_RUN: Duration = Duration::from_secs(30);
const AFTER_RUN: Duration = Duration::from_secs(120);
const MAX_TOKENS: u32 = 1_024;
const TEMPERATURE: f64 = 0.3;
/// How many conversations are summed up at once; another one waits for its next run.
const AT_ONCE: usize = 32;
/// How many messages are read at once.
const PAGE: i64 = 200;

const PROMPT: &str = include_str!("../../prompts/compact.md");

/// The conversations that are being summed up.
#[derive(Default)]
pub(crate) struct Compactions(Mutex<HashSet<(TenantId, String)>>);

/// A conversation's place among them.
struct Place<'c>(&'c Compactions, (TenantId, String));

impl Compactions {
    fn enter(&self, tenant: TenantId, key: &str) -> Option<Place<'_>> {
        let place = (tenant, key.to_owned());
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (open.len() < AT_ONCE && open.insert(place.clone())).then(|| Place(self, place))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// Asks a model for summaries.
pub(crate) struct Summariser {
    provider: Arc<dyn Provider>,
    model: String,
    settings: Arc<Settings>,
    /// The model's context, in tokens.
    window: usize,
    /// What it cost so far, in US dollars.
    pub cost: f64,
}

impl Summariser {
    pub fn of(prepared: &Prepared) -> Self {
        Self {
            provider: prepared.provider.clone(),
            model: prepared.model.clone(),
            settings: prepared.settings.clone(),
            window: usize::try_from(prepared.request.agent.context_window).unwrap_or(0),
            cost: 0.0,
        }
    }

    /// A new summary of `summary` and `messages`, made in as many steps as the model's context needs.
    ///
    /// # Errors
    /// What the provider says; `Upstream` for an empty answer.
    pub async fn sum_up(&mut self, mut summary: String, messages: &[ChatMessage], trace: &mut RunTrace) -> Result<String> {
        // The answer, the order and the summary so far have to fit as well.
        let room = (self.window * 4 / 5).saturating_sub(2 * MAX_TOKENS as usize).max(self.window / 2);
        let (mut part, mut taken) = (String::new(), 0);
        for said in messages {
            let line = compaction::line(said, room * 2);
            // Most lines are small against the room, so they are not counted.
            let size = if line.len() * 100 < room { line.len() } else { tokens::of_text(&line) };
            if taken + size > room && !part.is_empty() {
                summary = self.ask(&summary, &part, trace).await?;
                part.clear();
                taken = 0;
            }
            part.push_str(&line);
            taken += size;
        }
        if part.is_empty() { Ok(summary) } else { self.ask(&summary, &part, trace).await }
    }

    async fn ask(&mut self, summary: &str, part: &str, trace: &mut RunTrace) -> Result<String> {
        let before = if summary.is_empty() { String::new() } else { format!("<memory>\n{summary}\n</memory>\n\n") };
        let material = format!("{before}<messages>\n{}\n</messages>", part.trim_end());
        let mut span = trace.span("llm_call", &format!("{}/{} compaction", self.provider.name(), self.model));
        span.provider = self.provider.name().into();
        span.model.clone_from(&self.model);
        span.input_preview = format!("{PROMPT}\n{material}").into();
        trace.put(&mut span);
        let request = ChatRequest {
            model: self.model.clone(),
            messages: vec![ChatMessage::new(MessageRole::System, PROMPT.trim()), ChatMessage::new(MessageRole::User, material)],
            max_tokens: MAX_TOKENS,
            temperature: Some(TEMPERATURE),
            ..ChatRequest::default()
        };
        let started = tokio::time::Instant::now();
        let answer = self.listen(request, &mut span).await;
        counters::llm_call(self.provider.provider_type(), answer.is_ok(), started.elapsed());
        match answer {
            Ok(said) => {
                span.output_preview.clone_from(&said);
                trace.end(span, None);
                let summary = sanitise::sanitised(&said);
                if summary.is_empty() {
                    return Err(Error::new(ErrorKind::Upstream, message::upstream_other()).because("the summary is empty"));
                }
                Ok(summary)
            }
            Err(error) => {
                trace.end(span, Some(error.text.clone()));
                Err(Error::new(ErrorKind::Upstream, error.message()).because(error))
            }
        }
    }

    async fn listen(&mut self, request: ChatRequest, span: &mut Span) -> Result<String, LlmError> {
        let provider = self.provider.clone();
        let mut events = provider.chat(request);
        while let Some(event) = events.next().await {
            match event? {
                ChatEvent::Done(response) => {
                    span.finish_reason = response.finish_reason.as_str().into();
                    span.total_cost = pricing::cost(&self.settings.pricing, &span.provider, provider.provider_type(), &self.model, &response);
                    self.cost += span.total_cost.unwrap_or_default();
                    if let Some(usage) = response.usage {
                        counters::llm_tokens(provider.provider_type(), usage);
                        (span.input_tokens, span.output_tokens) = (Some(usage.prompt_tokens), Some(usage.completion_tokens));
                    }
                    return Ok(response.content);
                }
                ChatEvent::Retrying { .. } => counters::llm_retry(provider.provider_type()),
                ChatEvent::Routed(routing) => note_routing(span, &routing),
                ChatEvent::Text(_) | ChatEvent::Thinking(_) | ChatEvent::Elsewhere(_) => {}
            }
        }
        Err(LlmError { kind: LlmErrorKind::Other, status: None, text: "the provider's answer ended without an end".into(), retry_after: None })
    }
}

/// A conversation as a run leaves it, which may fill the model's context.
pub(crate) struct Left {
    tenant: TenantId,
    key: String,
    agent: (AgentId, String),
    user: String,
    channel: String,
    own: CompactionSettings,
    summariser: Summariser,
    gauge: Gauge,
    messages: Vec<ChatMessage>,
    pruning: prune::PruneSettings,
    /// Whether it was full when the run began, or became so within it.
    was_full: bool,
}

impl Left {
    /// The conversation of a run with these messages, unless it surely leaves enough of the context.
    pub fn of(prepared: &Prepared, gauge: Gauge, messages: Vec<ChatMessage>, was_full: bool) -> Option<Self> {
        let request = &prepared.request;
        (was_full || !gauge.surely_fits(&messages)).then(|| Self {
            tenant: request.caller.tenant,
            key: request.session_key.clone(),
            agent: (request.agent.id, request.agent.agent_key.clone()),
            user: request.caller.user.to_string(),
            channel: request.origin.channel.clone(),
            own: prepared.compaction(),
            summariser: Summariser::of(prepared),
            gauge,
            messages,
            pruning: prepared.pruning(),
            was_full,
        })
    }

    /// Whether it fills too much of the context, with old results shortened.
    fn is_full(&mut self) -> bool {
        if self.was_full {
            return true;
        }
        let mut messages = std::mem::take(&mut self.messages);
        prune::shorten(&mut messages, i64::try_from(self.summariser.window).unwrap_or(i64::MAX), &self.pruning);
        self.gauge.is_full(&messages)
    }
}

impl Engine {
    /// Sums a conversation up in the background if it fills the model's context. It may go on meanwhile.
    pub fn compact(self: &Arc<Self>, mut left: Left) {
        let engine = self.clone();
        self.runtime.spawn(async move {
            let counting = tokio::task::spawn_blocking(move || left.is_full().then_some(left));
            let Ok(Some(mut left)) = counting.await else { return };
            let Some(_place) = engine.compactions.enter(left.tenant, &left.key) else { return };
            let done = engine.compact_now(&mut left).await;
            counters::compaction("session", matches!(done, Ok(true)));
            if let Err(error) = done {
                tracing::warn!(session = left.key, %error, "the conversation could not be summed up; the next run tries again");
            }
        });
    }

    async fn compact_now(&self, left: &mut Left) -> Result<bool> {
        let Some(session) = self.sessions.find(left.tenant, &left.key).await? else { return Ok(false) };
        let mut trace = new_trace(TraceId(self.ids.row()), format!("compact {}", left.agent.1), self.clock.now());
        trace.agent_id = Some(left.agent.0);
        trace.user_id.clone_from(&left.user);
        trace.session_key.clone_from(&left.key);
        trace.channel.clone_from(&left.channel);
        trace.tags = vec!["compaction".into()];
        let mut trace = self.tracer.begin(left.tenant, trace, CancellationToken::new());
        let mut so_far = None;
        let summing = tokio::time::timeout(AFTER_RUN, self.sum_up_all(left, &session, &mut so_far, &mut trace)).await;
        let ended = summing.unwrap_or_else(|_| Err(Error::new(ErrorKind::Timeout, message::upstream_timeout())));
        // What was summed up until then counts, even if the rest failed.
        let stored = match so_far {
            Some((through, summary)) => {
                self.sessions.compact(left.tenant, &Compaction { session: session.id, through, summary, after: session.compaction_count }).await
            }
            None => Ok(false),
        };
        let outcome = ended.and(stored);
        let (status, error) = match &outcome {
            Ok(_) => (TraceStatus::Completed, String::new()),
            Err(error) => (TraceStatus::Error, error.to_string()),
        };
        self.tracer.finish(trace, status, crate::redact::redact(&error).into_owned(), String::new());
        outcome
    }

    /// Sums up all messages but the newest, page by page, and notes after each page how far it got.
    async fn sum_up_all(&self, left: &mut Left, session: &Session, so_far: &mut Option<(i64, String)>, trace: &mut RunTrace) -> Result<()> {
        let keep = left.own.keep_last_messages;
        // A step with many results may be longer than what is kept.
        let newest = self.sessions.messages_before(left.tenant, &left.key, None, i64::try_from(keep).unwrap_or(i64::MAX).saturating_add(PAGE)).await?;
        let Some(last) = compaction::cut(newest.iter().map(|stored| &stored.message), keep).checked_sub(1) else { return Ok(()) };
        let through = newest[last].seq;
        let (mut after, mut summary) = (i64::MIN, session.summary.clone());
        while after < through {
            let page = self.sessions.messages_after(left.tenant, &left.key, after, PAGE).await?;
            let page: Vec<_> = page.into_iter().filter(|stored| stored.seq <= through).collect();
            // It was reset meanwhile.
            let Some(end) = page.last().map(|stored| stored.seq) else { return Ok(()) };
            let messages: Vec<_> = page.into_iter().map(|stored| stored.message).collect();
            summary = left.summariser.sum_up(summary, &messages, trace).await?;
            after = end;
            *so_far = Some((end, summary.clone()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conversation_is_summed_up_once_at_a_time_and_not_too_many_are() {
        let compactions = Compactions::default();
        let place = compactions.enter(TenantId::MASTER, "a").unwrap();
        assert!(compactions.enter(TenantId::MASTER, "a").is_none());
        drop(place);
        let places: Vec<_> = (0..AT_ONCE).map(|n| compactions.enter(TenantId::MASTER, &n.to_string()).unwrap()).collect();
        assert!(compactions.enter(TenantId::MASTER, "b").is_none());
        drop(places);
        assert!(compactions.enter(TenantId::MASTER, "b").is_some());
    }
}
