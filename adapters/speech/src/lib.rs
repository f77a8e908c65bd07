//! Services that speak: OpenAI, ElevenLabs and MiniMax over HTTP, Microsoft Edge's voices through a program of this machine.
#![deny(missing_docs)]

mod edge;
mod elevenlabs;
mod minimax;
mod openai;
mod service;

use goclaw_outbound::Outbound;
use goclaw_ports::speech::{SpeechProvider, SpeechProviders};
use reqwest::Client;
use secrecy::SecretString;
use std::sync::{Arc, PoisonError, RwLock};

/// The largest audio that is taken, in bytes.
const MAX_AUDIO: usize = 32 << 20;

/// Which services there are, and how they speak when nobody says how.
#[derive(Debug, Clone, Default)]
pub struct SpeechConfig {
    /// OpenAI, if there is a key.
    pub openai: Option<ServiceConfig>,
    /// ElevenLabs, if there is a key.
    pub elevenlabs: Option<ServiceConfig>,
    /// Microsoft Edge's voices, unless they are switched off.
    pub edge: Option<EdgeConfig>,
    /// MiniMax, if there is a key.
    pub minimax: Option<ServiceConfig>,
}

/// A service over HTTP.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// The key.
    pub api_key: SecretString,
    /// The account's group; MiniMax only.
    pub group_id: Option<SecretString>,
    /// Its base URL. The operator's own, so it may be in a private network.
    pub base: String,
    /// The model, unless the request names one.
    pub model: String,
    /// The voice, unless the request names one.
    pub voice: String,
}

/// The program `edge-tts`.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// The voice, unless the request names one.
    pub voice: String,
    /// How fast: `+10%`; `None` for the voice's own pace.
    pub rate: Option<String>,
    /// All that the program gets to see of the environment. It is looked for in `PATH`.
    pub environment: Vec<(String, String)>,
}

/// The services of the configuration that holds.
pub struct Services {
    client: Client,
    now: RwLock<Vec<Arc<dyn SpeechProvider>>>,
}

impl Services {
    /// The services of `config`.
    #[must_use]
    pub fn new(outbound: &Outbound, config: SpeechConfig) -> Self {
        let services = Self { client: outbound.trusted(), now: RwLock::default() };
        services.configure(config);
        services
    }

    /// Puts the services of `config` in place of those before; who speaks already goes on. A service whose configuration cannot
    /// be used is left out, and the log says why.
    pub fn configure(&self, config: SpeechConfig) {
        let service = |name: &'static str, config: Option<ServiceConfig>| {
            let service = service::Service::new(self.client.clone(), name, config?);
            service.inspect_err(|why| tracing::warn!(provider = name, "the speech provider cannot be used: {why}")).ok()
        };
        let mut now: Vec<Arc<dyn SpeechProvider>> = Vec::new();
        now.extend(service("openai", config.openai).map(|service| Arc::new(openai::OpenAi(service)) as _));
        now.extend(service("elevenlabs", config.elevenlabs).map(|service| Arc::new(elevenlabs::ElevenLabs(service)) as _));
        now.extend(config.edge.map(|config| Arc::new(edge::Edge(config)) as _));
        now.extend(service("minimax", config.minimax).map(|service| Arc::new(minimax::MiniMax(service)) as _));
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

impl SpeechProviders for Services {
    fn now(&self) -> Vec<Arc<dyn SpeechProvider>> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
