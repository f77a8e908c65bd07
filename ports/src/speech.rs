//! Speech: texts that a service speaks.

use crate::Result;
use async_trait::async_trait;
use serde::Serialize;
use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A service that speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpeechService {
    /// OpenAI, and who speaks like it.
    Openai,
    /// ElevenLabs.
    Elevenlabs,
    /// Microsoft Edge's voices, through the program `edge-tts`.
    Edge,
    /// MiniMax.
    Minimax,
}

impl SpeechService {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Openai, Self::Elevenlabs, Self::Edge, Self::Minimax];
    /// Their names, for messages.
    pub const NAMES: &str = "openai, elevenlabs, edge, minimax";

    /// The service of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|service| service.as_str() == name)
    }

    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Elevenlabs => "elevenlabs",
            Self::Edge => "edge",
            Self::Minimax => "minimax",
        }
    }
}

impl fmt::Display for SpeechService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How audio is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AudioFormat {
    /// MP3.
    Mp3,
    /// Opus in an Ogg container, as messengers want voice messages.
    Opus,
}

impl AudioFormat {
    /// The format of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Mp3, Self::Opus].into_iter().find(|format| format.as_str() == name)
    }

    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Opus => "opus",
        }
    }

    /// The ending of a file's name.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp3 => "mp3",
            Self::Opus => "ogg",
        }
    }

    /// The MIME type.
    #[must_use]
    pub fn mime_type(self) -> &'static str {
        match self {
            Self::Mp3 => "audio/mpeg",
            Self::Opus => "audio/ogg",
        }
    }

    /// Whether messengers play it as a voice message.
    #[must_use]
    pub fn is_voice(self) -> bool {
        self == Self::Opus
    }
}

/// What is to be spoken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeechRequest {
    /// The text.
    pub text: String,
    /// By whom; `None` for the voice that is configured.
    pub voice: Option<String>,
    /// By which model; `None` for the one that is configured. Services without models ignore it.
    pub model: Option<String>,
    /// How it should be coded. A service that cannot do that answers in its own format.
    pub format: AudioFormat,
}

/// A spoken text.
#[derive(Clone, PartialEq, Eq)]
pub struct Audio {
    /// The file.
    pub bytes: Vec<u8>,
    /// How it is coded.
    pub format: AudioFormat,
}

impl fmt::Debug for Audio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes of {}", self.bytes.len(), self.format.as_str())
    }
}

/// Why a service did not speak, shortened and scrubbed of secrets. For logs and for models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeechError(pub String);

impl fmt::Display for SpeechError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SpeechError {}

/// A service that can be asked to speak.
#[async_trait]
pub trait SpeechProvider: Send + Sync {
    /// Which one it is.
    fn service(&self) -> SpeechService;
    /// Speaks. The audio's size is limited; the time is the caller's to limit: dropping the future ends the work, and a
    /// program with all that it started.
    async fn speak(&self, request: &SpeechRequest) -> Result<Audio, SpeechError>;
}

/// The services that are configured, as the configuration changes.
pub trait SpeechProviders: Send + Sync {
    /// Those that can be asked now, in the order of [`SpeechService::ALL`], each once.
    fn now(&self) -> Vec<Arc<dyn SpeechProvider>>;
}

/// Keeps audio among the files of a workspace.
#[async_trait]
pub trait AudioFiles: Send + Sync {
    /// Stores it as a new file below `tts/` of the workspace, which exists, and answers with the file's path.
    ///
    /// # Errors
    /// `Internal` if the file cannot be written there.
    async fn keep(&self, workspace: &Path, audio: &Audio) -> Result<PathBuf>;
}
