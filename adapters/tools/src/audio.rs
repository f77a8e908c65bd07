//! Keeps spoken texts among the files of a workspace.

use crate::confine::Root;
use async_trait::async_trait;
use goclaw_ports::{
    Error, Result,
    clock::Clock,
    speech::{Audio, AudioFiles},
};
use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

/// Files named after the moment at which they were made: `tts/tts-<nanoseconds>.mp3`.
pub struct AudioShelf {
    clock: Arc<dyn Clock>,
    protected: Arc<[PathBuf]>,
    /// The last file's moment: the clock may stand still between two files.
    last: AtomicI64,
}

impl AudioShelf {
    /// Keeps files in any workspace that is not one of `protected`, the installation's own paths.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, protected: Vec<PathBuf>) -> Self {
        Self { clock, protected: protected.into(), last: AtomicI64::new(0) }
    }

    /// A moment that no other file has.
    fn moment(&self) -> i64 {
        let now = self.clock.now().timestamp_nanos_opt().unwrap_or_default();
        let later = |last: i64| now.max(last + 1);
        self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(later(last))).map_or(now, later)
    }
}

#[async_trait]
impl AudioFiles for AudioShelf {
    async fn keep(&self, workspace: &Path, audio: &Audio) -> Result<PathBuf> {
        let name = format!("tts/tts-{}.{}", self.moment(), audio.format.extension());
        let (workspace, protected, bytes) = (workspace.to_owned(), self.protected.clone(), audio.bytes.clone());
        let written = tokio::task::spawn_blocking(move || Root::open(&workspace, &protected)?.replace(&name, &bytes));
        written.await.map_err(Error::internal)?.map_err(|error| Error::internal(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goclaw_ports::{clock::SystemClock, speech::AudioFormat};
    use std::{fs, os::unix::fs::symlink};
    use tempfile::TempDir;

    fn audio(text: &str) -> Audio {
        Audio { bytes: text.into(), format: AudioFormat::Mp3 }
    }

    #[tokio::test]
    async fn every_audio_has_a_file_of_its_own() {
        let workspace = TempDir::new().unwrap();
        let shelf = AudioShelf::new(Arc::new(SystemClock), vec![]);
        let (one, two) = (audio("one"), audio("two"));
        let (one, two) = tokio::join!(shelf.keep(workspace.path(), &one), shelf.keep(workspace.path(), &two));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!((fs::read(&one).unwrap().as_slice(), fs::read(&two).unwrap().as_slice()), (&b"one"[..], &b"two"[..]));
        assert!(one.starts_with(workspace.path().canonicalize().unwrap().join("tts")) && one.extension().unwrap() == "mp3", "{one:?}");
    }

    #[tokio::test]
    async fn nothing_is_written_outside() {
        let (workspace, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        symlink(elsewhere.path(), workspace.path().join("tts")).unwrap();
        let shelf = AudioShelf::new(Arc::new(SystemClock), vec![]);
        shelf.keep(workspace.path(), &audio("x")).await.unwrap_err();
        assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
    }
}
