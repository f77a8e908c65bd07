//! `tools`: what models may do.

use super::values::{Count, Int, Limit, Secret, Strings, words};
use goclaw_core::policy::ToolPolicy;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

words! {
    /// A set of tools.
    Profile {
        /// Almost none.
        Minimal = "minimal",
        /// Files and commands.
        Coding = "coding",
        /// Messages and sessions.
        Messaging = "messaging",
        /// All.
        Full = "full",
    }
    /// How far commands are trusted.
    ExecSecurity {
        /// None runs.
        Deny = "deny",
        /// Those of the list run.
        Allowlist = "allowlist",
        /// All run, except what the deny groups stop.
        Full = "full",
    }
    /// When an approval is asked for.
    ExecAsk {
        /// Never.
        Off = "off",
        /// For commands that are neither in the list nor harmless.
        OnMiss = "on-miss",
        /// For every command.
        Always = "always",
    }
    /// Which pages may be fetched.
    FetchWord {
        /// All.
        AllowAll = "allow_all",
        /// Those of the allowed domains.
        Allowlist = "allowlist",
    }
    /// How an MCP server is spoken to.
    McpTransport {
        /// As a child process.
        Stdio = "stdio",
        /// Over HTTP with server-sent events.
        Sse = "sse",
        /// Over HTTP.
        StreamableHttp = "streamable-http",
    }
}

impl Profile {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minimal => "minimal",
            Self::Coding => "coding",
            Self::Messaging => "messaging",
            Self::Full => "full",
        }
    }
}

/// What models may do.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tools {
    /// The set of tools to start from; all if absent.
    pub profile: Option<Profile>,
    /// Only these tools and groups (`group:fs`); no restriction if empty.
    pub allow: Strings,
    /// Not these.
    pub deny: Strings,
    /// These as well.
    #[serde(rename = "alsoAllow")]
    pub also_allow: Strings,
    /// More, for models of one provider.
    #[serde(rename = "byProvider")]
    pub by_provider: BTreeMap<String, Policy>,
    /// Which commands run.
    #[serde(rename = "execApproval")]
    pub exec_approval: ExecApprovalSection,
    /// Which pages may be fetched.
    pub web_fetch: WebFetch,
    /// Searching the web.
    pub web: Web,
    /// The browser.
    pub browser: Browser,
    /// Tool calls per session and hour; 0 or -1 for no limit.
    pub rate_limit_per_hour: Option<Limit>,
    /// Whether what looks like a secret is struck out of what tools answer; true if absent.
    pub scrub_credentials: Option<bool>,
    /// Switches of the groups of commands that never run, by group.
    #[serde(rename = "shellDenyGroups")]
    pub shell_deny_groups: BTreeMap<String, bool>,
    /// MCP servers, by name.
    pub mcp_servers: BTreeMap<String, McpServer>,
}

/// Which tools may be used.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Policy {
    /// The set of tools to start from.
    pub profile: Option<Profile>,
    /// Only these.
    pub allow: Strings,
    /// Not these.
    pub deny: Strings,
    /// These as well.
    pub also_allow: Strings,
    /// More, for models of one provider.
    pub by_provider: BTreeMap<String, Policy>,
    /// What the model's tool names carry before the real name.
    pub tool_call_prefix: Option<String>,
}

impl From<&Policy> for ToolPolicy {
    fn from(policy: &Policy) -> Self {
        Self {
            profile: policy.profile.map(Profile::as_str).unwrap_or_default().to_owned(),
            allow: policy.allow.to_vec(),
            deny: policy.deny.to_vec(),
            also_allow: policy.also_allow.to_vec(),
            by_provider: policy.by_provider.iter().map(|(provider, policy)| (provider.clone(), policy.into())).collect(),
            tool_call_prefix: policy.tool_call_prefix.clone().unwrap_or_default(),
        }
    }
}

/// Which commands run.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ExecApprovalSection {
    /// How far commands are trusted.
    pub security: Option<ExecSecurity>,
    /// When an approval is asked for.
    pub ask: Option<ExecAsk>,
    /// Globs on the program's name or the whole command.
    pub allowlist: Strings,
}

/// Which pages may be fetched.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct WebFetch {
    /// Whether the allowed domains count; `allow_all` if absent.
    pub policy: Option<FetchWord>,
    /// Domains that may be fetched.
    pub allowed_domains: Strings,
    /// Domains that are never fetched.
    pub blocked_domains: Strings,
}

/// Searching the web.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Web {
    /// Brave.
    pub brave: Brave,
    /// DuckDuckGo.
    pub duckduckgo: DuckDuckGo,
}

/// Brave.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Brave {
    /// Whether it is used.
    pub enabled: Option<bool>,
    /// The key.
    pub api_key: Option<Secret>,
    /// How many results it gives.
    pub max_results: Option<Int<0, 100>>,
}

/// DuckDuckGo.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct DuckDuckGo {
    /// Whether it is used.
    pub enabled: Option<bool>,
    /// How many results it gives.
    pub max_results: Option<Int<0, 100>>,
}

/// The browser.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Browser {
    /// Whether there is one.
    pub enabled: Option<bool>,
    /// Whether nobody sees it.
    pub headless: Option<bool>,
    /// One that already runs, somewhere.
    pub remote_url: Option<String>,
    /// How long an action may take, in milliseconds; 30000 if absent.
    pub action_timeout_ms: Option<Int<0, 3_600_000>>,
    /// An unused one is closed after so many milliseconds; 600000 if absent, less than 0 for never.
    pub idle_timeout_ms: Option<Int<-1, 1_000_000_000>>,
    /// How many pages are open at once; 5 if absent.
    pub max_pages: Option<Int<0, 1000>>,
}

/// An MCP server.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct McpServer {
    /// How it is spoken to.
    pub transport: Option<McpTransport>,
    /// The program.
    pub command: Option<String>,
    /// Its arguments.
    pub args: Strings,
    /// Its variables.
    pub env: BTreeMap<String, Secret>,
    /// Its address.
    pub url: Option<String>,
    /// Headers of requests to it.
    pub headers: BTreeMap<String, Secret>,
    /// Whether it is used; true if absent.
    pub enabled: Option<bool>,
    /// What its tools' names begin with.
    pub tool_prefix: Option<String>,
    /// How long a call may take, in seconds; 60 if absent.
    pub timeout_sec: Option<Count>,
}
