//! `goclaw onboard`: a provider, its key, and an agent to talk to.

mod ask;
mod probe;
mod target;
mod write;

use crate::{
    config::Config,
    run::{llm, plain},
};
use anyhow::{Context, Result, bail};
use goclaw_core::presets::{PRESETS, Preset, keyless};
use goclaw_ports::{
    JsonObject,
    llm::{ModelInfo, ProviderFactory, ProviderSpec},
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use std::io::{self, BufRead, IsTerminal};
use target::Target;

/// What is said beforehand. The rest is asked.
#[derive(clap::Args)]
pub struct Options {
    /// The provider: anthropic, openai, ollama, …
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Read the provider's key from the first line of standard input
    #[arg(long)]
    api_key_stdin: bool,
    /// The provider's base URL, if it is not the usual one
    #[arg(long, value_name = "URL")]
    api_base: Option<String>,
    /// The model that agents use
    #[arg(long)]
    model: Option<String>,
    /// Ask nothing: take what the flags say, and the usual for the rest
    #[arg(short, long)]
    yes: bool,
}

/// Where models come from, as far as it was found out.
struct Choice {
    preset: &'static Preset,
    api_base: String,
    api_key: Option<SecretString>,
    model: String,
}

/// Sets everything up.
///
/// # Errors
/// If the provider does not accept the key, or something cannot be written.
pub async fn run(mut config: Config, options: Options) -> Result<()> {
    let (_, factory) = llm(&config)?;
    let interactive = !options.yes && io::stdin().is_terminal() && !options.api_key_stdin;
    let choice = choose(&config, &options, &*factory, interactive).await?;
    write::save(&config.path, choice.preset, &choice.api_base, &choice.model)?;
    println!("wrote {}", config.path.display());

    // What was written must hold for what follows.
    config = config.reload()?;
    let target = Target::of(config).await?;
    let stored = match &choice.api_key {
        Some(key) => store_key(&target, &choice, key).await,
        None => Ok(()),
    };
    let outcome = match stored {
        Ok(()) => first_agent(&target, &choice).await,
        failed => failed,
    };
    let running = target.is_running();
    target.close().await;
    outcome?;

    match running {
        true if !choice.api_base.is_empty() => println!("Restart the gateway, so that it takes the base URL. Then: goclaw agent chat"),
        true => println!("Done. Now: goclaw agent chat"),
        false => println!("Done. Start the gateway with `goclaw`, and in another terminal: goclaw agent chat"),
    }
    Ok(())
}

async fn choose(config: &Config, options: &Options, factory: &dyn ProviderFactory, interactive: bool) -> Result<Choice> {
    let ollama = match &options.provider {
        None => probe::ollama().await,
        Some(_) => None,
    };
    let preset = match (&options.provider, interactive, &ollama) {
        (Some(name), ..) => named(name)?,
        (None, true, found) => ask::provider(factory, found.is_some())?,
        (None, false, Some(_)) => named("ollama")?,
        (None, false, None) => bail!("name the provider with --provider, for instance --provider anthropic"),
    };
    if !factory.speaks(preset.provider_type) {
        bail!("this version does not speak to {}", preset.name);
    }
    let api_base = options.api_base.as_deref().unwrap_or_default().trim().trim_end_matches('/').to_owned();
    let api_key = key(config, options, preset, interactive)?;

    let spec = ProviderSpec {
        name: preset.name.to_owned(),
        provider_type: preset.provider_type.to_owned(),
        api_base: if api_base.is_empty() { preset.api_base.to_owned() } else { api_base.clone() },
        api_key: api_key.clone(),
        credentials: None,
        default_model: preset.default_model.to_owned(),
        trusted: true,
        settings: JsonObject::new(),
    };
    let provider = factory.build(spec).map_err(plain)?;
    println!("asking {} …", preset.name);
    let wanted = options.model.as_deref().unwrap_or(preset.default_model);
    let models = probe::provider(&*provider, wanted).await.with_context(|| format!("{} cannot be used", preset.name))?;
    let model = match &options.model {
        Some(model) => model.clone(),
        None if interactive => ask::model(&models, preset.default_model)?,
        None => usual(&models, preset.default_model)?,
    };
    println!("{} answers; agents use {model}", preset.name);
    Ok(Choice { preset, api_base, api_key, model })
}

fn named(name: &str) -> Result<&'static Preset> {
    PRESETS
        .iter()
        .filter(|preset| !preset.config_key.is_empty())
        .find(|preset| [preset.name, preset.config_key, preset.provider_type].contains(&name))
        .with_context(|| format!("unknown provider {name:?}; known are {}", known().join(", ")))
}

fn known() -> Vec<&'static str> {
    PRESETS.iter().filter(|preset| !preset.config_key.is_empty()).map(|preset| preset.name).collect()
}

/// The key: from standard input, from the environment, or asked for. `None` if the environment or the file has it, or none is needed.
fn key(config: &Config, options: &Options, preset: &Preset, interactive: bool) -> Result<Option<SecretString>> {
    if options.api_key_stdin {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).context("cannot read the key from standard input")?;
        return match line.trim() {
            "" => bail!("there is no key on standard input"),
            key => Ok(Some(SecretString::from(key))),
        };
    }
    if keyless(preset.provider_type) {
        return Ok(None);
    }
    let configured = config.providers().into_iter().find(|provider| provider.provider_type == preset.provider_type);
    match configured.and_then(|provider| provider.api_key) {
        Some(key) => Ok(Some(key)),
        None if interactive => ask::key(preset.name).map(Some),
        None => bail!("{} needs a key: pipe it into --api-key-stdin", preset.name),
    }
}

/// The usual model if the provider has it, else its first.
fn usual(models: &[ModelInfo], usual: &str) -> Result<String> {
    let listed = models.iter().any(|model| model.id == usual);
    match models.first() {
        Some(first) if !listed => Ok(first.id.clone()),
        _ if usual.is_empty() => bail!("the provider lists no models; name one with --model"),
        _ => Ok(usual.to_owned()),
    }
}

/// Hands the key over to be sealed. The base URL stays in the file: what the operator's file names may be a private host.
async fn store_key(target: &Target, choice: &Choice, key: &SecretString) -> Result<()> {
    let body = json!({
        "name": choice.preset.name,
        "provider_type": choice.preset.provider_type,
        "api_key": key.expose_secret(),
        "enabled": true,
    });
    target.put_provider(body).await.context("cannot store the key")?;
    println!("sealed the key of {}", choice.preset.name);
    Ok(())
}

async fn first_agent(target: &Target, choice: &Choice) -> Result<()> {
    let body = json!({
        "agent_key": "default",
        "display_name": "Default",
        "provider": choice.preset.name,
        "model": choice.model,
        "is_default": true,
    });
    if target.create_agent(body).await.context("cannot create the agent")? {
        println!("created the agent default");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn models(ids: &[&str]) -> Vec<ModelInfo> {
        ids.iter().map(|id| ModelInfo { id: (*id).to_owned(), name: None }).collect()
    }

    #[test]
    fn the_usual_model_is_taken_if_it_is_there() {
        assert_eq!(usual(&models(&["a", "usual"]), "usual").unwrap(), "usual");
        assert_eq!(usual(&models(&["a", "b"]), "usual").unwrap(), "a");
        assert_eq!(usual(&[], "usual").unwrap(), "usual");
        usual(&[], "").unwrap_err();
    }

    #[test]
    fn providers_are_found_by_name_key_and_type() {
        for name in ["zai-coding", "zai_coding"] {
            assert_eq!(named(name).unwrap().provider_type, "zai_coding");
        }
        assert_eq!(named("anthropic_native").unwrap().name, "anthropic");
        assert!(named("acme").unwrap_err().to_string().contains("anthropic"));
    }
}
