//! `providers`: where models are.

use super::values::{Secret, Strings, words};
use schemars::JsonSchema;
use serde::Deserialize;

words! {
    /// What an ACP agent may do without being asked.
    AcpPermission {
        /// Everything.
        ApproveAll = "approve-all",
        /// Reading.
        ApproveReads = "approve-reads",
        /// Nothing.
        DenyAll = "deny-all",
    }
}

impl AcpPermission {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApproveAll => "approve-all",
            Self::ApproveReads => "approve-reads",
            Self::DenyAll => "deny-all",
        }
    }
}

/// A provider that is reached over HTTP.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Provider {
    /// The key.
    pub api_key: Option<Secret>,
    /// The base URL; the provider's own if absent.
    pub api_base: Option<String>,
}

/// Ollama on a machine of yours.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Ollama {
    /// Where it is.
    pub host: Option<String>,
    /// The same, as other providers spell it.
    pub api_base: Option<String>,
    /// A key, if a proxy before it wants one.
    pub api_key: Option<Secret>,
}

/// Signing in to ChatGPT accounts.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ChatGptOAuth {
    /// Where people sign in; OpenAI's if absent.
    pub authorize_url: Option<String>,
    /// Where tokens are asked for; OpenAI's if absent.
    pub token_url: Option<String>,
    /// The port of this machine that browsers come back to; 1455 if absent, which is the only one that OpenAI knows.
    pub callback_port: Option<u16>,
}

/// The Claude command line.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ClaudeCli {
    /// The program; `claude` if absent.
    pub cli_path: Option<String>,
    /// The model; `sonnet` if absent.
    pub model: Option<String>,
    /// Where it works.
    pub base_work_dir: Option<String>,
    /// What it may do without being asked; `bypassPermissions` if absent.
    pub perm_mode: Option<String>,
}

/// An agent that speaks the Agent Client Protocol.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Acp {
    /// The program.
    pub binary: Option<String>,
    /// Its arguments.
    pub args: Strings,
    /// The model.
    pub model: Option<String>,
    /// Where it works.
    pub work_dir: Option<String>,
    /// How long an unused one stays.
    pub idle_ttl: Option<String>,
    /// What it may do without being asked.
    pub perm_mode: Option<AcpPermission>,
}

macro_rules! providers {
    ($($key:ident),*) => {
        /// Where models are. A provider with a key is used.
        #[derive(Clone, Default, Deserialize, JsonSchema)]
        #[serde(default)]
        pub struct Providers {
            $(pub $key: Provider,)*
            pub ollama: Ollama,
            pub chatgpt_oauth: ChatGptOAuth,
            pub claude_cli: ClaudeCli,
            pub acp: Acp,
        }

        impl Providers {
            /// The provider of this key that is reached over HTTP: its key and its base.
            #[must_use]
            pub fn get(&self, key: &str) -> Option<(Option<&Secret>, Option<&str>)> {
                match key {
                    $(stringify!($key) => Some((self.$key.api_key.as_ref(), self.$key.api_base.as_deref())),)*
                    _ => None,
                }
            }
        }
    };
}

providers!(
    anthropic,
    openai,
    openrouter,
    groq,
    gemini,
    deepseek,
    mistral,
    xai,
    minimax,
    cohere,
    perplexity,
    dashscope,
    bailian,
    zai,
    zai_coding,
    ollama_cloud,
    novita
);
