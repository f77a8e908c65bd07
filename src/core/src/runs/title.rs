//! Titles: after its first answered message, the model names a conversation.

use super::{
    engine::{Engine, Prepared},
    onboarding, sanitise,
};
use crate::counters;
use futures_util::StreamExt;
use goclaw_ports::{
    Result, TenantId,
    events::Event,
    llm::{ChatEvent, ChatRequest, Provider},
    sessions::{ChatMessage, MessageRole},
};
use serde_json::json;
use std::{sync::Arc, time::Duration};

/// How long the model may take.
const ANSWER_TIME: Duration = Duration::from_secs(120);
const MAX_TOKENS: u32 = 50;
const TEMPERATURE: f64 = 0.3;
/// The longest title, in characters.
const MAX_TITLE: usize = 100;
/// How much of the message the model reads, in characters.
const MAX_MESSAGE: usize = 2_000;
/// How many titles are in the making at most; a conversation that finds no place gets its title after its next run.
pub(crate) const AT_ONCE: usize = 32;

const PROMPT: &str = include_str!("../../prompts/title.md");

/// A conversation without a title, and who can name it.
pub(crate) struct Untitled {
    tenant: TenantId,
    key: String,
    user: String,
    message: String,
    provider: Arc<dyn Provider>,
    model: String,
}

impl Untitled {
    /// The conversation of a run, if it is a user's chat in the application and has no title yet.
    pub fn of(prepared: &Prepared) -> Option<Self> {
        let request = &prepared.request;
        let chat =
            request.origin.channel == "ws" && request.options.kind.is_empty() && !request.options.hidden && !onboarding::is_minimal(&request.session_key);
        (chat && prepared.untitled).then(|| Self {
            tenant: request.caller.tenant,
            key: request.session_key.clone(),
            user: request.caller.user.to_string(),
            message: request.message.chars().take(MAX_MESSAGE).collect(),
            provider: prepared.provider.clone(),
            model: prepared.model.clone(),
        })
    }
}

impl Engine {
    /// Has the conversation named, in the background.
    pub fn entitle(self: &Arc<Self>, untitled: Untitled) {
        let Ok(place) = self.titles.clone().try_acquire_owned() else { return };
        let engine = self.clone();
        self.runtime.spawn(async move {
            if let Err(error) = engine.name(&untitled).await {
                tracing::warn!(session = untitled.key, %error, "the conversation could not be given a title");
            }
            drop(place);
        });
    }

    async fn name(&self, untitled: &Untitled) -> Result<()> {
        let started = tokio::time::Instant::now();
        let answer = tokio::time::timeout(ANSWER_TIME, asked(untitled)).await.ok().flatten();
        counters::llm_call(untitled.provider.provider_type(), answer.is_some(), started.elapsed());
        let title = answer.map(|answer| title_in(&answer)).unwrap_or_default();
        let Untitled { tenant, key, user, .. } = untitled;
        if !title.is_empty() && self.sessions.entitle(*tenant, key, &title).await? {
            let event = json!({"sessionKey": key, "label": title, "userId": user});
            self.bus.publish(Event::new(*tenant, "session.updated", event).of_user(user));
        }
        Ok(())
    }
}

/// What the model answers; `None` if it fails: the next run asks again.
async fn asked(untitled: &Untitled) -> Option<String> {
    let request = ChatRequest {
        model: untitled.model.clone(),
        messages: vec![
            ChatMessage::new(MessageRole::System, PROMPT.trim()),
            ChatMessage::new(MessageRole::User, format!("<message>\n{}\n</message>", untitled.message)),
        ],
        tools: Default::default(),
        max_tokens: MAX_TOKENS,
        temperature: Some(TEMPERATURE),
        reasoning_effort: None,
        stream: false,
        conversation: None,
    };
    let mut events = untitled.provider.chat(request);
    while let Some(event) = events.next().await {
        if let ChatEvent::Done(response) = event.ok()? {
            if let Some(usage) = response.usage {
                counters::llm_tokens(untitled.provider.provider_type(), usage);
            }
            return Some(response.content);
        }
    }
    None
}

/// The title in a model's answer: its first line, without quotes, cut to the longest that is kept.
fn title_in(answer: &str) -> String {
    let answer = sanitise::sanitised(answer);
    let line = answer.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let bare = line.trim_matches(|mark: char| mark.is_whitespace() || "\"'`*#“”„‘’«»".contains(mark));
    bare.chars().filter(|character| !character.is_control()).take(MAX_TITLE).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_short_line_without_quotes() {
        for (answer, title) in [
            ("Plans for a fox den", "Plans for a fox den"),
            ("  \n\"Plans for a fox den\"\nBecause you asked", "Plans for a fox den"),
            ("<think>a den</think>“Chuyện con cáo”", "Chuyện con cáo"),
            ("# **Fox**", "Fox"),
            ("", ""),
            ("\"\"", ""),
        ] {
            assert_eq!(title_in(answer), title, "{answer}");
        }
        assert_eq!(title_in(&"🦊".repeat(300)).chars().count(), MAX_TITLE);
    }
}
