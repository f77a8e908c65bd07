//! `agents`: what agents get when they say nothing else, and agents of the file.

use super::{
    tools::Policy,
    values::{Count, Int, Limit, Real, Share, Strings, words},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

words! {
    /// Whose an agent's context files are.
    AgentType {
        /// Every user has their own.
        Open = "open",
        /// All users share them.
        Predefined = "predefined",
    }
    /// Whether old tool results are shortened.
    PruneMode {
        /// Never.
        Off = "off",
        /// When the context fills up.
        CacheTtl = "cache-ttl",
    }
    /// What runs in a sandbox.
    SandboxMode {
        /// Nothing.
        Off = "off",
        /// Every session but an agent's main one.
        NonMain = "non-main",
        /// Everything.
        All = "all",
    }
    /// How a sandbox sees the workspace.
    WorkspaceAccess {
        /// Not at all.
        None = "none",
        /// It can read.
        Ro = "ro",
        /// It can read and write.
        Rw = "rw",
    }
    /// Who shares a sandbox.
    SandboxScope {
        /// Each session has its own.
        Session = "session",
        /// Each agent has its own.
        Agent = "agent",
        /// All share one.
        Shared = "shared",
    }
}

/// Agents.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Agents {
    /// What an agent gets when it says nothing else.
    pub defaults: AgentDefaults,
    /// Agents by id. What one leaves out, it takes from the defaults.
    pub list: BTreeMap<String, AgentEntry>,
}

/// What an agent gets when it says nothing else.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AgentDefaults {
    /// The directory that agents' workspaces live in.
    pub workspace: Option<String>,
    /// Whether file tools stay inside of the workspace.
    pub restrict_to_workspace: Option<bool>,
    /// The provider of agents that name none.
    pub provider: Option<String>,
    /// The model of agents that name none.
    pub model: Option<String>,
    /// The longest answer, in tokens; 0 for the built-in value.
    pub max_tokens: Option<Int<0, 10_000_000>>,
    /// How freely models choose words.
    pub temperature: Option<Real<0, 2>>,
    /// How often one run may ask the model; 0 for the built-in value.
    pub max_tool_iterations: Option<Int<0, 100_000>>,
    /// The models' context, in tokens; 0 for the built-in value.
    pub context_window: Option<Count>,
    /// How many tools one run may call; 0 or -1 for no limit.
    pub max_tool_calls: Option<Limit>,
    /// Whose agents' context files are; `open` if absent.
    pub agent_type: Option<AgentType>,
    /// How much of one context file goes into the prompt, in characters; 20000 if absent or 0.
    #[serde(rename = "bootstrapMaxChars")]
    pub bootstrap_max_chars: Option<Count>,
    /// How much of all context files goes into the prompt, in characters; 24000 if absent or 0.
    #[serde(rename = "bootstrapTotalMaxChars")]
    pub bootstrap_total_max_chars: Option<Count>,
    /// Whether agents get to know new users first, before they do anything else; yes if absent.
    pub onboarding: Option<bool>,
    /// Whether a fast model sorts messages by intent before agents see them.
    pub intent_classify: Option<bool>,
    /// Agents that agents start.
    pub subagents: Subagents,
    /// Where commands run.
    pub sandbox: Sandbox,
    /// What agents remember.
    pub memory: Memory,
    /// When long conversations are summed up.
    pub compaction: Compaction,
    /// When old tool results are shortened.
    #[serde(rename = "contextPruning")]
    pub context_pruning: ContextPruning,
}

/// Agents that agents start.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Subagents {
    /// How many run at once.
    pub max_concurrent: Option<Int<0, 1000>>,
    /// How deep they may nest.
    pub max_spawn_depth: Option<Int<1, 5>>,
    /// How many one agent may have; 5 if absent.
    pub max_children_per_agent: Option<Int<1, 20>>,
    /// After how many minutes a finished one is put away; 60 if absent.
    pub archive_after_minutes: Option<Count>,
    /// How often a failed one is tried again; 2 if absent.
    pub max_retries: Option<Int<0, 100>>,
    /// Their model; the agent's own if absent.
    pub model: Option<String>,
}

/// When long conversations are summed up.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Compaction {
    /// Kept for other programs; nothing reads it.
    pub reserve_tokens_floor: Option<Count>,
    /// From which share of the context on; 0.85 if absent.
    pub max_history_share: Option<Share>,
    /// How many of the newest messages stay as they are; 4 if absent.
    pub keep_last_messages: Option<Int<0, 10_000>>,
    /// Writing down what matters before it is summed up.
    pub memory_flush: MemoryFlush,
}

/// Writing down what matters before a conversation is summed up.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MemoryFlush {
    /// Whether that happens; true if absent.
    pub enabled: Option<bool>,
    /// Kept for other programs; nothing reads it.
    pub soft_threshold_tokens: Option<Count>,
    /// What the agent is asked.
    pub prompt: Option<String>,
    /// What it is told before.
    pub system_prompt: Option<String>,
}

/// When old tool results are shortened.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ContextPruning {
    /// `off` keeps them whole.
    pub mode: Option<PruneMode>,
    /// The last so many answers, and all after them, stay as they are; 3 if absent.
    pub keep_last_assistants: Option<Int<0, 10_000>>,
    /// Below this share of the context nothing is shortened; 0.25 if absent.
    pub soft_trim_ratio: Option<Share>,
    /// From this share on, old results are taken out; 0.5 if absent.
    pub hard_clear_ratio: Option<Share>,
    /// Results are taken out only if there is this much to win, in characters; 50000 if absent.
    pub min_prunable_tool_chars: Option<Count>,
    /// How results are shortened.
    pub soft_trim: SoftTrim,
    /// How results are taken out.
    pub hard_clear: HardClear,
}

/// How tool results are shortened.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct SoftTrim {
    /// Longer ones are, in characters; 3000 if absent.
    pub max_chars: Option<Count>,
    /// What stays of the beginning; 1500 if absent.
    pub head_chars: Option<Count>,
    /// What stays of the end; 1500 if absent.
    pub tail_chars: Option<Count>,
}

/// How tool results are taken out.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct HardClear {
    /// Whether they are at all; true if absent.
    pub enabled: Option<bool>,
    /// What stands in their place.
    pub placeholder: Option<String>,
}

/// What agents remember.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Memory {
    /// Whether agents remember at all; true if absent.
    pub enabled: Option<bool>,
    /// Whose embeddings are used.
    pub embedding_provider: Option<String>,
    /// Which embeddings; text-embedding-3-small if absent.
    pub embedding_model: Option<String>,
    /// Where they are made.
    pub embedding_api_base: Option<String>,
    /// How many findings a search gives; 6 if absent.
    pub max_results: Option<Int<1, 1000>>,
    /// The longest piece that texts are cut into, in characters; 1000 if absent.
    pub max_chunk_len: Option<Int<0, 1_000_000>>,
    /// How far pieces overlap, in characters; 200 if absent.
    pub chunk_overlap: Option<Int<0, 1_000_000>>,
    /// How much meaning counts; 0.7 if absent.
    pub vector_weight: Option<Share>,
    /// How much words count; 0.3 if absent.
    pub text_weight: Option<Share>,
    /// Worse findings are left out; 0.35 if absent.
    pub min_score: Option<Share>,
}

/// Where commands run.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sandbox {
    /// What runs in a sandbox; `off` if absent.
    pub mode: Option<SandboxMode>,
    /// The container image; goclaw-sandbox:bookworm-slim if absent.
    pub image: Option<String>,
    /// How it sees the workspace; `rw` if absent.
    pub workspace_access: Option<WorkspaceAccess>,
    /// Who shares one; `session` if absent.
    pub scope: Option<SandboxScope>,
    /// Its memory, in MiB; 512 if absent.
    pub memory_mb: Option<Int<0, 1_048_576>>,
    /// Its processors; 1 if absent.
    pub cpus: Option<Real<0, 1024>>,
    /// How long a command may take, in seconds; 300 if absent.
    pub timeout_sec: Option<Int<0, 86_400>>,
    /// Whether it reaches the network; false if absent.
    pub network_enabled: Option<bool>,
    /// Whether its own files can only be read; true if absent.
    pub read_only_root: Option<bool>,
    /// A command that runs once when it is made.
    pub setup_command: Option<String>,
    /// Variables for its commands.
    pub env: BTreeMap<String, String>,
    /// The user that commands run as.
    pub user: Option<String>,
    /// Room for temporary files, in MiB.
    pub tmpfs_size_mb: Option<Int<0, 1_048_576>>,
    /// How much of what a command prints is kept, in bytes; 1048576 if absent.
    pub max_output_bytes: Option<Count>,
    /// An unused one is removed after so many hours; 24 if absent.
    pub idle_hours: Option<Int<0, 100_000>>,
    /// Any is removed after so many days; 7 if absent.
    pub max_age_days: Option<Int<0, 100_000>>,
    /// How often that is checked, in minutes; 5 if absent.
    pub prune_interval_min: Option<Int<0, 100_000>>,
}

/// An agent of the file.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AgentEntry {
    /// Its name for people.
    #[serde(rename = "displayName")]
    pub display_name: Option<String>,
    /// Its provider.
    pub provider: Option<String>,
    /// Its model.
    pub model: Option<String>,
    /// Its longest answer, in tokens.
    pub max_tokens: Option<Int<0, 10_000_000>>,
    /// How freely its model chooses words.
    pub temperature: Option<Real<0, 2>>,
    /// How often one run may ask the model.
    pub max_tool_iterations: Option<Int<0, 100_000>>,
    /// Its model's context, in tokens.
    pub context_window: Option<Count>,
    /// How many tools one run may call; 0 or -1 for no limit.
    pub max_tool_calls: Option<Limit>,
    /// Whose its context files are.
    pub agent_type: Option<AgentType>,
    /// Its skills; all if absent.
    pub skills: Option<Strings>,
    /// Which tools it may use.
    pub tools: Option<Policy>,
    /// Its workspace.
    pub workspace: Option<String>,
    /// Whether it answers where no agent is named.
    pub default: Option<bool>,
    /// Where its commands run.
    pub sandbox: Option<Sandbox>,
    /// Who it is.
    pub identity: Option<Identity>,
}

/// Who an agent is.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Identity {
    /// Its name.
    pub name: Option<String>,
    /// Its sign.
    pub emoji: Option<String>,
}
