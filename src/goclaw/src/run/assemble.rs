//! Which adapter stands behind which port.

use super::storage::{open, plain};
use crate::config::{Config, edition::Storage, first_start::TokenSource};
use anyhow::{Context, Result};
use goclaw_core::{Core, Parts, context_files::ContextFiles, settings::LiveSettings};
use goclaw_events::LocalBus;
use goclaw_limits::LocalLimiter;
use goclaw_llm::LlmOptions;
use goclaw_outbound::{Outbound, OutboundOptions};
use goclaw_ports::{
    TenantId,
    clock::{Clock, SystemClock, SystemIds},
    llm::ProviderFactory,
    sealer::{Place, Sealed, Sealer},
    stores::Stores,
};
use goclaw_tools::{ExecOptions, ToolsOptions};
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
    /// Where the gateway token came from.
    pub token: TokenSource,
}

/// The way out of this machine, and the providers that go it.
///
/// # Errors
/// If the system gives no TLS roots.
pub fn llm(config: &Config) -> Result<(Arc<Outbound>, Arc<dyn ProviderFactory>)> {
    let outbound = Arc::new(Outbound::new(OutboundOptions { allow_private_hosts: config.private_hosts(), ..OutboundOptions::default() })?);
    let factory = goclaw_llm::factory(Arc::clone(&outbound), LlmOptions::default());
    Ok((outbound, factory))
}

/// Opens the database, makes what a first start needs, and starts the core. Must be called on the runtime that all of it is to live on.
///
/// # Errors
/// Says what to do about it.
pub async fn assemble(config: &mut Config) -> Result<Assembled> {
    config.make_directories()?;
    let stores = open(config).await?;
    match start(config, stores.clone()).await {
        Ok(assembled) => Ok(assembled),
        Err(error) => {
            stores.database.close().await;
            Err(error)
        }
    }
}

async fn start(config: &mut Config, stores: Stores) -> Result<Assembled> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let sealer = unseal(config, &stores, &*clock).await?;
    let token = config.settle_token()?;
    let settings = LiveSettings::new(config.settings()?);

    let (outbound, factory) = llm(config)?;
    let files = ContextFiles::new(stores.agents.clone(), clock.clone());
    let tools = goclaw_tools::builtin(ToolsOptions {
        outbound,
        virtual_files: files.clone(),
        exec: ExecOptions { approval: config.exec_approval()?, ..ExecOptions::default() },
        web_fetch: Arc::new(RwLock::new(config.web_fetch()?)),
        protected_paths: protected_paths(config),
    });
    let core = Core::start(Parts {
        stores: stores.clone(),
        sealer,
        clock,
        ids: Arc::new(SystemIds),
        bus: Arc::new(LocalBus::default()),
        limiter: Arc::new(LocalLimiter::default()),
        factory,
        files,
        tools,
        configured_providers: config.providers(),
        settings,
        runtime: tokio::runtime::Handle::current(),
        version: env!("CARGO_PKG_VERSION"),
    })
    .await
    .map_err(plain)?;
    Ok(Assembled { core, stores, token })
}

/// Takes the encryption key, checks it against what the database holds, and lays the secret store over the configuration.
async fn unseal(config: &mut Config, stores: &Stores, clock: &dyn Clock) -> Result<Arc<dyn Sealer>> {
    let sealed = stores.secrets.list(TenantId::MASTER).await.map_err(plain)?;
    let sealer: Arc<dyn Sealer> = Arc::new(config.sealer(!sealed.is_empty())?);
    let secrets =
        open_all(&*sealer, &sealed).context("the encryption key is not the one that this database was written with; restore the key that was used before")?;
    if !secrets.contains_key(KEY_CHECK) {
        let check = sealer.seal(place(KEY_CHECK), &SecretString::from("ok")).map_err(plain)?;
        stores.secrets.put(TenantId::MASTER, KEY_CHECK, &check, clock.now()).await.map_err(plain)?;
    }
    config.overlay_secrets(&secrets)?;
    Ok(sealer)
}

fn open_all(sealer: &dyn Sealer, sealed: &[(String, Sealed)]) -> Result<HashMap<String, SecretString>> {
    sealed.iter().map(|(name, value)| Ok((name.clone(), sealer.open(place(name), value).map_err(plain)?))).collect()
}

/// Where a configuration secret is kept.
fn place(name: &str) -> Place<'_> {
    Place { tenant: TenantId::MASTER, table: "config_secrets", column: "value", row: name }
}

/// What no tool may open: the gateway's own files.
fn protected_paths(config: &Config) -> Vec<PathBuf> {
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
