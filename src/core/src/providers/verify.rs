//! Finds out whether a provider answers.

use futures_util::StreamExt;
use goclaw_ports::{
    llm::{ChatEvent, ChatRequest, LlmError, LlmErrorKind, Provider},
    sessions::{ChatMessage, MessageRole},
};
use regex::Regex;
use schemars::JsonSchema;
use serde::Serialize;
use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(30);

/// Models that answer with pictures or films, by the beginning of their name.
const NOT_CHAT: &[&str] = &["veo-", "dall-e-", "imagen-", "gemini-2.5-flash-image", "grok-imagine", "grok-2-image"];

/// Whether a provider answers with a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Verification {
    /// Whether it does.
    pub valid: bool,
    /// Why it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn failed(error: impl Into<String>) -> Verification {
    Verification { valid: false, note: None, error: Some(error.into()) }
}

pub(super) async fn verify(provider: Option<Arc<dyn Provider>>, name: &str, model: &str) -> Verification {
    let Some(provider) = provider else { return failed(format!("provider not registered: {name}")) };
    let lower = model.to_lowercase();
    let last = lower.rsplit('/').next().unwrap_or_default();
    if NOT_CHAT.iter().any(|prefix| last.starts_with(prefix)) {
        let note = "this model makes images or video; it was not asked a question".to_owned();
        return Verification { valid: true, note: Some(note), error: None };
    }
    let request = ChatRequest { model: model.to_owned(), messages: vec![ChatMessage::new(MessageRole::User, "hi")], max_tokens: 50, ..ChatRequest::default() };
    let ask = async {
        let mut events = provider.chat(request);
        while let Some(event) = events.next().await {
            if let ChatEvent::Done(_) = event? {
                return Ok(());
            }
        }
        Ok::<_, LlmError>(())
    };
    match tokio::time::timeout(LIMIT, ask).await {
        Ok(Ok(())) => Verification { valid: true, note: None, error: None },
        Ok(Err(error)) => failed(shaped(&error)),
        Err(_) => failed("the provider took too long to answer; try again"),
    }
}

#[expect(clippy::expect_used, reason = "constant patterns")]
static MESSAGE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""message"\s*:\s*"((?:[^"\\]|\\.)*)""#).expect("a constant pattern"));
#[expect(clippy::expect_used, reason = "constant patterns")]
static LEAD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^HTTP \d+: (?:[^:]{1,29}: )?").expect("a constant pattern"));

/// The provider's own message, taken out of what surrounds it.
pub(super) fn shaped(error: &LlmError) -> String {
    if error.kind == LlmErrorKind::Timeout {
        return "the provider took too long to answer; try again".into();
    }
    if let Some(found) = MESSAGE.captures(&error.text).and_then(|found| found.get(1)) {
        let quoted = format!("\"{}\"", found.as_str());
        return serde_json::from_str(&quoted).unwrap_or_else(|_| found.as_str().to_owned());
    }
    let rest = LEAD.replace(&error.text, "");
    if rest.starts_with('{') { "the provider does not recognise this model".into() } else { rest.into_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case(r#"HTTP 400: openai: {"error":{"message":"no such \"model\""}}"#, "no such \"model\"")]
    #[case("HTTP 500: openai: broken", "broken")]
    #[case("HTTP 404: openai: {}", "the provider does not recognise this model")]
    fn the_providers_own_message_is_shown(#[case] text: &str, #[case] shown: &str) {
        let error = LlmError { kind: LlmErrorKind::Other, status: None, text: text.into(), retry_after: None };
        assert_eq!(shaped(&error), shown);
    }
}
