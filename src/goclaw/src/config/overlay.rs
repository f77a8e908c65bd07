//! What wins over the file: the secret store, and then the environment.

use super::{environment::Environment, file::File};
use goclaw_core::presets::PRESETS;
use secrecy::SecretString;
use std::collections::HashMap;

/// The gateway token's name in the secret store.
const GATEWAY_TOKEN: &str = "gateway.token";

/// Lays the secret store over the file.
pub fn secrets(file: &mut File, secrets: &HashMap<String, SecretString>) {
    if let Some(token) = secrets.get(GATEWAY_TOKEN) {
        file.gateway.token = Some(token.clone());
    }
}

/// Lays the environment over the file.
///
/// # Errors
/// Names the variable whose value cannot be used.
pub fn environment(file: &mut File, environment: &Environment) -> Result<(), String> {
    let text = |slot: &mut Option<String>, name: &str| {
        if let Some(value) = environment.get(name) {
            *slot = Some(value.to_owned());
        }
    };
    let list = |slot: &mut Vec<String>, name: &str| {
        if let Some(values) = environment.list(name) {
            *slot = values;
        }
    };

    for preset in PRESETS.iter().filter(|preset| !preset.config_key.is_empty() && !preset.key_variable.is_empty()) {
        if let Some(key) = environment.get(preset.key_variable) {
            file.providers.entry(preset.config_key.to_owned()).or_default().api_key = Some(SecretString::from(key));
        }
    }
    for (key, name) in [("anthropic", "GOCLAW_ANTHROPIC_BASE_URL"), ("openai", "GOCLAW_OPENAI_BASE_URL"), ("ollama_cloud", "GOCLAW_OLLAMA_CLOUD_API_BASE")] {
        if environment.get(name).is_some() {
            text(&mut file.providers.entry(key.to_owned()).or_default().api_base, name);
        }
    }
    if environment.get("GOCLAW_OLLAMA_HOST").is_some() {
        text(&mut file.providers.entry("ollama".to_owned()).or_default().host, "GOCLAW_OLLAMA_HOST");
    }

    if let Some(token) = environment.get("GOCLAW_GATEWAY_TOKEN") {
        file.gateway.token = Some(SecretString::from(token));
    }
    text(&mut file.gateway.host, "GOCLAW_HOST");
    if let Some(port) = environment.get("GOCLAW_PORT") {
        file.gateway.port = Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(|| format!("GOCLAW_PORT: {port} is no port (1 to 65535)"))?);
    }
    list(&mut file.gateway.owner_ids, "GOCLAW_OWNER_IDS");
    list(&mut file.gateway.allowed_origins, "GOCLAW_ALLOWED_ORIGINS");
    list(&mut file.security.allow_private_hosts, "GOCLAW_ALLOW_PRIVATE_HOSTS");
    list(&mut file.security.trusted_proxies, "GOCLAW_TRUSTED_PROXIES");

    text(&mut file.data_dir, "GOCLAW_DATA_DIR");
    text(&mut file.agents.defaults.workspace, "GOCLAW_WORKSPACE");
    // These two are for installations whose file names none.
    for (slot, name) in [(&mut file.agents.defaults.provider, "GOCLAW_PROVIDER"), (&mut file.agents.defaults.model, "GOCLAW_MODEL")] {
        if slot.as_deref().unwrap_or_default().is_empty() {
            text(slot, name);
        }
    }
    text(&mut file.logging.level, "GOCLAW_LOG_LEVEL");
    text(&mut file.logging.format, "GOCLAW_LOG_FORMAT");
    Ok(())
}
