//! `config.*`: the installation's configuration.

use super::{frame::payload, methods::Call};
use goclaw_ports::{Result, configuration::ConfigurationView};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A change of the configuration.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Change {
    /// JSON5.
    raw: String,
    /// The hash of the configuration that was changed.
    base_hash: String,
}

#[derive(Serialize)]
struct Got {
    config: Value,
    hash: String,
    path: String,
}

#[derive(Serialize)]
struct Changed {
    ok: bool,
    path: String,
    config: Value,
    hash: String,
    /// What needs a restart is said in the log; the gateway never restarts itself.
    restart: bool,
}

#[derive(Serialize)]
struct Schema {
    json: Value,
}

/// `config.get`: what holds, secrets masked.
pub(super) async fn get(call: Call) -> Result<String> {
    let ConfigurationView { config, hash, path } = call.gateway.core.configuration.view(&call.caller).await?;
    payload(&Got { config, hash, path })
}

/// `config.apply`: replaces the whole configuration.
pub(super) async fn apply(call: Call) -> Result<String> {
    let Change { raw, base_hash } = call.params.strict()?;
    changed(call.gateway.core.configuration.replace(&call.caller, &raw, &base_hash).await?)
}

/// `config.patch`: changes parts of it.
pub(super) async fn patch(call: Call) -> Result<String> {
    let Change { raw, base_hash } = call.params.strict()?;
    changed(call.gateway.core.configuration.merge(&call.caller, &raw, &base_hash).await?)
}

/// `config.schema`: what it may hold.
pub(super) async fn schema(call: Call) -> Result<String> {
    payload(&Schema { json: call.gateway.core.configuration.schema(&call.caller)? })
}

fn changed(view: ConfigurationView) -> Result<String> {
    let ConfigurationView { config, hash, path } = view;
    payload(&Changed { ok: true, path, config, hash, restart: false })
}
