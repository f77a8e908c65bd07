//! `tts`, `cron`, `telemetry`, `tailscale` and `bindings`.

use super::values::{Int, Limit, Real, Secret, words};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

words! {
    /// Who speaks.
    TtsProvider {
        /// OpenAI.
        Openai = "openai",
        /// ElevenLabs.
        Elevenlabs = "elevenlabs",
        /// Microsoft Edge.
        Edge = "edge",
        /// MiniMax.
        Minimax = "minimax",
    }
    /// When answers are spoken.
    TtsAuto {
        /// Never.
        Off = "off",
        /// Always.
        Always = "always",
        /// When the message was spoken.
        Inbound = "inbound",
        /// When the agent says so.
        Tagged = "tagged",
    }
    /// What is spoken.
    TtsMode {
        /// The last answer.
        Final = "final",
        /// Every part.
        All = "all",
    }
    /// How traces travel.
    OtlpProtocol {
        /// gRPC.
        Grpc = "grpc",
        /// HTTP.
        Http = "http",
    }
    /// What a binding is about.
    PeerKind {
        /// One person.
        Direct = "direct",
        /// A group.
        Group = "group",
    }
}

/// Speaking.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tts {
    /// Who speaks.
    pub provider: Option<TtsProvider>,
    /// When; `off` if absent.
    pub auto: Option<TtsAuto>,
    /// What; `final` if absent.
    pub mode: Option<TtsMode>,
    /// Longer texts are not spoken, in characters; 1500 if absent.
    pub max_length: Option<Int<0, 1_000_000>>,
    /// How long it may take, in milliseconds; 30000 if absent.
    pub timeout_ms: Option<Int<0, 3_600_000>>,
    /// OpenAI.
    pub openai: OpenaiVoice,
    /// ElevenLabs.
    pub elevenlabs: ElevenlabsVoice,
    /// Microsoft Edge.
    pub edge: EdgeVoice,
    /// MiniMax.
    pub minimax: MinimaxVoice,
}

impl Tts {
    /// What its texts cannot be: where, and what is expected there.
    pub fn fault(&self) -> Option<(&'static str, &'static str)> {
        let bases = [
            ("tts.openai.api_base", &self.openai.api_base),
            ("tts.elevenlabs.base_url", &self.elevenlabs.base_url),
            ("tts.minimax.api_base", &self.minimax.api_base),
        ];
        let is_url = |text: &str| url::Url::parse(text.trim()).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        let base = bases.into_iter().find(|(_, base)| base.as_deref().is_some_and(|base| !is_url(base)));
        if let Some((place, _)) = base {
            return Some((place, "expected an http or https URL"));
        }
        let is_rate = |rate: &str| {
            let number = rate.strip_suffix('%').and_then(|rate| rate.strip_prefix(['+', '-']));
            number.is_some_and(|number| (1..=3).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let rate = self.edge.rate.as_deref().is_some_and(|rate| !is_rate(rate));
        rate.then_some(("tts.edge.rate", "expected a rate such as +10% or -20%"))
    }
}

/// OpenAI's voices.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct OpenaiVoice {
    /// The key.
    pub api_key: Option<Secret>,
    /// The base URL; https://api.openai.com/v1 if absent.
    pub api_base: Option<String>,
    /// The model; gpt-4o-mini-tts if absent.
    pub model: Option<String>,
    /// The voice; alloy if absent.
    pub voice: Option<String>,
}

/// ElevenLabs' voices.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ElevenlabsVoice {
    /// The key.
    pub api_key: Option<Secret>,
    /// The base URL; https://api.elevenlabs.io if absent.
    pub base_url: Option<String>,
    /// The voice; pMsXgVXv3BLzUgSXRplE if absent.
    pub voice_id: Option<String>,
    /// The model; eleven_multilingual_v2 if absent.
    pub model_id: Option<String>,
}

/// Microsoft Edge's voices.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EdgeVoice {
    /// Whether they are used; true if absent.
    pub enabled: Option<bool>,
    /// The voice; en-US-MichelleNeural if absent.
    pub voice: Option<String>,
    /// How fast: `+10%`.
    pub rate: Option<String>,
}

/// MiniMax's voices.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MinimaxVoice {
    /// The key.
    pub api_key: Option<Secret>,
    /// The account's group.
    pub group_id: Option<Secret>,
    /// The base URL; https://api.minimax.io/v1 if absent.
    pub api_base: Option<String>,
    /// The model; speech-02-hd if absent.
    pub model: Option<String>,
    /// The voice; Wise_Woman if absent.
    pub voice_id: Option<String>,
}

/// Schedules.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Cron {
    /// How often a failed job is tried again; 3 if absent.
    pub max_retries: Option<Int<0, 100>>,
    /// The first pause before that (`2s`); 2s if absent.
    pub retry_base_delay: Option<String>,
    /// The longest pause; 30s if absent.
    pub retry_max_delay: Option<String>,
    /// The time zone of jobs that name none (`Asia/Ho_Chi_Minh`).
    pub default_timezone: Option<String>,
}

/// What other systems learn about runs.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Telemetry {
    /// Whether traces are sent to `endpoint`.
    pub enabled: Option<bool>,
    /// Where an OpenTelemetry collector listens.
    pub endpoint: Option<String>,
    /// How traces travel; `grpc` if absent.
    pub protocol: Option<OtlpProtocol>,
    /// Whether they travel without TLS.
    pub insecure: Option<bool>,
    /// Whose traces they are; goclaw-gateway if absent.
    pub service_name: Option<String>,
    /// Headers of the requests.
    pub headers: BTreeMap<String, Secret>,
    /// How many days traces are kept; 7 if absent, 0 or -1 for ever. Usage is kept in any case.
    pub trace_days: Option<Limit>,
    /// What models cost, by `provider/model` or `model`.
    pub model_pricing: BTreeMap<String, ModelPrice>,
}

/// US dollars per million tokens.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ModelPrice {
    /// Of the question.
    pub input_per_million: Option<Real<0, 1_000_000>>,
    /// Of the answer.
    pub output_per_million: Option<Real<0, 1_000_000>>,
    /// Of the question, as far as it was cached.
    pub cache_read_per_million: Option<Real<0, 1_000_000>>,
    /// Of the question, as far as it is cached now.
    pub cache_create_per_million: Option<Real<0, 1_000_000>>,
}

/// A second listener in a Tailscale network.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Tailscale {
    /// The name there; no listener if absent.
    pub hostname: Option<String>,
    /// Where its state is kept.
    pub state_dir: Option<String>,
    /// Whether it is forgotten when it stops.
    pub ephemeral: Option<bool>,
    /// Whether it speaks TLS.
    pub enable_tls: Option<bool>,
    /// The key that lets it in.
    pub auth_key: Option<Secret>,
}

/// Which agent answers where.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Binding {
    /// The agent.
    pub agent_id: Option<String>,
    /// Where.
    #[serde(rename = "match")]
    pub place: BindingMatch,
}

/// Where a binding holds.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct BindingMatch {
    /// The channel.
    pub channel: Option<String>,
    /// The account.
    pub account_id: Option<String>,
    /// The person or group.
    pub peer: Option<Peer>,
    /// The Discord server.
    pub guild_id: Option<String>,
}

/// A person or group.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Peer {
    /// Which of them.
    pub kind: Option<PeerKind>,
    /// Its id.
    pub id: Option<String>,
}
