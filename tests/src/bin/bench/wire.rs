//! As much of HTTP/1.1 as a benchmark needs, straight on a socket: reading must cost less than what is measured.

use std::io;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// The most that is held of what was read; more is a fault of the other side.
const LIMIT: usize = 16 * 1024 * 1024;
const ROOM: usize = 16 * 1024;

/// One end of a keep-alive connection.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where the bytes begin that nobody has taken yet.
    next: usize,
}

/// What the head of a message says.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    /// The status of a response; 0 for a request.
    pub status: u16,
    /// Whether this is a GET request.
    pub is_get: bool,
    chunked: bool,
    length: usize,
}

impl Wire {
    /// Takes a connection over.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(ROOM), next: 0 })
    }

    /// Connects to a port of this machine.
    pub async fn connect(port: u16) -> io::Result<Self> {
        Self::new(TcpStream::connect(("127.0.0.1", port)).await?)
    }

    /// Sends bytes as they are.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Reads the head of the next message.
    pub async fn head(&mut self) -> io::Result<Head> {
        parse(self.until(b"\r\n\r\n").await?)
    }

    /// Reads a body and answers with its length.
    pub async fn skip_body(&mut self, head: Head) -> io::Result<usize> {
        if !head.chunked {
            return Ok(self.exactly(head.length).await?.len());
        }
        let mut length = 0;
        while let Some(chunk) = self.chunk().await? {
            length += chunk.len();
        }
        Ok(length)
    }

    /// Reads a body.
    pub async fn body(&mut self, head: Head) -> io::Result<Vec<u8>> {
        if !head.chunked {
            return Ok(self.exactly(head.length).await?.to_vec());
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(chunk);
        }
        Ok(body)
    }

    /// Reads the next chunk of a chunked body; `None` is its end.
    pub async fn chunk(&mut self) -> io::Result<Option<&[u8]>> {
        let line = self.until(b"\r\n").await?;
        let digits = line.split(|byte| matches!(byte, b'\r' | b';' | b' ')).next().unwrap_or_default();
        let size = std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let size = size.filter(|size| *size < LIMIT).ok_or_else(|| malformed("the size of a chunk"))?;
        let bytes = self.exactly(size + 2).await?;
        Ok((size > 0).then(|| &bytes[..size]))
    }

    async fn until(&mut self, end: &[u8]) -> io::Result<&[u8]> {
        loop {
            if let Some(at) = self.buffer[self.next..].windows(end.len()).position(|window| window == end) {
                return Ok(self.take(at + end.len()));
            }
            self.fill().await?;
        }
    }

    async fn exactly(&mut self, length: usize) -> io::Result<&[u8]> {
        while self.buffer.len() - self.next < length {
            self.fill().await?;
        }
        Ok(self.take(length))
    }

    fn take(&mut self, length: usize) -> &[u8] {
        let from = self.next;
        self.next += length;
        &self.buffer[from..self.next]
    }

    async fn fill(&mut self) -> io::Result<()> {
        self.buffer.drain(..self.next);
        self.next = 0;
        if self.buffer.len() > LIMIT {
            return Err(malformed("a message that fits the buffer"));
        }
        self.buffer.reserve(ROOM);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

/// A request that keeps its connection, complete with its body.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    if method != "GET" {
        text.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// Whether `needle` is in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

fn parse(head: &[u8]) -> io::Result<Head> {
    let mut lines = head.split(|byte| *byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let status = match first.strip_prefix(b"HTTP/1.1 ") {
        None => 0,
        Some(rest) => number(rest.get(..3).unwrap_or_default()).and_then(|status| u16::try_from(status).ok()).ok_or_else(|| malformed("a status"))?,
    };
    let mut parsed = Head { status, is_get: first.starts_with(b"GET "), chunked: false, length: 0 };
    for line in lines {
        if let Some(value) = header(line, b"content-length:") {
            parsed.length = number(value).filter(|length| *length < LIMIT).ok_or_else(|| malformed("a length"))?;
        } else if let Some(value) = header(line, b"transfer-encoding:") {
            parsed.chunked = value.eq_ignore_ascii_case(b"chunked");
        }
    }
    Ok(parsed)
}

fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("expected {what}"))
}
