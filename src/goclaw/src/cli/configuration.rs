//! `goclaw config`, `goclaw models` and `goclaw channels`: what the operator decided.

use super::print;
use crate::config::{Config, ConfigError};
use anyhow::Result;
use goclaw_core::presets;
use serde::Serialize;
use serde_json::{Value, json};
use std::{collections::BTreeSet, process::ExitCode};

/// What to do with the configuration.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Print what holds, defaults and environment included, as JSON; secrets are hidden
    Show {
        /// Print JSON, as always
        #[arg(long)]
        json: bool,
    },
    /// Print where the configuration file is
    Path {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Check the configuration; fails with the place of the first fault
    Validate {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Something that is listed.
#[derive(clap::Subcommand)]
pub enum List {
    /// List them
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// A model that the configuration names.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Model {
    provider: String,
    model: String,
    /// `ready`, or `no key`, or `not configured`: the provider may still be one that is stored in the database.
    status: &'static str,
}

/// A channel of the configuration.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Channel {
    name: String,
    enabled: bool,
    has_credentials: bool,
}

/// Does it.
///
/// # Errors
/// If the configuration cannot be used.
pub async fn run(config: Result<Config, ConfigError>, command: Command) -> Result<ExitCode> {
    match command {
        Command::Show { .. } => print::json(&config?.shown(mask))?,
        Command::Path { json: false } => print::line(&config?.path.display().to_string())?,
        Command::Path { json: true } => {
            let config = config?;
            print::json(&json!({"path": config.path, "exists": config.found}))?;
        }
        Command::Validate { json } => return validate(config, json),
    }
    Ok(ExitCode::SUCCESS)
}

fn validate(config: Result<Config, ConfigError>, json: bool) -> Result<ExitCode> {
    match config {
        Ok(config) => {
            if json {
                print::json(&json!({"ok": true, "path": config.path}))?;
            } else {
                let missing = if config.found { "" } else { " (no such file: the built-in values hold)" };
                print::line(&format!("{} is fine{missing}", config.path.display()))?;
                config.warnings().iter().try_for_each(|warning| print::line(&format!("note: {warning}")))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        Err(error) if json => {
            print::json(&json!({"ok": false, "error": error.to_string()}))?;
            Ok(ExitCode::FAILURE)
        }
        Err(error) => Err(error.into()),
    }
}

/// Lists the models that the configuration names.
///
/// # Errors
/// If standard output cannot be written to.
pub fn models(config: &Config, json: bool) -> Result<()> {
    let models =
        models_of(&config.shown(mask), &config.providers().iter().map(|provider| (provider.name.clone(), provider.api_key.is_some())).collect::<Vec<_>>());
    if json {
        return print::json(&models);
    }
    let rows: Vec<_> = models.iter().map(|model| [model.provider.clone(), model.model.clone(), model.status.to_owned()]).collect();
    print::table(["PROVIDER", "MODEL", "STATUS"], &rows, "the configuration names no model")
}

fn models_of(shown: &Value, configured: &[(String, bool)]) -> Vec<Model> {
    let defaults = &shown["agents"]["defaults"];
    let named = |agent: &Value| {
        let of = |key: &str| agent[key].as_str().filter(|text| !text.is_empty()).or_else(|| defaults[key].as_str()).unwrap_or_default().to_owned();
        (of("provider"), of("model"))
    };
    let agents = shown["agents"]["list"].as_object().into_iter().flat_map(|list| list.values());
    let named: BTreeSet<(String, String)> = std::iter::once(defaults).chain(agents).map(named).collect();
    let status = |provider: &str| match configured.iter().find(|(name, _)| name == provider) {
        Some((_, true)) => "ready",
        Some((_, false)) if presets::keyless(provider) => "ready",
        Some((_, false)) => "no key",
        None => "not configured",
    };
    named.into_iter().map(|(provider, model)| Model { status: status(&provider), provider, model }).collect()
}

/// Lists the channels of the configuration.
///
/// # Errors
/// If standard output cannot be written to.
pub fn channels(config: &Config, json: bool) -> Result<()> {
    let channels = channels_of(&config.shown(mask));
    if json {
        return print::json(&channels);
    }
    let yes = |yes| if yes { "yes" } else { "no" }.to_owned();
    let rows: Vec<_> = channels.iter().map(|channel| [channel.name.clone(), yes(channel.enabled), yes(channel.has_credentials)]).collect();
    print::table(["NAME", "ENABLED", "CREDENTIALS"], &rows, "the configuration names no channel")
}

/// What a channel cannot do without; every one has these keys in what holds.
fn channels_of(shown: &Value) -> Vec<Channel> {
    const CREDENTIALS: &[(&str, &[&str])] = &[
        ("telegram", &["token"]),
        ("discord", &["token"]),
        ("slack", &["bot_token", "app_token"]),
        ("whatsapp", &["bridge_url"]),
        ("zalo", &["token"]),
        ("zalo_personal", &["credentials_path"]),
        ("feishu", &["app_id", "app_secret"]),
    ];
    let channel = |(name, credentials): &(&str, &[&str])| {
        let section = &shown["channels"][*name];
        Channel {
            name: (*name).to_owned(),
            enabled: section["enabled"] == true,
            has_credentials: credentials.iter().all(|key| section[*key].as_str().is_some_and(|text| !text.is_empty())),
        }
    };
    CREDENTIALS.iter().map(channel).collect()
}

/// Enough of a secret to recognise it by, and too little to use.
pub fn mask(secret: &str) -> String {
    let secret: Vec<char> = secret.chars().collect();
    if secret.len() < 16 {
        return "****".to_owned();
    }
    let ends = |part: &[char]| part.iter().collect::<String>();
    format!("{}****{}", ends(&secret[..4]), ends(&secret[secret.len() - 4..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        assert_eq!(mask("sk-ant-0123456789abcdef"), "sk-a****cdef");
        assert_eq!((mask("short-key"), mask("")), ("****".to_owned(), "****".to_owned()));
    }

    #[test]
    fn each_model_is_named_once_with_what_its_provider_lacks() {
        let shown = json!({"agents": {"defaults": {"provider": "groq", "model": "m"}, "list": {"a": {}, "b": {"provider": "openai", "model": "n"}, "c": {"provider": "xai"}}}});
        let models = models_of(&shown, &[("groq".into(), true), ("openai".into(), false)]);
        let told: Vec<_> = models.iter().map(|model| (model.provider.as_str(), model.model.as_str(), model.status)).collect();
        assert_eq!(told, [("groq", "m", "ready"), ("openai", "n", "no key"), ("xai", "m", "not configured")]);
    }

    #[test]
    fn a_channel_has_its_credentials_or_lacks_one() {
        let channels = channels_of(&json!({"channels": {"telegram": {"enabled": true, "token": "t"}, "slack": {"bot_token": "b"}}}));
        let of = |name: &str| channels.iter().find(|channel| channel.name == name).map(|channel| (channel.enabled, channel.has_credentials)).unwrap();
        assert_eq!((of("telegram"), of("slack"), of("feishu")), ((true, true), (false, false), (false, false)));
    }
}
