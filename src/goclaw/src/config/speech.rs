//! The configuration of text to speech in the words of the core and of the services.

use super::{
    Config,
    neighbours::FOR_PROGRAMS,
    schema::{
        services::{TtsAuto, TtsMode, TtsProvider},
        values::Secret,
    },
    settings::or,
};
use goclaw_core::settings::{SpeechAuto, SpeechMode, SpeechSettings};
use goclaw_ports::speech::SpeechService;
use goclaw_speech::{EdgeConfig, ServiceConfig, SpeechConfig};
use secrecy::{ExposeSecret, SecretString};
use std::time::Duration;

impl Config {
    /// How text to speech is set up.
    pub(super) fn speech_settings(&self) -> SpeechSettings {
        let (tts, built_in) = (&self.file.tts, SpeechSettings::default());
        SpeechSettings {
            provider: tts.provider.map(|provider| match provider {
                TtsProvider::Openai => SpeechService::Openai,
                TtsProvider::Elevenlabs => SpeechService::Elevenlabs,
                TtsProvider::Edge => SpeechService::Edge,
                TtsProvider::Minimax => SpeechService::Minimax,
            }),
            auto: tts.auto.map_or(built_in.auto, |auto| match auto {
                TtsAuto::Off => SpeechAuto::Off,
                TtsAuto::Always => SpeechAuto::Always,
                TtsAuto::Inbound => SpeechAuto::Inbound,
                TtsAuto::Tagged => SpeechAuto::Tagged,
            }),
            mode: tts.mode.map_or(built_in.mode, |mode| match mode {
                TtsMode::Final => SpeechMode::Final,
                TtsMode::All => SpeechMode::All,
            }),
            max_length: or(tts.max_length.map(|chars| chars.get()), built_in.max_length),
            timeout: tts.timeout_ms.and_then(|ms| u64::try_from(ms.get()).ok()).filter(|ms| *ms > 0).map_or(built_in.timeout, Duration::from_millis),
        }
    }

    /// The services that speak: those with a key, and Microsoft Edge's voices.
    #[must_use]
    pub fn speech(&self) -> SpeechConfig {
        let tts = &self.file.tts;
        let text = |value: &Option<String>, built_in: &str| value.clone().unwrap_or_else(|| built_in.to_owned());
        SpeechConfig {
            openai: secret(tts.openai.api_key.as_ref()).map(|api_key| ServiceConfig {
                api_key,
                group_id: None,
                base: text(&tts.openai.api_base, "https://api.openai.com/v1"),
                model: text(&tts.openai.model, "gpt-4o-mini-tts"),
                voice: text(&tts.openai.voice, "alloy"),
            }),
            elevenlabs: secret(tts.elevenlabs.api_key.as_ref()).map(|api_key| ServiceConfig {
                api_key,
                group_id: None,
                base: text(&tts.elevenlabs.base_url, "https://api.elevenlabs.io"),
                model: text(&tts.elevenlabs.model_id, "eleven_multilingual_v2"),
                voice: text(&tts.elevenlabs.voice_id, "pMsXgVXv3BLzUgSXRplE"),
            }),
            edge: tts.edge.enabled.unwrap_or(true).then(|| EdgeConfig {
                voice: text(&tts.edge.voice, "en-US-MichelleNeural"),
                rate: tts.edge.rate.clone(),
                environment: self.environment.only(FOR_PROGRAMS),
            }),
            minimax: secret(tts.minimax.api_key.as_ref()).map(|api_key| ServiceConfig {
                api_key,
                group_id: secret(tts.minimax.group_id.as_ref()),
                base: text(&tts.minimax.api_base, "https://api.minimax.io/v1"),
                model: text(&tts.minimax.model, "speech-02-hd"),
                voice: text(&tts.minimax.voice_id, "Wise_Woman"),
            }),
        }
    }
}

/// A secret that says something.
fn secret(secret: Option<&Secret>) -> Option<SecretString> {
    secret.map(|secret| (**secret).clone()).filter(|secret| !secret.expose_secret().trim().is_empty())
}
