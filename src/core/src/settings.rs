//! What the operator decided, in the form that use cases read. Parsing files and variables is the binary's task.

mod tenant;

pub use tenant::TenantSettings;

use crate::{
    compaction::CompactionSettings,
    policy::ToolPolicy,
    pricing::Price,
    prune::PruneSettings,
    quotas::QuotaSettings,
    runs::{lanes::LaneSizes, queue::QueueSettings},
};
use arc_swap::ArcSwap;
use goclaw_ports::speech::SpeechService;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;

/// Everything that the operator decided.
#[derive(Clone)]
pub struct Settings {
    /// Where the gateway keeps its own files.
    pub data_dir: PathBuf,
    /// The gateway itself.
    pub gateway: GatewaySettings,
    /// What agents get when they say nothing else.
    pub agents: AgentDefaults,
    /// Tools, for all agents.
    pub tools: ToolSettings,
    /// Text to speech.
    pub speech: SpeechSettings,
    /// Prices by `provider/model` or `model`.
    pub pricing: HashMap<String, Price>,
    /// How many days traces are kept; 0 for ever.
    pub trace_days: u32,
    /// How much of a text traces keep, in bytes; what holds when the gateway starts.
    pub trace_preview: usize,
    /// How many runs of each lane go on at once; what holds when the gateway starts.
    pub lanes: LaneSizes,
    /// What this installation is.
    pub edition: Edition,
}

/// The gateway itself.
#[derive(Clone)]
pub struct GatewaySettings {
    /// The token that opens everything; `None` in development mode.
    pub token: Option<SecretString>,
    /// The users who own the installation. Never empty: `system` if none is named.
    pub owner_ids: Vec<String>,
    /// Which `Origin`s may open a WebSocket; empty for all.
    pub allowed_origins: Vec<String>,
    /// Longer messages are cut, in characters.
    pub max_message_chars: usize,
    /// Chat requests per minute and caller; 0 for no limit.
    pub rate_limit_rpm: u32,
    /// What happens to messages that look like a prompt injection.
    pub injection_action: InjectionAction,
    /// The proxies whose `X-Forwarded-For` and `X-Real-IP` are believed.
    pub trusted_proxies: Vec<String>,
    /// Whether requests of a Tailscale network come through a program of this machine, which names the client.
    pub tailnet: bool,
    /// How messages wait in a conversation.
    pub queue: QueueSettings,
    /// How long WebSocket clients may be silent.
    pub sockets: SocketTimes,
    /// How much each user may ask.
    pub quota: QuotaSettings,
    /// How much of what comes with messages a tenant keeps, in MB; 0 for no limit.
    pub media_quota_mb: u32,
}

/// How long WebSocket clients may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketTimes {
    /// How often they are pinged.
    pub ping: Duration,
    /// How long they may take to say who they are.
    pub connect: Duration,
}

impl SocketTimes {
    /// How long a client counts as there without a sign of it: two pings.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.ping * 2
    }
}

impl Default for SocketTimes {
    fn default() -> Self {
        Self { ping: Duration::from_secs(30), connect: Duration::from_secs(30) }
    }
}

/// What happens to messages that look like a prompt injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InjectionAction {
    /// Nothing, unseen.
    Off,
    /// A line in the log.
    Log,
    /// A warning in the log.
    Warn,
    /// The run fails.
    Block,
}

impl InjectionAction {
    /// The action of this name: `off`, `log`, `warn` or `block`.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "off" => Some(Self::Off),
            "log" => Some(Self::Log),
            "warn" => Some(Self::Warn),
            "block" => Some(Self::Block),
            _ => None,
        }
    }
}

/// What agents get when they say nothing else.
#[derive(Debug, Clone)]
pub struct AgentDefaults {
    /// The directory that agents' workspaces live in.
    pub workspace: PathBuf,
    /// The provider of agents that name none.
    pub provider: String,
    /// The model of agents that name none.
    pub model: String,
    /// The most tokens of one answer.
    pub max_tokens: u32,
    /// How freely models choose words.
    pub temperature: f64,
    /// How many times one run may call the model.
    pub max_tool_iterations: i32,
    /// The models' context, in tokens.
    pub context_window: i64,
    /// How many tools one run may call; 0 for no limit.
    pub max_tool_calls: u32,
    /// When old tool results are shortened.
    pub pruning: PruneSettings,
    /// When long conversations are summed up.
    pub compaction: CompactionSettings,
    /// The most characters of one context file in the prompt.
    pub bootstrap_max_chars: usize,
    /// The most characters of all context files in the prompt.
    pub bootstrap_total_max_chars: usize,
    /// Whether agents get to know new users first.
    pub onboarding: bool,
    /// The agents that agents start.
    pub subagents: SubagentSettings,
}

/// The agents that agents start, where an agent does not say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubagentSettings {
    /// How many run in a tenant at once.
    pub max_concurrent: i64,
    /// How deep they nest, 1 to 5.
    pub max_spawn_depth: i64,
    /// How many one conversation has at once, 1 to 20.
    pub max_children_per_agent: i64,
    /// How many minutes after its end one is put away.
    pub archive_after_minutes: i64,
    /// How often a failed call of the model is tried again.
    pub max_retries: u32,
    /// Their model; "" for the agent's own.
    pub model: String,
}

impl Default for SubagentSettings {
    fn default() -> Self {
        Self { max_concurrent: 20, max_spawn_depth: 1, max_children_per_agent: 5, archive_after_minutes: 60, max_retries: 2, model: String::new() }
    }
}

/// Tools, for all agents.
#[derive(Debug, Clone)]
pub struct ToolSettings {
    /// Which tools agents may use.
    pub policy: ToolPolicy,
    /// Tool calls per session and hour; 0 for no limit.
    pub rate_limit_per_hour: u32,
    /// Whether secrets are struck out of what tools answer.
    pub scrub_credentials: bool,
    /// Switches of the shell's deny groups.
    pub shell_deny_groups: BTreeMap<String, bool>,
}

/// Text to speech.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpeechSettings {
    /// Who speaks first; `None` for the first that is configured.
    pub provider: Option<SpeechService>,
    /// When answers are spoken.
    pub auto: SpeechAuto,
    /// Which are spoken.
    pub mode: SpeechMode,
    /// The longest text, in characters.
    pub max_length: usize,
    /// How long one service may take.
    pub timeout: Duration,
}

impl Default for SpeechSettings {
    fn default() -> Self {
        Self { provider: None, auto: SpeechAuto::Off, mode: SpeechMode::Final, max_length: 1_500, timeout: Duration::from_secs(30) }
    }
}

/// When answers are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpeechAuto {
    /// Never.
    Off,
    /// Always.
    Always,
    /// When the message was spoken.
    Inbound,
    /// When the agent says so.
    Tagged,
}

impl SpeechAuto {
    /// The mode of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Off, Self::Always, Self::Inbound, Self::Tagged].into_iter().find(|auto| auto.as_str() == name)
    }

    /// The wire name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Always => "always",
            Self::Inbound => "inbound",
            Self::Tagged => "tagged",
        }
    }
}

/// Which answers are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SpeechMode {
    /// The last of a run.
    Final,
    /// All.
    All,
}

impl SpeechMode {
    /// The mode of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "final" => Some(Self::Final),
            "all" => Some(Self::All),
            _ => None,
        }
    }
}

/// What this installation is. 0 and `null` mean no limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Edition {
    /// `standard` or `lite`.
    pub name: String,
    /// The most agents of a tenant.
    pub max_agents: i64,
    /// The most teams of a tenant.
    pub max_teams: i64,
    /// The most members of a team.
    pub max_team_members: i64,
    /// The most channels, by type.
    pub max_channels: Option<BTreeMap<String, i64>>,
    /// The most sub-agents at once.
    pub max_subagent_concurrent: i64,
    /// How deep sub-agents may nest.
    pub max_subagent_depth: i64,
    /// Whether there is a knowledge graph.
    pub kg_enabled: bool,
    /// Whether roles are enforced.
    pub rbac_enabled: bool,
    /// Whether teams can do everything.
    pub team_full_mode: bool,
    /// Whether memory is searched by meaning.
    pub vector_search: bool,
}

/// Settings that can change while the gateway runs.
pub struct LiveSettings {
    now: ArcSwap<Settings>,
    changes: watch::Sender<()>,
}

impl LiveSettings {
    /// Starts with these.
    #[must_use]
    pub fn new(settings: Settings) -> Arc<Self> {
        Arc::new(Self { now: ArcSwap::from_pointee(settings), changes: watch::Sender::new(()) })
    }

    /// What holds now.
    #[must_use]
    pub fn get(&self) -> Arc<Settings> {
        self.now.load_full()
    }

    /// Changes what holds, for everything that asks from now on.
    pub fn set(&self, settings: Settings) {
        self.now.store(Arc::new(settings));
        self.changes.send_replace(());
    }

    /// Tells of every change from now on; of several at once as of one.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }
}
