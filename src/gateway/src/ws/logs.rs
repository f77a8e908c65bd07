//! `logs.tail`.

use super::{
    connection::{Connection, Outgoing, Standing, Tail},
    frame::{EventFrame, payload},
    methods::Call,
};
use crate::{gateway::Gateway, i18n};
use goclaw_ports::{
    Error, Result,
    logs::{LogLevel, LogRecord, LogStream},
    message,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

#[derive(Default, Deserialize)]
#[serde(default)]
struct TailParams {
    action: String,
    level: String,
}

#[derive(Serialize)]
struct Tailing {
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    level: Option<LogLevel>,
}

/// `logs.tail`: begins or ends to send the log to this connection, as `log` events. What was logged lately comes first, then a
/// record that marks the beginning, then the answer, then whatever is logged. Beginning again replaces.
pub(super) async fn tail(call: Call) -> Result<String> {
    let TailParams { action, level } = call.params.strict()?;
    match action.as_str() {
        "start" => {}
        "stop" => {
            call.connection.follow(None);
            return payload(&Tailing { status: "stopped", level: None });
        }
        _ => return Err(Error::invalid(message::invalid_log_action())),
    }
    let level = level_of(&level)?;
    let (past, stream) = call.gateway.core.logs.follow(&call.caller, level)?;
    // The one before ends first, or its lines would come in between.
    call.connection.follow(None);
    let connection = &call.connection;
    let marker = LogRecord {
        timestamp: call.gateway.core.clock.now().timestamp_millis(),
        level: LogLevel::Info,
        message: i18n::text(connection.locale(), &message::log_tail_started(name_of(level))),
        source: "gateway".to_owned(),
        attrs: BTreeMap::new(),
    };
    for record in past.iter().map(Arc::as_ref).chain([&marker]) {
        connection.send_when_idle(frame(record)?).await;
    }
    let (tail, ended) = Tail::new();
    // It cannot begin before the answer is queued: from here on nothing waits, and it lives on this thread.
    actix_web::rt::spawn({
        let (connection, gateway) = (call.connection.clone(), call.gateway.clone());
        async move {
            tokio::select! {
                () = ended.cancelled() => {}
                _ = connection.stopped() => {}
                () = forward(&gateway, &connection, stream) => {}
            }
        }
    });
    connection.follow(Some(tail));
    payload(&Tailing { status: "tailing", level: Some(level) })
}

/// Sends what is logged, as fast as the client reads, for as long as the client is what it was; the log leaves out what comes
/// faster.
async fn forward(gateway: &Gateway, connection: &Connection, mut stream: Box<dyn LogStream>) {
    while let Some(record) = stream.next().await {
        if !matches!(connection.standing(), Standing::Known { caller, grounds, .. } if gateway.core.auth.configuration_stands(&caller, &grounds)) {
            return;
        }
        let Ok(frame) = frame(&record) else { continue };
        connection.send_when_idle(frame).await;
    }
}

fn frame(record: &LogRecord) -> Result<Outgoing> {
    let record = serde_json::to_value(record).map_err(Error::internal)?;
    Ok(Outgoing::Event(Arc::new(EventFrame::new("log", &record))))
}

fn level_of(name: &str) -> Result<LogLevel> {
    match name {
        "debug" => Ok(LogLevel::Debug),
        "" | "info" => Ok(LogLevel::Info),
        "warn" => Ok(LogLevel::Warn),
        "error" => Ok(LogLevel::Error),
        _ => Err(Error::invalid(message::not_one_of("level", "debug, info, warn, error"))),
    }
}

fn name_of(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_its_name() {
        for level in [LogLevel::Debug, LogLevel::Info, LogLevel::Warn, LogLevel::Error] {
            assert_eq!(level_of(name_of(level)).unwrap(), level);
            assert_eq!(serde_json::to_value(level).unwrap(), name_of(level));
        }
        assert_eq!(level_of("").unwrap(), LogLevel::Info);
        assert!(level_of("trace").is_err() && level_of("INFO").is_err());
    }
}
