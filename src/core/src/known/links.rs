//! Links that were looked up lately.

use super::{CAPACITY, TTL, Write};
use crate::{
    coherence::{Change, Coherence, Forget, Kind},
    lookups::TenantLookups,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, LinkId, Result, TenantId,
    links::{AgentLink, LinkPatch, LinkSide, LinkStore},
};
use std::sync::Arc;

/// Links that were looked up lately, and the store behind them.
pub(crate) struct KnownLinks {
    store: Arc<dyn LinkStore>,
    coherence: Arc<Coherence>,
    links: TenantLookups<AgentId, Arc<[AgentLink]>>,
}

impl KnownLinks {
    pub fn over(store: Arc<dyn LinkStore>, coherence: &Arc<Coherence>) -> Arc<Self> {
        let known = Arc::new(Self { store, coherence: coherence.clone(), links: TenantLookups::new(CAPACITY, TTL) });
        coherence.register(known.clone());
        known
    }

    /// All links of an agent, oldest first, as they were a moment ago.
    ///
    /// # Errors
    /// What the store says.
    pub async fn of(&self, tenant: TenantId, agent: AgentId) -> Result<Arc<[AgentLink]>> {
        let look = async { Ok(self.store.list(tenant, agent, LinkSide::All).await?.into()) };
        self.links.get(tenant, agent, |_| true, look).await
    }

    fn write(&self, tenant: TenantId) -> Write<'_> {
        Write { coherence: &self.coherence, tenant, kind: Kind::Links }
    }
}

impl Forget for KnownLinks {
    fn forget(&self, change: Option<&Change>) {
        // A link shows the names of its agents.
        if change.is_none_or(|change| matches!(change.kind, Kind::Links | Kind::Agents)) {
            self.links.forget(change.map(|change| change.tenant));
        }
    }
}

#[async_trait]
impl LinkStore for KnownLinks {
    async fn list(&self, tenant: TenantId, agent: AgentId, side: LinkSide) -> Result<Vec<AgentLink>> {
        self.store.list(tenant, agent, side).await
    }

    async fn find(&self, tenant: TenantId, id: LinkId) -> Result<Option<AgentLink>> {
        self.store.find(tenant, id).await
    }

    async fn insert(&self, tenant: TenantId, link: &AgentLink) -> Result<()> {
        let _write = self.write(tenant);
        self.store.insert(tenant, link).await
    }

    async fn update(&self, tenant: TenantId, id: LinkId, patch: &LinkPatch, now: DateTime<Utc>) -> Result<bool> {
        let _write = self.write(tenant);
        self.store.update(tenant, id, patch, now).await
    }

    async fn delete(&self, tenant: TenantId, id: LinkId) -> Result<bool> {
        let _write = self.write(tenant);
        self.store.delete(tenant, id).await
    }
}
