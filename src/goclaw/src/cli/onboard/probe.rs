//! Trying things out before they are written down.

use crate::{cli::client::client, run::machine_outside};
use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use goclaw_ports::{
    llm::{ChatRequest, LlmErrorKind, ModelInfo, Provider},
    sessions::{ChatMessage, MessageRole},
};
use serde_json::Value;
use std::time::Duration;

/// How long a provider may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// The models of an Ollama on this machine, if one answers.
pub async fn ollama() -> Option<usize> {
    let machine = machine_outside().unwrap_or_else(|| "127.0.0.1".to_owned());
    let answer = client(Duration::from_secs(1)).ok()?.get(format!("http://{machine}:11434/api/tags")).send().await.ok()?;
    let tags: Value = answer.json().await.ok()?;
    Some(tags["models"].as_array()?.len())
}

/// Asks a provider for its models, or, if it does not say, for a word from `model`.
///
/// # Errors
/// If it accepts neither.
pub async fn provider(provider: &dyn Provider, model: &str) -> Result<Vec<ModelInfo>> {
    let listed = tokio::time::timeout(PATIENCE, provider.models()).await.context("it does not answer")?;
    match listed {
        Ok(models) => Ok(models),
        Err(error) if matches!(error.kind, LlmErrorKind::Auth) => bail!("it does not accept the key ({error})"),
        Err(error) if model.is_empty() => bail!("{error}"),
        Err(_) => {
            tokio::time::timeout(PATIENCE, word(provider, model)).await.context("it does not answer")??;
            Ok(Vec::new())
        }
    }
}

async fn word(provider: &dyn Provider, model: &str) -> Result<()> {
    let messages = vec![ChatMessage::new(MessageRole::User, "Say OK.")];
    let mut answer = provider.chat(ChatRequest { model: model.to_owned(), messages, max_tokens: 16, ..ChatRequest::default() });
    while let Some(event) = answer.next().await {
        event?;
    }
    Ok(())
}
