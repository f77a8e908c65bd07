//! What is known of the services. They may have more voices than this, and take their ids.

use super::SpeechServiceInfo;
use goclaw_ports::speech::SpeechService;

const EDGE_VOICES: &[&str] = &[
    "en-US-MichelleNeural",
    "en-US-AriaNeural",
    "en-US-GuyNeural",
    "en-US-JennyNeural",
    "en-GB-SoniaNeural",
    "en-GB-RyanNeural",
    "vi-VN-HoaiMyNeural",
    "vi-VN-NamMinhNeural",
    "zh-CN-XiaoxiaoNeural",
    "zh-CN-YunxiNeural",
];

/// A service and what is known of it; whether it is configured, somebody else says.
pub(super) fn of(id: SpeechService) -> SpeechServiceInfo {
    let (name, models, voices): (_, &'static [&'static str], &'static [&'static str]) = match id {
        SpeechService::Openai => (
            "OpenAI",
            &["gpt-4o-mini-tts", "tts-1", "tts-1-hd"],
            &["alloy", "ash", "ballad", "coral", "echo", "fable", "nova", "onyx", "sage", "shimmer", "verse"],
        ),
        SpeechService::Elevenlabs => {
            ("ElevenLabs", &["eleven_multilingual_v2", "eleven_turbo_v2_5", "eleven_flash_v2_5"], &["pMsXgVXv3BLzUgSXRplE", "21m00Tcm4TlvDq8ikWAM"])
        }
        SpeechService::Edge => ("Microsoft Edge", &[], EDGE_VOICES),
        SpeechService::Minimax => {
            ("MiniMax", &["speech-02-hd", "speech-02-turbo"], &["Wise_Woman", "Friendly_Person", "Deep_Voice_Man", "Calm_Woman", "Casual_Guy", "Lively_Girl"])
        }
    };
    SpeechServiceInfo { id, name, configured: false, models, voices }
}
