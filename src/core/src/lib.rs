//! What GoClaw does: use cases and engines, over ports alone.
//!
//! [`Core::start`] builds everything from its [`Parts`]; the gateway then asks the use cases, each of which checks the
//! [`caller::Caller`]'s permission itself, so that REST and WebSocket cannot differ.

pub mod agents;
pub mod audit;
pub mod auth;
pub mod caller;
pub mod chat;
pub mod context_files;
pub mod delivery;
pub mod platform;
pub mod policy;
pub mod presets;
pub mod pricing;
pub mod providers;
pub mod prune;
pub mod redact;
pub mod runs;
pub mod sessions;
pub mod settings;
pub mod toolbox;
pub mod traces;
pub mod workspace;

use agents::Agents;
use audit::Audit;
use auth::Authenticator;
use chat::Chat;
use context_files::ContextFiles;
use goclaw_ports::{
    Result,
    clock::{Clock, Ids},
    events::EventBus,
    limits::RateLimiter,
    llm::ProviderFactory,
    message,
    sealer::Sealer,
    stores::Stores,
    tools::Tools,
};
use platform::Platform;
use providers::{ConfiguredProvider, Providers, Registry};
use runs::{Runs, engine::Engine};
use sessions::Sessions;
use settings::LiveSettings;
use std::{sync::Arc, time::Duration};
use toolbox::ToolBox;
use traces::Tracer;

/// A run that began longer ago than this and has not ended has lost its process.
const LONGEST_RUN: chrono::TimeDelta = chrono::TimeDelta::hours(6);

/// What the gateway is built from.
pub struct Parts {
    /// The database's stores.
    pub stores: Stores,
    /// Seals and opens secrets.
    pub sealer: Arc<dyn Sealer>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes ids.
    pub ids: Arc<dyn Ids>,
    /// Carries events.
    pub bus: Arc<dyn EventBus>,
    /// Counts requests.
    pub limiter: Arc<dyn RateLimiter>,
    /// Makes providers.
    pub factory: Arc<dyn ProviderFactory>,
    /// Reads and writes context files; the tools' virtual files.
    pub files: Arc<ContextFiles>,
    /// What models may do.
    pub tools: Tools,
    /// The operator's providers.
    pub configured_providers: Vec<ConfiguredProvider>,
    /// What the operator decided.
    pub settings: Arc<LiveSettings>,
    /// Where runs live: a multi-thread runtime.
    pub runtime: tokio::runtime::Handle,
    /// The gateway's version.
    pub version: &'static str,
}

/// The gateway without its wire.
pub struct Core {
    /// Who is there.
    pub auth: Authenticator,
    /// Agents.
    pub agents: Arc<Agents>,
    /// LLM providers.
    pub providers: Providers,
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// Asking an agent.
    pub chat: Chat,
    /// Tools.
    pub tools: Arc<ToolBox>,
    /// The installation itself.
    pub platform: Platform,
    /// What the operator decided.
    pub settings: Arc<LiveSettings>,
    /// Carries events.
    pub bus: Arc<dyn EventBus>,
    /// Makes ids.
    pub ids: Arc<dyn Ids>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    runs: Arc<Runs>,
    tracer: Tracer,
}

impl Core {
    /// Builds everything, and puts in order what a crash may have left: runs that were under way count as failed.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn start(parts: Parts) -> Result<Arc<Self>> {
        let Parts { stores, sealer, clock, ids, bus, limiter, factory, files, tools, configured_providers, settings, runtime, version } = parts;
        let audit = Audit::new(stores.activity.clone(), clock.clone(), ids.clone());
        let runs = Arc::new(Runs::default());
        let registry = Arc::new(Registry::new(factory.clone(), configured_providers));
        let agents = Arc::new(Agents {
            store: stores.agents.clone(),
            settings: settings.clone(),
            audit: audit.clone(),
            runs: runs.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
        });
        let providers =
            Providers { store: stores.providers.clone(), sealer, factory, registry: registry.clone(), audit, clock: clock.clone(), ids: ids.clone() };
        let toolbox = ToolBox::new(tools, stores.builtin_tools.clone(), agents.clone(), files.clone(), settings.clone(), clock.clone());
        let tools = Arc::new(toolbox);
        let interrupted = message::run_interrupted().to_string();
        tokio::try_join!(providers.register_all(), tools.seed(), async {
            // Another replica's runs go on; one that began so long ago does not.
            let before = clock.now() - if stores.database.exclusive() { chrono::TimeDelta::zero() } else { LONGEST_RUN };
            let failed = stores.traces.all_tenants_fail_running(before, clock.now(), &interrupted).await?;
            if failed > 0 {
                tracing::warn!(runs = failed, "runs were interrupted when the gateway last stopped");
            }
            Ok(())
        })?;
        let tracer = Tracer::start(stores.traces.clone(), clock.clone(), ids.clone(), &runtime);
        let sessions = Arc::new(Sessions { store: stores.sessions.clone(), agents: stores.agents.clone(), settings: settings.clone() });
        let engine = Arc::new(Engine {
            sessions: stores.sessions.clone(),
            registry,
            tools: tools.clone(),
            files,
            tracer: tracer.clone(),
            settings: settings.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            runs: runs.clone(),
            runtime,
        });
        let chat = Chat {
            engine,
            agents: agents.clone(),
            sessions: sessions.clone(),
            runs: runs.clone(),
            limiter: limiter.clone(),
            settings: settings.clone(),
            ids: ids.clone(),
        };
        let platform = Platform {
            stores: stores.clone(),
            settings: settings.clone(),
            runs: runs.clone(),
            clock: clock.clone(),
            started_at: clock.now(),
            version,
            tools: tools.count(),
        };
        let auth = Authenticator::new(settings.clone(), stores.tenants.clone(), stores.api_keys.clone(), clock.clone(), limiter);
        Ok(Arc::new(Self { auth, agents, providers, sessions, chat, tools, platform, settings, bus, ids, clock, runs, tracer }))
    }

    /// Takes no new runs, lets the others end within `grace`, stops what is left, and writes what is still to be written.
    /// The database stays open for the requests that are still being answered.
    pub async fn stop(&self, grace: Duration) {
        self.runs.drain(grace).await;
        self.tracer.flush().await;
    }
}
