//! `health` and `status`.

use super::{connection::Connection, frame::payload, methods::Call};
use goclaw_core::platform::ClientView;
use goclaw_ports::Result;

/// `health`: whether the gateway works, and who else is there.
pub(super) async fn health(call: Call) -> Result<String> {
    // Who else is there is for admins.
    let visible = if call.caller.is_admin() { call.gateway.hub.of_tenant(call.caller.tenant) } else { vec![call.connection.clone()] };
    let clients = visible.iter().filter_map(|connection| view(connection)).collect();
    let current = call.connection.id.to_string();
    payload(&call.gateway.core.platform.health(clients, &current).await)
}

/// `status`: what runs in the tenant.
pub(super) async fn status(call: Call) -> Result<String> {
    let clients = call.gateway.hub.count(call.caller.tenant);
    payload(&call.gateway.core.platform.status(&call.caller, clients).await?)
}

fn view(connection: &Connection) -> Option<ClientView> {
    let caller = connection.caller()?;
    Some(ClientView {
        id: connection.id.to_string(),
        remote_addr: connection.ip.map(|ip| ip.to_string()).unwrap_or_default(),
        user_id: caller.user.to_string(),
        role: caller.role.as_str(),
        connected_at: connection.opened,
    })
}
