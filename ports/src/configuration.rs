//! The installation's configuration, as it can be read and changed while the gateway runs.

use crate::Result;
use async_trait::async_trait;
use serde_json::Value;

/// What holds, for showing: secrets are `***`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigurationView {
    /// The whole configuration, defaults included, secrets masked.
    pub config: Value,
    /// Changes whenever a value does, a secret's included: 16 hex digits.
    pub hash: String,
    /// The file.
    pub path: String,
}

/// A change that was made.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfigurationChange {
    /// What holds now.
    pub view: ConfigurationView,
    /// The system configuration keys whose value in the configuration is another now.
    pub changed_keys: Vec<String>,
    /// The top-level parts of the configuration that are different now (`gateway`, `tools`).
    pub sections: Vec<String>,
}

/// The installation's configuration: the file, the secret store and the environment, laid over each other.
#[async_trait]
pub trait Configuration: Send + Sync {
    /// What holds.
    async fn view(&self) -> Result<ConfigurationView>;

    /// Replaces the configuration by `raw` (JSON5). Secrets go to the secret store, everything else to the file, which is
    /// replaced in one step; `***` keeps what is stored.
    ///
    /// # Errors
    /// `Invalid` if `base_hash` is given and another configuration holds by now, or if `raw` cannot be used: then nothing changes.
    async fn replace(&self, raw: &str, base_hash: Option<&str>) -> Result<ConfigurationChange>;

    /// Merges `raw` (a JSON5 object) into the configuration: objects merge, `null` removes, everything else replaces.
    ///
    /// # Errors
    /// As [`Configuration::replace`].
    async fn merge(&self, raw: &str, base_hash: Option<&str>) -> Result<ConfigurationChange>;

    /// Takes in what others changed: another replica the secret store, a person the file.
    ///
    /// # Errors
    /// If the secret store cannot be read, or what it holds cannot be used: then the old configuration holds.
    async fn refresh(&self) -> Result<()>;

    /// What the configuration gives for a system configuration key (`gateway.rate_limit_rpm`), as text; `None` for an unknown
    /// key and for one that it leaves empty.
    fn system_values(&self) -> Vec<(String, String)>;

    /// The JSON Schema of the file.
    fn schema(&self) -> Value;
}
