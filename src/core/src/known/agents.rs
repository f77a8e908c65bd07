//! Agents, their files and their users that were looked up lately.

use super::{CAPACITY, TTL, Write};
use crate::{
    agents::DEFAULT_KEY,
    coherence::{Change, Coherence, Forget, Kind},
    lookups::TenantLookups,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use goclaw_ports::{
    AgentId, JsonObject, Result, TenantId,
    agents::{Agent, AgentFilter, AgentPatch, AgentShare, AgentStatus, AgentStore, ContextFile, Rewrite, UserInstance, UserProfile},
};
use serde::Serialize;
use std::sync::Arc;

/// Which agents a list holds: those that this user may see, and those of this status; all where nothing is named.
type Listed = (Option<String>, Option<&'static str>);

/// Agents that were looked up lately, and the store behind them.
pub struct KnownAgents {
    store: Arc<dyn AgentStore>,
    coherence: Arc<Coherence>,
    agents: TenantLookups<String, Option<Arc<Agent>>>,
    lists: TenantLookups<Listed, Arc<[Agent]>>,
    files: TenantLookups<AgentId, Arc<[ContextFile]>>,
    users: TenantLookups<(AgentId, String), Arc<Met>>,
}

/// A user whom an agent has met.
#[derive(Debug, Serialize)]
pub(crate) struct Met {
    /// The directory of the user's files.
    pub workspace: String,
    /// The user's context files, by name.
    pub files: Vec<ContextFile>,
}

impl KnownAgents {
    /// Stands before this store.
    pub fn over(store: Arc<dyn AgentStore>, coherence: &Arc<Coherence>) -> Arc<Self> {
        let known = Arc::new(Self {
            store,
            coherence: coherence.clone(),
            agents: TenantLookups::new(CAPACITY, TTL),
            lists: TenantLookups::new(CAPACITY, TTL),
            files: TenantLookups::new(CAPACITY, TTL),
            users: TenantLookups::new(CAPACITY, TTL),
        });
        coherence.register(known.clone());
        known
    }

    /// The agent with this id or key, or the one that stands in for [`DEFAULT_KEY`], as it was a moment ago.
    pub(crate) async fn named(&self, tenant: TenantId, named: &str) -> Result<Option<Arc<Agent>>> {
        let look = async {
            let found = match self.store.find(tenant, named).await? {
                None if named == DEFAULT_KEY => self.store.find_default(tenant).await?,
                found => found,
            };
            Ok(found.map(Arc::new))
        };
        // An unknown name is not remembered: anybody may send any number of them.
        self.agents.get(tenant, named.to_owned(), Option::is_some, look).await
    }

    /// The agents that match, newest first, as they were a moment ago.
    pub(crate) async fn matching(&self, tenant: TenantId, filter: &AgentFilter) -> Result<Arc<[Agent]>> {
        let key = (filter.visible_to.clone(), filter.status.map(AgentStatus::as_str));
        self.lists.get(tenant, key, |_| true, async { Ok(self.store.list(tenant, filter).await?.into()) }).await
    }

    /// The agent's own context files, by name, as they were a moment ago.
    pub(crate) async fn own_files(&self, tenant: TenantId, id: AgentId) -> Result<Arc<[ContextFile]>> {
        self.files.get(tenant, id, |_| true, async { Ok(self.store.files(tenant, id).await?.into()) }).await
    }

    /// Notes that the user was seen, unless that was noted less than [`TTL`] ago, and answers with what there is of the user, as it
    /// was a moment ago. A user without any file gets those of `seed`.
    pub(crate) async fn meet(
        &self,
        tenant: TenantId,
        id: AgentId,
        user: &str,
        workspace: &str,
        seed: impl FnOnce() -> Vec<ContextFile>,
        now: DateTime<Utc>,
    ) -> Result<Arc<Met>> {
        let look = async {
            let profile = self.store.touch_profile(tenant, id, user, workspace, &seed(), now).await?;
            Ok(Arc::new(Met { workspace: profile.workspace, files: self.store.user_files(tenant, id, user).await? }))
        };
        self.users.get(tenant, (id, user.to_owned()), |_| true, look).await
    }

    /// Tells all caches, when what this answers is dropped, that agents of the tenant were changed.
    pub(crate) fn write(&self, tenant: TenantId) -> Write<'_> {
        Write { coherence: &self.coherence, tenant, kind: Kind::Agents }
    }

    fn forget_of(&self, tenant: Option<TenantId>) {
        self.agents.forget(tenant);
        self.lists.forget(tenant);
        self.files.forget(tenant);
        self.users.forget(tenant);
    }
}

impl Forget for KnownAgents {
    fn forget(&self, change: Option<&Change>) {
        if change.is_none_or(|change| change.kind == Kind::Agents) {
            self.forget_of(change.map(|change| change.tenant));
        }
    }
}

#[async_trait]
impl AgentStore for KnownAgents {
    async fn find(&self, tenant: TenantId, id_or_key: &str) -> Result<Option<Agent>> {
        self.store.find(tenant, id_or_key).await
    }

    async fn find_default(&self, tenant: TenantId) -> Result<Option<Agent>> {
        self.store.find_default(tenant).await
    }

    async fn list(&self, tenant: TenantId, filter: &AgentFilter) -> Result<Vec<Agent>> {
        self.store.list(tenant, filter).await
    }

    async fn count(&self, tenant: TenantId) -> Result<i64> {
        self.store.count(tenant).await
    }

    async fn insert_within(&self, tenant: TenantId, agent: &Agent, files: &[ContextFile], limit: i64) -> Result<()> {
        let _write = self.write(tenant);
        self.store.insert_within(tenant, agent, files, limit).await
    }

    async fn update(&self, tenant: TenantId, id: AgentId, patch: &AgentPatch, files: &[ContextFile], now: DateTime<Utc>) -> Result<Option<Agent>> {
        let _write = self.write(tenant);
        self.store.update(tenant, id, patch, files, now).await
    }

    async fn switch_status(&self, tenant: TenantId, id: AgentId, from: &[AgentStatus], to: AgentStatus, now: DateTime<Utc>) -> Result<bool> {
        let _write = self.write(tenant);
        self.store.switch_status(tenant, id, from, to, now).await
    }

    async fn all_tenants_fail_summoning(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> Result<i64> {
        let failed = self.store.all_tenants_fail_summoning(before, now).await?;
        // They could not be asked before either; other replicas learn of it within the time that things are believed.
        if failed > 0 {
            self.forget_of(None);
        }
        Ok(failed)
    }

    async fn delete(&self, tenant: TenantId, id: AgentId) -> Result<bool> {
        let _write = self.write(tenant);
        self.store.delete(tenant, id).await
    }

    async fn share_role(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<Option<String>> {
        self.store.share_role(tenant, id, user).await
    }

    async fn shares(&self, tenant: TenantId, id: AgentId) -> Result<Vec<AgentShare>> {
        self.store.shares(tenant, id).await
    }

    async fn put_share(&self, tenant: TenantId, share: &AgentShare) -> Result<()> {
        let _write = self.write(tenant);
        self.store.put_share(tenant, share).await
    }

    async fn delete_share(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<bool> {
        let _write = self.write(tenant);
        self.store.delete_share(tenant, id, user).await
    }

    async fn files(&self, tenant: TenantId, id: AgentId) -> Result<Vec<ContextFile>> {
        self.store.files(tenant, id).await
    }

    async fn put_file(&self, tenant: TenantId, id: AgentId, file: &ContextFile, now: DateTime<Utc>) -> Result<()> {
        let _write = self.write(tenant);
        self.store.put_file(tenant, id, file, now).await
    }

    async fn user_files(&self, tenant: TenantId, id: AgentId, user: &str) -> Result<Vec<ContextFile>> {
        self.store.user_files(tenant, id, user).await
    }

    async fn put_user_file(&self, tenant: TenantId, id: AgentId, user: &str, file: &ContextFile, now: DateTime<Utc>) -> Result<()> {
        let _write = self.write(tenant);
        self.store.put_user_file(tenant, id, user, file, now).await
    }

    async fn delete_user_file(&self, tenant: TenantId, id: AgentId, user: &str, name: &str) -> Result<bool> {
        let _write = self.write(tenant);
        self.store.delete_user_file(tenant, id, user, name).await
    }

    async fn touch_profile(&self, tenant: TenantId, id: AgentId, user: &str, workspace: &str, seed: &[ContextFile], now: DateTime<Utc>) -> Result<UserProfile> {
        self.store.touch_profile(tenant, id, user, workspace, seed, now).await
    }

    async fn instances(&self, tenant: TenantId, id: AgentId) -> Result<Vec<UserInstance>> {
        self.store.instances(tenant, id).await
    }

    async fn put_instance_file(&self, tenant: TenantId, id: AgentId, user: &str, file: &ContextFile, now: DateTime<Utc>) -> Result<()> {
        let _write = self.write(tenant);
        self.store.put_instance_file(tenant, id, user, file, now).await
    }

    async fn merge_metadata(&self, tenant: TenantId, id: AgentId, user: &str, metadata: &JsonObject) -> Result<bool> {
        self.store.merge_metadata(tenant, id, user, metadata).await
    }

    async fn rewrite_user_files(&self, tenant: TenantId, id: AgentId, name: &str, rewrite: Rewrite, now: DateTime<Utc>) -> Result<i64> {
        let _write = self.write(tenant);
        self.store.rewrite_user_files(tenant, id, name, rewrite, now).await
    }
}
