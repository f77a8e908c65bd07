//! HTTP/1.1 by hand: a server library would hide the moments that these tests are about (a cut stream, a client that goes).

use super::{Answer, Request, Shared, answer::Fault, wire};
use serde_json::Value;
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

type Reader = BufReader<OwnedReadHalf>;

/// Serves one connection until the client closes it or an answer cuts it.
pub(super) async fn serve(socket: TcpStream, shared: Arc<Shared>) {
    // Streamed pieces are to leave at once, not when the next one comes.
    drop(socket.set_nodelay(true));
    let (read, mut write) = socket.into_split();
    let mut read = BufReader::new(read);
    while let Ok(Some(request)) = read_request(&mut read).await {
        let answer = match shared.answer_at(&request) {
            Some(answer) => answer,
            None if request.method == "GET" => models_answer(&shared, &request),
            None => echoed(shared.take_answer(&request), &request),
        };
        // Whoever has waited for this question scripts what comes after it.
        shared.requests.send_modify(|requests| requests.push(request.clone()));
        let counted = Open::new(&shared.open);
        match respond(&mut read, &mut write, &request, &answer).await {
            Ok(true) => {}
            Ok(false) => break,
            Err(_) => {
                shared.lost.send_modify(|lost| *lost += 1);
                break;
            }
        }
        drop(counted);
    }
}

struct Open<'a>(&'a watch::Sender<usize>);

impl<'a> Open<'a> {
    fn new(count: &'a watch::Sender<usize>) -> Self {
        count.send_modify(|open| *open += 1);
        Self(count)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

fn models_answer(shared: &Shared, request: &Request) -> Answer {
    shared.script().models.clone().unwrap_or_else(|| Answer::raw(wire::models(request)))
}

fn echoed(answer: Answer, request: &Request) -> Answer {
    if answer.echo { Answer { text: format!("echo: {}", request.last_user_text()), ..answer } } else { answer }
}

/// Answers. `false` if the connection ends here; an error if the client went away first.
async fn respond(read: &mut Reader, write: &mut OwnedWriteHalf, request: &Request, answer: &Answer) -> io::Result<bool> {
    if let Some(body) = &answer.raw {
        return send(write, 200, "application/json", "", body).await.map(|()| true);
    }
    match &answer.fault {
        Some(Fault::Hang) => return client_left(read).await,
        Some(Fault::Garbage) => return send(write, 200, "text/html", "", "<html>\u{0}\u{1}not what you asked for").await.map(|()| true),
        Some(Fault::Status { code, body, retry_after }) => {
            let extra = retry_after.as_ref().map_or_else(String::new, |value| format!("Retry-After: {value}\r\n"));
            return send(write, *code, "application/json", &extra, body).await.map(|()| true);
        }
        _ => {}
    }
    if request.streams() { send_stream(read, write, request, answer).await } else { send_document(read, write, request, answer).await }
}

async fn send_document(read: &mut Reader, write: &mut OwnedWriteHalf, request: &Request, answer: &Answer) -> io::Result<bool> {
    pass_gate(read, answer).await?;
    let body = wire::document(request, answer);
    match &answer.fault {
        Some(Fault::Cut) => {
            let half: String = body.chars().take(body.chars().count() / 2).collect();
            write.write_all(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{half}", body.len()).as_bytes()).await?;
            Ok(false)
        }
        Some(Fault::Stall) => client_left(read).await,
        Some(Fault::Error(message)) => {
            let error = serde_json::json!({"error": {"message": message, "type": "server_error"}}).to_string();
            send(write, 200, "application/json", "", &error).await.map(|()| true)
        }
        _ => send(write, 200, "application/json", "", &body).await.map(|()| true),
    }
}

async fn send_stream(read: &mut Reader, write: &mut OwnedWriteHalf, request: &Request, answer: &Answer) -> io::Result<bool> {
    write.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await?;
    for piece in wire::stream(request, answer) {
        if piece.gated {
            pass_gate(read, answer).await?;
        }
        write.write_all(format!("{:x}\r\n{}\r\n", piece.bytes.len(), piece.bytes).as_bytes()).await?;
    }
    match &answer.fault {
        Some(Fault::Cut) => Ok(false),
        Some(Fault::Stall) => client_left(read).await,
        _ => write.write_all(b"0\r\n\r\n").await.map(|()| true),
    }
}

async fn pass_gate(read: &mut Reader, answer: &Answer) -> io::Result<()> {
    let Some(gate) = &answer.gate else { return Ok(()) };
    tokio::select! {
        () = gate.wait() => Ok(()),
        left = client_left(read) => left.map(|_| ()),
    }
}

/// Waits until the client goes. Never `Ok`: a client that goes before its answer ends is an error.
async fn client_left(read: &mut Reader) -> io::Result<bool> {
    loop {
        let held = read.fill_buf().await?.len();
        if held == 0 {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        read.consume(held);
    }
}

async fn send(write: &mut OwnedWriteHalf, status: u16, content_type: &str, extra: &str, body: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status} Stub\r\nContent-Type: {content_type}\r\n{extra}Content-Length: {}\r\n\r\n", body.len());
    write.write_all(head.as_bytes()).await?;
    write.write_all(body.as_bytes()).await
}

async fn read_request(read: &mut Reader) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if read.read_line(&mut line).await? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        line.clear();
        if read.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let value_of = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    let body = if value_of("transfer-encoding") == Some("chunked") {
        read_chunks(read).await?
    } else {
        let mut body = vec![0; value_of("content-length").and_then(|length| length.parse().ok()).unwrap_or(0)];
        read.read_exact(&mut body).await?;
        body
    };
    let is_form = value_of("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let form = if is_form { url::form_urlencoded::parse(&body).into_owned().collect() } else { Default::default() };
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    Ok(Some(Request { method, path, headers, body, form }))
}

async fn read_chunks(read: &mut Reader) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        read.read_line(&mut line).await?;
        let size = usize::from_str_radix(line.trim(), 16).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let mut chunk = vec![0; size + 2];
        read.read_exact(&mut chunk).await?;
        if size == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}
