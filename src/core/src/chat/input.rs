//! What REST clients send.

use crate::{
    agents::DEFAULT_KEY,
    media::{Attachment, MAX_FILES},
};
use goclaw_ports::{Error, ErrorKind, JsonObject, Result, message};
use schemars::JsonSchema;
use serde::Deserialize;

/// How long the texts of a question may be altogether, in bytes. Pictures may be larger.
const MAX_TEXTS: usize = 1 << 20;

/// A question over REST, in the form of OpenAI's clients.
#[derive(Debug, Clone, Default)]
pub struct Completion {
    /// Who is asked.
    pub agent: String,
    /// What was said so far. Only the last user message counts: the agent has a memory of its own.
    pub messages: Vec<InputMessage>,
    /// Whether the answer should come in pieces.
    pub stream: bool,
    /// The user, where the credential names none.
    pub user: String,
    /// Orders for this one answer; "" is none.
    pub instructions: String,
}

/// What wakes an agent (`POST /v1/agents/{id}/wake`).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Wake {
    /// What is asked. Required.
    pub message: Option<String>,
    /// The conversation, a new one if it is absent. It must be one of the agent's, and not of another user below admin.
    pub session_key: Option<String>,
    /// On whose behalf, if the credential does not say it.
    pub user_id: Option<String>,
    /// Kept with the run's trace; at most 16 KiB.
    pub metadata: Option<JsonObject>,
}

/// A message, as clients send it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct InputMessage {
    /// `user`, `assistant`, `system`, `developer` or `tool`.
    #[serde(default)]
    pub role: String,
    /// The text.
    #[serde(default)]
    pub content: Option<InputContent>,
}

/// A text, or parts of one.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum InputContent {
    /// A text.
    Text(String),
    /// Parts; those of type `text`, `input_text`, `image_url` and `input_image` count.
    Parts(Vec<InputPart>),
}

impl InputContent {
    fn text_len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Parts(parts) => parts.iter().map(|part| part.text.len()).sum(),
        }
    }
}

/// A part of a message.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct InputPart {
    /// `text`, `image_url`, or something else.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text.
    #[serde(default)]
    pub text: String,
    /// The picture: a `data:` URL with a JPEG, PNG, GIF or WebP in base64.
    #[serde(default)]
    pub image_url: Option<ImageUrl>,
}

/// Where a picture is, as chat completions say it, or as responses do.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ImageUrl {
    /// The URL alone.
    Url(String),
    /// The URL in an object.
    Object {
        /// The URL.
        url: String,
    },
}

impl ImageUrl {
    fn url(&self) -> &str {
        match self {
            Self::Url(url) | Self::Object { url } => url,
        }
    }
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Question {
    /// The text; may be empty if there are pictures.
    pub text: String,
    /// The pictures.
    pub pictures: Vec<Attachment>,
}

impl Completion {
    /// The last user message, which has a text or pictures.
    ///
    /// # Errors
    /// `Invalid` if there is none, and for pictures that are none or too many; `TooLarge` for too much text.
    pub(super) fn question(&self) -> Result<Question> {
        if self.messages.is_empty() {
            return Err(Error::invalid(message::messages_required()));
        }
        if self.messages.iter().filter_map(|message| message.content.as_ref()).map(InputContent::text_len).sum::<usize>() > MAX_TEXTS {
            return Err(Error::new(ErrorKind::TooLarge, message::body_too_large(MAX_TEXTS)));
        }
        let last = self.messages.iter().rev().find(|message| message.role == "user").and_then(|message| message.content.as_ref());
        let (text, pictures) = match last {
            Some(InputContent::Text(text)) => (text.clone(), vec![]),
            Some(InputContent::Parts(parts)) => {
                let texts = parts.iter().filter(|part| matches!(part.kind.as_str(), "text" | "input_text") && !part.text.is_empty());
                let text = texts.map(|part| part.text.as_str()).collect::<Vec<_>>().join("\n");
                (text, pictures(parts)?)
            }
            None => (String::new(), vec![]),
        };
        if text.trim().is_empty() && pictures.is_empty() {
            return Err(Error::invalid(message::no_user_message()));
        }
        Ok(Question { text, pictures })
    }
}

/// The pictures among the parts of a message.
fn pictures(parts: &[InputPart]) -> Result<Vec<Attachment>> {
    let pictures: Vec<&InputPart> = parts.iter().filter(|part| matches!(part.kind.as_str(), "image_url" | "input_image")).collect();
    if pictures.len() > MAX_FILES {
        return Err(Error::invalid(message::too_many_media(MAX_FILES)));
    }
    pictures.into_iter().map(|part| Attachment::picture("image_url", part.image_url.as_ref().map_or("", ImageUrl::url))).collect()
}

/// The agent that a REST request names: in `model` behind `goclaw:` or `agent:`, else in one of the headers, else `default`.
#[must_use]
pub fn select_agent(model: &str, headers: [Option<&str>; 2]) -> String {
    let in_model = model.strip_prefix("goclaw:").or_else(|| model.strip_prefix("agent:"));
    let named = in_model.into_iter().chain(headers.into_iter().flatten()).find(|named| !named.is_empty());
    named.unwrap_or(DEFAULT_KEY).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("goclaw:fox", Some("x"), None, "fox")]
    #[case("agent:fox", None, None, "fox")]
    #[case("gpt-4o", Some("fox"), Some("x"), "fox")]
    #[case("gpt-4o", None, Some("fox"), "fox")]
    #[case("", None, None, "default")]
    fn the_agent_is_named_by_model_then_headers(#[case] model: &str, #[case] one: Option<&str>, #[case] two: Option<&str>, #[case] agent: &str) {
        assert_eq!(select_agent(model, [one, two]), agent);
    }

    #[test]
    fn the_last_user_message_is_the_question() {
        let messages = serde_json::from_value(serde_json::json!([
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": null},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "input_audio"}, {"type": "text", "text": "b"}]},
        ]));
        let completion = Completion { messages: messages.unwrap(), ..Completion::default() };
        assert_eq!(completion.question().unwrap().text, "a\nb");
    }
}
