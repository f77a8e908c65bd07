//! `device.pair.*` and `browser.pairing.status`.

use super::{
    connection::Connection,
    frame::{Params, payload},
    methods::Call,
};
use crate::gateway::Gateway;
use goclaw_core::pairing::{DeviceView, NewRequest, Progress};
use goclaw_ports::Result;
use serde::{Deserialize, Serialize};

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct CodeParams {
    code: String,
    approved_by: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct DeviceParams {
    #[serde(alias = "sender_id", alias = "id")]
    sender_id: String,
    channel: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SecretParams {
    #[serde(alias = "senderId")]
    sender_id: String,
}

#[derive(Serialize)]
struct Requested {
    code: String,
}

#[derive(Serialize)]
struct Paired {
    paired: DeviceView,
}

#[derive(Serialize)]
struct Denied {
    denied: bool,
}

#[derive(Serialize)]
struct Revoked {
    revoked: bool,
}

#[derive(Serialize)]
struct Told {
    status: Progress,
    /// The same, for clients that look for nothing else.
    approved: bool,
}

/// `device.pair.request`: asks to let somebody in.
pub(super) async fn request(call: Call) -> Result<String> {
    let new: NewRequest = call.params.lenient();
    payload(&Requested { code: call.gateway.core.pairing.request(&call.caller, new).await? })
}

/// `device.pair.approve`: lets somebody in.
pub(super) async fn approve(call: Call) -> Result<String> {
    let CodeParams { code, approved_by } = call.params.lenient();
    payload(&Paired { paired: call.gateway.core.pairing.approve(&call.caller, &code, &approved_by).await? })
}

/// `device.pair.deny`: turns a request down.
pub(super) async fn deny(call: Call) -> Result<String> {
    let CodeParams { code, .. } = call.params.lenient();
    call.gateway.core.pairing.deny(&call.caller, &code).await?;
    payload(&Denied { denied: true })
}

/// `device.pair.list`: who asks and who was let in.
pub(super) async fn list(call: Call) -> Result<String> {
    payload(&call.gateway.core.pairing.list(&call.caller).await?)
}

/// `device.pair.revoke`: shuts somebody out.
pub(super) async fn revoke(call: Call) -> Result<String> {
    let DeviceParams { sender_id, channel } = call.params.lenient();
    call.gateway.core.pairing.revoke(&call.caller, &sender_id, &channel).await?;
    payload(&Revoked { revoked: true })
}

/// `browser.pairing.status`: how a browser's request stands.
pub(super) async fn progress(call: Call) -> Result<String> {
    told(&call.gateway, &call.connection, call.params).await
}

/// The same, for a connection that is not known yet.
pub(super) async fn told(gateway: &Gateway, connection: &Connection, params: Params) -> Result<String> {
    let SecretParams { sender_id } = params.lenient();
    let status = gateway.core.pairing.progress(&sender_id, connection.ip).await?;
    payload(&Told { status, approved: status == Progress::Approved })
}
