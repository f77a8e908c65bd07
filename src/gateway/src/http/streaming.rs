//! A run as server-sent events, in whichever form its client understands.

use crate::{api::SseBody, error::words};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use goclaw_core::{
    caller::Locale,
    chat::{RunEvent, RunHandle, RunOutcome},
};
use goclaw_ports::{Error, message};
use serde::Serialize;
use std::{future::Future, time::Duration};
use tokio::{
    sync::mpsc,
    time::{Instant, interval_at},
};

/// How often a comment is sent, so that proxies in between keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// A client that takes nothing for this long is given up, and its run with it.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
/// How many records wait for the client.
const QUEUE: usize = 64;

/// What a run looks like on the wire.
pub(crate) trait Form: 'static {
    /// The records before the agent says anything.
    fn begin(&mut self) -> Vec<Bytes>;
    /// The record of a piece of the answer.
    fn text(&mut self, text: &str) -> Bytes;
    /// The last records: of the answer, or of why there is none.
    fn end(&mut self, end: Result<RunOutcome, String>) -> Vec<Bytes>;
}

/// The events of a run. Dropping the stream drops the handle, and so cancels the run.
pub(crate) fn body(handle: RunHandle, form: impl Form, locale: Locale) -> SseBody {
    records(handle, form, locale, Pace { heartbeat: HEARTBEAT, write_deadline: WRITE_DEADLINE })
}

/// The whole answer of a run.
///
/// # Errors
/// What made it fail.
pub(crate) async fn finished(mut handle: RunHandle) -> Result<RunOutcome, Error> {
    while let Some(event) = handle.next().await {
        match event {
            RunEvent::Text(_) => {}
            RunEvent::Done(outcome) => return Ok(outcome),
            RunEvent::Failed(error) => return Err(error),
            RunEvent::Cancelled => break,
        }
    }
    Err(cancelled())
}

/// The client is still there, so it was the gateway, or somebody with the run's id.
fn cancelled() -> Error {
    Error::new(goclaw_ports::ErrorKind::Unavailable, message::run_cancelled())
}

/// One record, with a name if the form gives its events names.
pub(crate) fn record(name: Option<&str>, data: &impl Serialize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(256);
    if let Some(name) = name {
        bytes.put_slice(b"event: ");
        bytes.put_slice(name.as_bytes());
        bytes.put_slice(b"\n");
    }
    bytes.put_slice(b"data: ");
    let mut writer = bytes.writer();
    // Writing to memory does not fail, and neither does a struct of texts and numbers.
    let _ = serde_json::to_writer(&mut writer, data);
    let mut bytes = writer.into_inner();
    bytes.put_slice(b"\n\n");
    bytes.freeze()
}

/// How patient the stream is.
#[derive(Clone, Copy)]
struct Pace {
    heartbeat: Duration,
    write_deadline: Duration,
}

/// Where events come from: a run, or a script in tests.
trait Events: 'static {
    fn next(&mut self) -> impl Future<Output = Option<RunEvent>>;
}

impl Events for RunHandle {
    fn next(&mut self) -> impl Future<Output = Option<RunEvent>> {
        Self::next(self)
    }
}

fn records(events: impl Events, form: impl Form, locale: Locale, pace: Pace) -> SseBody {
    // The body of a response is only polled when the client takes something, so it cannot tell a slow client; a task can.
    let (sender, receiver) = mpsc::channel(QUEUE);
    actix_web::rt::spawn(pump(events, form, locale, pace, sender));
    stream::unfold(receiver, async |mut receiver| Some((receiver.recv().await?, receiver))).boxed_local()
}

async fn pump(mut events: impl Events, mut form: impl Form, locale: Locale, pace: Pace, client: mpsc::Sender<Bytes>) {
    let mut heartbeat = interval_at(Instant::now() + pace.heartbeat, pace.heartbeat);
    for bytes in form.begin() {
        if client.send(bytes).await.is_err() {
            return;
        }
    }
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = client.closed() => return,
            _ = heartbeat.tick() => {
                // A full queue keeps the connection busy as it is.
                let _ = client.try_send(Bytes::from_static(b": ping\n\n"));
                continue;
            }
        };
        let last = match event {
            Some(RunEvent::Text(text)) => {
                if client.send_timeout(form.text(&text), pace.write_deadline).await.is_err() {
                    return;
                }
                continue;
            }
            Some(RunEvent::Done(outcome)) => form.end(Ok(outcome)),
            Some(RunEvent::Failed(error)) => form.end(Err(words(&error, locale))),
            Some(RunEvent::Cancelled) | None => form.end(Err(words(&cancelled(), locale))),
        };
        for bytes in last {
            if client.send_timeout(bytes, pace.write_deadline).await.is_err() {
                return;
            }
        }
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::chat::wire::Envelope;
    use chrono::DateTime;
    use goclaw_ports::ErrorKind;
    use serde_json::Value;
    use std::collections::VecDeque;
    use tokio::sync::oneshot;
    use uuid::Uuid;

    /// Plays events, then waits for ever; tells when it is dropped.
    struct Script(VecDeque<RunEvent>, #[expect(dead_code, reason = "dropping it is the sign")] oneshot::Sender<()>);

    impl Events for Script {
        async fn next(&mut self) -> Option<RunEvent> {
            match self.0.pop_front() {
                Some(event) => Some(event),
                None => std::future::pending().await,
            }
        }
    }

    const PATIENT: Pace = Pace { heartbeat: HEARTBEAT, write_deadline: WRITE_DEADLINE };
    const HASTY: Duration = Duration::from_millis(1);

    fn play(events: impl IntoIterator<Item = RunEvent>, pace: Pace) -> (SseBody, oneshot::Receiver<()>) {
        let (alive, dropped) = oneshot::channel();
        let envelope = Envelope::new(Uuid::nil(), DateTime::UNIX_EPOCH, "goclaw:a".to_owned());
        (records(Script(events.into_iter().collect(), alive), envelope, Locale::En, pace), dropped)
    }

    async fn lines(events: impl IntoIterator<Item = RunEvent>) -> Vec<String> {
        let records: Vec<Bytes> = play(events, PATIENT).0.collect().await;
        records.iter().map(|record| std::str::from_utf8(record).unwrap().strip_prefix("data: ").unwrap().trim_end().to_owned()).collect()
    }

    fn deltas(lines: &[String]) -> Vec<(String, String, Option<String>)> {
        let chunk = |line: &String| {
            let chunk: Value = serde_json::from_str(line).unwrap();
            let choice = &chunk["choices"][0];
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            (text(&choice["delta"]["role"]), text(&choice["delta"]["content"]), choice["finish_reason"].as_str().map(str::to_owned))
        };
        lines.iter().map(chunk).collect()
    }

    fn delta(role: &str, content: &str, finish: Option<&str>) -> (String, String, Option<String>) {
        (role.to_owned(), content.to_owned(), finish.map(str::to_owned))
    }

    #[actix_web::test]
    async fn a_run_is_a_role_its_pieces_a_stop_and_done() {
        let outcome = RunOutcome { content: "Hi \n!".to_owned(), ..RunOutcome::default() };
        let lines = lines([RunEvent::Text("Hi ".to_owned()), RunEvent::Text("\n!".to_owned()), RunEvent::Done(outcome)]).await;
        let (done, chunks) = lines.split_last().unwrap();
        assert_eq!(done, "[DONE]");
        let expected = [delta("assistant", "", None), delta("", "Hi ", None), delta("", "\n!", None), delta("", "", Some("stop"))];
        assert_eq!(deltas(chunks), expected);
        let first: Value = serde_json::from_str(&chunks[0]).unwrap();
        assert_eq!((&first["id"], &first["object"], &first["model"]), (&"chatcmpl-00000000".into(), &"chat.completion.chunk".into(), &"goclaw:a".into()));
    }

    #[actix_web::test]
    async fn a_failed_run_says_so_and_still_ends_properly() {
        let error = Error::new(ErrorKind::Upstream, message::upstream_auth());
        let lines = lines([RunEvent::Failed(error)]).await;
        let (done, chunks) = lines.split_last().unwrap();
        assert_eq!(done, "[DONE]");
        assert_eq!(deltas(chunks)[1], delta("", &format!("Error: {}", message::upstream_auth()), Some("stop")));
    }

    #[actix_web::test]
    async fn a_client_that_goes_away_takes_the_run_with_it() {
        let (mut body, dropped) = play([RunEvent::Text("a".to_owned())], PATIENT);
        body.next().await.unwrap();
        drop(body);
        assert!(dropped.await.is_err(), "the script was dropped");
    }

    #[actix_web::test]
    async fn a_client_that_reads_nothing_is_given_up() {
        let (body, dropped) = play((0..QUEUE * 2).map(|_| RunEvent::Text("a".to_owned())), Pace { write_deadline: HASTY, ..PATIENT });
        assert!(dropped.await.is_err(), "the script was dropped");
        drop(body);
    }

    #[actix_web::test]
    async fn a_silent_run_is_kept_alive_with_comments() {
        let (mut body, _dropped) = play([], Pace { heartbeat: HASTY, ..PATIENT });
        body.next().await.unwrap();
        assert_eq!(body.next().await.unwrap(), Bytes::from_static(b": ping\n\n"));
    }
}
