//! MiniMax's `t2a_v2`, which answers with hexadecimal digits inside JSON.

use crate::{MAX_AUDIO, service::Service};
use async_trait::async_trait;
use goclaw_ports::speech::{Audio, SpeechError, SpeechProvider, SpeechRequest, SpeechService};
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::json;

/// How much JSON there may be around the audio, in bytes.
const AROUND: usize = 64 << 10;

pub(crate) struct MiniMax(pub(crate) Service);

#[derive(Deserialize)]
struct Answer {
    data: Option<Data>,
    base_resp: Option<Outcome>,
}

#[derive(Deserialize)]
struct Data {
    #[serde(default)]
    audio: String,
}

#[derive(Deserialize)]
struct Outcome {
    #[serde(default)]
    status_code: i64,
    #[serde(default)]
    status_msg: String,
}

#[async_trait]
impl SpeechProvider for MiniMax {
    fn service(&self) -> SpeechService {
        SpeechService::Minimax
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<Audio, SpeechError> {
        let Self(service) = self;
        let body = json!({
            "text": request.text,
            "model": request.model.as_ref().unwrap_or(&service.model),
            "stream": false,
            "voice_setting": {"voice_id": request.voice.as_ref().unwrap_or(&service.voice), "speed": 1, "pitch": 0},
            "audio_setting": {"format": request.format.as_str()},
        });
        let group = service.group_id.as_ref().map(|group| ("GroupId", group.expose_secret().trim()));
        let asked = service.bearer(service.post(&["t2a_v2"], group.as_slice())).json(&body);
        let answer = service.bytes(asked, 2 * MAX_AUDIO + AROUND).await?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(|error| service.failure(&format!("the answer cannot be read: {error}")))?;
        if let Some(outcome) = answer.base_resp.filter(|outcome| outcome.status_code != 0) {
            return Err(service.failure(&format!("{} ({})", outcome.status_msg, outcome.status_code)));
        }
        let digits = answer.data.map(|data| data.audio).unwrap_or_default();
        let bytes = hex::decode(digits).map_err(|error| service.failure(&format!("the audio cannot be read: {error}")))?;
        Ok(Audio { bytes, format: request.format })
    }
}
