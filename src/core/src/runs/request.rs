//! What a run is asked to do, by whom, from where, and how it differs from a plain chat.

use crate::caller::Caller;
use goclaw_ports::{JsonObject, TraceId, agents::Agent};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// A run that is asked for.
pub(crate) struct Request {
    /// For whom.
    pub caller: Caller,
    /// Who answers.
    pub agent: Agent,
    /// In which conversation.
    pub session_key: String,
    /// What is asked.
    pub message: String,
    /// Whether the message is in the conversation already.
    pub stored: bool,
    /// Where it was asked.
    pub origin: Origin,
    /// Whether the answer should come in pieces.
    pub stream: bool,
    /// Who waits for the pieces. If it goes away, the run is stopped.
    pub pieces: Option<mpsc::Sender<String>>,
    /// How this run differs from a plain chat.
    pub options: RunOptions,
}

impl Request {
    /// A plain chat: the message is new, and nobody waits for pieces of the answer.
    pub fn new(caller: Caller, agent: Agent, session_key: String, message: String, origin: Origin) -> Self {
        Self { caller, agent, session_key, message, stored: false, origin, stream: false, pieces: None, options: RunOptions::default() }
    }
}

/// Where a message comes from, and where its answer belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The channel's name: `ws`, `http`, …
    pub channel: String,
    /// Its type, if it is not its name: `telegram` for a channel that is called `support`.
    pub channel_type: String,
    /// The chat there.
    pub chat_id: String,
    /// `direct` or `group`.
    pub peer_kind: String,
}

impl Origin {
    /// A direct conversation.
    pub fn direct(channel: &str, chat_id: impl Into<String>) -> Self {
        Self { channel: channel.into(), channel_type: String::new(), chat_id: chat_id.into(), peer_kind: "direct".into() }
    }

    /// The channel's type.
    pub fn kind(&self) -> &str {
        if self.channel_type.is_empty() { &self.channel } else { &self.channel_type }
    }
}

/// How a run differs from a plain chat. The default is a plain chat.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunOptions {
    /// `announce` for runs that report finished work; "" for a user's. Its events carry it.
    pub kind: &'static str,
    /// Whether the message stays out of the conversation; the answer is kept.
    pub hidden: bool,
    /// More for the system prompt; "" is nothing.
    pub extra_prompt: String,
    /// How many of the user's turns the model sees of the past; `None` for all.
    pub history_turns: Option<usize>,
    /// Of the tools the agent may use, only these; empty for all.
    pub allow_tools: Vec<String>,
    /// Fewer iterations than the agent's own limit; more are not given.
    pub max_iterations: Option<i32>,
    /// Another provider than the agent's; "" for its own.
    pub provider: String,
    /// Another model than the agent's; "" for its own.
    pub model: String,
    /// Whether the context files stay out of the prompt.
    pub light_context: bool,
    /// The trace's name, if it is not `chat {agent}`.
    pub trace_name: String,
    /// The trace's tags.
    pub tags: Vec<String>,
    /// What is kept with the trace besides.
    pub trace_metadata: JsonObject,
    /// The trace that this run is a part of.
    pub parent_trace: Option<TraceId>,
    /// Stops the run when it is cancelled, besides the run's own way of being stopped.
    pub cancel: Option<CancellationToken>,
}
