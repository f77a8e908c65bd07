//! All stores of one database.

use crate::{
    Result, activity::ActivityStore, agents::AgentStore, api_keys::ApiKeyStore, archives::ArchiveStore, builtin_tools::BuiltinToolStore,
    config_permissions::ConfigPermissionStore, heartbeats::HeartbeatStore, inbound::InboundStore, links::LinkStore, locks::Locks, media::MediaStore,
    pairing::PairingStore, providers::ProviderStore, sealer::SealedRows, secrets::SecretStore, sessions::SessionStore, subagents::SubagentStore,
    system_configs::SystemConfigStore, tenants::TenantStore, traces::TraceStore, usage::UsageStore,
};
use async_trait::async_trait;
use std::sync::Arc;

/// The stores that one database adapter gives.
#[derive(Clone)]
#[expect(missing_docs, reason = "each field is the store of the domain it is named after")]
pub struct Stores {
    pub tenants: Arc<dyn TenantStore>,
    pub api_keys: Arc<dyn ApiKeyStore>,
    pub agents: Arc<dyn AgentStore>,
    pub providers: Arc<dyn ProviderStore>,
    pub sessions: Arc<dyn SessionStore>,
    pub secrets: Arc<dyn SecretStore>,
    pub system_configs: Arc<dyn SystemConfigStore>,
    pub traces: Arc<dyn TraceStore>,
    pub usage: Arc<dyn UsageStore>,
    pub activity: Arc<dyn ActivityStore>,
    pub builtin_tools: Arc<dyn BuiltinToolStore>,
    pub pairing: Arc<dyn PairingStore>,
    pub config_permissions: Arc<dyn ConfigPermissionStore>,
    pub links: Arc<dyn LinkStore>,
    pub media: Arc<dyn MediaStore>,
    pub heartbeats: Arc<dyn HeartbeatStore>,
    pub inbound: Arc<dyn InboundStore>,
    pub locks: Arc<dyn Locks>,
    pub subagents: Arc<dyn SubagentStore>,
    pub archives: Arc<dyn ArchiveStore>,
    pub sealed: Arc<dyn SealedRows>,
    pub database: Arc<dyn Database>,
}

/// The database behind the stores.
#[async_trait]
pub trait Database: Send + Sync {
    /// Answers if the database does, within two seconds.
    ///
    /// # Errors
    /// `Unavailable` or `Timeout` if it does not.
    async fn ping(&self) -> Result<()>;
    /// The number of the newest migration that was run, 0 for none.
    async fn schema_version(&self) -> Result<i64>;
    /// Whether no other process can have this database open, so that what a former one left unfinished is dead.
    fn exclusive(&self) -> bool {
        false
    }
    /// Writes what is queued and lets go of the files or connections.
    async fn close(&self);
}
