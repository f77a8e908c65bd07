//! A model that does whatever a network and a bad day bring.

use crate::options::Chance;
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::JoinHandle,
    time::sleep,
};

/// How large what is too large is.
const HUGE: usize = 48 << 20;

/// How the model misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Not at all.
    Good,
    /// The connection is reset as soon as something was sent.
    Reset,
    /// The connection ends before an answer.
    Close,
    /// The stream ends in the middle of a record.
    HalfRecord,
    /// The stream ends between two records, without saying that it is over.
    NoEnd,
    /// Status 200 and bytes that mean nothing.
    Garbage,
    /// Bytes that are no HTTP.
    NoHttp,
    /// Too many requests, come back at once.
    Busy,
    /// Too many requests, and nothing about when.
    Storm,
    /// A stream of a few bytes at a time.
    Drip,
    /// One record that never ends.
    HugeRecord,
    /// Text without end.
    HugeText,
    /// A document without end.
    HugeBody,
    /// Headers without end.
    HugeHead,
}

/// All moods, good ones often enough that work gets done.
const MOODS: [Mood; 17] = [
    Mood::Good,
    Mood::Reset,
    Mood::Good,
    Mood::Close,
    Mood::HalfRecord,
    Mood::NoEnd,
    Mood::Good,
    Mood::Garbage,
    Mood::NoHttp,
    Mood::Busy,
    Mood::Storm,
    Mood::Good,
    Mood::Drip,
    Mood::HugeRecord,
    Mood::HugeText,
    Mood::HugeBody,
    Mood::HugeHead,
];

/// The model.
pub struct Moody {
    port: u16,
    fixed: Arc<Mutex<Option<Mood>>>,
    task: JoinHandle<()>,
}

impl Moody {
    /// Starts one on a free port of loopback.
    pub async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let (fixed, mut chance) = (Arc::new(Mutex::new(None)), Chance::new(seed));
        let shared = fixed.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let (own, fixed) = (Chance::new(chance.below(usize::MAX) as u64), shared.clone());
                tokio::spawn(async move { drop(serve(socket, own, fixed).await) });
            }
        });
        Self { port, fixed, task }
    }

    /// Its base URL.
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// From now on it is always in this mood, or in any.
    pub fn set(&self, mood: Option<Mood>) {
        *self.fixed.lock().unwrap_or_else(PoisonError::into_inner) = mood;
    }
}

impl Drop for Moody {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: TcpStream, mut chance: Chance, fixed: Arc<Mutex<Option<Mood>>>) -> io::Result<()> {
    let (read, mut write) = socket.into_split();
    let mut read = BufReader::new(read);
    loop {
        // A connection that rests has no mood yet: it may be used again when the model is in another.
        if read.buffer().is_empty() && read.get_mut().peek(&mut [0]).await? == 0 {
            return Ok(());
        }
        let mood = fixed.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(MOODS[chance.below(MOODS.len())]);
        if mood == Mood::Reset {
            // What is left unread resets the connection.
            return Ok(());
        }
        let Some(streams) = request(&mut read).await? else { return Ok(()) };
        if !answer(&mut write, mood, streams).await? {
            return Ok(());
        }
    }
}

/// Reads a request and says whether it wants a stream; `None` at the end.
async fn request(read: &mut BufReader<OwnedReadHalf>) -> io::Result<Option<bool>> {
    let (mut length, mut line) = (0, String::new());
    loop {
        line.clear();
        if read.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    read.read_exact(&mut body).await?;
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    Ok(Some(body["stream"] == true))
}

/// Answers. `false` if the connection ends here.
async fn answer(write: &mut OwnedWriteHalf, mood: Mood, streams: bool) -> io::Result<bool> {
    let document = r#"{"id":"x","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"fine"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#;
    match mood {
        Mood::Reset | Mood::Close => return Ok(false),
        Mood::NoHttp => {
            write.write_all(b"\x16\x03\x01\x00\xffnot what you asked for\r\n\r\n").await?;
            return Ok(false);
        }
        Mood::Garbage => whole(write, "200 OK", "", "\u{1}\u{2}<html>{]").await?,
        Mood::Busy => whole(write, "429 Too Many Requests", "Retry-After: 1\r\n", r#"{"error":{"message":"slow down"}}"#).await?,
        Mood::Storm => whole(write, "429 Too Many Requests", "", r#"{"error":{"message":"slow down"}}"#).await?,
        Mood::HugeHead => {
            write.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            for n in 0..HUGE / 1_024 {
                write.write_all(format!("X-Header-{n}: {}\r\n", "h".repeat(1_000)).as_bytes()).await?;
            }
            return Ok(false);
        }
        Mood::HugeBody => {
            write.write_all(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {HUGE}\r\n\r\n").as_bytes()).await?;
            flood(write, "", &"[".repeat(65_536), HUGE / 65_536).await?;
            return Ok(false);
        }
        _ if !streams => whole(write, "200 OK", "", document).await?,
        _ => return stream(write, mood).await,
    }
    Ok(true)
}

async fn stream(write: &mut OwnedWriteHalf, mood: Mood) -> io::Result<bool> {
    let record = |text: &str| {
        format!("data: {{\"id\":\"x\",\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    let end = "data: {\"id\":\"x\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    // The end of the connection is the end of the answer.
    write.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n").await?;
    match mood {
        Mood::HalfRecord => write.write_all(format!("{}data: {{\"choices\":[{{\"delta\":{{\"cont", record("some words")).as_bytes()).await?,
        Mood::NoEnd => write.write_all(record("some words").as_bytes()).await?,
        Mood::Drip => {
            for piece in format!("{}{}{end}", record("slow "), record("words")).as_bytes().chunks(7) {
                write.write_all(piece).await?;
                sleep(Duration::from_millis(10)).await;
            }
        }
        Mood::HugeRecord => flood(write, "data: {\"choices\":[{\"delta\":{\"content\":\"", &"x".repeat(65_536), HUGE / 65_536).await?,
        Mood::HugeText => flood(write, "", &record(&"y".repeat(4_000)), HUGE / 4_000).await?,
        _ => write.write_all(format!("{}{}{end}", record("fi"), record("ne")).as_bytes()).await?,
    }
    Ok(false)
}

async fn whole(write: &mut OwnedWriteHalf, status: &str, extra: &str, body: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{extra}Content-Length: {}\r\n\r\n", body.len());
    write.write_all(format!("{head}{body}").as_bytes()).await
}

async fn flood(write: &mut OwnedWriteHalf, before: &str, piece: &str, times: usize) -> io::Result<()> {
    write.write_all(before.as_bytes()).await?;
    for _ in 0..times {
        write.write_all(piece.as_bytes()).await?;
    }
    Ok(())
}
