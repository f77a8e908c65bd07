//! What holds where nobody says anything.

use super::{DEFAULT_PORT, edition::EditionName};
use goclaw_core::presets::PRESETS;
use serde_json::{Map, Value, json};

/// The built-in configuration: every key that is always there, with its value.
#[must_use]
pub fn built_in(edition: EditionName) -> Value {
    // Lite stays on this machine unless it is told otherwise.
    let host = match edition {
        EditionName::Lite => "127.0.0.1",
        EditionName::Standard => "0.0.0.0",
    };
    let channel = |secrets: &[&str]| {
        let mut section = Map::from_iter([("enabled".to_owned(), json!(false)), ("allow_from".to_owned(), json!([]))]);
        section.extend(secrets.iter().map(|key| ((*key).to_owned(), json!(""))));
        Value::Object(section)
    };
    let mut telegram = channel(&["token"]);
    telegram["reaction_level"] = json!("full");
    json!({
        "data_dir": "~/.goclaw/data",
        "edition": edition.as_str(),
        "agents": {
            "defaults": {
                "workspace": "~/.goclaw/workspace",
                "restrict_to_workspace": true,
                "provider": "anthropic",
                "model": "claude-sonnet-4-5-20250929",
                "max_tokens": 8192,
                "temperature": 0.7,
                "max_tool_iterations": 30,
                "context_window": 200_000,
                "max_tool_calls": 25,
                "subagents": {"maxConcurrent": 20, "maxSpawnDepth": 1},
            },
        },
        "channels": {
            "telegram": telegram,
            "discord": channel(&["token"]),
            "slack": channel(&["bot_token", "app_token"]),
            "whatsapp": channel(&["bridge_url"]),
            "zalo": channel(&["token"]),
            "zalo_personal": channel(&[]),
            "feishu": channel(&["app_id", "app_secret"]),
        },
        "providers": providers(),
        "gateway": {"host": host, "port": DEFAULT_PORT, "max_message_chars": 32_000, "rate_limit_rpm": 20},
        "tools": {
            "execApproval": {"security": "full", "ask": "off"},
            "web_fetch": {},
            "web": {"brave": {"enabled": false, "api_key": "", "max_results": 5}, "duckduckgo": {"enabled": true, "max_results": 5}},
            "browser": {"enabled": true, "headless": true},
            "rate_limit_per_hour": 150,
        },
        "sessions": {},
        "database": {},
        "tts": {"openai": {}, "elevenlabs": {}, "edge": {}, "minimax": {}},
        "cron": {},
        "telemetry": {},
        "tailscale": {"hostname": ""},
        "security": {"allow_private_hosts": [], "trusted_proxies": []},
        "logging": {"level": "info", "format": "pretty"},
        "updates": {"enabled": false, "url": ""},
    })
}

fn providers() -> Value {
    let section = |key: &str| match key {
        "ollama" => json!({"host": ""}),
        "claude_cli" => json!({"cli_path": "", "model": "", "base_work_dir": "", "perm_mode": ""}),
        "acp" => json!({"binary": "", "args": [], "model": "", "work_dir": "", "idle_ttl": ""}),
        _ => json!({"api_key": ""}),
    };
    PRESETS
        .iter()
        .filter(|preset| !preset.config_key.is_empty())
        .map(|preset| (preset.config_key.to_owned(), section(preset.config_key)))
        .collect::<Map<_, _>>()
        .into()
}

/// Puts the built-in values where `document` has nothing.
pub fn fill(document: &mut Value, built_in: &Value) {
    // A section of the wrong kind is refused elsewhere; a value that is there stays.
    let (Value::Object(document), Value::Object(built_in)) = (document, built_in) else { return };
    for (key, value) in built_in {
        match document.get_mut(key) {
            Some(present) if !is_empty(present) => fill(present, value),
            _ => drop(document.insert(key.clone(), value.clone())),
        }
    }
}

/// Whether a value says nothing.
fn is_empty(value: &Value) -> bool {
    value.is_null() || value.as_str() == Some("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays_zero_and_false_as_well() {
        let mut document =
            json!({"gateway": {"rate_limit_rpm": 0, "host": "", "port": null}, "tools": {"browser": {"enabled": false}}, "edition": {"limits": {}}});
        fill(&mut document, &built_in(EditionName::Lite));
        assert_eq!(document["gateway"]["rate_limit_rpm"], 0);
        assert_eq!((&document["gateway"]["host"], &document["gateway"]["port"]), (&json!("127.0.0.1"), &json!(18790)));
        assert_eq!(document["tools"]["browser"], json!({"enabled": false, "headless": true}));
        assert_eq!(document["edition"], json!({"limits": {}}));
    }

    #[test]
    fn the_built_in_configuration_is_a_good_one() {
        for edition in [EditionName::Lite, EditionName::Standard] {
            super::super::document::typed(&built_in(edition)).unwrap();
        }
    }
}
