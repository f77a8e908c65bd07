//! The questions.

use anyhow::Result;
use goclaw_core::presets::{PRESETS, Preset};
use goclaw_ports::llm::{ModelInfo, ProviderFactory};
use inquire::{Password, PasswordDisplayMode, Select, Text};
use secrecy::SecretString;
use std::fmt;

struct Entry(&'static Preset, &'static str);

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.0.name, self.1)
    }
}

/// Which provider. A local Ollama that answers stands first.
pub fn provider(factory: &dyn ProviderFactory, ollama: bool) -> Result<&'static Preset> {
    let spoken = PRESETS.iter().filter(|preset| !preset.config_key.is_empty() && factory.speaks(preset.provider_type));
    let mut entries: Vec<_> = spoken.map(|preset| Entry(preset, if ollama && preset.name == "ollama" { " (runs on this machine)" } else { "" })).collect();
    entries.sort_by_key(|entry| entry.1.is_empty());
    Ok(Select::new("Which provider?", entries).prompt()?.0)
}

/// The provider's key.
pub fn key(provider: &str) -> Result<SecretString> {
    let question = format!("API key of {provider}:");
    Ok(SecretString::from(Password::new(&question).with_display_mode(PasswordDisplayMode::Masked).without_confirmation().prompt()?.trim()))
}

/// Which model: one of those that the provider lists, or any if it lists none.
pub fn model(models: &[ModelInfo], usual: &str) -> Result<String> {
    if models.is_empty() {
        return Ok(Text::new("Which model?").with_default(usual).prompt()?);
    }
    let mut ids: Vec<_> = models.iter().map(|model| model.id.clone()).collect();
    ids.sort_by_key(|id| id != usual);
    Ok(Select::new("Which model?", ids).prompt()?)
}
