//! Microsoft Edge's voices, through the program `edge-tts`.

use crate::{EdgeConfig, MAX_AUDIO};
use async_trait::async_trait;
use goclaw_ports::speech::{Audio, AudioFormat, SpeechError, SpeechProvider, SpeechRequest, SpeechService};
use goclaw_process::{End, run};
use std::{io, path::Path, time::Duration};
use tempfile::TempDir;
use tokio::{fs, io::AsyncReadExt, process::Command};

/// Longer than anybody waits; the caller's patience ends the program before.
const LIMIT: Duration = Duration::from_secs(3_600);
/// How much of the program's complaints is read, in bytes.
const COMPLAINT: usize = 8 << 10;
/// How much of them is told, in characters: their end, where a traceback says what was wrong.
const TOLD: usize = 300;

pub(crate) struct Edge(pub(crate) EdgeConfig);

#[async_trait]
impl SpeechProvider for Edge {
    fn service(&self) -> SpeechService {
        SpeechService::Edge
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<Audio, SpeechError> {
        let Self(config) = self;
        let voice = request.voice.as_deref().unwrap_or(&config.voice);
        if !is_voice(voice) {
            return Err(failure(&format!("there is no voice {voice:?}")));
        }
        let place = directory().await.map_err(|error| failure(&error.to_string()))?;
        let (text, media) = (place.path().join("text"), place.path().join("speech.mp3"));
        // In a file the text is neither taken for an option nor seen in the list of processes.
        fs::write(&text, &request.text).await.map_err(|error| failure(&error.to_string()))?;
        let mut command = Command::new("edge-tts");
        command.env_clear().envs(config.environment.iter().map(|(name, value)| (name, value))).current_dir(place.path());
        command.arg("--voice").arg(voice).arg("--file").arg(&text).arg("--write-media").arg(&media);
        if let Some(rate) = &config.rate {
            // Rates begin with a sign, so that this has to be one word.
            command.arg(format!("--rate={rate}"));
        }
        let ended = run(&mut command, b"", LIMIT, COMPLAINT).await;
        match ended.end {
            End::Success => {
                let bytes = read(&media).await.map_err(|error| failure(&format!("its audio cannot be read: {error}")))?;
                Ok(Audio { bytes, format: AudioFormat::Mp3 })
            }
            End::Failure(how) => Err(failure(&format!("{how}: {}", last_words(&ended.stderr.kept)))),
            End::Timeout(after) => Err(failure(&format!("it took longer than {after:?}"))),
            End::NotStarted(why) => Err(failure(&format!("the program edge-tts cannot be started: {why}"))),
        }
    }
}

fn failure(text: &str) -> SpeechError {
    SpeechError(format!("edge: {text}"))
}

/// Whether this can be a voice's name, and cannot be an option: `en-US-MichelleNeural`.
fn is_voice(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphanumeric()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_() ,".contains(&byte))
}

/// A directory that goes away with its owner, and that nobody else can look into.
async fn directory() -> io::Result<TempDir> {
    tokio::task::spawn_blocking(|| TempDir::with_prefix("goclaw-speech-")).await.map_err(io::Error::other)?
}

async fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path).await?.take(MAX_AUDIO as u64 + 1).read_to_end(&mut bytes).await?;
    if bytes.len() > MAX_AUDIO { Err(io::Error::other(format!("it is larger than {MAX_AUDIO} bytes"))) } else { Ok(bytes) }
}

fn last_words(complaint: &[u8]) -> String {
    let text = String::from_utf8_lossy(complaint);
    let text = text.trim();
    text.chars().skip(text.chars().count().saturating_sub(TOLD)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_voice_is_a_name_and_no_option() {
        for name in ["en-US-MichelleNeural", "vi-VN-HoaiMyNeural", "Microsoft Server Speech Text to Speech Voice (en-US, AriaNeural)"] {
            assert!(is_voice(name), "{name}");
        }
        for name in ["", "-v", "--text=x", "a\nb", "a;b", " x", "été"] {
            assert!(!is_voice(name), "{name}");
        }
    }

    #[test]
    fn the_end_of_a_complaint_is_told() {
        assert_eq!(last_words(b"  no \n"), "no");
        assert!(last_words("é".repeat(1_000).as_bytes()).chars().count() == TOLD);
    }
}
