//! Stored providers in the registry, kept as the database has them, whichever replica changed them.

use super::{COLUMN, Registry, TABLE};
use crate::{
    coherence::{Change, Forget, Kind},
    oauth::Tokens,
    presets,
};
use goclaw_ports::{
    Result, TenantId,
    llm::Provider,
    providers::{ProviderRow, ProviderStore},
    sealer::{Place, Sealer},
};
use secrecy::SecretString;
use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{runtime::Handle, sync::Notify, time::sleep};

/// How many changes are looked up one by one; more of them are looked up together.
const ONE_BY_ONE: usize = 100;
/// The longest wait before the database is asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Carries providers from the database into the registry.
pub struct StoredProviders {
    store: Arc<dyn ProviderStore>,
    sealer: Arc<dyn Sealer>,
    registry: Arc<Registry>,
    tokens: Arc<Tokens>,
    /// Held from reading a row to registering it, so that what was read earlier never replaces what was read later.
    turn: tokio::sync::Mutex<()>,
    stale: Mutex<Stale>,
    noticed: Notify,
}

/// What the registry may hold in an old form.
#[derive(Default)]
struct Stale {
    all: bool,
    some: HashSet<(TenantId, String)>,
}

impl StoredProviders {
    pub fn new(store: Arc<dyn ProviderStore>, sealer: Arc<dyn Sealer>, registry: Arc<Registry>, tokens: Arc<Tokens>) -> Arc<Self> {
        Arc::new(Self { store, sealer, registry, tokens, turn: tokio::sync::Mutex::default(), stale: Mutex::default(), noticed: Notify::new() })
    }

    /// Makes the registry have what the database has of this name, now; or, if the database does not say, as soon as it does.
    pub async fn refresh(&self, tenant: TenantId, name: &str) {
        if let Err(error) = self.read_one(tenant, name).await {
            tracing::warn!(provider = name, %tenant, %error, "a changed provider cannot be read; trying again");
            self.note(|stale| stale.some.extend([(tenant, name.to_owned())]));
        }
    }

    /// Makes the registry have what the database has.
    pub async fn refresh_all(&self) -> Result<()> {
        let _turn = self.turn.lock().await;
        let rows = self.store.all_tenants_enabled().await?;
        self.registry.replace(rows.iter().filter_map(|row| Some((row.tenant_id, self.built(row)?))));
        Ok(())
    }

    /// Reads what was noted as changed, for as long as the runtime lives.
    pub fn follow(self: &Arc<Self>, runtime: &Handle) {
        let providers = self.clone();
        runtime.spawn(async move {
            let mut wait = Duration::ZERO;
            loop {
                providers.noticed.notified().await;
                sleep(wait).await;
                let stale = std::mem::take(&mut *providers.stale());
                match providers.read(&stale).await {
                    Ok(()) => wait = Duration::ZERO,
                    Err(error) => {
                        tracing::warn!(%error, "changed providers cannot be read; trying again");
                        wait = (wait * 2).clamp(Duration::from_millis(250), LONGEST_WAIT);
                        providers.note(|newer| {
                            newer.all |= stale.all;
                            newer.some.extend(stale.some);
                        });
                    }
                }
            }
        });
    }

    async fn read(&self, stale: &Stale) -> Result<()> {
        if stale.all || stale.some.len() > ONE_BY_ONE {
            return self.refresh_all().await;
        }
        for (tenant, name) in &stale.some {
            self.read_one(*tenant, name).await?;
        }
        Ok(())
    }

    async fn read_one(&self, tenant: TenantId, name: &str) -> Result<()> {
        let _turn = self.turn.lock().await;
        self.tokens.forget(tenant, name);
        match self.store.find_by_name(tenant, name).await?.and_then(|row| self.built(&row)) {
            Some(provider) => self.registry.put(tenant, provider),
            None => self.registry.remove(tenant, name),
        }
        Ok(())
    }

    /// The provider of a row, if it can be used.
    fn built(&self, row: &ProviderRow) -> Option<Arc<dyn Provider>> {
        if !row.enabled || (row.api_key.is_none() && !presets::keyless(&row.provider_type)) {
            return None;
        }
        let built = self.open(row).and_then(|key| self.registry.build(row, key));
        built.inspect_err(|error| tracing::warn!(provider = row.name, tenant = %row.tenant_id, %error, "the provider cannot be used")).ok()
    }

    /// The key of a row.
    pub fn open(&self, row: &ProviderRow) -> Result<Option<SecretString>> {
        let id = row.id.to_string();
        let place = Place { tenant: row.tenant_id, table: TABLE, column: COLUMN, row: &id };
        row.api_key.as_ref().map(|sealed| self.sealer.open(place, sealed)).transpose()
    }

    fn note(&self, change: impl FnOnce(&mut Stale)) {
        let mut stale = self.stale();
        change(&mut stale);
        if stale.some.len() > ONE_BY_ONE {
            *stale = Stale { all: true, ..Stale::default() };
        }
        drop(stale);
        self.noticed.notify_one();
    }

    fn stale(&self) -> MutexGuard<'_, Stale> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Forget for StoredProviders {
    fn forget(&self, change: Option<&Change>) {
        match change {
            Some(Change { kind: Kind::Providers, tenant, key }) => self.note(|stale| stale.some.extend([(*tenant, key.clone())])),
            Some(_) => {}
            None => self.note(|stale| stale.all = true),
        }
    }
}
