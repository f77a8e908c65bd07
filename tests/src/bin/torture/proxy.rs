//! A way to the database that can be bad.

use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// How the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Good.
    Open,
    /// Each piece takes this much longer.
    Slow(Duration),
    /// Nothing comes through, and nobody is told.
    Stalled,
    /// Connections end at once.
    Closed,
}

/// Passes connections on to a port.
pub struct Proxy {
    /// Where it listens.
    pub port: u16,
    way: watch::Sender<(Way, u64)>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts one on a free port of loopback.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        let (way, seen) = watch::channel((Way::Open, 0));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if seen.borrow().0 != Way::Closed {
                    tokio::spawn(pass(client, target, seen.clone()));
                }
            }
        });
        Self { port, way, task }
    }

    /// From now on the way is like this, for connections that are open as well.
    pub fn set(&self, way: Way) {
        self.way.send_modify(|(current, _)| *current = way);
    }

    /// Cuts all connections that are open.
    pub fn cut(&self) {
        self.way.send_modify(|(_, cuts)| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(client: TcpStream, target: u16, way: watch::Receiver<(Way, u64)>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    drop((client.set_nodelay(true), server.set_nodelay(true)));
    let cuts = way.borrow().1;
    let mut watched = way.clone();
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        () = pump(&mut from_client, &mut to_server, way.clone()) => {}
        () = pump(&mut from_server, &mut to_client, way) => {}
        () = async { drop(watched.wait_for(|(way, count)| *count != cuts || *way == Way::Closed).await) } => {}
    }
}

async fn pump(from: &mut (impl AsyncReadExt + Unpin), to: &mut (impl AsyncWriteExt + Unpin), mut way: watch::Receiver<(Way, u64)>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let current = way.borrow().0;
        if let Way::Slow(pause) = current {
            sleep(pause).await;
        }
        let goes_on = way.wait_for(|(way, _)| *way != Way::Stalled).await.is_ok();
        if !goes_on || to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
