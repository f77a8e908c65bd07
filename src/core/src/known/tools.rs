//! The switches of tools that were looked up lately.

use super::{CAPACITY, TTL, Write};
use crate::{
    coherence::{Change, Coherence, Forget, Kind},
    lookups::TenantLookups,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    JsonObject, Result, TenantId,
    builtin_tools::{BuiltinTool, BuiltinToolStore},
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// How a tenant's tools are set.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Switches {
    /// The tools that are switched off, in the catalogue or by the tenant.
    pub off: BTreeSet<String>,
    /// The settings of all tools.
    pub settings: BTreeMap<String, JsonObject>,
}

/// Switches that were looked up lately, and the store behind them.
pub(crate) struct KnownTools {
    store: Arc<dyn BuiltinToolStore>,
    coherence: Arc<Coherence>,
    switches: TenantLookups<(), Arc<Switches>>,
}

impl KnownTools {
    pub fn over(store: Arc<dyn BuiltinToolStore>, coherence: &Arc<Coherence>) -> Arc<Self> {
        let known = Arc::new(Self { store, coherence: coherence.clone(), switches: TenantLookups::new(CAPACITY, TTL) });
        coherence.register(known.clone());
        known
    }

    /// How the tenant's tools are set, as it was a moment ago.
    ///
    /// # Errors
    /// What the store says.
    pub async fn switches(&self, tenant: TenantId) -> Result<Arc<Switches>> {
        let look = async {
            let (catalogue, own) = tokio::try_join!(self.store.all_tenants_list(), self.store.overrides(tenant))?;
            let off = catalogue.iter().filter(|tool| !tool.enabled).map(|tool| tool.name.clone());
            let off = off.chain(own.into_iter().filter(|(_, enabled)| !enabled).map(|(name, _)| name)).collect();
            Ok(Arc::new(Switches { off, settings: catalogue.into_iter().map(|tool| (tool.name, tool.settings)).collect() }))
        };
        self.switches.get(tenant, (), |_| true, look).await
    }

    fn write(&self, tenant: TenantId) -> Write<'_> {
        Write { coherence: &self.coherence, tenant, kind: Kind::Tools }
    }
}

impl Forget for KnownTools {
    fn forget(&self, change: Option<&Change>) {
        if change.is_none_or(|change| change.kind == Kind::Tools) {
            // The catalogue is everybody's, and master's.
            self.switches.forget(change.map(|change| change.tenant).filter(|tenant| *tenant != TenantId::MASTER));
        }
    }
}

#[async_trait]
impl BuiltinToolStore for KnownTools {
    async fn all_tenants_seed(&self, tools: &[BuiltinTool]) -> Result<()> {
        let _write = self.write(TenantId::MASTER);
        self.store.all_tenants_seed(tools).await
    }

    async fn all_tenants_list(&self) -> Result<Vec<BuiltinTool>> {
        self.store.all_tenants_list().await
    }

    async fn overrides(&self, tenant: TenantId) -> Result<Vec<(String, bool)>> {
        self.store.overrides(tenant).await
    }

    async fn put_override(&self, tenant: TenantId, tool: &str, enabled: bool, now: DateTime<Utc>) -> Result<()> {
        let _write = self.write(tenant);
        self.store.put_override(tenant, tool, enabled, now).await
    }

    async fn delete_override(&self, tenant: TenantId, tool: &str) -> Result<bool> {
        let _write = self.write(tenant);
        self.store.delete_override(tenant, tool).await
    }
}
