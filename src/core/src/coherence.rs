//! Caches that must not outlive what they hold, on any replica.

use goclaw_ports::{
    TenantId,
    events::{Event, EventBus, Heard},
};
use serde_json::json;
use std::sync::{Arc, PoisonError, RwLock};

/// The name of the event that carries a [`Change`] to other replicas. It never leaves the gateway.
pub const INVALIDATE: &str = "cache.invalidate";

/// What kind of thing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An API key was revoked; the key is its id.
    ApiKeys,
    /// A tenant was made or changed; the key is its id.
    Tenants,
    /// A membership was made, changed or ended; the key is the user.
    TenantUsers,
    /// A stored provider was made, changed or deleted; the key is its name.
    Providers,
    /// A system configuration value of the tenant changed; the key is its own key.
    SystemConfigs,
    /// An agent's rules changed; the key is the agent's id.
    ConfigPermissions,
    /// A device is paired no more; the key is its alias.
    Pairing,
    /// The installation's configuration changed; the key is empty.
    Configuration,
    /// An agent, its files or its shares were changed; the key is empty.
    Agents,
    /// A link between agents was made, changed or removed; the key is empty.
    Links,
    /// A tool was switched on or off; the key is empty.
    Tools,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::ApiKeys,
        Self::Tenants,
        Self::TenantUsers,
        Self::Providers,
        Self::SystemConfigs,
        Self::ConfigPermissions,
        Self::Pairing,
        Self::Configuration,
        Self::Agents,
        Self::Links,
        Self::Tools,
    ];

    /// The name between replicas.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApiKeys => "api_keys",
            Self::Tenants => "tenants",
            Self::TenantUsers => "tenant_users",
            Self::Providers => "provider",
            Self::SystemConfigs => "system_configs",
            Self::ConfigPermissions => "config_perms",
            Self::Pairing => "pairing",
            Self::Configuration => "configuration",
            Self::Agents => "agents",
            Self::Links => "links",
            Self::Tools => "tools",
        }
    }
}

/// Something that caches may still hold in its old form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// In which tenant.
    pub tenant: TenantId,
    /// What kind of thing.
    pub kind: Kind,
    /// Which one; what it is depends on the kind.
    pub key: String,
}

impl Change {
    /// The change that an event of the bus tells, if it does.
    #[must_use]
    pub fn of(event: &Event) -> Option<Self> {
        if event.name != INVALIDATE {
            return None;
        }
        let kind = event.payload["kind"].as_str()?;
        let kind = Kind::ALL.into_iter().find(|known| known.as_str() == kind)?;
        Some(Self { tenant: event.tenant, kind, key: event.payload["key"].as_str().unwrap_or_default().to_owned() })
    }
}

/// Holds things that others may change.
pub trait Forget: Send + Sync {
    /// Forgets what a change concerns, at once; `None` is everything.
    fn forget(&self, change: Option<&Change>);
}

/// Tells all caches of all replicas what changed.
pub struct Coherence {
    bus: Arc<dyn EventBus>,
    caches: RwLock<Vec<Arc<dyn Forget>>>,
}

impl Coherence {
    /// Tells other replicas over this bus.
    pub fn new(bus: Arc<dyn EventBus>) -> Arc<Self> {
        Arc::new(Self { bus, caches: RwLock::default() })
    }

    /// Tells this cache as well, from now on.
    pub fn register(&self, cache: Arc<dyn Forget>) {
        self.caches.write().unwrap_or_else(PoisonError::into_inner).push(cache);
    }

    /// Tells everybody. This process's caches have forgotten when it returns; other replicas hear of it in a moment.
    pub fn changed(&self, tenant: TenantId, kind: Kind, key: impl ToString) {
        let change = Change { tenant, kind, key: key.to_string() };
        self.forget(Some(&change));
        self.bus.publish(Event::new(tenant, INVALIDATE, json!({"kind": kind.as_str(), "key": change.key})));
    }

    /// Listens to other replicas, until the bus is gone.
    pub(crate) fn listen(self: &Arc<Self>, runtime: &tokio::runtime::Handle) {
        let (coherence, mut events) = (self.clone(), self.bus.subscribe_to_others());
        runtime.spawn(async move {
            loop {
                match events.next().await {
                    Heard::Event(event) => {
                        if let Some(change) = Change::of(&event) {
                            coherence.forget(Some(&change));
                        }
                    }
                    Heard::Missed(count) => {
                        crate::counters::events_missed(count);
                        coherence.forget(None);
                    }
                    Heard::Closed => return,
                }
            }
        });
    }

    fn forget(&self, change: Option<&Change>) {
        let caches = self.caches.read().unwrap_or_else(PoisonError::into_inner).clone();
        caches.iter().for_each(|cache| cache.forget(change));
    }
}
