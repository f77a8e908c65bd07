//! Language models that are programs of this machine: Claude's command line, and agents that speak the Agent Client Protocol.
//!
//! Every program leads a process group of its own, sees an environment without the gateway's secrets, works in a directory of
//! its conversation, and ends with its owner.
#![deny(missing_docs)]

mod acp;
mod claude;
mod environment;
mod ground;
mod lines;
mod offered;
mod place;
mod question;

pub use claude::auth_status;
pub use ground::Ground;

use goclaw_ports::{
    Error, Result,
    embeddings::{Embedder, EmbedderSpec},
    llm::{ChatStream, Provider, ProviderFactory, ProviderSpec},
    message,
};
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::sync::mpsc;

/// How many events of an answer wait for their reader.
const EVENTS: usize = 64;

/// What programs work with.
#[derive(Clone)]
pub struct ProgramsOptions {
    /// Below it each conversation with Claude's command line has its directory, unless the provider's settings name another.
    pub claude_directory: PathBuf,
    /// Settings for Claude's command line, one file for each conversation. Programs do not get to write there.
    pub hooks_directory: PathBuf,
    /// Below it each conversation with an agent has its directory, unless the provider's settings name another.
    pub acp_directory: PathBuf,
    /// The gateway's environment, of which programs see a part.
    pub environment: Vec<(String, String)>,
    /// What the machine lets programs do.
    pub ground: Arc<dyn Ground>,
    /// How long a program may say nothing while it is asked.
    pub idle_timeout: Duration,
}

/// The factory of providers that are programs.
#[must_use]
pub fn factory(options: ProgramsOptions) -> Arc<dyn ProviderFactory> {
    Arc::new(Programs { options, agents: Mutex::default() })
}

struct Programs {
    options: ProgramsOptions,
    /// Agents that are in use, by what they were made from: a configuration that is read again must not end their processes.
    agents: Mutex<HashMap<String, Weak<acp::Acp>>>,
}

impl ProviderFactory for Programs {
    fn speaks(&self, provider_type: &str) -> bool {
        matches!(provider_type, "claude_cli" | "acp")
    }

    fn build(&self, spec: ProviderSpec) -> Result<Arc<dyn Provider>> {
        match spec.provider_type.as_str() {
            "claude_cli" => Ok(Arc::new(claude::ClaudeCli::new(spec, &self.options)?)),
            "acp" => self.agent(spec),
            _ => Err(Error::invalid(message::unsupported_provider_type())),
        }
    }

    fn embedder(&self, _: EmbedderSpec) -> Result<Arc<dyn Embedder>> {
        Err(Error::invalid(message::unsupported_provider_type()))
    }

    fn check_base(&self, _: &str) -> Result<()> {
        Err(Error::invalid(message::unsupported_provider_type()))
    }
}

impl Programs {
    fn agent(&self, spec: ProviderSpec) -> Result<Arc<dyn Provider>> {
        let key = format!("{}\n{}\n{}\n{}", spec.name, spec.api_base, spec.default_model, serde_json::Value::from(spec.settings.clone()));
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.retain(|_, agent| agent.strong_count() > 0);
        if let Some(agent) = agents.get(&key).and_then(Weak::upgrade) {
            return Ok(agent);
        }
        let agent = acp::Acp::new(spec, &self.options)?;
        agents.insert(key, Arc::downgrade(&agent));
        Ok(agent)
    }
}

/// Whether there is such a program: an absolute path, or a name that is found in `PATH`.
#[must_use]
pub fn finds(name: &str, options: &ProgramsOptions) -> bool {
    environment::find(name, &options.environment).is_some()
}

/// A program, if there is one: an absolute path, or a name that is found in `PATH`.
fn program(name: &str, options: &ProgramsOptions) -> Result<PathBuf> {
    environment::find(name, &options.environment).ok_or_else(|| Error::invalid(message::program_not_found(name)))
}

/// A stream of what `work` says. The work ends with its reader.
fn streamed<F: Future<Output = Result<(), goclaw_ports::llm::LlmError>> + Send + 'static>(
    work: impl FnOnce(mpsc::Sender<Result<goclaw_ports::llm::ChatEvent, goclaw_ports::llm::LlmError>>) -> F,
) -> ChatStream {
    let (events, reader) = mpsc::channel(EVENTS);
    let failed = events.clone();
    let work = work(events);
    tokio::spawn(async move {
        if let Err(error) = work.await {
            // Nobody reads any more: nobody has to know.
            let _ = failed.send(Err(error)).await;
        }
    });
    Box::pin(futures_util::stream::unfold(reader, |mut reader| async move { Some((reader.recv().await?, reader)) }))
}
