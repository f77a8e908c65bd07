//! `gateway`, `edition`, `security`, `logging`, `updates` and `sessions`: the gateway itself.

use super::values::{Int, Limit, Secret, Strings, words};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::Value;
use std::{borrow::Cow, collections::BTreeMap};

words! {
    /// What happens to messages that look like a prompt injection.
    InjectionWord {
        /// Nothing, unseen.
        Off = "off",
        /// A line in the log.
        Log = "log",
        /// A warning in the log.
        Warn = "warn",
        /// They are refused.
        Block = "block",
    }
    /// What a message does to those before it that wait or are worked on.
    QueueWord {
        /// It waits behind them.
        Queue = "queue",
        /// The same.
        Followup = "followup",
        /// It takes their place.
        Interrupt = "interrupt",
    }
    /// Who is turned away where too many messages wait.
    DropWord {
        /// The one that waits longest.
        Old = "old",
        /// The one that comes.
        New = "new",
    }
    /// The name of an edition.
    EditionWord {
        /// One machine.
        Lite = "lite",
        /// Many tenants, many replicas.
        Standard = "standard",
    }
    /// How the log looks.
    LogFormat {
        /// For people.
        Pretty = "pretty",
        /// The same.
        Text = "text",
        /// For programs.
        Json = "json",
    }
}

/// The gateway itself.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Gateway {
    /// The address to listen on.
    pub host: Option<String>,
    /// The port to listen on; 0 for any that is free.
    pub port: Option<Int<0, 65_535>>,
    /// The token that opens everything.
    pub token: Option<Secret>,
    /// With the gateway token, these users own the installation; `system` if there is none.
    pub owner_ids: Strings,
    /// Which web pages may open a WebSocket, as origins; all if empty.
    pub allowed_origins: Strings,
    /// Longer messages are cut, in characters; 0 or -1 for no limit.
    pub max_message_chars: Option<Limit>,
    /// Chat requests per minute and caller; 0 or -1 for no limit.
    pub rate_limit_rpm: Option<Limit>,
    /// What happens to messages that look like a prompt injection; `warn` if absent.
    pub injection_action: Option<InjectionWord>,
    /// Messages of one sender that come within so many milliseconds are one; 1000 if absent, -1 for off.
    pub inbound_debounce_ms: Option<Int<-1, 600_000>>,
    /// How much is answered.
    pub quota: Option<Quota>,
    /// How much of what comes with messages a tenant keeps, in MB; 0 or absent for no limit.
    pub media_quota_mb: Option<Int<0, 100_000_000>>,
    /// Whether each part of an answer is sent to channels when it is ready; false if absent.
    pub block_reply: Option<bool>,
    /// Whether channels show which tool an agent uses; true if absent.
    pub tool_status: Option<bool>,
    /// How often WebSocket clients are pinged, in milliseconds; 30000 if absent. One that answers two in a row with nothing is gone.
    pub ws_ping_interval_ms: Option<Int<10, 300_000>>,
    /// How long a WebSocket client may take to say who it is, in milliseconds; 30000 if absent.
    pub ws_connect_timeout_ms: Option<Int<10, 300_000>>,
    /// How long the head of a request may take to arrive, in milliseconds; 10000 if absent.
    pub http_head_timeout_ms: Option<Int<10, 300_000>>,
    /// How long a JSON body, or the next piece of a form, may take to arrive, in milliseconds; 30000 if absent. A whole form has 20 times that.
    pub http_body_timeout_ms: Option<Int<10, 300_000>>,
    /// How long a connection is kept for the next request, in milliseconds; 75000 if absent.
    pub http_idle_timeout_ms: Option<Int<10, 600_000>>,
    /// How often lost tasks are looked for, in seconds; 300 if absent.
    pub task_recovery_interval_sec: Option<Int<0, 86_400>>,
    /// How messages wait while their session is busy.
    pub queue: MessageQueue,
    /// How many runs go on at once, by kind.
    pub lanes: LaneSection,
}

/// How messages wait while their session is busy.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct MessageQueue {
    /// What a new message does to those before it; `queue` if absent.
    pub mode: Option<QueueWord>,
    /// How many wait at most; 10 if absent.
    pub cap: Option<Int<0, 1000>>,
    /// Which is turned away then; `old` if absent.
    pub drop: Option<DropWord>,
}

/// How many runs go on at once, by kind.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct LaneSection {
    /// Messages from channels; 30 if absent.
    pub main: Option<Int<1, 100_000>>,
    /// Sub-agents, and telling of their results; 50 if absent.
    pub subagent: Option<Int<1, 100_000>>,
    /// Work for other agents; 100 if absent.
    pub team: Option<Int<1, 100_000>>,
    /// Jobs and heartbeats; 30 if absent.
    pub cron: Option<Int<1, 100_000>>,
}

/// How many requests each user has answered. The first of these that limits anything holds: groups, channels, providers, default.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Quota {
    /// Whether there is a quota.
    pub enabled: Option<bool>,
    /// For everybody who is not named below.
    pub default: Option<Window>,
    /// By the agent's provider.
    pub providers: BTreeMap<String, Window>,
    /// By channel.
    pub channels: BTreeMap<String, Window>,
    /// By user or group (`group:telegram:-100123`).
    pub groups: BTreeMap<String, Window>,
}

/// How many requests are answered; 0 for no limit.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Window {
    /// Within an hour.
    pub hour: Option<Limit>,
    /// Within 24 hours.
    pub day: Option<Limit>,
    /// Within seven days.
    pub week: Option<Limit>,
}

/// What may be reached, and who is believed.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Security {
    /// Private hosts that tools and providers may reach: names, `*.suffix`, addresses or networks, each with or without `:port`.
    pub allow_private_hosts: Strings,
    /// Proxies whose `X-Real-IP` and `X-Forwarded-For` are believed: addresses or networks.
    pub trusted_proxies: Strings,
}

/// The log.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Logging {
    /// A level (error, warn, info, debug, trace), or a filter with levels per module; `info` if absent.
    pub level: Option<String>,
    /// How it looks; `pretty` if absent.
    pub format: Option<LogFormat>,
}

/// Looking for newer releases.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Updates {
    /// Whether the gateway looks.
    pub enabled: Option<bool>,
    /// Where: a list of releases as GitHub's API gives it, with `tag_name`, `html_url`, `body`, `draft` and `prerelease`.
    pub url: Option<String>,
}

/// How conversations are told apart. Every value but the named ones is ignored.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Sessions {
    /// `per-sender`.
    pub scope: Option<String>,
    /// `per-channel-peer`.
    pub dm_scope: Option<String>,
    /// `main`.
    pub main_key: Option<String>,
}

/// Which edition this is, and what it limits.
#[derive(Clone, Default)]
pub struct EditionSection {
    /// The edition.
    pub name: Option<EditionWord>,
    /// What it limits.
    pub limits: EditionLimits,
}

/// What an edition limits; 0 or absence for no limit.
#[derive(Clone, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EditionLimits {
    /// The most agents of a tenant.
    pub max_agents: Option<Limit>,
    /// The most teams of a tenant.
    pub max_teams: Option<Limit>,
    /// The most members of a team.
    pub max_team_members: Option<Limit>,
    /// The most channels, by type.
    pub max_channels: Option<BTreeMap<String, Limit>>,
    /// The most sub-agents at once.
    pub max_subagent_concurrent: Option<Limit>,
    /// How deep sub-agents may nest.
    pub max_subagent_depth: Option<Limit>,
}

impl<'de> Deserialize<'de> for EditionSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Named {
            name: Option<Value>,
            #[serde(default)]
            limits: EditionLimits,
        }
        let word = |name: Value| EditionWord::deserialize(lower(name)).map_err(D::Error::custom);
        match Value::deserialize(deserializer)? {
            name @ Value::String(_) => Ok(Self { name: Some(word(name)?), limits: EditionLimits::default() }),
            object @ Value::Object(_) => {
                let Named { name, limits } =
                    serde_path_to_error::deserialize(object).map_err(|error| D::Error::custom(format!("{}: {}", error.path(), error.inner())))?;
                Ok(Self { name: name.map(word).transpose()?, limits })
            }
            _ => Err(D::Error::custom("expected a name or an object with name and limits")),
        }
    }
}

fn lower(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.to_ascii_lowercase()),
        other => other,
    }
}

impl JsonSchema for EditionSection {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Edition".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (name, limits) = (generator.subschema_for::<EditionWord>(), generator.subschema_for::<EditionLimits>());
        json_schema!({"anyOf": [name, {"type": "object", "properties": {"name": name, "limits": limits}}]})
    }
}
