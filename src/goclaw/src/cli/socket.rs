//! A client of the running gateway's WebSocket RPC.

use super::{
    client::Gateway,
    exit::{refused, unreachable},
};
use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// How long the gateway may take to let a client in.
const CONNECT: Duration = Duration::from_secs(10);
/// How long it may take to answer a request that starts no run.
const ANSWER: Duration = Duration::from_secs(30);

/// An authenticated connection.
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    requests: u64,
}

/// Why the gateway does not do what it was asked.
#[derive(Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The protocol's error code.
    pub code: String,
    /// The reason in words.
    pub message: String,
}

impl Refusal {
    /// Whether the same request would be refused again: it is the request's fault.
    pub fn is_final(&self) -> bool {
        ["INVALID_REQUEST", "NOT_FOUND", "ALREADY_EXISTS", "UNAUTHORIZED", "TENANT_ACCESS_REVOKED", "FAILED_PRECONDITION"].contains(&self.code.as_str())
    }
}

/// What the gateway sends.
#[derive(Debug, PartialEq)]
pub enum Frame {
    /// The answer to the request with this id.
    Response {
        /// The request's id.
        id: String,
        /// What it asked for, or why not.
        result: Result<Value, Refusal>,
    },
    /// Something that happened.
    Event {
        /// Its name.
        name: String,
        /// What it says.
        payload: Value,
    },
}

impl Socket {
    /// Connects and says who is there.
    ///
    /// # Errors
    /// If no gateway runs, or it does not accept the token.
    pub async fn connect(gateway: &Gateway, user: &str) -> Result<Self> {
        let url = match gateway.url.split_once("://") {
            Some(("http", rest)) => format!("ws://{rest}/ws"),
            _ => bail!("{} is not an http:// address, which is all that this command speaks", gateway.url),
        };
        let no_gateway = |why: String| unreachable(format!("no gateway answers at {}; start it with `goclaw` ({why})", gateway.url));
        let connected = timeout(CONNECT, connect_async(&url)).await.map_err(|_| no_gateway("it takes too long".to_owned()))?;
        let (stream, _) = connected.map_err(|error| no_gateway(error.to_string()))?;
        let mut socket = Self { stream, requests: 0 };
        let token = gateway.token.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default();
        let id = socket.send("connect", &json!({"token": token, "user_id": user, "protocol": super::PROTOCOL})).await?;
        let result = timeout(CONNECT, socket.answer(&id)).await.context("the gateway does not answer")??;
        match result["role"].as_str() {
            // A wrong token is answered so; the connection stays closed to everything else.
            Some("viewer") | None => Err(refused(format!("the gateway at {} does not accept the token", gateway.url))),
            Some(_) => Ok(socket),
        }
    }

    /// Asks for something and waits for the answer.
    ///
    /// # Errors
    /// If it is refused, takes too long, or the connection is gone.
    pub async fn call(&mut self, method: &str, params: &Value) -> Result<Value> {
        let id = self.send(method, params).await?;
        timeout(ANSWER, self.answer(&id)).await.with_context(|| format!("the gateway does not answer {method}"))?
    }

    /// Sends a request and answers with its id.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn send(&mut self, method: &str, params: &Value) -> Result<String> {
        self.requests += 1;
        let id = self.requests.to_string();
        let frame = json!({"type": "req", "id": id, "method": method, "params": params});
        self.stream.send(Message::text(frame.to_string())).await.context("the gateway is gone")?;
        Ok(id)
    }

    /// The next frame. May be dropped and asked again without losing one.
    ///
    /// # Errors
    /// If the connection is gone.
    pub async fn next(&mut self) -> Result<Frame> {
        loop {
            let message = self.stream.next().await.context("the gateway closed the connection")?.context("the connection to the gateway broke")?;
            match message {
                Message::Text(text) => {
                    if let Some(frame) = parse(text.as_str()) {
                        return Ok(frame);
                    }
                }
                Message::Close(_) => bail!("the gateway closed the connection"),
                _ => (),
            }
        }
    }

    async fn answer(&mut self, request: &str) -> Result<Value> {
        loop {
            if let Frame::Response { id, result } = self.next().await?
                && id == request
            {
                return Ok(result?);
            }
        }
    }
}

fn parse(text: &str) -> Option<Frame> {
    let mut frame: Value = serde_json::from_str(text).ok()?;
    let string = |value: &Value| value.as_str().map(str::to_owned);
    match frame["type"].as_str()? {
        "res" => {
            let id = string(&frame["id"])?;
            let refusal = |error: &Value| Refusal {
                code: string(&error["code"]).unwrap_or_default(),
                message: string(&error["message"]).unwrap_or_else(|| "refused".to_owned()),
            };
            let result = if frame["ok"] == true { Ok(frame["payload"].take()) } else { Err(refusal(&frame["error"])) };
            Some(Frame::Response { id, result })
        }
        "event" => Some(Frame::Event { name: string(&frame["event"])?, payload: frame["payload"].take() }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_told_apart() {
        assert_eq!(parse(r#"{"type":"res","id":"1","ok":true,"payload":{"a":1}}"#), Some(Frame::Response { id: "1".into(), result: Ok(json!({"a": 1})) }));
        assert_eq!(
            parse(r#"{"type":"res","id":"2","ok":false,"error":{"code":"X","message":"no"}}"#),
            Some(Frame::Response { id: "2".into(), result: Err(Refusal { code: "X".into(), message: "no".into() }) })
        );
        assert_eq!(parse(r#"{"type":"event","event":"agent","payload":1}"#), Some(Frame::Event { name: "agent".into(), payload: json!(1) }));
        assert_eq!((parse("{}"), parse("not json"), parse(r#"{"type":"new"}"#)), (None, None, None));
    }
}
