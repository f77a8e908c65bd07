//! `/ws`: the upgrade, and the two tasks of a connection, one that reads and one that writes.

use super::{
    connection::{Connection, Outgoing, Standing},
    methods,
    pending::Knock,
};
use crate::{
    api::Pattern,
    auth::{client_ip, text},
    error::ApiError,
    gateway::Gateway,
    metrics,
};
use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, HeaderMap},
    web,
};
use actix_ws::{AggregatedMessage, AggregatedMessageStream, CloseCode, CloseReason, ProtocolError, Session};
use goclaw_core::settings::SocketTimes;
use goclaw_ports::{Error, ErrorKind, message};
use std::{io, sync::Arc, time::Duration};
use tokio::time::{Instant, interval_at, timeout, timeout_at};

/// The largest message, in bytes.
const MESSAGE_LIMIT: usize = 524_288;
/// How long a frame may take to leave.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long the closing frame may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// Serves `/ws`.
pub(crate) fn service() -> actix_web::Resource {
    web::resource("/ws").app_data(Pattern("/ws")).route(web::get().to(upgrade))
}

async fn upgrade(request: HttpRequest, body: web::Payload, gateway: web::Data<Gateway>) -> Result<HttpResponse, ApiError> {
    let settings = gateway.core.settings.get();
    check_upgrade(request.headers())?;
    let ip = client_ip(&request, &settings.gateway);
    let origin = text(request.headers(), header::ORIGIN.as_str());
    if !is_allowed(origin, &settings.gateway.allowed_origins) {
        tracing::warn!(origin, ?ip, "security.cors_rejected");
        return Err(Error::forbidden("origin").into());
    }
    let Some(knock) = gateway.hub.knock(ip) else {
        return Err(Error::new(ErrorKind::RateLimited, message::rate_limit()).into());
    };
    let (response, session, messages) = actix_ws::handle(&request, body).map_err(Error::invalid_request)?;
    let messages = messages.max_frame_size(MESSAGE_LIMIT).aggregate_continuations().max_continuation_size(MESSAGE_LIMIT);
    let connection = Connection::new(gateway.core.ids.random(), gateway.core.clock.now(), ip);
    let Some(registration) = gateway.hub.open(connection.clone()) else {
        return Err(Error::new(ErrorKind::Unavailable, message::shutting_down()).into());
    };
    let times = settings.gateway.sockets;
    actix_web::rt::spawn(write(connection.clone(), session, times.ping));
    actix_web::rt::spawn(async move {
        let code = read(&gateway, &connection, messages, knock, times).await;
        connection.stop(code);
        drop(registration);
    });
    Ok(response)
}

/// Reads requests until the end, and answers with the code to close with.
async fn read(
    gateway: &web::Data<Gateway>,
    connection: &Arc<Connection>,
    mut messages: AggregatedMessageStream,
    knock: Knock,
    times: SocketTimes,
) -> CloseCode {
    let opened = Instant::now();
    let mut knock = Some(knock);
    let mut heard = opened;
    loop {
        let end = match connection.standing() {
            Standing::Nobody => Some(opened + times.connect),
            Standing::Pending { until } => Some(until),
            Standing::Known { until, .. } => {
                drop(knock.take());
                until
            }
            // Noticed at the latest with the answer to the next ping.
            Standing::Lost { since, .. } => Some(since + times.connect),
        };
        let deadline = end.map_or(heard + times.silence(), |end| end.min(heard + times.silence()));
        let message = tokio::select! {
            code = connection.stopped() => return code,
            message = timeout_at(deadline, messages.recv()) => message,
        };
        let bytes = match message {
            Err(_) => return CloseCode::Policy,
            Ok(None) => return CloseCode::Normal,
            Ok(Some(Err(error))) => return code_of(&error),
            Ok(Some(Ok(message))) => match message {
                AggregatedMessage::Text(text) => text.into_bytes(),
                AggregatedMessage::Binary(bytes) => bytes,
                AggregatedMessage::Ping(bytes) => {
                    connection.send(Outgoing::Pong(bytes));
                    continue;
                }
                AggregatedMessage::Pong(_) => {
                    heard = Instant::now();
                    continue;
                }
                AggregatedMessage::Close(reason) => return reason.map_or(CloseCode::Normal, |reason| reason.code),
            },
        };
        metrics::ws_received();
        // A task of its own: a call that has begun is done to its end, even if the connection is cut off meanwhile.
        let answer = actix_web::rt::spawn({
            let (gateway, connection) = (gateway.clone(), connection.clone());
            async move { methods::answer(&gateway, &connection, &bytes).await }
        });
        tokio::select! {
            code = connection.stopped() => return code,
            answered = answer => if answered.is_err() {
                return CloseCode::Error;
            },
        }
        // Set after the answer: while we are slow, the client may well be silent.
        heard = Instant::now();
    }
}

/// Writes what waits, and pings, until the connection is stopped.
async fn write(connection: Arc<Connection>, mut session: Session, ping: Duration) {
    let mut pings = interval_at(Instant::now() + ping, ping);
    let mut seq = 0;
    let code = loop {
        let next = tokio::select! {
            biased;
            code = connection.stopped() => break code,
            next = connection.next() => Some(next),
            _ = pings.tick() => None,
        };
        let sent = async {
            match next {
                None => session.ping(b"").await.map(|()| None),
                Some(Outgoing::Pong(bytes)) => session.pong(&bytes).await.map(|()| None),
                Some(Outgoing::Close(code)) => Ok(Some(code)),
                Some(Outgoing::Response(frame)) => {
                    metrics::ws_sent();
                    session.text(frame).await.map(|()| None)
                }
                Some(Outgoing::Event(frame)) => {
                    seq += 1;
                    metrics::ws_sent();
                    session.text(frame.numbered(seq)).await.map(|()| None)
                }
            }
        };
        tokio::select! {
            code = connection.stopped() => break code,
            sent = timeout(WRITE_DEADLINE, sent) => match sent {
                Ok(Ok(None)) => {}
                Ok(Ok(Some(code))) => break code,
                Ok(Err(_)) => break CloseCode::Normal,
                Err(_) => {
                    metrics::ws_slow_closed();
                    break CloseCode::Again;
                }
            },
        }
    };
    connection.stop(code);
    let _ = timeout(CLOSE_DEADLINE, session.close(Some(CloseReason::from(code)))).await;
}

fn code_of(error: &ProtocolError) -> CloseCode {
    match error {
        ProtocolError::Overflow => CloseCode::Size,
        // The only errors of this kind are messages in pieces that grow too large together.
        ProtocolError::Io(error) if error.kind() == io::ErrorKind::Other => CloseCode::Size,
        ProtocolError::Io(error) if error.kind() == io::ErrorKind::InvalidData => CloseCode::Invalid,
        _ => CloseCode::Protocol,
    }
}

/// What a handshake must say before the framework looks at version and key.
fn check_upgrade(headers: &HeaderMap) -> Result<(), ApiError> {
    let holds = |name: header::HeaderName, wanted: &str| {
        headers.get_all(name).filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case(wanted))
    };
    if !holds(header::CONNECTION, "upgrade") {
        return Err(Error::invalid_request("Connection: upgrade expected").into());
    }
    if holds(header::UPGRADE, "websocket") { Ok(()) } else { Err(ApiError::UpgradeRequired) }
}

/// Whether pages of this origin may connect. Clients that are no browsers send none.
fn is_allowed(origin: Option<&str>, allowed: &[String]) -> bool {
    origin.is_none_or(|origin| allowed.is_empty() || allowed.iter().any(|entry| entry == "*" || entry == origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_compared_exactly() {
        let allowed = ["https://a.example".to_owned()];
        assert!(is_allowed(Some("https://a.example"), &allowed));
        assert!(!is_allowed(Some("https://a.example.evil"), &allowed));
        assert!(is_allowed(None, &allowed));
        assert!(is_allowed(Some("https://b.example"), &["*".to_owned()]));
        assert!(is_allowed(Some("https://b.example"), &[]));
    }
}
