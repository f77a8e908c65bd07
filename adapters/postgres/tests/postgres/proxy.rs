//! A way to the server that can fall silent.

use secrecy::SecretString;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// Carries connections to a server until it is told to fall silent: then they stay open, and nothing comes or goes.
pub struct Proxy {
    port: u16,
    silent: watch::Sender<bool>,
}

impl Proxy {
    /// A way to the server of this DSN, `postgres://user:password@address/database`.
    pub async fn to(dsn: &str) -> (Self, SecretString) {
        let (user, rest) = dsn.rsplit_once('@').unwrap();
        let (address, database) = rest.split_once('/').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), silent: watch::Sender::new(false) };
        let (silent, server) = (proxy.silent.clone(), address.to_owned());
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                tokio::spawn(carry(client, server.clone(), silent.subscribe()));
            }
        });
        let dsn = SecretString::from(format!("{user}@127.0.0.1:{}/{database}", proxy.port));
        (proxy, dsn)
    }

    pub fn fall_silent(&self) {
        self.silent.send_replace(true);
    }
}

async fn carry(mut client: TcpStream, server: String, mut silent: watch::Receiver<bool>) {
    let mut server = TcpStream::connect(server).await.unwrap();
    let fell_silent = tokio::select! {
        fell = silent.wait_for(|silent| *silent) => fell.is_ok(),
        _ = copy_bidirectional(&mut client, &mut server) => false,
    };
    if fell_silent {
        // Both ends stay open, unheard.
        std::future::pending::<()>().await;
    }
}
