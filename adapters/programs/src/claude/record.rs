//! A record of the last question in its conversation's directory, for whoever looks for a fault there (`GOCLAW_DEBUG=1`).

use crate::{environment, place};
use std::{ffi::OsString, fs, io, os::unix::fs::OpenOptionsExt, path::Path};
use tokio::{fs::File, io::AsyncWriteExt};

/// The record's name.
const NAME: &str = "cli-debug.log";
/// The longest record, in bytes.
const LONGEST: usize = 16 << 20;
/// What the names of variables have in them whose values no record holds.
const SECRET: &[&str] = &["KEY", "TOKEN", "SECRET", "PASSWORD", "DSN"];
/// A shorter value is no secret, in bytes.
const SHORTEST_SECRET: usize = 6;

/// Whether questions are recorded.
pub struct Recording {
    wanted: bool,
    /// What stays out of every record.
    secrets: Vec<String>,
}

/// What is written down of one question, if anything is.
pub struct Record<'s> {
    file: Option<File>,
    /// How much more it may hold, in bytes.
    left: usize,
    secrets: &'s [String],
}

impl Recording {
    /// As the gateway's environment wants it.
    pub fn of(environment: &[(String, String)]) -> Self {
        let wanted = environment::get(environment, "GOCLAW_DEBUG").is_some_and(|value| value.trim() == "1");
        let is_secret = |name: &str| SECRET.iter().any(|sign| name.to_ascii_uppercase().contains(sign));
        let secrets = environment.iter().filter(|(name, value)| wanted && is_secret(name) && value.len() >= SHORTEST_SECRET);
        Self { wanted, secrets: secrets.map(|(_, value)| value.clone()).collect() }
    }

    /// The record of a question in `directory`, in place of the one before. A question does not fail for the lack of a record.
    pub async fn begin(&self, directory: &Path) -> Record<'_> {
        let mut record = Record { file: None, left: LONGEST, secrets: &self.secrets };
        if self.wanted {
            let directory = directory.to_owned();
            match tokio::task::spawn_blocking(move || create(&directory)).await.map_err(io::Error::other).flatten() {
                Ok(file) => record.file = Some(File::from_std(file)),
                Err(error) => tracing::warn!(%error, "a question to Claude's command line cannot be recorded"),
            }
        }
        record
    }
}

/// Makes the file anew: it grows with one question only, and a link that the program left in its place leads nowhere. Blocks.
fn create(directory: &Path) -> io::Result<fs::File> {
    let file = directory.join(NAME);
    place::remove(&file)?;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)
}

impl Record<'_> {
    /// How the program is called, without the message, and how much it is given through standard input.
    pub async fn asked(&mut self, words: &[OsString], input: Option<usize>) {
        if self.file.is_none() {
            return;
        }
        let options: Vec<_> = words.iter().take_while(|word| word.as_os_str() != "--").map(|word| word.to_string_lossy()).collect();
        self.add("asked", options.join(" ").as_bytes()).await;
        self.add("given", format!("{} bytes", input.unwrap_or_default()).as_bytes()).await;
    }

    /// Writes a line down, without the values of secret variables.
    pub async fn add(&mut self, what: &str, line: &[u8]) {
        let Some(file) = self.file.as_mut().filter(|_| !line.is_empty()) else { return };
        let mut text = format!("{what}: {}\n", String::from_utf8_lossy(line).trim_end());
        for secret in self.secrets {
            text = text.replace(secret.as_str(), "***");
        }
        self.left = self.left.saturating_sub(text.len());
        if self.left > 0 {
            // What cannot be written is missing for whoever reads it, and for nobody else.
            let _ = file.write_all(text.as_bytes()).await;
        }
    }

    /// Sees to it that all of it is in the file.
    pub async fn end(self) {
        if let Some(mut file) = self.file {
            let _ = file.flush().await;
        }
    }
}
