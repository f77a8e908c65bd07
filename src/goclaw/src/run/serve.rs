//! The gateway's life: start, listen, stop.

use super::{assemble, install_tls, runtime};
use crate::config::{Config, edition::EditionName, first_start::TokenSource, watch};
use anyhow::{Context, Result};
use goclaw_gateway::{ServeOptions, bind, start_counting};
use goclaw_ports::logs::Logs;
use goclaw_tailscale::{Programs, Tailnet};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    runtime::Handle,
    signal::unix::{Signal, SignalKind, signal},
};
use tokio_util::sync::CancellationToken;

/// How long a stop may take in all, before the process goes whatever is left.
const STOP_LIMIT: Duration = Duration::from_secs(30);
/// How much of it runs and clients get to end by themselves.
const GRACE: Duration = Duration::from_secs(25);

/// Runs the gateway until a signal ends it.
///
/// # Errors
/// If it cannot start. The text says what to do.
pub fn serve(mut config: Config, logs: Arc<dyn Logs>) -> Result<()> {
    install_tls();
    raise_file_limit();
    // Runs that are taken up again begin before anybody can connect.
    start_counting();
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let runtime = runtime()?;
    let assembled = runtime.block_on(assemble(&mut config, logs))?;
    let shutdown = CancellationToken::new();
    {
        let _entered = runtime.enter();
        let signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        runtime.spawn(watch(signals, shutdown.clone()));
        runtime.spawn(crate::memory::give_free_memory_back());
    }

    let _watch = watch::watch(&config.path, &assembled.configuration, runtime.handle())
        .inspect_err(|error| tracing::warn!(%error, "the configuration file is not watched: edits hold at the next start"));
    let core = assembled.core.clone();
    // What is running ends while the gateway still carries its events to clients.
    let stopping = runtime.spawn({
        let (core, shutdown) = (core.clone(), shutdown.clone());
        async move {
            shutdown.cancelled().await;
            core.stop(GRACE).await;
        }
    });
    let options = ServeOptions {
        host: config.host().to_owned(),
        port: config.port(),
        workers: 0,
        desktop_cors: config.desktop(),
        times: config.http_times(),
        shutdown: shutdown.clone(),
        grace: GRACE,
    };
    let address = format!("{}:{}", config.host(), config.port());
    let mut tailnet = None;
    let served = actix_web::rt::System::new().block_on(async {
        let bound = bind(core, options).with_context(|| format!("cannot listen on {address}"))?;
        if matches!(assembled.token, TokenSource::None) && !bound.addr().is_some_and(|address| address.ip().is_loopback()) {
            anyhow::bail!("no gateway token is set, and other machines can reach {address}: set GOCLAW_GATEWAY_TOKEN, or GOCLAW_HOST=127.0.0.1");
        }
        if matches!(assembled.token, TokenSource::None) && config.tailscale().is_some() {
            anyhow::bail!("no gateway token is set, and tailscale.hostname lets other machines in: set GOCLAW_GATEWAY_TOKEN");
        }
        tailnet = join_tailnet(&config, bound.addr(), runtime.handle());
        announce(&config, &assembled.token, bound.addr().context("the listener has no address")?);
        bound.run().await.context("the gateway stopped")
    });

    shutdown.cancel();
    runtime.block_on(async {
        if let Some(tailnet) = tailnet {
            tailnet.stop().await;
        }
        if let Err(error) = stopping.await {
            tracing::error!(%error, "stopping failed");
        }
        if let Some(exporter) = &assembled.exporter {
            exporter.stop().await;
        }
        // Nobody publishes any more: requests and runs have ended.
        assembled.core.bus.close().await;
        assembled.stores.database.close().await;
    });
    tracing::info!("stopped");
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

/// The second way in, through a Tailscale network. Whatever is wrong with it, the first one stays open.
fn join_tailnet(config: &Config, address: Option<SocketAddr>, runtime: &Handle) -> Option<Tailnet> {
    let options = config.tailscale()?;
    let address = address?;
    if !(address.is_ipv4() && (address.ip().is_loopback() || address.ip().is_unspecified())) {
        tracing::warn!(%address, "the gateway is not in the tailnet: Tailscale's program reaches it at 127.0.0.1 only; set gateway.host to 127.0.0.1 or 0.0.0.0");
        return None;
    }
    match Programs::find(&config.search_path()) {
        Ok(programs) => Some(Tailnet::start(options, programs, address.port(), runtime)),
        Err(trouble) => {
            tracing::warn!(error = %trouble, "the gateway is not in the tailnet");
            None
        }
    }
}

/// Lets the gateway have as many connections as the system allows. The soft limit is 1,024 on most systems, for the sake of programs that
/// could not bear more.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// The first signal asks for the end; the second, or a stop that takes too long, is the end.
async fn watch((mut terminate, mut interrupt): (Signal, Signal), shutdown: CancellationToken) {
    next(&mut terminate, &mut interrupt).await;
    tracing::info!("stopping; a second signal stops at once");
    shutdown.cancel();
    match tokio::time::timeout(STOP_LIMIT, next(&mut terminate, &mut interrupt)).await {
        Ok(()) => tracing::warn!("stopped at once"),
        Err(_) => tracing::error!(limit = ?STOP_LIMIT, "stopping took too long"),
    }
    std::process::exit(1);
}

async fn next(terminate: &mut Signal, interrupt: &mut Signal) {
    tokio::select! {
        _ = terminate.recv() => (),
        _ = interrupt.recv() => (),
    }
}

/// The one line on standard output. It says where the token is, and never the token.
fn announce(config: &Config, token: &TokenSource, address: SocketAddr) {
    let token = match token {
        TokenSource::Environment => "token: from GOCLAW_GATEWAY_TOKEN".to_owned(),
        TokenSource::Configuration => "token: from the configuration".to_owned(),
        TokenSource::File(path) => format!("token: in {}", path.display()),
        TokenSource::None => "no token: everybody who reaches this address may use it".to_owned(),
    };
    if token.starts_with("no token") {
        tracing::warn!("no gateway token is set; set GOCLAW_GATEWAY_TOKEN");
    }
    let version = env!("CARGO_PKG_VERSION");
    println!("goclaw {version} ({}) listens on http://{address} ({token})", config.edition.as_str());
    if config.edition == EditionName::Lite && !address.ip().is_loopback() {
        tracing::warn!(%address, "other machines can reach this gateway");
    }
}
