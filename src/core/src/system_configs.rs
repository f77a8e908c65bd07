//! Plain configuration values of a tenant, and the settings that come of them.

use crate::{
    audit::Audit,
    caller::{Access, Caller},
    coherence::{Coherence, Kind},
    redact::redact,
};
use goclaw_ports::{Error, Result, TenantId, clock::Clock, configuration::Configuration, message, roles::Role, system_configs::SystemConfigStore};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// The longest key, in bytes.
const MAX_KEY: usize = 100;
/// How much of a value the audit log keeps, in characters.
const AUDITED: usize = 200;

/// The keys that mean something to the gateway. Clients may keep others as well.
pub const KNOWN_KEYS: &[&str] = &[
    "embedding.provider",
    "embedding.model",
    "embedding.max_chunk_len",
    "embedding.chunk_overlap",
    "agent.default_provider",
    "agent.default_model",
    "agent.context_window",
    "agent.max_tool_iterations",
    "gateway.rate_limit_rpm",
    "gateway.max_message_chars",
    "gateway.injection_action",
    "gateway.inbound_debounce_ms",
    "gateway.block_reply",
    "gateway.tool_status",
    "gateway.task_recovery_interval_sec",
    "gateway.intent_classify",
    "tools.profile",
    "tools.rate_limit_per_hour",
    "tools.scrub_credentials",
    "tts.provider",
    "tts.auto",
    "tts.mode",
    "tts.max_length",
    "cron.max_retries",
    "cron.default_timezone",
    "compaction.threshold",
    "compaction.keep_recent",
    "compaction.max_tokens",
    "compaction.provider",
    "compaction.model",
];

/// What may be done with a tenant's configuration values.
pub struct SystemConfigs {
    pub(crate) store: Arc<dyn SystemConfigStore>,
    pub(crate) configuration: Arc<dyn Configuration>,
    pub(crate) audit: Audit,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl SystemConfigs {
    /// The tenant's own values, and for each known key without one the value that holds from above: master's, else the
    /// configuration's.
    ///
    /// # Errors
    /// `Forbidden` below viewer.
    pub async fn list(&self, caller: &Caller) -> Result<BTreeMap<String, String>> {
        caller.require(Role::Viewer, Access::Read, "/v1/system-configs")?;
        let own = self.store.list(caller.tenant);
        let (above, own) = tokio::try_join!(self.above(caller.tenant), own)?;
        let mut values = above;
        values.extend(own);
        Ok(values)
    }

    /// The tenant's own value, else the one that holds from above.
    ///
    /// # Errors
    /// `Forbidden` below viewer, `NotFound` if there is neither.
    pub async fn get(&self, caller: &Caller, key: &str) -> Result<String> {
        caller.require(Role::Viewer, Access::Read, "/v1/system-configs/{key}")?;
        if let Some(value) = self.store.get(caller.tenant, key).await? {
            return Ok(value);
        }
        self.above(caller.tenant).await?.remove(key).ok_or_else(|| Error::not_found("system config", key))
    }

    /// Sets the tenant's own value. "" is kept, and counts as unset.
    ///
    /// # Errors
    /// `Forbidden` below admin, `Invalid` for a key that is none.
    pub async fn set(&self, caller: &Caller, key: &str, value: &str) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "/v1/system-configs/{key}")?;
        if !is_key(key) {
            return Err(Error::invalid(message::invalid_config_key()));
        }
        let before = self.store.get(caller.tenant, key).await?;
        self.store.put(caller.tenant, key, value, self.clock.now()).await?;
        self.coherence.changed(caller.tenant, Kind::SystemConfigs, key);
        let details = json!({"before": before.as_deref().map(audited), "after": audited(value)});
        self.audit.record(caller, "system_config.set", "system_config", key, Some(details)).await;
        Ok(())
    }

    /// Removes the tenant's own value, if there is one; what comes from above holds again.
    ///
    /// # Errors
    /// `Forbidden` below admin.
    pub async fn delete(&self, caller: &Caller, key: &str) -> Result<()> {
        caller.require(Role::Admin, Access::Manage, "/v1/system-configs/{key}")?;
        let before = self.store.get(caller.tenant, key).await?;
        if self.store.delete(caller.tenant, key).await? {
            self.coherence.changed(caller.tenant, Kind::SystemConfigs, key);
            let details = json!({"before": before.as_deref().map(audited)});
            self.audit.record(caller, "system_config.deleted", "system_config", key, Some(details)).await;
        }
        Ok(())
    }

    /// The configuration was changed on behalf of a tenant, and these keys have another value in it: the tenant's own values of
    /// them go, so that the new ones hold. Everything that was made from the old configuration is forgotten, on all replicas.
    pub async fn configuration_changed(&self, tenant: TenantId, keys: &[String]) -> Result<()> {
        let mut outcome = Ok(false);
        for key in keys {
            outcome = outcome.and(self.store.delete(tenant, key).await);
            self.coherence.changed(tenant, Kind::SystemConfigs, key);
        }
        // Master's values are behind everybody's, and so is the configuration.
        self.coherence.changed(TenantId::MASTER, Kind::SystemConfigs, "");
        outcome.map(drop)
    }

    /// The values of known keys that hold where the tenant has none of its own.
    async fn above(&self, tenant: TenantId) -> Result<BTreeMap<String, String>> {
        let known = |entry: &(String, String)| KNOWN_KEYS.contains(&entry.0.as_str()) && !entry.1.is_empty();
        let mut values: BTreeMap<String, String> = self.configuration.system_values().into_iter().filter(known).collect();
        if tenant != TenantId::MASTER {
            values.extend(self.store.list(TenantId::MASTER).await?.into_iter().filter(known));
        }
        Ok(values)
    }
}

fn is_key(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The value for the audit log. Values are plain text, but somebody may have taken the wrong field for a key.
fn audited(value: &str) -> String {
    redact(value).chars().take(AUDITED).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("agent.default_model", true)]
    #[case("A-1_b.C", true)]
    #[case("", false)]
    #[case("a/b", false)]
    #[case("a b", false)]
    #[case("ü", false)]
    #[case("a\n", false)]
    #[case(&"k".repeat(100), true)]
    #[case(&"k".repeat(101), false)]
    fn keys_are_short_and_plain(#[case] key: &str, #[case] is: bool) {
        assert_eq!(is_key(key), is);
    }

    #[test]
    fn every_known_key_could_be_set() {
        assert!(KNOWN_KEYS.iter().all(|key| is_key(key)));
    }

    #[test]
    fn the_audit_log_gets_the_beginning_of_a_value_without_secrets() {
        assert_eq!(audited(&"ü".repeat(300)).chars().count(), 200);
        assert!(!audited(&format!("goclaw_{}", "0".repeat(32))).contains("0000"));
    }

    proptest! {
        #[test]
        fn any_text_is_a_key_or_not(key: String) {
            prop_assert!(!is_key(&key) || key.len() <= MAX_KEY);
        }
    }
}
