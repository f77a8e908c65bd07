//! Work that takes a while, as server-sent events: `progress` as often as it is told, and `complete` or `error` at the end.

use super::streaming::record;
use crate::{api::SseBody, error::words};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use goclaw_core::{
    archives::{Job, Progress, Step},
    caller::Locale,
};
use goclaw_ports::Error;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use tokio::{
    sync::mpsc,
    time::{Instant, interval_at},
};

/// How often a comment is sent, so that proxies in between keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A client that takes nothing for this long is given up.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How many events wait for the client.
const QUEUE: usize = 64;

/// What an event of a job holds: how far it is, or why nothing came of it; what came of it.
#[derive(JsonSchema)]
#[schemars(untagged, rename = "{T}Event")]
#[expect(dead_code, reason = "says in the document what events hold")]
pub(crate) enum JobEvent<T> {
    /// `progress` and `error`.
    Progress(Progress),
    /// `complete`.
    Complete(T),
}

/// The events of a job. `complete` makes the answer of what came of it, `failed` the data of the last event from why nothing did.
/// Dropping the stream drops the job.
pub(crate) fn events<T, A>(job: Job<T>, locale: Locale, complete: impl FnOnce(T) -> Result<A, Error> + 'static, failed: fn(String) -> Value) -> SseBody
where
    T: Send + 'static,
    A: Serialize,
{
    // The body of a response is only polled when the client takes something, so it cannot tell a slow client; a task can.
    let (client, receiver) = mpsc::channel(QUEUE);
    actix_web::rt::spawn(async move {
        let Some(outcome) = forward(job, &client).await else { return };
        let last = match outcome.and_then(complete) {
            Ok(answer) => record(Some("complete"), &answer),
            Err(error) => record(Some("error"), &failed(words(&error, locale))),
        };
        // A client that takes it no more has gone.
        let _ = client.send_timeout(last, WRITE_DEADLINE).await;
    });
    stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))).boxed_local()
}

/// Sends how far it is, until it ends; `None` if the client went away before.
async fn forward<T: Send + 'static>(mut job: Job<T>, client: &mpsc::Sender<Bytes>) -> Option<Result<T, Error>> {
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        let step = tokio::select! {
            step = job.next() => step,
            () = client.closed() => return None,
            _ = heartbeat.tick() => {
                // A full queue keeps the connection busy as it is.
                let _ = client.try_send(Bytes::from_static(b": ping\n\n"));
                continue;
            }
        };
        match step {
            Step::Progress(progress) => client.send_timeout(record(Some("progress"), &progress), WRITE_DEADLINE).await.ok()?,
            Step::End(outcome) => return Some(outcome),
        }
    }
}
