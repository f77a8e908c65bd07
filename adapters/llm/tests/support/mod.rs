//! An upstream that answers as it is told and remembers what it was asked.

use std::{collections::VecDeque, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Mutex, mpsc},
};

/// How one request is answered.
pub enum Answer {
    /// These bytes, then the connection is closed.
    Close(Vec<u8>),
    /// These bytes, then nothing until the client goes away.
    Stall(Vec<u8>),
    /// Some bytes at each beat, then the connection is closed.
    Pace(Vec<Vec<u8>>, Duration),
}

/// A request as it came.
pub struct Seen {
    /// The request line and headers, in lower case but for the first line.
    pub head: String,
    pub body: serde_json::Value,
}

pub struct Upstream {
    pub base: String,
    seen: mpsc::UnboundedReceiver<Seen>,
    gone: mpsc::UnboundedReceiver<()>,
}

impl Upstream {
    pub async fn start(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let (to_seen, seen) = mpsc::unbounded_channel();
        let (to_gone, gone) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(VecDeque::from(answers)));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&answers), to_seen.clone(), to_gone.clone()));
            }
        });
        Self { base, seen, gone }
    }

    /// The next request that came, in order.
    pub async fn request(&mut self) -> Seen {
        self.seen.recv().await.unwrap()
    }

    /// How many requests have come that were not taken yet.
    pub fn more(&mut self) -> usize {
        std::iter::from_fn(|| self.seen.try_recv().ok()).count()
    }

    /// Waits until a client has left a stalled answer.
    pub async fn client_gone(&mut self) {
        self.gone.recv().await.unwrap();
    }
}

async fn serve(mut socket: TcpStream, answers: Arc<Mutex<VecDeque<Answer>>>, seen: mpsc::UnboundedSender<Seen>, gone: mpsc::UnboundedSender<()>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = socket.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let (line, headers) = head.split_once("\r\n").unwrap();
    let headers = headers.to_lowercase();
    let length = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    socket.read_exact(&mut body).await.unwrap();
    seen.send(Seen { head: format!("{line}\r\n{headers}"), body: serde_json::from_slice(&body).unwrap_or_default() }).ok();
    match answers.lock().await.pop_front() {
        Some(Answer::Close(bytes)) => {
            socket.write_all(&bytes).await.ok();
        }
        Some(Answer::Stall(bytes)) => {
            socket.write_all(&bytes).await.ok();
            let ended = socket.read(&mut [0; 16]).await;
            assert!(matches!(ended, Ok(0) | Err(_)), "the client sent more");
            gone.send(()).ok();
        }
        Some(Answer::Pace(pieces, beat)) => {
            let mut beats = tokio::time::interval(beat);
            for piece in pieces {
                beats.tick().await;
                socket.write_all(&piece).await.ok();
            }
        }
        None => {}
    }
}

/// An answer in one piece.
pub fn json(status: u16, headers: &str, body: &str) -> Answer {
    Answer::Close(
        format!("HTTP/1.1 {status} X\r\n{headers}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into(),
    )
}

fn stream_bytes(events: &[&str]) -> Vec<u8> {
    let events: String = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{events}").into_bytes()
}

/// A stream of these events that ends by closing the connection.
pub fn stream(events: &[&str]) -> Answer {
    Answer::Close(stream_bytes(events))
}

/// A stream that says no more after these events.
pub fn stalled(events: &[&str]) -> Answer {
    Answer::Stall(stream_bytes(events))
}

/// A stream that says one event at each beat, and ends by closing the connection.
pub fn paced(events: &[&str], beat: Duration) -> Answer {
    let events = events.iter().map(|event| format!("data: {event}\n\n").into_bytes());
    Answer::Pace([stream_bytes(&[])].into_iter().chain(events).collect(), beat)
}
