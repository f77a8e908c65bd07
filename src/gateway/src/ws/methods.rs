//! The table of methods, and the way from a frame to an answer.

use super::{
    agents, api_keys, chat, config, config_permissions, connect,
    connection::{Connection, Outgoing, Standing},
    frame::{self, Params, Request},
    heartbeats, links, logs, pairing, platform, sessions, tenants, tts, usage,
};
use crate::{error::wire, gateway::Gateway, metrics};
use actix_web::web;
use actix_ws::CloseCode;
use futures_util::future::LocalBoxFuture;
use goclaw_core::caller::Caller;
use goclaw_ports::{Error, ErrorKind, Result, message, roles::Role};
use std::{sync::Arc, time::Instant};

const CONNECT: &str = "connect";
/// The one other method for those who wait to be paired.
const PROGRESS: &str = "browser.pairing.status";

/// A method.
struct Method {
    name: &'static str,
    /// The least role; `None` for every authenticated client.
    role: Option<Role>,
    /// Whether it works in the background; its answer then comes when it comes. The others are done in order.
    background: bool,
    /// Answers with the JSON of the result.
    run: fn(Call) -> LocalBoxFuture<'static, Result<String>>,
}

/// A call of a method.
pub(super) struct Call {
    pub gateway: web::Data<Gateway>,
    pub connection: Arc<Connection>,
    pub caller: Arc<Caller>,
    pub params: Params,
}

macro_rules! methods {
    ($($name:literal => $run:path, $role:expr $(, $background:ident)?;)*) => {
        &[$(Method {
            name: $name,
            role: $role,
            background: methods!(@background $($background)?),
            run: |call| Box::pin($run(call)),
        }),*]
    };
    (@background) => { false };
    (@background background) => { true };
}

/// Every method but `connect`, which is for those who are not known yet.
const METHODS: &[Method] = methods! {
    "chat.send" => chat::send, Some(Role::Operator), background;
    "chat.history" => chat::history, Some(Role::Viewer);
    "chat.abort" => chat::abort, Some(Role::Operator);
    "chat.inject" => chat::inject, Some(Role::Operator);
    "chat.session.status" => chat::status, Some(Role::Viewer);
    "agent" => agents::at_work, Some(Role::Viewer);
    "agent.wait" => agents::wait, Some(Role::Viewer), background;
    "agent.identity.get" => agents::identity, Some(Role::Viewer);
    "agents.list" => agents::list, Some(Role::Viewer);
    "agents.create" => agents::create, Some(Role::Admin);
    "agents.update" => agents::update, Some(Role::Admin);
    "agents.delete" => agents::delete, Some(Role::Admin), background;
    "agents.files.list" => agents::list_files, Some(Role::Viewer);
    "agents.files.get" => agents::read_file, Some(Role::Viewer);
    "agents.files.set" => agents::write_file, Some(Role::Admin);
    "agents.links.list" => links::list, Some(Role::Admin);
    "agents.links.create" => links::create, Some(Role::Admin);
    "agents.links.update" => links::update, Some(Role::Admin);
    "agents.links.delete" => links::delete, Some(Role::Admin);
    "heartbeat.get" => heartbeats::get, Some(Role::Viewer);
    "heartbeat.set" => heartbeats::set, Some(Role::Operator);
    "heartbeat.toggle" => heartbeats::toggle, Some(Role::Operator);
    "heartbeat.test" => heartbeats::test, Some(Role::Operator);
    "heartbeat.logs" => heartbeats::logs, Some(Role::Viewer);
    "heartbeat.checklist.get" => heartbeats::checklist, Some(Role::Viewer);
    "heartbeat.checklist.set" => heartbeats::set_checklist, Some(Role::Operator);
    "heartbeat.targets" => heartbeats::targets, Some(Role::Viewer);
    "sessions.list" => sessions::list, Some(Role::Viewer);
    "sessions.preview" => sessions::preview, Some(Role::Viewer);
    "sessions.patch" => sessions::patch, Some(Role::Operator);
    "sessions.delete" => sessions::delete, Some(Role::Operator), background;
    "sessions.reset" => sessions::reset, Some(Role::Operator), background;
    "usage.get" => usage::get, Some(Role::Viewer);
    "usage.summary" => usage::summary, Some(Role::Viewer);
    "quota.usage" => usage::quota, Some(Role::Viewer);
    "api_keys.list" => api_keys::list, Some(Role::Admin);
    "api_keys.create" => api_keys::create, Some(Role::Admin);
    "api_keys.revoke" => api_keys::revoke, Some(Role::Admin);
    "tenants.list" => tenants::list, Some(Role::Owner);
    "tenants.get" => tenants::get, Some(Role::Owner);
    // Owners, or keys with the scope operator.provision, whose role is viewer: the use case tells.
    "tenants.create" => tenants::create, Some(Role::Viewer);
    "tenants.update" => tenants::update, Some(Role::Owner);
    "tenants.users.list" => tenants::members, Some(Role::Owner);
    "tenants.users.add" => tenants::add_member, Some(Role::Viewer);
    "tenants.users.remove" => tenants::remove_member, Some(Role::Owner);
    "tenants.mine" => tenants::mine, Some(Role::Viewer);
    "tts.status" => tts::status, Some(Role::Viewer);
    "tts.providers" => tts::providers, Some(Role::Viewer);
    "tts.convert" => tts::convert, Some(Role::Operator), background;
    "tts.enable" => tts::enable, Some(Role::Admin);
    "tts.disable" => tts::disable, Some(Role::Admin);
    "tts.setProvider" => tts::set_provider, Some(Role::Admin);
    "logs.tail" => logs::tail, Some(Role::Owner);
    "config.get" => config::get, Some(Role::Owner);
    "config.apply" => config::apply, Some(Role::Owner);
    "config.patch" => config::patch, Some(Role::Owner);
    "config.schema" => config::schema, Some(Role::Owner);
    "config.permissions.list" => config_permissions::list, Some(Role::Admin);
    "config.permissions.grant" => config_permissions::grant, Some(Role::Admin);
    "config.permissions.revoke" => config_permissions::revoke, Some(Role::Admin);
    "device.pair.request" => pairing::request, Some(Role::Operator);
    "device.pair.approve" => pairing::approve, Some(Role::Admin);
    "device.pair.deny" => pairing::deny, Some(Role::Admin);
    "device.pair.list" => pairing::list, Some(Role::Operator);
    "device.pair.revoke" => pairing::revoke, Some(Role::Admin);
    "browser.pairing.status" => pairing::progress, None;
    "health" => platform::health, None;
    "status" => platform::status, Some(Role::Viewer);
};

/// Answers a message of a client.
pub(super) async fn answer(gateway: &web::Data<Gateway>, connection: &Arc<Connection>, bytes: &[u8]) {
    let Request { id, method, params } = match frame::parse(bytes) {
        Ok(request) => request,
        Err(bad) => return connection.send(Outgoing::Response(frame::refusal(bad, connection.locale()))),
    };
    let asked = Asked::now(&method);
    if method == CONNECT {
        let result = connect::connect(gateway, connection, params).await;
        return asked.respond(connection, &id, result);
    }
    if method == PROGRESS && matches!(connection.standing(), Standing::Pending { .. }) {
        let result = pairing::told(gateway, connection, params).await;
        return asked.respond(connection, &id, result);
    }
    let (method, caller) = match admitted(gateway, connection, &method) {
        Ok(admitted) => admitted,
        Err(error) => {
            // One that lost its grounds is told so and ends.
            let lost = matches!(connection.standing(), Standing::Known { .. } | Standing::Lost { .. })
                && matches!(error.kind, ErrorKind::TenantRevoked | ErrorKind::Unauthorized);
            asked.respond(connection, &id, Err(error));
            if lost {
                connection.send(Outgoing::Close(CloseCode::Policy));
            }
            return;
        }
    };
    let call = Call { gateway: gateway.clone(), connection: connection.clone(), caller, params };
    if !method.background {
        return asked.respond(connection, &id, (method.run)(call).await);
    }
    let Some(permit) = connection.begin() else {
        return asked.respond(connection, &id, Err(Error::new(ErrorKind::RateLimited, message::rate_limit())));
    };
    let connection = connection.clone();
    // Not bound to the connection: what a client started goes on without it.
    actix_web::rt::spawn(async move {
        let result = (method.run)(call).await;
        asked.respond(&connection, &id, result);
        drop(permit);
    });
}

/// The method and who calls it, if they may.
fn admitted(gateway: &Gateway, connection: &Connection, name: &str) -> Result<(&'static Method, Arc<Caller>)> {
    let caller = match connection.standing() {
        Standing::Known { caller, grounds, .. } if gateway.core.auth.configuration_stands(&caller, &grounds) => caller,
        Standing::Lost { why: ErrorKind::TenantRevoked, .. } => return Err(Error::new(ErrorKind::TenantRevoked, message::tenant_revoked())),
        Standing::Known { .. } | Standing::Lost { .. } => return Err(Error::unauthorized()),
        Standing::Nobody | Standing::Pending { .. } => return Err(Error::new(ErrorKind::Unauthorized, message::not_connected())),
    };
    let Some(method) = METHODS.iter().find(|method| method.name == name) else {
        return Err(Error::invalid(message::unknown_method(name)));
    };
    match method.role {
        Some(role) if caller.role < role => Err(Error::new(ErrorKind::Forbidden, message::requires_role(name, role))),
        _ => Ok((method, caller)),
    }
}

/// A request under way.
struct Asked {
    /// The method's name, if it is one of ours: what clients call otherwise must not become a label.
    method: &'static str,
    at: Instant,
}

impl Asked {
    fn now(name: &str) -> Self {
        let known = METHODS.iter().map(|method| method.name).chain([CONNECT]).find(|known| *known == name);
        Self { method: known.unwrap_or("unknown"), at: Instant::now() }
    }

    fn respond(self, connection: &Connection, id: &str, result: Result<String>) {
        let status = result.as_ref().err().map_or("OK", |error| wire(error.kind).ws_code);
        metrics::rpc(self.method, status, self.at.elapsed());
        connection.send(Outgoing::Response(frame::response(id, result, connection.locale())));
    }
}
