//! Asking a model for an agent's files.

use super::answer::{self, Answer, WRITTEN};
use crate::{
    context_files::{IDENTITY, SOUL},
    counters, pricing,
    settings::Settings,
    traces::{RunTrace, note_routing},
};
use futures_util::StreamExt;
use goclaw_ports::{
    Error, ErrorKind, Result,
    agents::ContextFile,
    llm::{ChatEvent, ChatRequest, LlmError, LlmErrorKind, Provider},
    message,
    sessions::{ChatMessage, MessageRole},
    traces::Span,
};
use std::{sync::Arc, time::Duration};

/// How long one answer may take.
const ANSWER_TIME: Duration = Duration::from_secs(300);
const MAX_TOKENS: u32 = 8_192;
const TEMPERATURE: f64 = 0.7;
/// How much of a description is read, in characters.
const MAX_DESCRIPTION: usize = 20_000;

const SUMMON: &str = include_str!("../../prompts/summon.md");
const ALL: &str = include_str!("../../prompts/summon_all.md");
const ONLY_SOUL: &str = include_str!("../../prompts/summon_soul.md");
const ONLY_REST: &str = include_str!("../../prompts/summon_rest.md");
const EDIT: &str = include_str!("../../prompts/resummon_edit.md");

/// Asks a model for files.
pub(super) struct Writer {
    pub provider: Arc<dyn Provider>,
    pub model: String,
    pub settings: Arc<Settings>,
    pub trace: RunTrace,
}

/// Takes the files as they come.
#[async_trait::async_trait]
pub(super) trait Shelf: Send + Sync {
    /// Keeps a file that the model wrote.
    async fn keep(&self, file: &ContextFile) -> Result<()>;
}

/// Why there is no answer.
enum Failure {
    /// It took too long; this is what was said until then.
    TooLong(String),
    /// Anything else.
    Other(Error),
}

impl Writer {
    /// Writes the files of `wanted` from a description, and answers with what the agent is good for. One answer should hold
    /// all; if it takes too long, the rest is asked for in two.
    ///
    /// # Errors
    /// What the model's provider says, `Upstream` for an answer without files, `Timeout`.
    pub async fn write(&mut self, description: &str, current: &[ContextFile], wanted: &[&str], shelf: &dyn Shelf) -> Result<Option<String>> {
        let material = material(description, current);
        let mut wanted = wanted.to_vec();
        let all = match self.ask(&format!("{SUMMON}{ALL}"), &material).await {
            Ok(answer) => return keep(answer, &mut wanted, shelf).await,
            Err(Failure::TooLong(said)) => answer::parse(&said),
            Err(Failure::Other(error)) => return Err(error),
        };
        let mut summary = all.summary.clone();
        let soul = all.files.iter().find(|file| file.name == SOUL).cloned();
        if !all.files.is_empty() {
            keep(all, &mut wanted, shelf).await?;
        }
        let mut soul = soul.or_else(|| current.iter().find(|file| file.name == SOUL).cloned());
        if wanted.contains(&SOUL) {
            let answer = self.ask(&format!("{SUMMON}{ONLY_SOUL}"), &material).await.map_err(Failure::into_error)?;
            soul = answer.files.iter().find(|file| file.name == SOUL).cloned();
            summary = keep(answer, &mut wanted, shelf).await?.or(summary);
        }
        // Whether rules for users are needed cannot be known, so they are not asked for alone.
        if wanted.contains(&IDENTITY) {
            let material = format!("{material}\n{}", soul.map(|soul| block("finished", &soul)).unwrap_or_default());
            let answer = self.ask(&format!("{SUMMON}{ONLY_REST}"), &material).await.map_err(Failure::into_error)?;
            summary = summary.or(keep(answer, &mut wanted, shelf).await?);
        }
        Ok(summary)
    }

    /// Changes files as `wish` says, and answers with what the agent is good for, if that changed.
    ///
    /// # Errors
    /// As [`Writer::write`].
    pub async fn edit(&mut self, wish: &str, current: &[ContextFile], shelf: &dyn Shelf) -> Result<Option<String>> {
        let files: String = current.iter().filter(|file| WRITTEN.contains(&file.name.as_str())).map(|file| block("current", file)).collect();
        let material = format!("{files}\n<wanted_changes>\n{}\n</wanted_changes>", cut(wish));
        let answer = self.ask(EDIT, &material).await.map_err(Failure::into_error)?;
        keep(answer, &mut WRITTEN.to_vec(), shelf).await
    }

    async fn ask(&mut self, order: &str, material: &str) -> Result<Answer, Failure> {
        let mut span = self.trace.span("llm_call", &format!("{}/{}", self.provider.name(), self.model));
        span.provider = self.provider.name().into();
        span.model.clone_from(&self.model);
        span.input_preview = format!("{order}\n{material}").into();
        self.trace.put(&mut span);
        let request = ChatRequest {
            model: self.model.clone(),
            messages: vec![ChatMessage::new(MessageRole::System, order), ChatMessage::new(MessageRole::User, material)],
            tools: Default::default(),
            max_tokens: MAX_TOKENS,
            temperature: Some(TEMPERATURE),
            reasoning_effort: None,
            stream: true,
            conversation: None,
        };
        let mut said = String::new();
        let started = tokio::time::Instant::now();
        let ended = tokio::time::timeout(ANSWER_TIME, self.listen(request, &mut said, &mut span)).await;
        counters::llm_call(self.provider.provider_type(), matches!(ended, Ok(Ok(()))), started.elapsed());
        span.output_preview.clone_from(&said);
        let failure = match ended {
            Ok(Ok(())) => {
                self.trace.end(span, None);
                return Ok(answer::parse(&said));
            }
            Ok(Err(error)) => error,
            Err(_) => LlmError { kind: LlmErrorKind::Timeout, status: None, text: "the answer took too long".into(), retry_after: None },
        };
        self.trace.end(span, Some(failure.text.clone()));
        Err(match failure.kind {
            LlmErrorKind::Timeout => Failure::TooLong(said),
            _ => Failure::Other(Error::new(ErrorKind::Upstream, failure.message()).because(failure)),
        })
    }

    async fn listen(&self, request: ChatRequest, said: &mut String, span: &mut Span) -> Result<(), LlmError> {
        let mut events = self.provider.chat(request);
        while let Some(event) = events.next().await {
            match event? {
                ChatEvent::Text(piece) => said.push_str(&piece),
                ChatEvent::Thinking(_) | ChatEvent::Elsewhere(_) => {}
                ChatEvent::Retrying { .. } => {
                    counters::llm_retry(self.provider.provider_type());
                    said.clear();
                }
                ChatEvent::Routed(routing) => note_routing(span, &routing),
                ChatEvent::Done(response) => {
                    span.total_cost = pricing::cost(&self.settings.pricing, &span.provider, self.provider.provider_type(), &self.model, &response);
                    *said = response.content;
                    span.finish_reason = response.finish_reason.as_str().into();
                    if let Some(usage) = response.usage {
                        counters::llm_tokens(self.provider.provider_type(), usage);
                        (span.input_tokens, span.output_tokens) = (Some(usage.prompt_tokens), Some(usage.completion_tokens));
                    }
                    return Ok(());
                }
            }
        }
        Err(LlmError { kind: LlmErrorKind::Other, status: None, text: "the provider's answer ended without an end".into(), retry_after: None })
    }
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::TooLong(_) => Error::new(ErrorKind::Timeout, message::upstream_timeout()),
            Self::Other(error) => error,
        }
    }
}

/// Keeps the files that are wanted still. An answer without files is none.
async fn keep(answer: Answer, wanted: &mut Vec<&str>, shelf: &dyn Shelf) -> Result<Option<String>> {
    if answer.files.is_empty() {
        return Err(Error::new(ErrorKind::Upstream, message::summoning_empty()));
    }
    for file in answer.files.iter().filter(|file| wanted.contains(&file.name.as_str())) {
        shelf.keep(file).await?;
    }
    wanted.retain(|name| answer.files.iter().all(|file| file.name != *name));
    Ok(answer.summary)
}

fn material(description: &str, current: &[ContextFile]) -> String {
    let templates: String = current.iter().filter(|file| WRITTEN.contains(&file.name.as_str())).map(|file| block("template", file)).collect();
    format!("<description>\n{}\n</description>\n\n{templates}", cut(description))
}

fn block(kind: &str, file: &ContextFile) -> String {
    format!("<{kind} name=\"{}\">\n{}\n</{kind}>\n", file.name, file.content.trim_end())
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(MAX_DESCRIPTION).map_or(text, |(at, _)| &text[..at])
}
