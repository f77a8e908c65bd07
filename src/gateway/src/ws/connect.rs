//! `connect`: who a client is.

use super::{
    connection::Connection,
    frame::{Params, payload},
};
use crate::{gateway::Gateway, http::health::PROTOCOL};
use goclaw_core::{
    auth::{ConnectParams, Connected},
    caller::Locale,
};
use goclaw_ports::{Result, TenantId, roles::Role};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Welcome {
    protocol: u32,
    role: Role,
    user_id: Arc<str>,
    tenant_id: TenantId,
    is_owner: bool,
    server: Server,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_slug: Option<String>,
}

#[derive(Serialize)]
struct Server {
    name: &'static str,
    version: &'static str,
}

/// Finds out who the client is; a failure leaves it unauthenticated, whoever it was before.
pub(super) async fn connect(gateway: &Gateway, connection: &Arc<Connection>, params: Params) -> Result<String> {
    let params: ConnectParams = params.lenient();
    connection.speak(Locale::parse(&params.locale));
    let connected = gateway.core.auth.connect(params, connection.ip).await;
    let server = Server { name: "goclaw", version: env!("CARGO_PKG_VERSION") };
    let welcome = match connected {
        Ok(Connected::Authenticated { caller, tenant }) => {
            let welcome = Welcome {
                protocol: PROTOCOL,
                role: caller.role,
                user_id: caller.user.clone(),
                tenant_id: caller.tenant,
                is_owner: caller.role == Role::Owner,
                server,
                tenant_name: Some(tenant.name),
                tenant_slug: Some(tenant.slug),
            };
            gateway.hub.identify(connection, Some(*caller));
            welcome
        }
        Ok(Connected::Refused { locale, user }) => {
            gateway.hub.identify(connection, None);
            connection.speak(locale);
            Welcome {
                protocol: PROTOCOL,
                role: Role::Viewer,
                user_id: user.into(),
                tenant_id: TenantId::MASTER,
                is_owner: false,
                server,
                tenant_name: None,
                tenant_slug: None,
            }
        }
        Err(error) => {
            gateway.hub.identify(connection, None);
            return Err(error);
        }
    };
    payload(&welcome)
}
