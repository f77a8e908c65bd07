//! A place on this machine that browsers come back to. It knows one path and answers with one of two pages.

use async_trait::async_trait;
use goclaw_ports::{
    Error, Result,
    oauth::{Listening, Reception, ReturnPlace},
};
use std::{io, net::Ipv4Addr, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};

const PATH: &str = "/auth/callback";
/// How many browsers are answered at once.
const GUESTS: usize = 16;
/// How long a browser may take to say what it wants, and how much it may say, in bytes.
const PATIENCE: Duration = Duration::from_secs(10);
const LIMIT: usize = 16 * 1024;

/// A port of loopback.
pub(super) struct Loopback {
    pub(super) port: u16,
}

struct Open(JoinHandle<()>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[async_trait]
impl ReturnPlace for Loopback {
    fn redirect_uri(&self) -> String {
        format!("http://localhost:{}{PATH}", self.port)
    }

    async fn listen(&self, reception: Arc<dyn Reception>) -> Result<Listening> {
        let place = format!("port {}", self.port);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).await.map_err(|error| Error::unavailable(&place).because(error))?;
        Ok(Listening::new(Open(tokio::spawn(accept(listener, reception)))))
    }
}

async fn accept(listener: TcpListener, reception: Arc<dyn Reception>) {
    let places = Arc::new(Semaphore::new(GUESTS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            // Not ended with the listener: who has signed in is to read so.
            Ok((socket, _)) => {
                let reception = reception.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve(socket, &*reception).await {
                        tracing::debug!(%error, "a browser that came back went away");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a browser could not be taken in");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve(mut socket: TcpStream, reception: &dyn Reception) -> io::Result<()> {
    let head = tokio::time::timeout(PATIENCE, read_head(&mut socket)).await.map_err(|_| io::ErrorKind::TimedOut)??;
    let answer = match query_of(&head) {
        None => response("404 Not Found", "There is nothing here."),
        Some(query) => match reception.returned(query).await {
            Ok(()) => response("200 OK", "You are signed in. You may close this window."),
            Err(reason) => response("400 Bad Request", &format!("Signing in failed: {}", escaped(&reason))),
        },
    };
    socket.write_all(answer.as_bytes()).await?;
    socket.shutdown().await
}

async fn read_head(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let read = socket.read(&mut piece).await?;
        if read == 0 || head.len() + read > LIMIT {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&piece[..read]);
    }
    Ok(head)
}

/// The query of a request for our path; `None` for any other.
fn query_of(head: &[u8]) -> Option<&str> {
    let line = head.split(|byte| *byte == b'\r').next()?;
    let target = std::str::from_utf8(line).ok()?.strip_prefix("GET ")?.strip_suffix(" HTTP/1.1")?;
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (path == PATH).then_some(query)
}

fn response(status: &str, text: &str) -> String {
    let page = format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>GoClaw</title><p>{text}</p></html>\n");
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\nCache-Control: no-store\r\n\
         Content-Security-Policy: default-src 'none'\r\nReferrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\n\r\n{page}",
        page.len()
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Desk(Mutex<Vec<String>>);

    #[async_trait]
    impl Reception for Desk {
        async fn returned(&self, query: &str) -> Result<(), String> {
            self.0.lock().unwrap().push(query.to_owned());
            if query.contains("code") { Ok(()) } else { Err("<b>no & code</b>".to_owned()) }
        }
    }

    async fn ask(port: u16, request: &str) -> String {
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap_or_default();
        answer
    }

    #[tokio::test]
    async fn one_path_is_answered_while_somebody_listens() {
        let probe = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = probe.local_addr().unwrap().port();
        let (place, desk) = (Loopback { port }, Arc::new(Desk::default()));
        let taken = place.listen(desk.clone()).await.err().unwrap();
        assert_eq!(taken.kind, goclaw_ports::ErrorKind::Unavailable);
        drop(probe);
        let listening = place.listen(desk.clone()).await.unwrap();
        assert_eq!(place.redirect_uri(), format!("http://localhost:{port}/auth/callback"));
        let welcome = ask(port, "GET /auth/callback?code=c&state=s HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(welcome.starts_with("HTTP/1.1 200 OK") && welcome.contains("signed in"), "{welcome}");
        let refusal = ask(port, "GET /auth/callback HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert!(refusal.starts_with("HTTP/1.1 400") && refusal.contains("&lt;b&gt;no &amp; code&lt;/b&gt;"), "{refusal}");
        for elsewhere in ["GET /auth/callbacks?code=c", "POST /auth/callback?code=c", "GET /"] {
            let answer = ask(port, &format!("{elsewhere} HTTP/1.1\r\n\r\n")).await;
            assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        }
        assert_eq!(*desk.0.lock().unwrap(), ["code=c&state=s", ""]);
        assert_eq!(ask(port, &"x".repeat(LIMIT + 1)).await, "", "too much is not read to its end");
        drop(listening);
        let gone = async {
            while TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.is_err() {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("the port is free again");
    }
}
