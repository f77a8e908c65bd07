//! What GoClaw does: use cases and engines, over ports alone.
//!
//! [`Core::start`] builds everything from its [`Parts`]; the gateway then asks the use cases, each of which checks the
//! [`caller::Caller`]'s permission itself, so that REST and WebSocket cannot differ.

pub mod activity;
pub mod agents;
pub mod api_keys;
pub mod archives;
pub mod audit;
pub mod auth;
pub mod caller;
pub mod chat;
pub mod coherence;
pub mod compaction;
pub mod config_permissions;
pub mod configuration;
pub mod context_files;
pub mod counters;
mod delegation;
pub mod delivery;
pub mod exports;
pub mod files;
pub mod heartbeats;
pub mod known;
pub mod links;
pub mod logs;
mod lookups;
mod media;
pub mod oauth;
pub mod pairing;
pub mod platform;
pub mod policy;
pub mod pools;
pub mod presets;
pub mod pricing;
pub mod providers;
pub mod prune;
pub mod quotas;
mod rate;
pub mod redact;
pub mod runs;
pub mod sessions;
pub mod settings;
pub mod speech;
mod subagents;
mod summoning;
pub mod system_configs;
pub mod tenants;
mod tokens;
pub mod toolbox;
pub mod traces;
pub mod usage;
pub mod workspace;

use activity::ActivityLog;
use agents::Agents;
use api_keys::ApiKeys;
use archives::Archives;
use audit::Audit;
use auth::Authenticator;
use chat::Chat;
use coherence::Coherence;
use config_permissions::ConfigPermissions;
use configuration::{ConfigurationAccess, Following};
use context_files::ContextFiles;
use exports::Exports;
use files::{FileLinks, FileTokens, Files};
use goclaw_ports::{
    Result,
    archives::ArchiveFiles,
    channels::Channels,
    clock::{Clock, Ids},
    configuration::Configuration,
    events::EventBus,
    files::Disk,
    limits::RateLimiter,
    llm::{ClaudeCli, ProviderFactory},
    logs::Logs,
    media::Images,
    oauth::{AuthorizationServer, ReturnPlace},
    releases::Releases,
    sealer::Sealer,
    speech::{AudioFiles, SpeechProviders},
    stores::Stores,
    tools::Tools,
    traces::TraceExporter,
};
use heartbeats::{Heart, HeartbeatTool, Heartbeats};
use known::{KnownAgents, KnownLinks, KnownTools};
use links::Links;
use logs::LogTail;
use media::MediaShelf;
use oauth::{OAuth, Quotas, Tokens};
use pairing::Pairing;
use platform::Platform;
use pools::{Pools, Routes, Standings};
use providers::{ConfiguredProvider, Providers, Registry, StoredProviders};
use quotas::RequestQuotas;
use rate::RequestRate;
use runs::{Runs, elsewhere::Elsewhere, engine::Engine, inbound::Inbound, resume::Resumption};
use sessions::Sessions;
use settings::{LiveSettings, TenantSettings};
use speech::{Speech, SpeechTool, Voice};
use std::{sync::Arc, time::Duration};
use subagents::{DelegateTool, SpawnTool, Subagents};
use summoning::{Summoner, Work};
use system_configs::SystemConfigs;
use tenants::Tenants;
use toolbox::ToolBox;
use traces::{Retention, Tracer, Traces};
use usage::{Counting, Usage};

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
    /// Tells caches what changed, over the same bus.
    pub coherence: Arc<Coherence>,
    /// The agents of [`Parts::stores`].
    pub agents: Arc<KnownAgents>,
    /// Counts requests.
    pub limiter: Arc<dyn RateLimiter>,
    /// Servers that help and are not needed.
    pub services: Vec<Arc<dyn platform::Service>>,
    /// Makes providers.
    pub factory: Arc<dyn ProviderFactory>,
    /// Where people sign in to their accounts.
    pub authorization: Arc<dyn AuthorizationServer>,
    /// Where their browsers come back to.
    pub return_place: Arc<dyn ReturnPlace>,
    /// Claude's command line.
    pub claude_cli: Arc<dyn ClaudeCli>,
    /// Reads and writes context files; the tools' virtual files.
    pub files: Arc<ContextFiles>,
    /// Makes and reads archives.
    pub archives: Arc<dyn ArchiveFiles>,
    /// What models may do.
    pub tools: Tools,
    /// Where people are reached.
    pub channels: Arc<dyn Channels>,
    /// The gateway's disk.
    pub disk: Arc<dyn Disk>,
    /// Prepares pictures for models.
    pub images: Arc<dyn Images>,
    /// Who speaks.
    pub speech: Arc<dyn SpeechProviders>,
    /// Keeps what was spoken.
    pub audio: Arc<dyn AudioFiles>,
    /// The operator's providers.
    pub configured_providers: Vec<ConfiguredProvider>,
    /// What the operator decided.
    pub settings: Arc<LiveSettings>,
    /// The file, the secret store and the environment.
    pub configuration: Arc<dyn Configuration>,
    /// The newest lines of the log.
    pub logs: Arc<dyn Logs>,
    /// Newer releases.
    pub releases: Arc<dyn Releases>,
    /// Where finished traces go besides the database.
    pub exporter: Option<Arc<dyn TraceExporter>>,
    /// Where runs live: a multi-thread runtime.
    pub runtime: tokio::runtime::Handle,
    /// The gateway's version.
    pub version: &'static str,
}

/// The gateway without its wire.
pub struct Core {
    /// Who is there.
    pub auth: Arc<Authenticator>,
    /// API keys.
    pub api_keys: ApiKeys,
    /// Tenants and their members.
    pub tenants: Tenants,
    /// The audit log.
    pub activity: ActivityLog,
    /// What runs did and cost.
    pub traces: Traces,
    /// What runs took, hour by hour.
    pub usage: Usage,
    /// A tenant's configuration values.
    pub system_configs: Arc<SystemConfigs>,
    /// The installation's configuration.
    pub configuration: ConfigurationAccess,
    /// Who may change what of an agent.
    pub config_permissions: Arc<ConfigPermissions>,
    /// Which agent may hand work to which.
    pub links: Links,
    /// What agents look after by themselves.
    pub heartbeats: Arc<Heartbeats>,
    /// Who asks to be let in.
    pub pairing: Arc<Pairing>,
    /// The log.
    pub logs: LogTail,
    /// Agents.
    pub agents: Arc<Agents>,
    /// Agents as archives.
    pub archives: Arc<Archives>,
    /// Exports that wait to be fetched.
    pub exports: Arc<Exports>,
    /// LLM providers.
    pub providers: Providers,
    /// Accounts that people sign in to.
    pub oauth: Arc<OAuth>,
    /// Accounts that stand in for one another.
    pub pools: Pools,
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// Asking an agent.
    pub chat: Chat,
    /// How much each user may ask.
    pub quotas: Arc<RequestQuotas>,
    /// Tools.
    pub tools: Arc<ToolBox>,
    /// Files of agents and users.
    pub user_files: Arc<Files>,
    /// Text to speech.
    pub speech: Speech,
    /// The installation itself.
    pub platform: Platform,
    /// What the operator decided.
    pub settings: Arc<LiveSettings>,
    /// The same, for each tenant.
    pub tenant_settings: Arc<TenantSettings>,
    /// Carries events.
    pub bus: Arc<dyn EventBus>,
    /// Makes ids.
    pub ids: Arc<dyn Ids>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    runs: Arc<Runs>,
    heart: Arc<Heart>,
    summoner: Arc<Summoner>,
    subagents: Arc<Subagents>,
    resumption: Arc<Resumption>,
    tracer: Tracer,
    counting: Counting,
    audit: Audit,
}

impl Core {
    /// Builds everything, and puts in order what a crash may have left: runs that were under way count as failed.
    ///
    /// # Errors
    /// What the stores say.
    pub async fn start(parts: Parts) -> Result<Arc<Self>> {
        let Parts {
            stores,
            sealer,
            clock,
            ids,
            bus,
            coherence,
            agents: known_agents,
            limiter,
            services,
            factory,
            authorization,
            return_place,
            files,
            mut tools,
            channels,
            disk,
            images,
            claude_cli,
            speech,
            audio,
            archives,
            configured_providers,
            settings,
            configuration,
            logs,
            releases,
            exporter,
            runtime,
            version,
        } = parts;
        let audit = Audit::start(stores.activity.clone(), clock.clone(), ids.clone(), &runtime);
        let (links, builtin_tools) = (KnownLinks::over(stores.links.clone(), &coherence), KnownTools::over(stores.builtin_tools.clone(), &coherence));
        let stores = Stores { agents: known_agents.clone(), links: links.clone(), builtin_tools: builtin_tools.clone(), ..stores };
        let tenant_settings = TenantSettings::new(settings.clone(), stores.system_configs.clone());
        let rate = Arc::new(RequestRate { limiter: limiter.clone(), settings: tenant_settings.clone() });
        let runs = Arc::new(Runs::new(settings.get().lanes));
        let standings = Standings::new(clock.clone(), runtime.clone());
        let tokens = Arc::new(Tokens {
            providers: stores.providers.clone(),
            secrets: stores.secrets.clone(),
            sealer: sealer.clone(),
            locks: stores.locks.clone(),
            server: authorization,
            standings: standings.clone(),
            clock: clock.clone(),
            runtime: runtime.clone(),
            accounts: Default::default(),
        });
        let registry = Arc::new(Registry::new(factory.clone(), tokens.clone(), configured_providers));
        let quotas = Arc::new(Quotas { tokens: tokens.clone(), registry: registry.clone(), clock: clock.clone() });
        let routes =
            Arc::new(Routes { providers: stores.providers.clone(), registry: registry.clone(), standings, quotas: quotas.clone(), turns: Default::default() });
        let tracer = Tracer::start(stores.traces.clone(), stores.usage.clone(), exporter, bus.clone(), clock.clone(), ids.clone(), &runtime);
        let tracer = tracer.keeping(settings.get().trace_preview);
        let exclusive = stores.database.exclusive();
        let elsewhere = Elsewhere { tracer: tracer.clone(), bus: bus.clone(), locks: stores.locks.clone(), alone: exclusive };
        let summoner = Arc::new(Summoner {
            store: stores.agents.clone(),
            registry: registry.clone(),
            routes: routes.clone(),
            settings: tenant_settings.clone(),
            tracer: tracer.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            runtime: runtime.clone(),
            work: Work::default(),
        });
        let agents = Arc::new(Agents {
            store: stores.agents.clone(),
            known: known_agents,
            settings: tenant_settings.clone(),
            audit: audit.clone(),
            runs: runs.clone(),
            elsewhere: elsewhere.clone(),
            summoner: summoner.clone(),
            routes: routes.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
        });
        let conversations = Arc::new(sessions::tools::Conversations {
            store: stores.sessions.clone(),
            agents: agents.clone(),
            tenants: stores.tenants.clone(),
            clock: clock.clone(),
            engine: Default::default(),
            answering: Default::default(),
        });
        tools.extend(sessions::tools::all(&conversations));
        let stored = StoredProviders::new(stores.providers.clone(), sealer.clone(), registry.clone(), tokens.clone());
        coherence.register(stored.clone());
        stored.follow(&runtime);
        // Before anything is read: what changes from here on is heard.
        coherence.listen(&runtime);
        let oauth = Arc::new(OAuth {
            tokens,
            quotas,
            stored: stored.clone(),
            factory: factory.clone(),
            place: return_place,
            coherence: coherence.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            desk: Default::default(),
        });
        let pools =
            Pools { routes: routes.clone(), traces: stores.traces.clone(), agents: agents.clone(), agent_store: stores.agents.clone(), clock: clock.clone() };
        let providers = Providers {
            store: stores.providers.clone(),
            system_configs: stores.system_configs.clone(),
            sealer,
            factory,
            claude_cli,
            registry: registry.clone(),
            stored: stored.clone(),
            oauth: oauth.clone(),
            coherence: coherence.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
        };
        let config_permissions = Arc::new(ConfigPermissions {
            store: stores.config_permissions.clone(),
            agents: stores.agents.clone(),
            audit: audit.clone(),
            coherence: coherence.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            known: config_permissions::KnownRules::default(),
        });
        let media = Arc::new(MediaShelf {
            disk: disk.clone(),
            images,
            store: stores.media.clone(),
            settings: settings.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            measures: Default::default(),
        });
        let user_files = Arc::new(Files {
            disk,
            agents: stores.agents.clone(),
            settings: settings.clone(),
            media: media.clone(),
            links: FileLinks { tokens: Arc::new(FileTokens::with_new_key()), clock: clock.clone() },
            audit: audit.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
        });
        let heartbeats = Arc::new(Heartbeats {
            store: stores.heartbeats.clone(),
            agents: agents.clone(),
            files: stores.agents.clone(),
            providers: stores.providers.clone(),
            registry: registry.clone(),
            channels: channels.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            look: Arc::default(),
        });
        tools.push(Arc::new(HeartbeatTool::new(heartbeats.clone(), config_permissions.clone())));
        let speaking = Arc::new(tokio::sync::Semaphore::new(crate::speech::AT_ONCE));
        let voice = Arc::new(Voice { providers: speech, files: audio, runtime: runtime.clone(), speaking });
        tools.push(Arc::new(SpeechTool::new(voice.clone(), tenant_settings.clone())));
        // The tools that hand tasks over need the engine, which needs the tools.
        let subagents = Arc::new_cyclic(|subagents: &subagents::Handle| {
            tools.push(Arc::new(SpawnTool::new(subagents.clone())));
            tools.push(Arc::new(DelegateTool::new(subagents.clone())));
            let toolbox = ToolBox::new(tools, builtin_tools, agents.clone(), files.clone(), settings.clone(), rate.clone(), clock.clone());
            let engine = Engine {
                directories: Arc::default(),
                titles: Arc::new(tokio::sync::Semaphore::new(runs::title::AT_ONCE)),
                compactions: Default::default(),
                sessions: stores.sessions.clone(),
                inbound: Arc::new(Inbound::new(stores.inbound.clone(), clock.clone(), ids.clone())),
                locks: stores.locks.clone(),
                registry: registry.clone(),
                routes,
                tools: Arc::new(toolbox),
                media: media.clone(),
                files,
                links,
                tracer: tracer.clone(),
                settings: tenant_settings.clone(),
                bus: bus.clone(),
                clock: clock.clone(),
                ids: ids.clone(),
                runs: runs.clone(),
                runtime: runtime.clone(),
            };
            Subagents::new(Arc::new(engine), stores.subagents.clone(), agents.clone(), stores.tenants.clone())
        });
        let engine = subagents.engine().clone();
        let tools = engine.tools.clone();
        tokio::try_join!(stored.refresh_all(), tools.seed(), summoner.follow(exclusive), tracer.give_up(&*bus, exclusive))?;
        if !exclusive {
            tracer.keep_leases(bus.clone(), &runtime);
        }
        subagents.follow(exclusive).await?;
        let resumption = Arc::new(Resumption {
            engine: engine.clone(),
            agents: agents.clone(),
            tenants: stores.tenants.clone(),
            work: Default::default(),
            stop: Default::default(),
        });
        resumption.follow(exclusive).await?;
        elsewhere.obey(runs.clone(), &runtime);
        let sessions = Arc::new(Sessions {
            store: stores.sessions.clone(),
            agents: stores.agents.clone(),
            settings: tenant_settings.clone(),
            runs: runs.clone(),
            elsewhere: elsewhere.clone(),
            locks: stores.locks.clone(),
            registry: registry.clone(),
            files: user_files.clone(),
            audit: audit.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
        });
        let heart = Arc::new(Heart {
            store: stores.heartbeats.clone(),
            agents: stores.agents.clone(),
            tenants: stores.tenants.clone(),
            sessions: stores.sessions.clone(),
            channels,
            engine: engine.clone(),
            runs: runs.clone(),
            elsewhere: elsewhere.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            runtime: runtime.clone(),
            look: heartbeats.look.clone(),
            work: Default::default(),
        });
        let quotas = Arc::new(RequestQuotas::new(stores.usage.clone(), settings.clone(), clock.clone()));
        let chat = Chat {
            quotas: quotas.clone(),
            lines: Default::default(),
            engine,
            agents: agents.clone(),
            sessions: sessions.clone(),
            runs: runs.clone(),
            elsewhere: elsewhere.clone(),
            rate: rate.clone(),
            files: user_files.clone(),
            ids: ids.clone(),
        };
        let platform = Platform {
            stores: stores.clone(),
            services,
            settings: settings.clone(),
            runs: runs.clone(),
            elsewhere,
            clock: clock.clone(),
            started_at: clock.now(),
            version,
            tools: tools.count(),
            releases,
        };
        let pairing = Arc::new(Pairing {
            store: stores.pairing.clone(),
            audit: audit.clone(),
            coherence: coherence.clone(),
            bus: bus.clone(),
            limiter: limiter.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
        });
        let auth = Arc::new(Authenticator {
            settings: settings.clone(),
            tenants: stores.tenants.clone(),
            keys: stores.api_keys.clone(),
            devices: stores.pairing.clone(),
            pairing: pairing.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            limiter,
            known: auth::Known::default(),
        });
        let api_keys = ApiKeys {
            store: stores.api_keys.clone(),
            tenants: stores.tenants.clone(),
            audit: audit.clone(),
            coherence: coherence.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
        };
        let tenants = Tenants {
            store: stores.tenants.clone(),
            api_keys: stores.api_keys.clone(),
            settings: settings.clone(),
            audit: audit.clone(),
            coherence: coherence.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
        };
        let system_configs = Arc::new(SystemConfigs {
            store: stores.system_configs.clone(),
            configuration: configuration.clone(),
            audit: audit.clone(),
            coherence: coherence.clone(),
            clock: clock.clone(),
        });
        coherence.register(Following::start(configuration.clone(), &runtime));
        let configuration = ConfigurationAccess { configuration, system_configs: system_configs.clone(), coherence: coherence.clone(), audit: audit.clone() };
        let speech = Speech {
            voice,
            settings: tenant_settings.clone(),
            configuration: configuration.clone(),
            system_configs: system_configs.clone(),
            tools: tools.clone(),
            links: user_files.links.clone(),
            rate,
        };
        let links = Links {
            store: stores.links.clone(),
            agents: stores.agents.clone(),
            audit: audit.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
        };
        user_files.sweep_uploads(stores.database.exclusive(), &runtime);
        media.sweep(&runtime);
        // The engine needs the tools, so it is given to them late.
        let _ = conversations.engine.set(Arc::downgrade(&chat.engine));
        let exports = Exports::start(clock.clone(), ids.clone(), &runtime);
        let archives = Arc::new(Archives {
            agents: agents.clone(),
            agent_store: stores.agents.clone(),
            store: stores.archives.clone(),
            files: archives,
            settings: tenant_settings.clone(),
            audit: audit.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            runtime: runtime.clone(),
            work: archives::Work::default(),
        });
        let retention = Retention { traces: stores.traces.clone(), usage: stores.usage.clone(), locks: stores.locks.clone(), settings: settings.clone() };
        coherence.register(auth.clone());
        coherence.register(config_permissions.clone());
        coherence.register(tenant_settings.clone());
        heart.begin(stores.database.exclusive()).await?;
        Ok(Arc::new(Self {
            auth,
            api_keys,
            tenants,
            activity: ActivityLog { store: stores.activity.clone() },
            traces: Traces { store: stores.traces.clone(), usage: stores.usage.clone(), clock: clock.clone() },
            usage: Usage { store: stores.usage.clone(), settings: settings.clone(), clock: clock.clone() },
            counting: Counting::start(stores.usage.clone(), retention, clock.clone(), &runtime),
            system_configs,
            configuration,
            config_permissions,
            links,
            heartbeats,
            pairing,
            logs: LogTail { logs },
            agents,
            archives,
            exports,
            providers,
            oauth,
            pools,
            sessions,
            chat,
            quotas,
            tools,
            user_files,
            speech,
            platform,
            settings,
            tenant_settings,
            bus,
            ids,
            clock,
            runs,
            heart,
            summoner,
            subagents,
            resumption,
            tracer,
            audit,
        }))
    }

    /// Takes no new runs, lets the others end within `grace`, stops what is left, and writes what is still to be written.
    /// The database stays open for the requests that are still being answered.
    pub async fn stop(&self, grace: Duration) {
        self.heart.stop();
        tokio::join!(self.runs.drain(grace), self.archives.stop(grace));
        self.heart.settle().await;
        self.subagents.stop().await;
        self.resumption.stop().await;
        self.summoner.stop().await;
        self.tracer.flush().await;
        self.counting.stop().await;
        self.audit.flush().await;
        self.bus.flush().await;
    }
}
