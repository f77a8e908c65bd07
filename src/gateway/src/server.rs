//! The listener.

use crate::{
    connections::{Connections, HttpTimes},
    gateway::Gateway,
    http, metrics,
    ws::hub::Hub,
};
use actix_web::{App, HttpServer, dev::Server, middleware::from_fn, web::Data};
use goclaw_core::Core;
use goclaw_ports::events::EventStream;
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

/// How long a client may take to close its side; a WebSocket that has ended waits for it.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How to serve.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// The address or name to listen on.
    pub host: String,
    /// The port; 0 for any free one.
    pub port: u16,
    /// How many threads serve requests; 0 for one per core.
    pub workers: usize,
    /// Whether browsers of any origin may read answers.
    pub desktop_cors: bool,
    /// How long clients may take over their requests.
    pub times: HttpTimes,
    /// Stops the server when it is cancelled.
    pub shutdown: CancellationToken,
    /// How long running requests may take to end after that.
    pub grace: Duration,
}

/// A server that listens, and does not serve yet.
pub struct Bound {
    server: Server,
    addresses: Vec<SocketAddr>,
    gateway: Data<Gateway>,
    connections: Arc<Connections>,
    events: Box<dyn EventStream>,
    shutdown: CancellationToken,
    grace: Duration,
}

/// Listens. From now on events are kept for WebSocket clients, and connections wait to be served.
///
/// # Errors
/// If the address cannot be listened on.
pub fn bind(core: Arc<Core>, options: ServeOptions) -> io::Result<Bound> {
    let events = core.bus.subscribe();
    let hub = Arc::new(Hub::new(core.bus.clone(), core.user_files.links.clone()));
    let gateway = Data::new(Gateway { core, hub, metrics: metrics::recorder(), desktop_cors: options.desktop_cors, times: options.times });
    let shared = gateway.clone();
    let connections = Arc::new(Connections::default());
    let opened = connections.clone();
    let mut server = HttpServer::new(move || App::new().wrap(from_fn(http::edge::surround)).app_data(shared.clone()).configure(http::configure))
        // A client that closed its side is gone: what it asked for must not go on.
        .h1_allow_half_closed(false)
        .client_request_timeout(options.times.head)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .keep_alive(options.times.idle)
        .on_connect(move |io, extensions| opened.opened(io, extensions))
        .shutdown_timeout(options.grace.as_secs())
        .disable_signals();
    if options.workers > 0 {
        server = server.workers(options.workers);
    }
    let server = server.bind((options.host.as_str(), options.port))?;
    let addresses = server.addrs();
    Ok(Bound { server: server.run(), addresses, gateway, connections, events, shutdown: options.shutdown, grace: options.grace })
}

impl Bound {
    /// The address that it listens on; the first one, if the host's name has several.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
    }

    /// Serves until `shutdown` is cancelled, then until all requests have ended or the grace period is over. Wants an actix `System`.
    ///
    /// # Errors
    /// If serving fails.
    pub async fn run(self) -> io::Result<()> {
        let Self { server, gateway, connections, events, shutdown, grace, .. } = self;
        let hub = gateway.hub.clone();
        let forwarding = actix_web::rt::spawn({
            let (hub, auth) = (hub.clone(), gateway.core.auth.clone());
            async move { hub.forward(events, &*auth).await }
        });
        let reconfigured = actix_web::rt::spawn({
            let (hub, core) = (hub.clone(), gateway.core.clone());
            let mut changes = core.settings.changes();
            async move {
                while changes.changed().await.is_ok() {
                    hub.reconfigured(|caller, grounds| core.auth.configuration_stands(caller, grounds));
                }
            }
        });
        let counters = gateway.metrics.clone();
        let upkeep = actix_web::rt::spawn(async move {
            let mut ticks = interval(metrics::UPKEEP);
            loop {
                ticks.tick().await;
                counters.run_upkeep();
            }
        });
        let times = gateway.times;
        let watching = actix_web::rt::spawn(async move { connections.watch(times).await });
        let handle = server.handle();
        let stopping = actix_web::rt::spawn(async move {
            shutdown.cancelled().await;
            tokio::join!(handle.stop(true), hub.shut_down(grace));
        });
        let served = server.await;
        for task in [forwarding, reconfigured, upkeep, watching, stopping] {
            task.abort();
        }
        served
    }
}
