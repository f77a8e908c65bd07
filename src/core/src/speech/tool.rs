//! `tts`: has a text spoken into a file of the workspace.

use super::voice::{Voice, format_for};
use crate::settings::TenantSettings;
use async_trait::async_trait;
use goclaw_ports::{
    Error, JsonObject,
    speech::{SpeechRequest, SpeechService},
    tools::{MediaResult, Tool, ToolContext, ToolEffect, ToolResult, ToolSpec},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The tool.
pub(crate) struct SpeechTool {
    spec: ToolSpec,
    voice: Arc<Voice>,
    settings: Arc<TenantSettings>,
}

impl SpeechTool {
    pub fn new(voice: Arc<Voice>, settings: Arc<TenantSettings>) -> Self {
        let services = SpeechService::ALL.map(SpeechService::as_str);
        let spec = ToolSpec {
            name: "tts",
            description: "Speak a text and attach the audio to the reply. Put the line that it answers with into your reply as it is.".into(),
            parameters: json!({
                "type": "object",
                "properties": {
                    "text": {"type": "string", "description": "What to say, without Markdown."},
                    "voice": {"type": "string", "description": "The service's id of the voice. Default: the configured one."},
                    "provider": {"type": "string", "enum": services, "description": "Only this service. Default: the first that can."},
                },
                "required": ["text"],
            }),
            effect: ToolEffect::Changes,
        };
        Self { spec, voice, settings }
    }

    /// The text that the model is told if it fails.
    async fn speak(&self, context: &ToolContext, arguments: &JsonObject) -> Result<ToolResult, String> {
        let argument = |name: &str| match arguments.get(name) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text.trim()),
            Some(_) => Err(format!("{name} must be a string")),
        };
        let (text, voice, provider) = (argument("text")?, argument("voice")?, argument("provider")?);
        if text.is_empty() {
            return Err("text is required".into());
        }
        let settings = self.settings.of(context.tenant).await.map_err(told)?.speech.clone();
        if text.chars().count() > settings.max_length {
            return Err(format!("text must not be longer than {} characters: shorten it, or speak it in parts", settings.max_length));
        }
        let only = match provider {
            "" => None,
            name => Some(SpeechService::parse(name).ok_or_else(|| format!("tts provider not found: {name}"))?),
        };
        let voice = Some(voice.to_owned()).filter(|voice| !voice.is_empty());
        let request = SpeechRequest { text: text.to_owned(), voice, model: None, format: format_for(&context.channel) };
        let spoken = self.voice.speak(&settings, request, only).await.map_err(told)?;
        let path = self.voice.files.keep(&context.workspace, &spoken.audio).await.map_err(told)?;
        let format = spoken.audio.format;
        let (path, as_voice) = (path.to_string_lossy().into_owned(), context.channel == "telegram" && format.is_voice());
        let told = if as_voice { format!("[[audio_as_voice]]\nMEDIA:{path}") } else { format!("MEDIA:{path}") };
        let media = MediaResult { path, content_type: format.mime_type().into(), size: Some(spoken.audio.bytes.len() as u64), as_voice };
        Ok(ToolResult { media: vec![media], ..ToolResult::silent(told) })
    }
}

/// A failure in words for the model. The reasons of services are scrubbed of secrets; other causes are not for it.
fn told(error: Error) -> String {
    let reasons = error.cause.as_ref().and_then(|cause| cause.downcast_ref::<goclaw_ports::speech::SpeechError>());
    match reasons {
        Some(reasons) => format!("{}: {reasons}", error.message),
        None if error.kind == goclaw_ports::ErrorKind::Internal => {
            tracing::error!(%error, "a text could not be spoken");
            "the text could not be spoken".to_owned()
        }
        None => error.message.to_string(),
    }
}

#[async_trait]
impl Tool for SpeechTool {
    fn spec(&self) -> &ToolSpec {
        &self.spec
    }

    async fn call(&self, context: &ToolContext, arguments: JsonObject) -> ToolResult {
        self.speak(context, &arguments).await.unwrap_or_else(ToolResult::error)
    }
}
