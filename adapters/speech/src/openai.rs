//! OpenAI's `audio/speech`, and those who copy it.

use crate::{MAX_AUDIO, service::Service};
use async_trait::async_trait;
use goclaw_ports::speech::{Audio, SpeechError, SpeechProvider, SpeechRequest, SpeechService};
use serde_json::json;

pub(crate) struct OpenAi(pub(crate) Service);

#[async_trait]
impl SpeechProvider for OpenAi {
    fn service(&self) -> SpeechService {
        SpeechService::Openai
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<Audio, SpeechError> {
        let Self(service) = self;
        let body = json!({
            "model": request.model.as_ref().unwrap_or(&service.model),
            "input": request.text,
            "voice": request.voice.as_ref().unwrap_or(&service.voice),
            "response_format": request.format.as_str(),
        });
        let asked = service.bearer(service.post(&["audio", "speech"], &[])).json(&body);
        Ok(Audio { bytes: service.audio(asked, MAX_AUDIO).await?, format: request.format })
    }
}
