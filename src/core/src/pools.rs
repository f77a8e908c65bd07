//! Pools: accounts that stand in for one another.

mod activity;
mod membership;
mod router;
mod routing;
mod standing;

pub use activity::{HealthState, PoolActivity, PoolAgent, PoolProviderCount, PoolRequest, ProviderPoolActivity};
pub(crate) use membership::{check as check_membership, listed_by};
pub use routing::Strategy;
pub(crate) use standing::Standings;

use crate::{
    agents::Agents,
    caller::{Access, Caller},
    oauth::{CHATGPT, Quotas},
    providers::Registry,
};
use chrono::TimeDelta;
use goclaw_ports::{
    AgentId, Error, ErrorKind, JsonObject, Result, TenantId,
    agents::{Agent, AgentStore},
    clock::Clock,
    llm::Provider,
    message,
    providers::{ProviderRow, ProviderStore},
    roles::Role,
    traces::{LlmCallFilter, TraceStore},
};
use membership::Pool;
use router::{Members, Router};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
};

/// How many accounts a pool has at most.
const MOST: usize = 20;
/// How many calls are looked at, at least.
const SAMPLE: usize = 120;
/// How far back they go.
const LOOK_BACK: TimeDelta = TimeDelta::days(7);
/// How many agents are shown.
const TOP_AGENTS: usize = 10;

/// Spreads agents' questions over accounts.
pub(crate) struct Routes {
    pub providers: Arc<dyn ProviderStore>,
    pub registry: Arc<Registry>,
    pub standings: Arc<Standings>,
    pub quotas: Arc<Quotas>,
    /// How many questions each pool with turns has had.
    pub turns: Mutex<HashMap<(TenantId, String), Arc<AtomicUsize>>>,
}

/// Accounts that can be asked, and how they are chosen from.
struct Route {
    tenant: TenantId,
    pool: Pool,
    accounts: Vec<Arc<dyn Provider>>,
}

impl Routes {
    /// The provider that answers an agent's questions to `wanted`: a pool if there is one, else what was `chosen`.
    pub async fn of(&self, tenant: TenantId, wanted: &str, agent: &Agent, chosen: Option<Arc<dyn Provider>>) -> Option<Arc<dyn Provider>> {
        // A provider of another type ignores routing.
        let chosen_is_wanted = chosen.as_ref().is_some_and(|chosen| chosen.name() == wanted);
        if wanted.is_empty() || (chosen_is_wanted && chosen.as_ref().is_some_and(|chosen| chosen.provider_type() != CHATGPT)) {
            return chosen;
        }
        let route = match self.route(tenant, wanted, &agent.other_config).await {
            Ok(Some(route)) => route,
            Ok(None) => return chosen,
            Err(error) => {
                tracing::warn!(provider = wanted, %tenant, %error, "the provider's pool cannot be read; it is asked alone");
                return chosen;
            }
        };
        if route.accounts.is_empty() || (route.pool.strategy == Strategy::PrimaryFirst && route.pool.extras.is_empty()) {
            return chosen;
        }
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner).entry((route.tenant, wanted.to_owned())).or_default().clone();
        let members = Members {
            tenant: route.tenant,
            owner: wanted.to_owned(),
            strategy: route.pool.strategy,
            accounts: route.accounts,
            standings: self.standings.clone(),
            quotas: self.quotas.clone(),
            turns,
        };
        Some(Arc::new(Router { pool: Arc::new(members) }))
    }

    /// The route of an agent with this configuration; `None` if its provider is no account.
    async fn route(&self, tenant: TenantId, wanted: &str, other_config: &JsonObject) -> Result<Option<Route>> {
        let registered = |tenant| self.registry.stored(tenant, wanted).map(|provider| (tenant, provider));
        let (tenant, settings) = match registered(tenant).or_else(|| registered(TenantId::MASTER)) {
            Some((_, provider)) if provider.provider_type() != CHATGPT => return Ok(None),
            Some((tenant, provider)) => (tenant, provider.settings().cloned().unwrap_or_default()),
            // It is switched off, or nobody is signed in to it; its pool may still answer.
            None => match self.row(tenant, wanted).await? {
                Some(row) if row.provider_type == CHATGPT => (row.tenant_id, row.settings),
                _ => return Ok(None),
            },
        };
        let pool = routing::effective(other_config, Pool::of(&settings).unwrap_or_default());
        let accounts = self.registered(tenant, &members(wanted, &pool));
        Ok(Some(Route { tenant, pool, accounts }))
    }

    fn registered(&self, tenant: TenantId, names: &[String]) -> Vec<Arc<dyn Provider>> {
        let account = |name: &String| self.registry.stored(tenant, name).filter(|provider| provider.provider_type() == CHATGPT);
        names.iter().filter_map(account).collect()
    }

    /// The tenant's provider of this name, else master's.
    async fn row(&self, tenant: TenantId, name: &str) -> Result<Option<ProviderRow>> {
        match self.providers.find_by_name(tenant, name).await? {
            None if tenant != TenantId::MASTER => self.providers.find_by_name(TenantId::MASTER, name).await,
            found => Ok(found),
        }
    }

    /// Refuses an agent whose routing its provider does not allow.
    ///
    /// # Errors
    /// `Invalid`.
    pub async fn check(&self, tenant: TenantId, provider: &str, other_config: &JsonObject) -> Result<()> {
        if !other_config.contains_key("chatgpt_oauth_routing") {
            return Ok(());
        }
        match self.row(tenant, provider).await? {
            Some(row) if row.provider_type == CHATGPT => routing::check(other_config, provider, &Pool::of(&row.settings).unwrap_or_default()),
            _ => Ok(()),
        }
    }
}

/// The accounts of a pool, its owner first.
fn members(owner: &str, pool: &Pool) -> Vec<String> {
    let mut names = vec![owner.to_owned()];
    names.extend(pool.extras.iter().filter(|name| *name != owner).cloned());
    names.truncate(MOST);
    names
}

/// What pools did.
pub struct Pools {
    pub(crate) routes: Arc<Routes>,
    pub(crate) traces: Arc<dyn TraceStore>,
    pub(crate) agents: Arc<Agents>,
    pub(crate) agent_store: Arc<dyn AgentStore>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Pools {
    /// How a provider's pool has fared in the last week. A provider that is no account, or without any that can be asked, has none.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a bad id, `NotFound`.
    pub async fn of_provider(&self, caller: &Caller, id: &str, limit: usize) -> Result<ProviderPoolActivity> {
        caller.require(Role::Admin, Access::Manage, "/v1/providers/{id}/codex-pool-activity")?;
        let id = id.parse().map_err(|_| Error::invalid(message::invalid_id("provider")))?;
        let row = self.routes.providers.find(caller.tenant, id).await?.ok_or_else(|| Error::not_found("provider", id))?;
        let none = || ProviderPoolActivity { activity: activity::activity(Strategy::PrimaryFirst, vec![], &[], 0).0, top_agents: vec![] };
        if row.provider_type != CHATGPT {
            return Ok(none());
        }
        let pool = Pool::of(&row.settings).unwrap_or_default();
        let accounts = names_of(&self.routes.registered(caller.tenant, &members(&row.name, &pool)));
        if accounts.is_empty() {
            return Ok(none());
        }
        let filter = LlmCallFilter { providers: accounts.clone(), agent_id: None, since: Some(self.clock.now() - LOOK_BACK), limit: sample(limit) };
        let calls = self.traces.llm_calls(caller.tenant, &filter).await?;
        let (activity, agents) = activity::activity(pool.strategy, accounts, &calls, limit);
        let mut top_agents = Vec::new();
        for (agent_id, request_count) in agents.into_iter().take(TOP_AGENTS) {
            let agent = self.agent_store.find(caller.tenant, &agent_id.to_string()).await?;
            top_agents.push(PoolAgent { agent_id, agent_key: agent.map(|agent| agent.agent_key), request_count });
        }
        Ok(ProviderPoolActivity { activity, top_agents })
    }

    /// How the accounts have fared that answer an agent.
    ///
    /// # Errors
    /// `NotFound`; `Forbidden` if the caller may not use the agent.
    pub async fn of_agent(&self, caller: &Caller, id_or_key: &str, limit: usize) -> Result<PoolActivity> {
        let agent = self.agents.get(caller, id_or_key).await.map_err(|error| match error.kind {
            ErrorKind::NotFound => Error::new(ErrorKind::NotFound, message::agent_not_found(id_or_key)),
            _ => error,
        })?;
        let provider = self.agents.provider_name(&agent).await?;
        let route = self.routes.route(caller.tenant, &provider, &agent.other_config).await?;
        let (strategy, accounts) = match route {
            Some(route) => (route.pool.strategy, names_of(&route.accounts)),
            None => (routing::effective(&agent.other_config, Pool::default()).strategy, vec![]),
        };
        let calls = if accounts.is_empty() { vec![] } else { self.calls_of(caller.tenant, agent.id, &accounts, limit).await? };
        Ok(activity::activity(strategy, accounts, &calls, limit).0)
    }

    async fn calls_of(&self, tenant: TenantId, agent: AgentId, accounts: &[String], limit: usize) -> Result<Vec<goclaw_ports::traces::LlmCall>> {
        let filter = LlmCallFilter { providers: accounts.to_vec(), agent_id: Some(agent), since: None, limit: sample(limit) };
        self.traces.llm_calls(tenant, &filter).await
    }
}

fn names_of(accounts: &[Arc<dyn Provider>]) -> Vec<String> {
    accounts.iter().map(|account| account.name().to_owned()).collect()
}

fn sample(limit: usize) -> i64 {
    i64::try_from(limit.max(SAMPLE)).unwrap_or(i64::MAX)
}
