//! The table of methods, and the way from a frame to an answer.

use super::{
    agents, chat, connect,
    connection::{Connection, Outgoing},
    frame::{self, Params, Request},
    platform, sessions,
};
use crate::gateway::Gateway;
use actix_web::web;
use futures_util::future::LocalBoxFuture;
use goclaw_core::caller::Caller;
use goclaw_ports::{Error, ErrorKind, Result, message, roles::Role};
use std::sync::Arc;

const CONNECT: &str = "connect";

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
    "chat.session.status" => chat::status, Some(Role::Viewer);
    "agents.list" => agents::list, Some(Role::Viewer);
    "sessions.list" => sessions::list, Some(Role::Viewer);
    "sessions.preview" => sessions::preview, Some(Role::Viewer);
    "health" => platform::health, None;
    "status" => platform::status, Some(Role::Viewer);
};

/// Answers a message of a client.
pub(super) async fn answer(gateway: &web::Data<Gateway>, connection: &Arc<Connection>, bytes: &[u8]) {
    let Request { id, method, params } = match frame::parse(bytes) {
        Ok(request) => request,
        Err(bad) => return connection.send(Outgoing::Response(frame::refusal(bad, connection.locale()))),
    };
    if method == CONNECT {
        let result = connect::connect(gateway, connection, params).await;
        return respond(connection, &id, result);
    }
    let (method, caller) = match admitted(connection, &method) {
        Ok(admitted) => admitted,
        Err(error) => return respond(connection, &id, Err(error)),
    };
    let call = Call { gateway: gateway.clone(), connection: connection.clone(), caller, params };
    if !method.background {
        return respond(connection, &id, (method.run)(call).await);
    }
    let Some(permit) = connection.begin() else {
        return respond(connection, &id, Err(Error::new(ErrorKind::RateLimited, message::rate_limit())));
    };
    let connection = connection.clone();
    // Not bound to the connection: what a client started goes on without it.
    actix_web::rt::spawn(async move {
        let result = (method.run)(call).await;
        respond(&connection, &id, result);
        drop(permit);
    });
}

/// The method and who calls it, if they may.
fn admitted(connection: &Connection, name: &str) -> Result<(&'static Method, Arc<Caller>)> {
    let Some(caller) = connection.caller() else {
        return Err(Error::new(ErrorKind::Unauthorized, message::not_connected()));
    };
    let Some(method) = METHODS.iter().find(|method| method.name == name) else {
        return Err(Error::invalid(message::unknown_method(name)));
    };
    match method.role {
        Some(role) if caller.role < role => Err(Error::new(ErrorKind::Forbidden, message::requires_role(name, role))),
        _ => Ok((method, caller)),
    }
}

fn respond(connection: &Connection, id: &str, result: Result<String>) {
    connection.send(Outgoing::Response(frame::response(id, result, connection.locale())));
}
