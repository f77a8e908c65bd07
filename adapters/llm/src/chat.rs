//! A call: attempts until one is answered, then its events.

use crate::{
    sse::SseParser,
    transport::{BODY_LIMIT, Failure, Transport},
};
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use goclaw_ports::llm::{ChatEvent, ChatResponse, ChatStream, LONGEST_ANSWER, LlmError};
use reqwest::RequestBuilder;
use serde_json::Value;
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// How often a request may be changed after the upstream has said what it does not take.
const AMENDMENTS: u32 = 4;

/// What an upstream reported inside an answer that began well.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reported {
    /// The status that the failure would have had.
    pub(crate) code: Option<u16>,
    pub(crate) text: String,
}

impl Reported {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { code: None, text: text.into() }
    }
}

/// Turns the events of a stream into pieces of an answer.
pub(crate) trait Decoder: Send {
    /// Takes the data of one event. After its last event it puts a [`ChatEvent::Done`].
    fn event(&mut self, data: &[u8], out: &mut VecDeque<ChatEvent>) -> Result<(), Reported>;
    /// The connection ended: the answer, if all of it was there.
    fn end(&mut self) -> Option<ChatResponse>;
}

/// One call in a vendor's dialect.
pub(crate) trait Call: Send + Sync {
    /// The request for a body.
    fn request(&self, transport: &Transport, body: &Body) -> RequestBuilder;
    /// Changes the body so that the upstream may take it, if the failure says how.
    fn amend(&self, body: &mut Value, failure: &Failure) -> bool;
    /// Reads an answer in one piece.
    fn whole(&self, body: &[u8]) -> Result<ChatResponse, Reported>;
    /// Reads an answer in pieces.
    fn decoder(&self) -> Box<dyn Decoder>;
}

/// Makes the call. `asked` says whether the caller wants pieces, `streamed` whether the upstream sends them.
pub(crate) fn chat(transport: Arc<Transport>, call: Box<dyn Call>, body: Body, asked: bool, streamed: bool) -> ChatStream {
    let running =
        Running { transport, call, body, asked, streamed, attempt: 1, amendments: 0, pause: None, pending: VecDeque::new(), reading: None, broken: None };
    stream::unfold(Some(running), |running| async move {
        let mut running = running?;
        match running.next().await {
            Ok(ChatEvent::Done(response)) => Some((Ok(ChatEvent::Done(response)), None)),
            Ok(event) => Some((Ok(event), Some(running))),
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

/// A question.
pub(crate) struct Body {
    /// What is particular about it.
    pub(crate) own: Value,
    /// A field that most questions have in common, and its value in JSON: it is written down once, however many wait for an answer.
    pub(crate) shared: Option<(&'static str, Bytes)>,
}

impl From<Value> for Body {
    fn from(own: Value) -> Self {
        Self { own, shared: None }
    }
}

impl Body {
    /// The question in JSON; what it has in common with others comes last.
    pub(crate) fn json(&self) -> Vec<u8> {
        // A tree with text for keys is always JSON.
        let mut json = serde_json::to_vec(&self.own).unwrap_or_default();
        if let Some((name, value)) = &self.shared
            && json.pop_if(|last| *last == b'}').is_some()
        {
            let comma = if json.ends_with(b"{") { "" } else { "," };
            json.reserve_exact(value.len() + name.len() + 5);
            json.extend_from_slice(format!("{comma}\"{name}\":").as_bytes());
            json.extend_from_slice(value);
            json.push(b'}');
        }
        json
    }
}

struct Running {
    transport: Arc<Transport>,
    call: Box<dyn Call>,
    body: Body,
    asked: bool,
    streamed: bool,
    attempt: u32,
    amendments: u32,
    pause: Option<Duration>,
    pending: VecDeque<ChatEvent>,
    reading: Option<Reading>,
    broken: Option<LlmError>,
}

struct Reading {
    /// The bytes as they come. Its headers are let go of: they hold the buffer that they were read into.
    bytes: BoxStream<'static, reqwest::Result<Bytes>>,
    parser: SseParser,
    decoder: Box<dyn Decoder>,
    /// How many bytes came so far, and how many of them are text.
    received: usize,
    text: usize,
}

impl Running {
    async fn next(&mut self) -> Result<ChatEvent, LlmError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                // An upstream that knows no other way sends pieces to those as well who did not ask for them.
                if !self.asked && matches!(event, ChatEvent::Text(_) | ChatEvent::Thinking(_)) {
                    continue;
                }
                return Ok(event);
            }
            if let Some(error) = self.broken.take() {
                return Err(error);
            }
            if let Some(reading) = &mut self.reading {
                // What came before the failure, in the same bytes, is told first.
                self.broken = reading.read(&self.transport, &mut self.pending).await.err();
                continue;
            }
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            if let Err(failure) = self.begin().await {
                self.fail(failure)?;
            }
        }
    }

    /// One attempt: afterwards there is something to read, or the whole answer is pending.
    async fn begin(&mut self) -> Result<(), Failure> {
        self.transport = self.transport.authorised().await?;
        let transport = &self.transport;
        // Without a stream nothing comes until the model has thought it all through.
        let patience = if self.streamed { transport.idle } else { transport.idle * 5 / 2 };
        let answer = transport.send(self.call.request(transport, &self.body), patience).await?;
        if self.streamed {
            let (bytes, parser) = (answer.bytes_stream().boxed(), SseParser::default());
            self.reading = Some(Reading { bytes, parser, decoder: self.call.decoder(), received: 0, text: 0 });
            // Nobody is asked again once an answer comes, and the question may be large.
            self.body = Value::Null.into();
            return Ok(());
        }
        let body = transport.whole(answer, patience).await?;
        let response = self.call.whole(&body).map_err(|reported| transport.errors.in_stream(reported.code, &reported.text))?;
        if response.content.len() + response.thinking.len() > LONGEST_ANSWER {
            return Err(transport.errors.too_long().into());
        }
        if self.asked {
            if !response.thinking.is_empty() {
                self.pending.push_back(ChatEvent::Thinking(response.thinking.clone()));
            }
            if !response.content.is_empty() {
                self.pending.push_back(ChatEvent::Text(response.content.clone()));
            }
        }
        self.pending.push_back(ChatEvent::Done(Box::new(response)));
        Ok(())
    }

    /// Arranges another attempt, or gives the failure up.
    fn fail(&mut self, failure: Failure) -> Result<(), LlmError> {
        if self.amendments < AMENDMENTS && self.call.amend(&mut self.body.own, &failure) {
            self.amendments += 1;
            self.attempt = 1;
            return Ok(());
        }
        let policy = &self.transport.retry;
        if self.attempt >= policy.attempts || !failure.soon_passes() {
            return Err(failure.error);
        }
        let Some(pause) = policy.pause(self.attempt, failure.error.retry_after, rand::random::<f64>()) else { return Err(failure.error) };
        self.pause = Some(pause);
        self.pending.push_back(ChatEvent::Retrying { attempt: self.attempt, max_attempts: policy.attempts, error: failure.error.text });
        self.attempt += 1;
        Ok(())
    }
}

/// How many bytes of text an event carries.
fn text_of(event: &ChatEvent) -> usize {
    match event {
        ChatEvent::Text(text) | ChatEvent::Thinking(text) => text.len(),
        _ => 0,
    }
}

impl Reading {
    async fn read(&mut self, transport: &Transport, out: &mut VecDeque<ChatEvent>) -> Result<(), LlmError> {
        let chunk = transport.within(transport.idle, self.bytes.try_next()).await?;
        let known = out.len();
        let mut reported = Ok(());
        let decoder = &mut self.decoder;
        let take = |data: &[u8]| {
            if reported.is_ok() && !matches!(out.back(), Some(ChatEvent::Done(_))) {
                reported = decoder.event(data, out);
            }
        };
        let parsed = match &chunk {
            Some(bytes) => self.parser.push(bytes, take),
            None => self.parser.finish(take),
        };
        parsed.map_err(|error| transport.errors.told(&error.to_string()))?;
        self.received += chunk.as_ref().map_or(0, Bytes::len);
        self.text += out.iter().skip(known).map(text_of).sum::<usize>();
        if self.received > BODY_LIMIT || self.text > LONGEST_ANSWER {
            return Err(transport.errors.too_long());
        }
        reported.map_err(|reported| transport.errors.in_stream(reported.code, &reported.text))?;
        if matches!(out.back(), Some(ChatEvent::Done(_))) {
            // The end of the body is usually here already; taking it lets the connection be used again.
            self.bytes.next().now_or_never();
        } else if chunk.is_none() {
            match self.decoder.end() {
                Some(response) => out.push_back(ChatEvent::Done(Box::new(response))),
                None => return Err(transport.errors.told("the stream broke off before its end")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_questions_share_is_added_to_what_is_their_own() {
        let tools = json!([{"type": "function", "function": {"name": "exec"}}]);
        let shared = Some(("tools", Bytes::from(tools.to_string())));
        let own = json!({"model": "m", "messages": [{"role": "user", "content": "\"tools\": null}"}]});
        let read = |body: Body| serde_json::from_slice::<Value>(&body.json()).unwrap();
        let mut whole = own.clone();
        whole["tools"] = tools.clone();
        assert_eq!(read(Body { own: own.clone(), shared: shared.clone() }), whole);
        assert_eq!(read(Body { own: json!({}), shared }), json!({"tools": tools}));
        assert_eq!(read(own.clone().into()), own);
    }
}
