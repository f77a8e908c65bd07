//! `api_keys.*`.

use super::{frame::payload, methods::Call};
use goclaw_core::api_keys::NewApiKey;
use goclaw_ports::{Error, Result};
use serde::Deserialize;

#[derive(Default, Deserialize)]
#[serde(default)]
struct CreateParams {
    #[serde(flatten)]
    key: NewApiKey,
    owner_id: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RevokeParams {
    id: String,
}

/// `api_keys.list`: the keys of the caller's tenant; the payload is the array itself.
pub(super) async fn list(call: Call) -> Result<String> {
    payload(&call.gateway.core.api_keys.list(&call.caller).await?)
}

/// `api_keys.create`: makes a key.
pub(super) async fn create(call: Call) -> Result<String> {
    let CreateParams { key, owner_id } = call.params.strict()?;
    payload(&call.gateway.core.api_keys.provision(&call.caller, key, owner_id).await?)
}

/// `api_keys.revoke`: revokes a key.
pub(super) async fn revoke(call: Call) -> Result<String> {
    let RevokeParams { id } = call.params.strict()?;
    if id.is_empty() {
        return Err(Error::required("id"));
    }
    payload(&call.gateway.core.api_keys.revoke(&call.caller, &id).await?)
}
