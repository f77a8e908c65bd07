//! Which adapter stands behind which port.

use super::{
    place,
    programs::{self, Factories, Login, Machine},
    releases::ReleaseCheck,
    services,
    storage::{Opened, open_all, plain},
};
use crate::config::{
    Config,
    edition::Storage,
    first_start::TokenSource,
    live::{Followers, LiveConfiguration},
};
use anyhow::{Context, Result};
use goclaw_archives::TarArchives;
use goclaw_core::{Core, Parts, coherence::Coherence, context_files::ContextFiles, known::KnownAgents, settings::LiveSettings};
use goclaw_events::{LocalBus, RelayOptions, RelayedBus};
use goclaw_llm::LlmOptions;
use goclaw_outbound::{Outbound, OutboundOptions};
use goclaw_ports::{
    TenantId,
    channels::NoChannels,
    clock::{Clock, SystemClock, SystemIds},
    events::EventBus,
    llm::ProviderFactory,
    logs::Logs,
    releases::{NoReleases, Releases},
    sealer::{Sealed, Sealer},
    stores::Stores,
    traces::TraceExporter,
};
use goclaw_programs::ProgramsOptions;
use goclaw_speech::Services;
use goclaw_telemetry::OtlpExporter;
use goclaw_tools::{AudioShelf, ExecOptions, LocalDisk, ToolsOptions};
use secrecy::SecretString;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, RwLock},
};

/// A secret that says nothing: if it opens, the key is the one that this database was written with.
const KEY_CHECK: &str = "encryption.check";

/// The running core and what the binary still has to do with its parts.
pub struct Assembled {
    /// The use cases.
    pub core: Arc<Core>,
    /// The database's stores.
    pub stores: Stores,
    /// The configuration, as it can be changed.
    pub configuration: Arc<LiveConfiguration>,
    /// Where finished traces go as well.
    pub exporter: Option<Arc<OtlpExporter>>,
    /// Where the gateway token came from.
    pub token: TokenSource,
}

/// The way out of this machine, and the providers that go it.
///
/// # Errors
/// If the system gives no TLS roots.
pub fn llm(config: &Config) -> Result<(Arc<Outbound>, Arc<dyn ProviderFactory>)> {
    let machine = Machine::new(config, LiveSettings::new(config.settings()), Arc::new(RwLock::new(config.exec_approval())));
    providers(config, &programs::options(config, machine))
}

fn providers(config: &Config, of_programs: &ProgramsOptions) -> Result<(Arc<Outbound>, Arc<dyn ProviderFactory>)> {
    let outbound = Arc::new(Outbound::new(OutboundOptions { allow_private_hosts: config.private_hosts(), ..OutboundOptions::default() })?);
    let options = LlmOptions { machine: programs::machine_outside(), ..LlmOptions::default() };
    let factory = Factories { http: goclaw_llm::factory(Arc::clone(&outbound), options), programs: goclaw_programs::factory(of_programs.clone()) };
    Ok((outbound, Arc::new(factory)))
}

/// Opens the database, makes what a first start needs, and starts the core. Must be called on the runtime that all of it is to live on.
///
/// # Errors
/// Says what to do about it.
pub async fn assemble(config: &mut Config, logs: Arc<dyn Logs>) -> Result<Assembled> {
    config.make_directories()?;
    // What clients upload may be large, and elsewhere temporary files often are memory. It only fails if it was set before.
    drop(tempfile::env::override_temp_dir(&config.data_dir));
    let opened = open_all(config).await?;
    let stores = opened.stores.clone();
    match start(config, opened, logs).await {
        Ok(assembled) => Ok(assembled),
        Err(error) => {
            stores.database.close().await;
            Err(error)
        }
    }
}

async fn start(config: &mut Config, opened: Opened, logs: Arc<dyn Logs>) -> Result<Assembled> {
    let Opened { stores, relay, limiter } = opened;
    let (limiter, services) = services::start(config, limiter).await?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sealer = unseal(config, &stores, &*clock).await?;
    let token = config.settle_token()?;
    let runtime = tokio::runtime::Handle::current();
    let settings = LiveSettings::new(config.settings());
    let (exec_approval, web_fetch) = (Arc::new(RwLock::new(config.exec_approval())), Arc::new(RwLock::new(config.web_fetch())));
    let programs = programs::options(config, Machine::new(config, settings.clone(), exec_approval.clone()));
    let (outbound, factory) = providers(config, &programs)?;
    let speech = Arc::new(Services::new(&outbound, config.speech()));
    let followers = Followers { settings: settings.clone(), web_fetch: web_fetch.clone(), exec_approval: exec_approval.clone(), speech: speech.clone() };
    let configuration = LiveConfiguration::new(config.clone(), followers, stores.secrets.clone(), sealer.clone(), clock.clone());
    let bus: Arc<dyn EventBus> = match relay {
        Some(relay) => RelayedBus::start(relay, &runtime, RelayOptions::default()).await.map_err(plain)?,
        None => Arc::new(LocalBus::default()),
    };

    let (authorization, return_place) = goclaw_llm::oauth(&outbound, config.oauth());
    let exporter = exporter(config, &outbound, &runtime);
    let releases = releases(config, &outbound, &runtime);
    let coherence = Coherence::new(bus.clone());
    let agents = KnownAgents::over(stores.agents.clone(), &coherence);
    let files = ContextFiles::new(agents.clone(), clock.clone());
    let audio = Arc::new(AudioShelf::new(clock.clone(), protected_paths(config)));
    let archives = Arc::new(TarArchives::new(config.data_dir.clone(), protected_paths(config), clock.clone()));
    let tools = goclaw_tools::builtin(ToolsOptions {
        outbound,
        virtual_files: files.clone(),
        exec: ExecOptions { approval: exec_approval, ..ExecOptions::default() },
        web_fetch,
        protected_paths: protected_paths(config),
    });
    let core = Core::start(Parts {
        stores: stores.clone(),
        sealer,
        clock,
        ids: Arc::new(SystemIds),
        bus,
        coherence,
        agents,
        limiter,
        services,
        factory,
        authorization,
        return_place,
        files,
        archives,
        tools,
        channels: Arc::new(NoChannels),
        disk: Arc::new(LocalDisk::new(protected_paths(config))),
        images: Arc::new(goclaw_images::Pictures::default()),
        claude_cli: Arc::new(Login(programs)),
        speech,
        audio,
        configured_providers: config.providers(),
        settings,
        configuration: configuration.clone(),
        logs,
        releases,
        exporter: exporter.clone().map(|exporter| exporter as Arc<dyn TraceExporter>),
        runtime,
        version: env!("CARGO_PKG_VERSION"),
    })
    .await
    .map_err(plain)?;
    configuration.attach(&core);
    Ok(Assembled { core, stores, configuration, exporter, token })
}

/// What sends traces to the operator's collector. That it cannot be told to is no reason not to start.
fn exporter(config: &Config, outbound: &Outbound, runtime: &tokio::runtime::Handle) -> Option<Arc<OtlpExporter>> {
    OtlpExporter::start(config.telemetry()?, outbound.trusted(), runtime)
        .inspect_err(|error| tracing::warn!(%error, "traces are not exported: telemetry makes no sense"))
        .ok()
}

/// What looks for newer releases, if the operator wants that.
fn releases(config: &Config, outbound: &Outbound, runtime: &tokio::runtime::Handle) -> Arc<dyn Releases> {
    match config.updates() {
        Some(url) => ReleaseCheck::start(url.to_owned(), env!("CARGO_PKG_VERSION"), outbound.trusted(), runtime),
        None => Arc::new(NoReleases),
    }
}

/// Takes the encryption key, checks it against what the database holds, and lays the secret store over the configuration.
async fn unseal(config: &mut Config, stores: &Stores, clock: &dyn Clock) -> Result<Arc<dyn Sealer>> {
    let sealed = stores.secrets.list(TenantId::MASTER).await.map_err(plain)?;
    let sealer: Arc<dyn Sealer> = Arc::new(config.sealer(!sealed.is_empty())?);
    let secrets =
        opened(&*sealer, &sealed).context("the encryption key is not the one that this database was written with; restore the key that was used before")?;
    if !secrets.contains_key(KEY_CHECK) {
        let check = sealer.seal(place(KEY_CHECK), &SecretString::from("ok")).map_err(plain)?;
        stores.secrets.put(TenantId::MASTER, KEY_CHECK, &check, clock.now()).await.map_err(plain)?;
    }
    config.overlay_secrets(&secrets)?;
    Ok(sealer)
}

fn opened(sealer: &dyn Sealer, sealed: &[(String, Sealed)]) -> Result<HashMap<String, SecretString>> {
    sealed.iter().map(|(name, value)| Ok((name.clone(), sealer.open(place(name), value).map_err(plain)?))).collect()
}

/// What no tool may open and no archive may hold: the gateway's own files.
pub fn protected_paths(config: &Config) -> Vec<PathBuf> {
    let mut paths = vec![config.data_dir.clone(), config.path.clone()];
    if let Storage::Sqlite { path } = &config.storage {
        paths.extend(["", "-wal", "-shm", ".lock"].map(|ending| {
            let mut name = path.clone().into_os_string();
            name.push(ending);
            PathBuf::from(name)
        }));
    }
    paths
}
