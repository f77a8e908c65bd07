//! The installation's configuration: its owner may read and change it while the gateway runs.

use crate::{
    audit::Audit,
    caller::{Access, Caller},
    coherence::{Change, Coherence, Forget, Kind},
    system_configs::SystemConfigs,
};
use goclaw_ports::{
    Error, Result, TenantId,
    configuration::{Configuration, ConfigurationChange, ConfigurationView},
    message::{self, Message},
    roles::Role,
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tokio::{runtime::Handle, sync::Notify, time::sleep};

/// How long to wait before a configuration that could not be taken in is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// What may be done with the configuration.
#[derive(Clone)]
pub struct ConfigurationAccess {
    pub(crate) configuration: Arc<dyn Configuration>,
    pub(crate) system_configs: Arc<SystemConfigs>,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) audit: Audit,
}

/// Makes this replica's configuration follow what the others change.
pub(crate) struct Following(Notify);

impl Following {
    /// Takes changes in, for as long as the runtime lives.
    pub fn start(configuration: Arc<dyn Configuration>, runtime: &Handle) -> Arc<Self> {
        let following = Arc::new(Self(Notify::new()));
        // What changed between the reading of the configuration and now, nobody has told.
        following.0.notify_one();
        let noticed = following.clone();
        runtime.spawn(async move {
            loop {
                noticed.0.notified().await;
                if let Err(error) = configuration.refresh().await {
                    tracing::warn!(%error, "a changed configuration cannot be taken in; trying again");
                    noticed.0.notify_one();
                    sleep(AGAIN).await;
                }
            }
        });
        following
    }
}

impl Forget for Following {
    fn forget(&self, change: Option<&Change>) {
        if change.is_none_or(|change| change.kind == Kind::Configuration) {
            self.0.notify_one();
        }
    }
}

impl ConfigurationAccess {
    /// What holds, secrets masked.
    ///
    /// # Errors
    /// `Forbidden` for all but the installation's owner.
    pub async fn view(&self, caller: &Caller) -> Result<ConfigurationView> {
        owner(caller, Access::Read, "config.get")?;
        self.configuration.view().await
    }

    /// Replaces the configuration by `raw` (JSON5). `base_hash` is that of the configuration that was changed; "" for any.
    ///
    /// # Errors
    /// `Forbidden` for all but the installation's owner. `Invalid` for no text, one that cannot be used, or a hash that is not
    /// the current one. `Internal` if the file cannot be written. Nothing has changed then.
    pub async fn replace(&self, caller: &Caller, raw: &str, base_hash: &str) -> Result<ConfigurationView> {
        owner(caller, Access::Manage, "config.apply")?;
        let (raw, base_hash) = (filled(raw, message::raw_config_required)?, hash(base_hash));
        self.changed(caller, "config.applied", self.configuration.replace(raw, base_hash).await?).await
    }

    /// Merges `raw` (a JSON5 object) into the configuration: objects merge, `null` removes, everything else replaces.
    ///
    /// # Errors
    /// As [`ConfigurationAccess::replace`].
    pub async fn merge(&self, caller: &Caller, raw: &str, base_hash: &str) -> Result<ConfigurationView> {
        owner(caller, Access::Manage, "config.patch")?;
        let (raw, base_hash) = (filled(raw, message::raw_patch_required)?, hash(base_hash));
        self.changed(caller, "config.patched", self.configuration.merge(raw, base_hash).await?).await
    }

    /// The JSON Schema of the configuration.
    ///
    /// # Errors
    /// `Forbidden` for all but the installation's owner.
    pub fn schema(&self, caller: &Caller) -> Result<Value> {
        owner(caller, Access::Read, "config.schema")?;
        Ok(self.configuration.schema())
    }

    /// What follows a change: the new values hold for the caller's tenant as well, and the audit log tells which parts are
    /// others now, but no value.
    async fn changed(&self, caller: &Caller, action: &str, change: ConfigurationChange) -> Result<ConfigurationView> {
        self.coherence.changed(TenantId::MASTER, Kind::Configuration, "");
        // The change stands, whatever becomes of what follows it.
        if let Err(error) = self.system_configs.configuration_changed(caller.tenant, &change.changed_keys).await {
            tracing::error!(%error, tenant = %caller.tenant, "the tenant's own values could not be made to follow the configuration");
        }
        self.audit.record(caller, action, "config", "gateway", Some(json!({"sections": change.sections}))).await;
        Ok(change.view)
    }
}

fn owner(caller: &Caller, access: Access, method: &str) -> Result<()> {
    caller.require(Role::Owner, access, method)
}

fn filled(raw: &str, complaint: fn() -> Message) -> Result<&str> {
    if raw.trim().is_empty() { Err(Error::invalid(complaint())) } else { Ok(raw) }
}

fn hash(base_hash: &str) -> Option<&str> {
    Some(base_hash.trim()).filter(|hash| !hash.is_empty())
}
