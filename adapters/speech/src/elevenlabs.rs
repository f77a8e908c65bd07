//! ElevenLabs' `text-to-speech`.

use crate::{MAX_AUDIO, service::Service};
use async_trait::async_trait;
use goclaw_ports::speech::{Audio, AudioFormat, SpeechError, SpeechProvider, SpeechRequest, SpeechService};
use serde_json::json;

pub(crate) struct ElevenLabs(pub(crate) Service);

#[async_trait]
impl SpeechProvider for ElevenLabs {
    fn service(&self) -> SpeechService {
        SpeechService::Elevenlabs
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<Audio, SpeechError> {
        let Self(service) = self;
        let voice = request.voice.as_deref().unwrap_or(&service.voice);
        let coded = match request.format {
            AudioFormat::Mp3 => "mp3_44100_128",
            AudioFormat::Opus => "opus_48000_64",
        };
        let body = json!({
            "text": request.text,
            "model_id": request.model.as_ref().unwrap_or(&service.model),
            "voice_settings": {"stability": 0.5, "similarity_boost": 0.75, "style": 0.0, "use_speaker_boost": true},
        });
        let asked = service.post(&["v1", "text-to-speech", voice], &[("output_format", coded)]).header("xi-api-key", service.key()).json(&body);
        Ok(Audio { bytes: service.audio(asked, MAX_AUDIO).await?, format: request.format })
    }
}
