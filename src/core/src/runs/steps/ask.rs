//! Asking the model, and passing on what it says.

use super::Steps;
use crate::{
    counters,
    runs::{
        engine::Prepared,
        sanitise::{self, ThoughtFilter},
    },
    settings::Settings,
    traces::{RunTrace, note_routing},
};
use futures_util::{StreamExt, future};
use goclaw_ports::{
    Error, ErrorKind, Result,
    llm::{ChatEvent, ChatRequest, ChatResponse, Conversation, Elsewhere, LlmError, LlmErrorKind, ToolDefinition},
    traces::Span,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How much longer a run that asks again after a failure waits each time.
const PAUSE: Duration = Duration::from_secs(2);

impl Steps<'_> {
    /// Asks the model once.
    pub(super) async fn ask(&mut self, tools: Arc<[ToolDefinition]>, iteration: i32, trace: &mut RunTrace) -> Result<ChatResponse> {
        let Prepared { provider, model, settings, request, .. } = self.prepared;
        let messages = Box::pin(self.fitted(iteration, trace)).await;
        let mut span = trace.span("llm_call", &format!("{}/{model} #{iteration}", provider.name()));
        span.provider = provider.name().into();
        span.model.clone_from(model);
        let shown = messages.clone();
        let reasoning = self.prepared.reasoning.decide(provider.provider_type(), model);
        reasoning.note(&mut span.metadata);
        let asked = ChatRequest {
            model: model.clone(),
            messages,
            tools,
            max_tokens: request.options.max_tokens.unwrap_or_else(|| max_tokens(settings, request.agent.other("max_tokens"))),
            temperature: Some(request.options.temperature.unwrap_or(settings.agents.temperature)),
            reasoning_effort: reasoning.effort(),
            stream: request.stream,
            conversation: Some(Conversation { tenant: request.caller.tenant, session_key: request.session_key.clone() }),
        };
        let started = std::time::Instant::now();
        self.routing = None;
        // Polled in this order: the model is asked first, and while it thinks there is time to look for secrets in what it was asked.
        let opening = self.opening.as_mut().and_then(|opening| opening.later.take());
        let noting = async {
            // The question leaves in the task of its connection, which waits for this one to pause.
            tokio::task::yield_now().await;
            drop(opening);
            span.input_preview = trace.conversation(&shown).into();
            drop(shown);
            trace.put(&mut span);
        };
        let (answer, ()) = future::join(self.patiently(asked), noting).await;
        if let Some(routing) = self.routing.take() {
            note_routing(&mut span, &routing);
        }
        let elsewhere = std::mem::take(&mut self.asked_elsewhere);
        if let Some(last) = elsewhere.last() {
            (span.provider, span.model) = (last.provider.clone(), last.model.clone());
            span.metadata.insert("fallback".to_owned(), json!(elsewhere));
        }
        self.spoken.elsewhere = elsewhere.last().cloned();
        counters::llm_call(provider.provider_type(), answer.is_ok(), started.elapsed());
        match answer {
            Ok(response) => {
                self.account(&mut span, &response);
                if let Some(usage) = response.usage {
                    self.gauge.note(usage, provider.provider_type());
                }
                self.budget.spend(span.total_cost);
                trace.end(span, None);
                Ok(response)
            }
            Err(error) => {
                trace.end(span, Some(error.text.clone()));
                Err(Error::new(ErrorKind::Upstream, error.message()).because(error))
            }
        }
    }

    /// Asks again after a failure that may pass, as often as the run wants that, if nothing was said yet.
    async fn patiently(&mut self, mut asked: ChatRequest) -> Result<ChatResponse, LlmError> {
        let mut attempt = 0;
        loop {
            let last = attempt >= self.prepared.request.options.retries;
            // A conversation may be long: it is kept only if it may be needed again.
            let answer = self.listen(if last { std::mem::take(&mut asked) } else { asked.clone() }).await;
            match &answer {
                Err(error) if !last && self.spoken.text.is_empty() && worth_another_try(error) => attempt += 1,
                _ => return answer,
            }
            tokio::time::sleep(PAUSE * attempt).await;
        }
    }

    /// Passes on what the model says, as it says it.
    async fn listen(&mut self, asked: ChatRequest) -> Result<ChatResponse, LlmError> {
        let streamed = asked.stream;
        let mut events = self.prepared.provider.chat(asked);
        let mut filter = ThoughtFilter::default();
        // The question is on its way while the conversation is opened. What comes of it waits for that.
        let first = async { Ok(events.next().await) };
        let unopened = |error: Error| LlmError { kind: LlmErrorKind::Other, status: None, text: error.to_string(), retry_after: None };
        let (mut next, ()) = future::try_join(first, self.opened()).await.map_err(unopened)?;
        while let Some(event) = next {
            match event? {
                ChatEvent::Text(piece) => {
                    let (text, thought) = filter.push(&piece);
                    self.say(&text, &thought).await;
                }
                ChatEvent::Thinking(thought) => self.say("", &thought).await,
                ChatEvent::Retrying { attempt, max_attempts, error } => {
                    counters::llm_retry(self.prepared.provider.provider_type());
                    let error = crate::redact::redact(&error).into_owned();
                    let payload = json!({"attempt": attempt.to_string(), "maxAttempts": max_attempts.to_string(), "error": error});
                    self.emitter.event("run.retrying", Some(payload));
                }
                ChatEvent::Elsewhere(other) => {
                    let other = Elsewhere { error: crate::redact::redact(&other.error).into_owned(), ..*other };
                    self.asked_elsewhere.push(other);
                }
                ChatEvent::Routed(routing) => self.routing = Some(*routing),
                ChatEvent::Done(response) => {
                    let (text, thought) = if streamed { filter.finish() } else { (sanitise::sanitised(&response.content), response.thinking.clone()) };
                    self.say(&text, &thought).await;
                    self.emitter.end_of_text().await;
                    return Ok(*response);
                }
            }
            next = events.next().await;
        }
        Err(LlmError { kind: LlmErrorKind::Other, status: None, text: "the provider's answer ended without an end".into(), retry_after: None })
    }

    async fn say(&mut self, text: &str, thought: &str) {
        if !thought.is_empty() {
            self.emitter.event("thinking", Some(json!({"content": thought})));
        }
        if !text.is_empty() {
            self.spoken.text.push_str(text);
            self.emitter.text(text).await;
        }
    }

    fn account(&mut self, span: &mut Span, response: &ChatResponse) {
        let Prepared { provider, settings, .. } = self.prepared;
        let provider_type = self.spoken.elsewhere.as_ref().map_or(provider.provider_type(), |other| &other.provider_type);
        span.finish_reason = response.finish_reason.as_str().into();
        span.output_preview = match response.thinking.as_str() {
            "" => response.content.clone(),
            thinking => format!("<thinking>{thinking}</thinking>\n{}", response.content),
        };
        span.total_cost = crate::pricing::cost(&settings.pricing, &span.provider, provider_type, &span.model, response);
        let Some(usage) = response.usage else { return };
        counters::llm_tokens(provider_type, usage);
        *self.spoken.usage.get_or_insert_default() += usage;
        span.input_tokens = Some(usage.prompt_tokens);
        span.output_tokens = Some(usage.completion_tokens);
        let counts = [
            ("cache_creation_tokens", usage.cache_creation_tokens),
            ("cache_read_tokens", usage.cache_read_tokens),
            ("thinking_tokens", usage.thinking_tokens),
        ];
        span.metadata.extend(counts.into_iter().filter(|(_, tokens)| *tokens > 0).map(|(name, tokens)| (name.to_owned(), tokens.into())));
    }
}

fn max_tokens(settings: &Settings, own: Option<&Value>) -> u32 {
    let own = own.and_then(Value::as_u64).and_then(|tokens| u32::try_from(tokens).ok()).filter(|tokens| *tokens > 0);
    own.unwrap_or(settings.agents.max_tokens)
}

/// Whether the same question may be answered soon. More than the provider tried again by itself: a garbled answer, for one.
fn worth_another_try(error: &LlmError) -> bool {
    let passes = matches!(error.kind, LlmErrorKind::Timeout | LlmErrorKind::RateLimit | LlmErrorKind::Overloaded | LlmErrorKind::Other);
    passes && !error.quota_used_up()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(LlmErrorKind::Overloaded, Some(503), "busy", true)]
    #[case(LlmErrorKind::RateLimit, Some(429), "slow down", true)]
    #[case(LlmErrorKind::RateLimit, Some(429), "usage_limit_reached", false)]
    #[case(LlmErrorKind::Other, None, "garbled", true)]
    #[case(LlmErrorKind::Auth, Some(401), "no", false)]
    fn what_is_used_up_is_not_asked_for_again(#[case] kind: LlmErrorKind, #[case] status: Option<u16>, #[case] text: &str, #[case] expected: bool) {
        assert_eq!(worth_another_try(&LlmError { kind, status, text: text.into(), retry_after: None }), expected);
    }
}
