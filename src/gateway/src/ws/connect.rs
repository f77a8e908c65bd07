//! `connect`: who a client is.

use super::{
    connection::{Connection, Standing},
    frame::{Params, payload},
};
use crate::{gateway::Gateway, http::health::PROTOCOL};
use chrono::{DateTime, Utc};
use goclaw_core::{
    auth::{ConnectParams, Connected},
    caller::Locale,
};
use goclaw_ports::{Error, Result, TenantId, roles::Role};
use secrecy::ExposeSecret;
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// How often a `connect` is begun again because what it rests on changed meanwhile.
const ATTEMPTS: usize = 5;
/// How long a browser that waits in vain may still ask how its request stands.
const PENDING_SLACK: Duration = Duration::from_secs(60);
/// Ends that are further away are not waited for; no clock can.
const FARTHEST_END: Duration = Duration::from_secs(365 * 24 * 60 * 60);

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
struct PendingPairing<'a> {
    protocol: u32,
    status: &'static str,
    pairing_code: &'a str,
    sender_id: &'a str,
    server: Server,
}

#[derive(Serialize)]
struct Server {
    name: &'static str,
    version: &'static str,
}

const SERVER: Server = Server { name: "goclaw", version: env!("CARGO_PKG_VERSION") };

/// Finds out who the client is; a failure leaves it unauthenticated, whoever it was before.
pub(super) async fn connect(gateway: &Gateway, connection: &Arc<Connection>, params: Params) -> Result<String> {
    let params: ConnectParams = params.lenient();
    connection.speak(Locale::parse(&params.locale));
    for _ in 0..ATTEMPTS {
        let changes = gateway.hub.changes();
        let connected = gateway.core.auth.connect(&params, connection.ip).await;
        if let Some(answer) = settle(gateway, connection, connected, changes)? {
            return Ok(answer);
        }
    }
    gateway.hub.identify(connection, Standing::Nobody, 0);
    Err(Error::unavailable("authentication"))
}

/// Notes how `connect` ended, and answers; `None` if it has to be done again.
fn settle(gateway: &Gateway, connection: &Arc<Connection>, connected: Result<Connected>, changes: u64) -> Result<Option<String>> {
    let nobody = || gateway.hub.identify(connection, Standing::Nobody, changes);
    match connected {
        Ok(Connected::Authenticated { caller, tenant, grounds }) => {
            let welcome = Welcome {
                protocol: PROTOCOL,
                role: caller.role,
                user_id: caller.user.clone(),
                tenant_id: caller.tenant,
                is_owner: caller.role == Role::Owner,
                server: SERVER,
                tenant_name: Some(tenant.name),
                tenant_slug: Some(tenant.slug),
            };
            let until = grounds.until.map(|until| until_of(gateway, until)).filter(|left| *left < FARTHEST_END).map(|left| Instant::now() + left);
            let standing = Standing::Known { caller: caller.into(), grounds: grounds.into(), until };
            if !gateway.hub.identify(connection, standing, changes) {
                return Ok(None);
            }
            payload(&welcome).map(Some)
        }
        Ok(Connected::Pending(waiting)) => {
            let until = Instant::now() + until_of(gateway, waiting.until) + PENDING_SLACK;
            gateway.hub.identify(connection, Standing::Pending { until }, changes);
            let pending = PendingPairing {
                protocol: PROTOCOL,
                status: "pending_pairing",
                pairing_code: &waiting.code,
                sender_id: waiting.secret.expose_secret(),
                server: SERVER,
            };
            payload(&pending).map(Some)
        }
        Ok(Connected::Refused { user, .. }) => {
            nobody();
            let welcome = Welcome {
                protocol: PROTOCOL,
                role: Role::Viewer,
                user_id: user.into(),
                tenant_id: TenantId::MASTER,
                is_owner: false,
                server: SERVER,
                tenant_name: None,
                tenant_slug: None,
            };
            payload(&welcome).map(Some)
        }
        Err(error) => {
            nobody();
            Err(error)
        }
    }
}

/// How long it is until then; nothing if it is over.
fn until_of(gateway: &Gateway, until: DateTime<Utc>) -> Duration {
    (until - gateway.core.clock.now()).to_std().unwrap_or_default()
}
