//! What the environment says of the configuration. It wins over the file and the secret store, and is never written to either.

use super::{document, environment::Environment};
use goclaw_core::presets::PRESETS;
use serde_json::{Value, json};

/// A value of the environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    /// The variable.
    pub variable: &'static str,
    /// Where its value belongs.
    pub path: Vec<String>,
    /// The value.
    pub value: Value,
}

/// How a variable's text becomes a value.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// With commas.
    List,
    Whole,
    Real,
    Flag,
    /// 1 to 65535.
    Port,
}

use Kind::{Flag, List, Port, Real, Text, Whole};

#[rustfmt::skip]
const VARIABLES: &[(&str, &str, Kind)] = &[
    ("GOCLAW_ANTHROPIC_BASE_URL", "providers.anthropic.api_base", Text),
    ("GOCLAW_OPENAI_BASE_URL", "providers.openai.api_base", Text),
    ("GOCLAW_OLLAMA_CLOUD_API_BASE", "providers.ollama_cloud.api_base", Text),
    ("GOCLAW_OLLAMA_HOST", "providers.ollama.host", Text),
    ("GOCLAW_OAUTH_AUTHORIZE_URL", "providers.chatgpt_oauth.authorize_url", Text),
    ("GOCLAW_OAUTH_TOKEN_URL", "providers.chatgpt_oauth.token_url", Text),
    ("GOCLAW_OAUTH_CALLBACK_PORT", "providers.chatgpt_oauth.callback_port", Port),
    ("GOCLAW_CLAUDE_CLI_PATH", "providers.claude_cli.cli_path", Text),
    ("GOCLAW_CLAUDE_CLI_MODEL", "providers.claude_cli.model", Text),
    ("GOCLAW_CLAUDE_CLI_WORK_DIR", "providers.claude_cli.base_work_dir", Text),
    ("GOCLAW_GATEWAY_TOKEN", "gateway.token", Text),
    ("GOCLAW_HOST", "gateway.host", Text),
    ("GOCLAW_PORT", "gateway.port", Port),
    // The second name is the newer one, and wins.
    ("GOCLAW_LANE_DELEGATE", "gateway.lanes.team", Whole),
    ("GOCLAW_LANE_TEAM", "gateway.lanes.team", Whole),
    ("GOCLAW_LANE_MAIN", "gateway.lanes.main", Whole),
    ("GOCLAW_LANE_SUBAGENT", "gateway.lanes.subagent", Whole),
    ("GOCLAW_LANE_CRON", "gateway.lanes.cron", Whole),
    ("GOCLAW_OWNER_IDS", "gateway.owner_ids", List),
    ("GOCLAW_ALLOWED_ORIGINS", "gateway.allowed_origins", List),
    ("GOCLAW_ALLOW_PRIVATE_HOSTS", "security.allow_private_hosts", List),
    ("GOCLAW_TRUSTED_PROXIES", "security.trusted_proxies", List),
    ("GOCLAW_TELEGRAM_TOKEN", "channels.telegram.token", Text),
    ("GOCLAW_DISCORD_TOKEN", "channels.discord.token", Text),
    ("GOCLAW_ZALO_TOKEN", "channels.zalo.token", Text),
    ("GOCLAW_LARK_APP_ID", "channels.feishu.app_id", Text),
    ("GOCLAW_LARK_APP_SECRET", "channels.feishu.app_secret", Text),
    ("GOCLAW_LARK_ENCRYPT_KEY", "channels.feishu.encrypt_key", Text),
    ("GOCLAW_LARK_VERIFICATION_TOKEN", "channels.feishu.verification_token", Text),
    ("GOCLAW_WHATSAPP_BRIDGE_URL", "channels.whatsapp.bridge_url", Text),
    ("GOCLAW_SLACK_BOT_TOKEN", "channels.slack.bot_token", Text),
    ("GOCLAW_SLACK_APP_TOKEN", "channels.slack.app_token", Text),
    ("GOCLAW_SLACK_USER_TOKEN", "channels.slack.user_token", Text),
    ("GOCLAW_TTS_OPENAI_API_KEY", "tts.openai.api_key", Text),
    ("GOCLAW_TTS_ELEVENLABS_API_KEY", "tts.elevenlabs.api_key", Text),
    ("GOCLAW_TTS_MINIMAX_API_KEY", "tts.minimax.api_key", Text),
    ("GOCLAW_TTS_MINIMAX_GROUP_ID", "tts.minimax.group_id", Text),
    ("GOCLAW_DATA_DIR", "data_dir", Text),
    ("GOCLAW_WORKSPACE", "agents.defaults.workspace", Text),
    ("GOCLAW_TELEMETRY_ENABLED", "telemetry.enabled", Flag),
    ("GOCLAW_TELEMETRY_INSECURE", "telemetry.insecure", Flag),
    ("GOCLAW_TELEMETRY_ENDPOINT", "telemetry.endpoint", Text),
    ("GOCLAW_TELEMETRY_PROTOCOL", "telemetry.protocol", Text),
    ("GOCLAW_TELEMETRY_SERVICE_NAME", "telemetry.service_name", Text),
    ("GOCLAW_TSNET_HOSTNAME", "tailscale.hostname", Text),
    ("GOCLAW_TSNET_AUTH_KEY", "tailscale.auth_key", Text),
    ("GOCLAW_TSNET_DIR", "tailscale.state_dir", Text),
    ("GOCLAW_SANDBOX_MODE", "agents.defaults.sandbox.mode", Text),
    ("GOCLAW_SANDBOX_IMAGE", "agents.defaults.sandbox.image", Text),
    ("GOCLAW_SANDBOX_WORKSPACE_ACCESS", "agents.defaults.sandbox.workspace_access", Text),
    ("GOCLAW_SANDBOX_SCOPE", "agents.defaults.sandbox.scope", Text),
    ("GOCLAW_SANDBOX_MEMORY_MB", "agents.defaults.sandbox.memory_mb", Whole),
    ("GOCLAW_SANDBOX_CPUS", "agents.defaults.sandbox.cpus", Real),
    ("GOCLAW_SANDBOX_TIMEOUT_SEC", "agents.defaults.sandbox.timeout_sec", Whole),
    ("GOCLAW_SANDBOX_NETWORK", "agents.defaults.sandbox.network_enabled", Flag),
    ("GOCLAW_BROWSER_REMOTE_URL", "tools.browser.remote_url", Text),
    ("GOCLAW_LOG_LEVEL", "logging.level", Text),
    ("GOCLAW_LOG_FORMAT", "logging.format", Text),
];

/// These are for installations whose file names none.
const STAND_INS: &[(&str, &str)] = &[("GOCLAW_PROVIDER", "agents.defaults.provider"), ("GOCLAW_MODEL", "agents.defaults.model")];

/// A channel, and what it cannot do without.
const CREDENTIALS: &[(&str, &[&str])] = &[
    ("telegram", &["token"]),
    ("discord", &["token"]),
    ("zalo", &["token"]),
    ("whatsapp", &["bridge_url"]),
    ("slack", &["bot_token", "app_token"]),
    ("feishu", &["app_id", "app_secret"]),
];

/// What the environment says beside a document that has the file and the stored secrets.
///
/// # Errors
/// Names the variable whose value cannot be used.
pub fn environment(environment: &Environment, document: &Value) -> Result<Vec<Assignment>, String> {
    let mut assignments = Vec::new();
    let mut add = |variable: &'static str, path: &str, value: Value| assignments.push(Assignment { variable, path: keys(path), value });
    for preset in PRESETS.iter().filter(|preset| !preset.config_key.is_empty() && !preset.key_variable.is_empty()) {
        if let Some(key) = environment.get(preset.key_variable) {
            add(preset.key_variable, &format!("providers.{}.api_key", preset.config_key), key.into());
        }
    }
    for (variable, path, kind) in VARIABLES {
        if environment.get(variable).is_some() {
            add(variable, path, value(environment, variable, *kind)?);
        }
    }
    for (variable, path) in STAND_INS {
        let empty = document::at(document, &keys(path)).and_then(Value::as_str).unwrap_or_default().is_empty();
        if let Some(text) = environment.get(variable).filter(|_| empty) {
            add(variable, path, text.into());
        }
    }
    if environment.get("GOCLAW_BROWSER_REMOTE_URL").is_some() {
        add("GOCLAW_BROWSER_REMOTE_URL", "tools.browser.enabled", true.into());
    }
    let given = |channel: &str, key: &str| {
        let path = ["channels".to_owned(), channel.to_owned(), key.to_owned()];
        assignments.iter().find(|assignment| assignment.path == path).map(|assignment| assignment.variable)
    };
    let present = |channel: &str, key: &str| document["channels"][channel][key].as_str().is_some_and(|text| !text.is_empty());
    let mut enabled = Vec::new();
    for (channel, credentials) in CREDENTIALS {
        let variable = credentials.iter().find_map(|key| given(channel, key));
        if let Some(variable) = variable
            && credentials.iter().all(|key| given(channel, key).is_some() || present(channel, key))
        {
            enabled.push(Assignment { variable, path: keys(&format!("channels.{channel}.enabled")), value: true.into() });
        }
    }
    assignments.extend(enabled);
    Ok(assignments)
}

/// Switches on channels whose credentials are there and of which nobody says whether they are on.
pub fn enable_channels(document: &mut Value) {
    for (channel, credentials) in CREDENTIALS {
        let section = &document["channels"][channel];
        let complete = credentials.iter().all(|key| section[key].as_str().is_some_and(|text| !text.is_empty()));
        if complete && section["enabled"].is_null() {
            document::put(document, &["channels", channel, "enabled"], true.into());
        }
    }
}

fn keys(path: &str) -> Vec<String> {
    path.split('.').map(str::to_owned).collect()
}

fn value(environment: &Environment, variable: &str, kind: Kind) -> Result<Value, String> {
    let text = environment.get(variable).unwrap_or_default();
    Ok(match kind {
        Text => text.into(),
        List => json!(environment.list(variable).unwrap_or_default()),
        Flag => environment.flag(variable).into(),
        Whole => text.parse::<i64>().map_err(|_| format!("{variable}: {text} is no whole number"))?.into(),
        Real => json!(text.parse::<f64>().ok().filter(|number| number.is_finite()).ok_or_else(|| format!("{variable}: {text} is no number"))?),
        Port => text.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(|| format!("{variable}: {text} is no port (1 to 65535)"))?.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned<const N: usize>(variables: [(&str, &str); N], document: &Value) -> Vec<(String, Value)> {
        let assignments = environment(&Environment::from(variables), document).unwrap();
        assignments.into_iter().map(|assignment| (assignment.path.join("."), assignment.value)).collect()
    }

    #[test]
    fn variables_say_what_the_configuration_says() {
        let variables = [("GOCLAW_TELEMETRY_ENABLED", "1"), ("GOCLAW_SANDBOX_CPUS", "1.5"), ("GOCLAW_SANDBOX_MEMORY_MB", "256"), ("GOCLAW_OWNER_IDS", "a, b")];
        let expected = [
            ("gateway.owner_ids", json!(["a", "b"])),
            ("telemetry.enabled", json!(true)),
            ("agents.defaults.sandbox.memory_mb", json!(256)),
            ("agents.defaults.sandbox.cpus", json!(1.5)),
        ];
        assert_eq!(assigned(variables, &json!({})), expected.map(|(path, value)| (path.to_owned(), value)));
        for (variable, value) in [("GOCLAW_PORT", "0"), ("GOCLAW_SANDBOX_CPUS", "many"), ("GOCLAW_SANDBOX_TIMEOUT_SEC", "1.5")] {
            let refusal = environment(&Environment::from([(variable, value)]), &json!({})).unwrap_err();
            assert!(refusal.contains(variable), "{refusal}");
        }
    }

    #[test]
    fn credentials_switch_a_channel_on_if_they_are_complete() {
        let on = |path: &str| (path.to_owned(), json!(true));
        assert!(assigned([("GOCLAW_TELEGRAM_TOKEN", "t")], &json!({"channels": {"telegram": {"enabled": false}}})).contains(&on("channels.telegram.enabled")));
        assert!(!assigned([("GOCLAW_SLACK_BOT_TOKEN", "t")], &json!({})).contains(&on("channels.slack.enabled")));
        assert!(assigned([("GOCLAW_SLACK_BOT_TOKEN", "t")], &json!({"channels": {"slack": {"app_token": "a"}}})).contains(&on("channels.slack.enabled")));

        let mut document = json!({"channels": {"discord": {"token": "t"}, "zalo": {"token": "t", "enabled": false}, "feishu": {"app_id": "a"}}});
        enable_channels(&mut document);
        assert_eq!(document["channels"]["discord"]["enabled"], true);
        assert_eq!(document["channels"]["zalo"]["enabled"], false);
        assert!(document["channels"]["feishu"]["enabled"].is_null() && document["channels"]["telegram"].is_null());
    }
}
