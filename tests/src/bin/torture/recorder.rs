//! What the gateway has acknowledged, and what it was only asked for.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// How many characters of a value are told.
const SHORT: usize = 60;

/// A place that holds one value or none. Each place has one writer at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The display name of the agent with this key.
    Agent(String),
    /// `active` or `revoked`: the API key with this id.
    Key(String),
    /// The writer's mark in the configuration file.
    Config,
    /// The content of the upload at this path.
    Upload(String),
    /// The label of the session with this key.
    Label(String),
}

#[derive(Debug, Clone, Default)]
struct Value {
    held: Option<String>,
    tried: Vec<Option<String>>,
}

/// A conversation's lines, `user: …` and `assistant: …`.
#[derive(Debug, Clone, Default)]
struct Lines {
    held: Vec<String>,
    tried: Vec<String>,
}

#[derive(Debug, Default)]
struct Records {
    values: BTreeMap<Place, Value>,
    sessions: BTreeMap<String, Lines>,
    /// Texts that stand in conversations whose keys their senders do not know.
    loose: Vec<String>,
    faults: Vec<String>,
}

/// A value as it is told: uploads are long.
fn short(value: Option<&str>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(text) if text.len() <= SHORT => format!("{text:?}"),
        Some(text) => format!("{:?}… ({} bytes)", text.chars().take(SHORT).collect::<String>(), text.len()),
    }
}

/// Keeps what was acknowledged.
pub struct Recorder {
    records: Mutex<Records>,
    acknowledged: watch::Sender<usize>,
}

impl Recorder {
    /// Knows nothing yet.
    pub fn new() -> Self {
        Self { records: Mutex::default(), acknowledged: watch::Sender::new(0) }
    }

    fn open(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acknowledge(&self) {
        self.acknowledged.send_modify(|count| *count += 1);
    }

    /// How many writes were acknowledged.
    pub fn count(&self) -> usize {
        *self.acknowledged.borrow()
    }

    /// Waits until so many writes were acknowledged.
    pub async fn wait_for(&self, count: usize) {
        // The sender lives as long as this.
        drop(self.acknowledged.subscribe().wait_for(|acknowledged| *acknowledged >= count).await);
    }

    /// The gateway is asked to put this there (`None`: to take away what is there).
    pub fn trying(&self, place: &Place, value: Option<&str>) {
        self.open().values.entry(place.clone()).or_default().tried.push(value.map(str::to_owned));
    }

    /// It said that it did.
    pub fn done(&self, place: &Place) {
        let mut records = self.open();
        let value = records.values.entry(place.clone()).or_default();
        if let Some(held) = value.tried.pop() {
            value.held = held;
        }
        // What was tried before and never answered is overwritten, or was never done.
        value.tried.clear();
        drop(records);
        self.acknowledge();
    }

    /// This place was made by the answer that says so.
    pub fn made(&self, place: &Place, value: &str) {
        self.trying(place, Some(value));
        self.done(place);
    }

    /// A line is sent to a conversation.
    pub fn saying(&self, session: &str, line: &str) {
        self.open().sessions.entry(session.to_owned()).or_default().tried.push(line.to_owned());
    }

    /// The line was acknowledged.
    pub fn said(&self, session: &str, line: &str) {
        let mut records = self.open();
        let lines = records.sessions.entry(session.to_owned()).or_default();
        lines.tried.retain(|tried| tried != line);
        lines.held.push(line.to_owned());
        drop(records);
        self.acknowledge();
    }

    /// A text was answered in a conversation of its own.
    pub fn asked(&self, text: &str) {
        self.open().loose.push(text.to_owned());
        self.acknowledge();
    }

    /// Takes the texts that were answered in conversations of their own since the last time.
    pub fn take_loose(&self) -> Vec<String> {
        std::mem::take(&mut self.open().loose)
    }

    /// Something went wrong that must not.
    pub fn fault(&self, what: impl Into<String>) {
        self.open().faults.push(what.into());
    }

    /// Takes what went wrong since the last time.
    pub fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.open().faults)
    }

    /// All places.
    pub fn places(&self) -> Vec<Place> {
        self.open().values.keys().cloned().collect()
    }

    /// All conversations.
    pub fn sessions(&self) -> Vec<String> {
        self.open().sessions.keys().cloned().collect()
    }

    /// Whether what is found there may be there. From now on it is what has to be there.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, place: &Place, found: Option<&str>) -> Result<(), String> {
        let mut records = self.open();
        let Some(value) = records.values.get_mut(place) else { return Ok(()) };
        let found = found.map(str::to_owned);
        let right = value.held == found || value.tried.contains(&found);
        let outcome = if right {
            Ok(())
        } else {
            let tried: Vec<_> = value.tried.iter().map(|tried| short(tried.as_deref())).collect();
            Err(format!("{place:?} holds {}, acknowledged was {} (tried {tried:?})", short(found.as_deref()), short(value.held.as_deref())))
        };
        *value = Value { held: found, tried: Vec::new() };
        outcome
    }

    /// Whether these may be the lines of the conversation: all that were acknowledged, in order, each once, and beside them only
    /// what was sent.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check_lines(&self, session: &str, found: &[String]) -> Result<(), String> {
        let mut records = self.open();
        let Some(lines) = records.sessions.get_mut(session) else { return Ok(()) };
        let (held, others): (Vec<_>, Vec<_>) = found.iter().cloned().partition(|line| lines.held.contains(line));
        if held != lines.held {
            return Err(format!("{session}: acknowledged was {:?}, found {held:?}", lines.held));
        }
        let mut tried = lines.tried.clone();
        for line in others {
            let Some(at) = tried.iter().position(|tried| *tried == line) else {
                return Err(format!("{session}: {line:?} was never said, or stands there twice"));
            };
            tried.remove(at);
        }
        Ok(())
    }
}
