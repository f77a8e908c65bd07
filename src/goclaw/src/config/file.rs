//! The configuration file: JSON5, unknown keys ignored. `Option` stands where the file's silence means something.

use goclaw_core::{policy::ToolPolicy, prune::PruneSettings};
use goclaw_ports::JsonObject;
use secrecy::SecretString;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use std::collections::BTreeMap;

/// The whole file.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct File {
    pub data_dir: Option<String>,
    pub edition: Option<EditionSection>,
    pub agents: Agents,
    pub providers: BTreeMap<String, Provider>,
    pub gateway: Gateway,
    pub tools: Tools,
    pub telemetry: Telemetry,
    pub security: Security,
    pub logging: Logging,
    // Sections that are checked for their kind and kept, but do nothing yet.
    pub channels: JsonObject,
    pub sessions: JsonObject,
    pub database: JsonObject,
    pub tts: JsonObject,
    pub cron: JsonObject,
    pub tailscale: JsonObject,
    pub bindings: Vec<JsonObject>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Agents {
    pub defaults: AgentDefaults,
    pub list: BTreeMap<String, JsonObject>,
}

/// `agents.defaults`.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct AgentDefaults {
    pub workspace: Option<String>,
    pub provider: Option<String>,
    pub model: Option<String>,
    pub max_tokens: Option<u32>,
    pub temperature: Option<f64>,
    pub max_tool_iterations: Option<i32>,
    pub context_window: Option<i64>,
    pub max_tool_calls: Option<i64>,
    #[serde(rename = "bootstrapMaxChars")]
    pub bootstrap_max_chars: Option<usize>,
    #[serde(rename = "bootstrapTotalMaxChars")]
    pub bootstrap_total_max_chars: Option<usize>,
    #[serde(rename = "contextPruning")]
    pub context_pruning: Option<PruneSettings>,
}

/// One of `providers`. Which keys count depends on the provider: `host` is Ollama's.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Provider {
    #[serde(deserialize_with = "secret")]
    pub api_key: Option<SecretString>,
    pub api_base: Option<String>,
    pub host: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Gateway {
    pub host: Option<String>,
    pub port: Option<u16>,
    #[serde(deserialize_with = "secret")]
    pub token: Option<SecretString>,
    #[serde(deserialize_with = "strings")]
    pub owner_ids: Vec<String>,
    #[serde(deserialize_with = "strings")]
    pub allowed_origins: Vec<String>,
    pub max_message_chars: Option<i64>,
    pub rate_limit_rpm: Option<i64>,
    pub injection_action: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Tools {
    pub profile: String,
    #[serde(deserialize_with = "strings")]
    pub allow: Vec<String>,
    #[serde(deserialize_with = "strings")]
    pub deny: Vec<String>,
    #[serde(rename = "alsoAllow", deserialize_with = "strings")]
    pub also_allow: Vec<String>,
    #[serde(rename = "byProvider")]
    pub by_provider: BTreeMap<String, ToolPolicy>,
    #[serde(rename = "execApproval")]
    pub exec_approval: ExecApproval,
    pub web_fetch: WebFetch,
    pub rate_limit_per_hour: Option<i64>,
    pub scrub_credentials: Option<bool>,
    #[serde(rename = "shellDenyGroups")]
    pub shell_deny_groups: BTreeMap<String, bool>,
    pub web: JsonObject,
    pub browser: JsonObject,
    pub mcp_servers: BTreeMap<String, JsonObject>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct ExecApproval {
    pub security: Option<String>,
    pub ask: Option<String>,
    #[serde(deserialize_with = "strings")]
    pub allowlist: Vec<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct WebFetch {
    pub policy: Option<String>,
    #[serde(deserialize_with = "strings")]
    pub allowed_domains: Vec<String>,
    #[serde(deserialize_with = "strings")]
    pub blocked_domains: Vec<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Telemetry {
    pub enabled: bool,
    pub model_pricing: BTreeMap<String, ModelPrice>,
}

/// US dollars per million tokens.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct ModelPrice {
    pub input_per_million: f64,
    pub output_per_million: f64,
    pub cache_read_per_million: f64,
    pub cache_create_per_million: f64,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Security {
    #[serde(deserialize_with = "strings")]
    pub allow_private_hosts: Vec<String>,
    #[serde(deserialize_with = "strings")]
    pub trusted_proxies: Vec<String>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Logging {
    pub level: Option<String>,
    pub format: Option<String>,
}

/// `edition`: a name, or a name with limits.
#[derive(Clone, Default)]
pub struct EditionSection {
    pub name: Option<String>,
    pub limits: Limits,
}

/// `edition.limits`: 0 or absence means no limit.
#[derive(Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub max_agents: i64,
    pub max_teams: i64,
    pub max_team_members: i64,
    pub max_channels: Option<BTreeMap<String, i64>>,
    pub max_subagent_concurrent: i64,
    pub max_subagent_depth: i64,
}

impl<'de> Deserialize<'de> for EditionSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Named {
            name: Option<String>,
            #[serde(default)]
            limits: Limits,
        }
        match Value::deserialize(deserializer)? {
            Value::String(name) => Ok(Self { name: Some(name), limits: Limits::default() }),
            object @ Value::Object(_) => {
                let Named { name, limits } = serde_json::from_value(object).map_err(D::Error::custom)?;
                Ok(Self { name, limits })
            }
            _ => Err(D::Error::custom("expected a name or an object with name and limits")),
        }
    }
}

/// A list of strings in which numbers may stand for their digits (chat ids are often written so).
fn strings<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a string or a number")]
    enum Entry {
        Text(String),
        Number(serde_json::Number),
    }
    let entries = Vec::<Entry>::deserialize(deserializer)?;
    Ok(entries
        .into_iter()
        .map(|entry| match entry {
            Entry::Text(text) => text,
            Entry::Number(number) => number.to_string(),
        })
        .collect())
}

/// A secret; "" is none.
fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SecretString>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.trim().is_empty()).map(SecretString::from))
}

/// Reads a file's text.
///
/// # Errors
/// Says where the text is no JSON5, or which path has a value of a wrong type.
pub fn parse(text: &str) -> Result<File, String> {
    if text.trim().is_empty() {
        return Ok(File::default());
    }
    let value: Value = json5::from_str(text).map_err(|error| match error.position() {
        Some(position) => format!("line {}, column {}: {error}", position.line + 1, position.column + 1),
        None => error.to_string(),
    })?;
    serde_path_to_error::deserialize(value).map_err(|error| format!("{}: {}", error.path(), without_text(&error.inner().to_string())))
}

/// A complaint about a type, without the text that stands where something else belongs: it may be a key in the wrong place.
fn without_text(complaint: &str) -> String {
    match (complaint.split_once("string \""), complaint.rsplit_once("\", expected ")) {
        (Some((before, _)), Some((_, expected))) => format!("{before}text, expected {expected}"),
        _ => complaint.to_owned(),
    }
}

impl File {
    /// The sections that hold something which this version does not use.
    #[must_use]
    pub fn dormant(&self) -> Vec<&'static str> {
        [
            ("channels", self.channels.is_empty()),
            ("sessions", self.sessions.is_empty()),
            ("database", self.database.is_empty()),
            ("tts", self.tts.is_empty()),
            ("cron", self.cron.is_empty()),
            ("tailscale", self.tailscale.is_empty()),
            ("bindings", self.bindings.is_empty()),
            ("agents.list", self.agents.list.is_empty()),
            ("telemetry.enabled", !self.telemetry.enabled),
            ("tools.web", self.tools.web.is_empty()),
            ("tools.browser", self.tools.browser.is_empty()),
            ("tools.mcp_servers", self.tools.mcp_servers.is_empty()),
        ]
        .into_iter()
        .filter_map(|(name, empty)| (!empty).then_some(name))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        parse(text).err().unwrap()
    }

    #[test]
    fn comments_trailing_commas_and_bare_keys_are_fine() {
        let file = parse("// mine\n{ gateway: { port: 1234, owner_ids: ['ana', 42,], }, unknown: { key: [1] } }").unwrap();
        assert_eq!(file.gateway.port, Some(1234));
        assert_eq!(file.gateway.owner_ids, ["ana", "42"]);
    }

    #[test]
    fn a_key_in_the_wrong_place_is_not_repeated() {
        for text in ["{ providers: { openai: 'sk-a\\\", expected b' } }", "{ gateway: 'sk-a' }", "{ gateway: { token: ['sk-a'] } }"] {
            let refusal = refusal(text);
            assert!(!refusal.contains("sk-a") && refusal.contains("expected"), "{refusal}");
        }
    }

    #[test]
    fn a_wrong_type_is_named_with_its_path() {
        for (text, path) in [
            ("{ gateway: { port: 'many' } }", "gateway.port: "),
            ("{ gateway: { port: 70000 } }", "gateway.port: "),
            ("{ gateway: { owner_ids: [true] } }", "gateway.owner_ids[0]: "),
            ("{ agents: { defaults: { contextPruning: { softTrim: { maxChars: 'x' } } } } }", "agents.defaults.contextPruning.softTrim.maxChars: "),
            ("{ channels: [] }", "channels: "),
            ("{ edition: 5 }", "edition: "),
            ("{ edition: { limits: { max_agnets: 5 } } }", "edition: "),
            ("{ tools: { byProvider: { groq: { allow: 'all' } } } }", "tools.byProvider.groq.allow: "),
        ] {
            let refusal = refusal(text);
            assert!(refusal.starts_with(path), "{refusal}");
        }
    }

    #[test]
    fn broken_json5_is_named_with_its_line() {
        assert!(refusal("{\n  gateway: {\n").starts_with("line "));
    }

    #[test]
    fn the_whole_schema_parses() {
        let file = parse(
            r#"{
                data_dir: "~/data", database: {}, sessions: { scope: "per-sender" }, cron: { max_retries: 3 }, tailscale: { hostname: "" },
                bindings: [{ agentId: "a", match: { channel: "telegram" } }], tts: { provider: "edge" },
                telemetry: { enabled: false, model_pricing: { "openai/gpt-4o": { input_per_million: 2.5, output_per_million: 10 } } },
                agents: { defaults: { restrict_to_workspace: true, subagents: { maxConcurrent: 2 }, sandbox: { mode: "off" } }, list: { a: { default: true } } },
                channels: { telegram: { enabled: true, token: "", allow_from: [1, "2"] } },
                providers: { openai: { api_key: "k" }, ollama: { host: "h" }, acp: { binary: "claude", args: [] } },
                tools: { profile: "full", execApproval: { security: "full" }, web: { brave: { enabled: false } }, mcp_servers: { x: { transport: "stdio" } } },
            }"#,
        )
        .unwrap();
        assert_eq!(file.dormant(), ["channels", "sessions", "tts", "cron", "tailscale", "bindings", "agents.list", "tools.web", "tools.mcp_servers"]);
        assert!(file.providers["openai"].api_key.is_some());
    }
}
