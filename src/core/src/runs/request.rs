//! What a run is asked to do, by whom, from where, and how it differs from a plain chat.

use super::queue::Queueing;
use crate::{caller::Caller, media::Attachment};
use goclaw_ports::{InboundId, JsonObject, TraceId, agents::Agent, tools::MediaResult};
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
    /// Whether no other gateway can have a run in the conversation.
    pub alone: bool,
    /// Whether the conversation's key was made for this run: nothing was said in it, and nobody else can have a run in it.
    pub fresh: bool,
    /// What is asked.
    pub message: String,
    /// The files that come with it.
    pub attachments: Vec<Attachment>,
    /// Whether the message is in the conversation already, with its files.
    pub stored: bool,
    /// The accepted messages that the run answers: this one, or those whose texts it has.
    pub owed: Vec<InboundId>,
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
        Self {
            caller,
            agent,
            session_key,
            alone: false,
            fresh: false,
            message,
            attachments: vec![],
            stored: false,
            owed: vec![],
            origin,
            stream: false,
            pieces: None,
            options: RunOptions::default(),
        }
    }
}

/// What of a request the runs take over that its run starts.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// For whom.
    pub caller: Caller,
    /// Where it was asked.
    pub origin: Origin,
    /// What stands above the run.
    pub lineage: Lineage,
    /// The run's trace.
    pub trace: TraceId,
    /// Of the tools the agent may use, only these; empty for all.
    pub allow_tools: Vec<String>,
    /// Another provider than the agent's.
    pub provider: String,
    /// Another model than the agent's.
    pub model: String,
}

impl Request {
    /// What runs take over that this one starts.
    pub fn asked(&self, trace: TraceId) -> Asked {
        let RunOptions { lineage, allow_tools, provider, model, .. } = self.options.clone();
        Asked { caller: self.caller.clone(), origin: self.origin.clone(), lineage, trace, allow_tools, provider, model }
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
    /// `announce` for runs that report finished work, `subagent` and `delegation` for those that do it; "" for a user's. Its
    /// events carry it.
    pub kind: &'static str,
    /// Whether the message stays out of the conversation; the answer is kept.
    pub hidden: bool,
    /// More for the system prompt; "" is nothing.
    pub extra_prompt: String,
    /// How many of the user's turns the model sees of the past; `None` for all.
    pub history_turns: Option<usize>,
    /// Of the tools the agent may use, only these; empty for all.
    pub allow_tools: Vec<String>,
    /// Not these tools, whatever the agent may use.
    pub deny_tools: Vec<&'static str>,
    /// The longest answer, in tokens, if it is not the agent's.
    pub max_tokens: Option<u32>,
    /// How freely the model chooses words, if not as the agent's does.
    pub temperature: Option<f64>,
    /// How often a failed call of the model is tried again, beyond what its provider does on its own.
    pub retries: u32,
    /// Files that belong to the answer from the beginning.
    pub media: Vec<MediaResult>,
    /// Fewer iterations than the agent's own limit; more are not given.
    pub max_iterations: Option<i32>,
    /// Another provider than the agent's; "" for its own.
    pub provider: String,
    /// Another model than the agent's; "" for its own.
    pub model: String,
    /// Whether the context files stay out of the prompt.
    pub light_context: bool,
    /// A context file that stays out of the prompt in any case.
    pub without_file: Option<&'static str>,
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
    /// How the run waits for its turn; as the operator wants it if it is absent.
    pub queueing: Option<Queueing>,
    /// What stands above the run, if another run handed it its task.
    pub lineage: Lineage,
}

/// What stands above a run. The default is nothing: a run of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lineage {
    /// How many sub-agents lie between the run and one of its own, the run included.
    pub spawns: i32,
    /// How many delegations do.
    pub delegations: i32,
    /// The conversation that the task comes from; "" if none.
    pub session_key: String,
    /// The agent that it comes from; "" if none.
    pub agent_key: String,
    /// The delegation that the run carries out; "" if none.
    pub delegation: String,
}
