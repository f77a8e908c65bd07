//! A client of the WebSocket side.

use crate::within;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use std::collections::{HashMap, VecDeque};
use tokio::net::TcpStream;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// A WebSocket. Frames that nobody asked for yet are kept until somebody does.
pub struct WsClient {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
    events: VecDeque<Value>,
    responses: HashMap<String, Value>,
    closed: Option<Option<u16>>,
}

/// A refused call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    /// `INVALID_REQUEST`, `UNAUTHORIZED`, …
    pub code: String,
    /// For people.
    pub message: String,
}

impl WsClient {
    /// Opens a WebSocket.
    pub async fn open(url: &str) -> Self {
        Self::try_open(url).await.expect("the WebSocket opens")
    }

    /// Opens a WebSocket to a gateway that may be gone.
    pub async fn try_open(url: &str) -> Option<Self> {
        let (socket, _) = within("a WebSocket to open", connect_async(url)).await.ok()?;
        Some(Self { socket, next_id: 0, events: VecDeque::new(), responses: HashMap::new(), closed: None })
    }

    /// Calls a method and waits for its answer; events that come meanwhile are kept.
    pub async fn call(&mut self, method: &str, params: &Value) -> Result<Value, CallError> {
        let id = self.send(method, params).await;
        self.answer(&id).await
    }

    /// Calls a method without waiting. Answers with the request's id.
    pub async fn send(&mut self, method: &str, params: &Value) -> String {
        self.next_id += 1;
        let id = format!("r{}", self.next_id);
        self.send_text(&json!({"type": "req", "id": id, "method": method, "params": params}).to_string()).await;
        id
    }

    /// Sends a text frame as it is.
    pub async fn send_text(&mut self, text: &str) {
        self.send_message(Message::text(text)).await;
    }

    /// Sends any frame. That the other side has gone shows at the next read.
    pub async fn send_message(&mut self, message: Message) {
        drop(within("a frame to be sent", self.socket.send(message)).await);
    }

    /// The answer to the request with this id.
    ///
    /// # Panics
    /// If the connection ends before.
    pub async fn answer(&mut self, id: &str) -> Result<Value, CallError> {
        let frame = self.response_frame(id).await;
        if frame["ok"] == true {
            return Ok(frame["payload"].clone());
        }
        let text = |key: &str| frame["error"][key].as_str().unwrap_or_default().to_owned();
        Err(CallError { code: text("code"), message: text("message") })
    }

    /// The response frame to the request with this id.
    ///
    /// # Panics
    /// If the connection ends before.
    pub async fn response_frame(&mut self, id: &str) -> Value {
        loop {
            if let Some(frame) = self.responses.remove(id) {
                return frame;
            }
            assert!(self.read().await, "the connection ended ({:?}) before the answer to {id:?}", self.closed);
        }
    }

    /// The next event frame that `wanted` accepts. Others before it are thrown away.
    ///
    /// # Panics
    /// If the connection ends before.
    pub async fn event(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            while let Some(event) = self.events.pop_front() {
                if wanted(&event) {
                    return event;
                }
            }
            assert!(self.read().await, "the connection ended before the event");
        }
    }

    /// The next event frame; `None` if the connection ends before one comes.
    pub async fn try_event(&mut self) -> Option<Value> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Some(event);
            }
            if !self.read().await {
                return None;
            }
        }
    }

    /// Calls a method; `None` if the connection ends before the answer comes.
    pub async fn try_call(&mut self, method: &str, params: &Value) -> Option<Result<Value, CallError>> {
        let id = self.send(method, params).await;
        while !self.responses.contains_key(&id) {
            if !self.read().await {
                return None;
            }
        }
        Some(self.answer(&id).await)
    }

    /// The next event of this name.
    pub async fn event_named(&mut self, name: &str) -> Value {
        self.event(|event| event["event"] == name).await
    }

    /// The payload of the next `agent` event of this type.
    pub async fn agent_event(&mut self, kind: &str) -> Value {
        self.event(|event| event["event"] == "agent" && event["payload"]["type"] == kind).await["payload"].take()
    }

    /// The payloads of all `agent` events of the next run, its end included.
    pub async fn run_events(&mut self) -> Vec<Value> {
        self.run_events_where(|_| true).await
    }

    /// The payloads of all `agent` events of the next run in this session, its end included.
    pub async fn run_events_of(&mut self, session: &str) -> Vec<Value> {
        self.run_events_where(|payload| payload["sessionKey"] == session).await
    }

    async fn run_events_where(&mut self, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut all = Vec::new();
        loop {
            let payload = self.event(|event| event["event"] == "agent" && wanted(&event["payload"])).await["payload"].take();
            let ended = ["run.completed", "run.failed", "run.cancelled"].iter().any(|kind| payload["type"] == *kind);
            all.push(payload);
            if ended {
                return all;
            }
        }
    }

    /// The events that have come so far and that nobody took. A call is made first, so that all that was sent before its
    /// answer is here.
    pub async fn events_until_now(&mut self) -> Vec<Value> {
        drop(self.call("ping", &json!({})).await);
        self.events.drain(..).collect()
    }

    /// The events that came before the last answer and that nobody took. Nothing is read for it.
    pub fn events_before_answer(&mut self) -> Vec<Value> {
        self.events.drain(..).collect()
    }

    /// Waits until the server closes the connection, and answers with the code of the close frame, if there was one.
    pub async fn wait_for_close(&mut self) -> Option<u16> {
        while self.read().await {}
        self.closed.flatten()
    }

    /// Waits until the server closes the connection with this code.
    ///
    /// # Panics
    /// If it closes with another, or without one.
    pub async fn expect_closed_code(&mut self, code: u16) {
        assert_eq!(self.wait_for_close().await, Some(code), "the code of the close frame");
    }

    /// Closes the connection.
    pub async fn close(mut self) {
        drop(within("the close frame to be sent", self.socket.close(None)).await);
    }

    /// Reads one message. `false` if the connection has ended.
    async fn read(&mut self) -> bool {
        if self.closed.is_some() {
            return false;
        }
        match within("a WebSocket message", self.socket.next()).await {
            Some(Ok(Message::Text(text))) => {
                let frame: Value = serde_json::from_str(&text).expect("frames are JSON");
                match frame["type"].as_str() {
                    Some("event") => self.events.push_back(frame),
                    Some("res") => drop(self.responses.insert(frame["id"].as_str().expect("ids are strings").to_owned(), frame)),
                    _ => panic!("an unknown frame: {frame}"),
                }
                true
            }
            Some(Ok(Message::Close(frame))) => {
                self.closed = Some(frame.map(|frame| frame.code.into()));
                false
            }
            Some(Ok(_)) => true,
            Some(Err(_)) | None => {
                self.closed = Some(None);
                false
            }
        }
    }
}
