//! Outbound HTTP: the one place where clients are made.
//!
//! Whatever a tenant, a model or a web page chose is called through [`Outbound::guarded`], whose connections go only to
//! addresses that [`Guard`] lets through. Whatever the operator configured is called through [`Outbound::trusted`].
//!
//! ```
//! use goclaw_outbound::{Outbound, OutboundOptions};
//!
//! let outbound = Outbound::new(OutboundOptions::default())?;
//! let metadata = "http://169.254.169.254/".parse().expect("a URL");
//! assert!(outbound.guard().check_url(&metadata).is_err());
//! # Ok::<(), goclaw_ports::Error>(())
//! ```
#![deny(missing_docs)]

mod address;
mod authorities;
mod fetch;
mod guard;
mod resolver;

pub use address::is_public;
pub use fetch::{FetchError, FetchRequest, Fetched};
pub use guard::{Guard, Refused};
pub use resolver::Lookup;

use goclaw_ports::{Error, Result};
use reqwest::{Client, ClientBuilder, Proxy, redirect};
use rustls::ClientConfig;
use std::{fmt, sync::Arc, time::Duration};

/// How outbound calls are made.
#[derive(Clone)]
pub struct OutboundOptions {
    /// Private hosts that guarded calls may reach all the same; see [`Guard::new`].
    pub allow_private_hosts: Vec<String>,
    /// What the calls say they come from.
    pub user_agent: String,
    /// The longest wait for a connection, name resolution and TLS included.
    pub connect_timeout: Duration,
    /// How long an unused connection is kept.
    pub pool_idle_timeout: Duration,
    /// How many unused connections to one host are kept.
    pub pool_max_idle_per_host: usize,
    /// How guarded calls turn names into addresses.
    pub lookup: Lookup,
}

impl Default for OutboundOptions {
    fn default() -> Self {
        Self {
            allow_private_hosts: Vec::new(),
            user_agent: concat!("goclaw/", env!("CARGO_PKG_VERSION")).to_owned(),
            connect_timeout: Duration::from_secs(30),
            pool_idle_timeout: Duration::from_secs(90),
            pool_max_idle_per_host: 32,
            lookup: Lookup::default(),
        }
    }
}

/// The clients. Both follow no redirects and have no timeout but the one for connecting: callers set their own.
///
/// A connection lives on the runtime that opened it, so use one `Outbound` from one runtime.
#[derive(Clone)]
pub struct Outbound {
    guard: Arc<Guard>,
    guarded: Client,
    trusted: Client,
}

impl fmt::Debug for Outbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbound").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Outbound {
    /// Makes the clients.
    ///
    /// # Errors
    /// `Internal` if TLS cannot be set up. A machine without certificate authorities is noticed when the first certificate is to be checked.
    pub fn new(options: OutboundOptions) -> Result<Self> {
        let tls = authorities::tls()?;
        let guard = Arc::new(Guard::new(&options.allow_private_hosts));
        let gate = Arc::clone(&guard);
        // The client resolves names through the guard but takes addresses in URLs as they are. This asks the guard once more
        // for every connection; what it refuses is sent to a name that never resolves.
        let gate = Proxy::custom(move |url| gate.check_url(url).is_err().then_some(resolver::NOWHERE_URL));
        let guarded = base(&options, tls.clone())
            .no_proxy()
            .proxy(gate)
            .dns_resolver(Arc::new(resolver::GuardedResolver { guard: Arc::clone(&guard), lookup: options.lookup.clone() }))
            .build()
            .map_err(Error::internal)?;
        let trusted = base(&options, tls).build().map_err(Error::internal)?;
        Ok(Self { guard, guarded, trusted })
    }

    /// What guarded calls may reach.
    #[must_use]
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// The client for URLs that tenants, models or pages chose. It resolves a name, drops the addresses that the guard refuses,
    /// connects to one of the others and fails with [`Refused`] (see [`Refused::find`]) if none is left. Redirects are not followed: check each
    /// target with [`Guard::check_url`], or use [`Outbound::get_following`].
    ///
    /// A proxy from the environment is ignored here: it would resolve names itself, and nothing that was checked would hold.
    /// A machine that reaches the internet only through a proxy must let this process out directly, or filter there.
    #[must_use]
    pub fn guarded(&self) -> Client {
        self.guarded.clone()
    }

    /// The client for URLs that the operator set. It reaches any address and honours the system's proxy (`HTTPS_PROXY`,
    /// `NO_PROXY`, …). Redirects are not followed.
    #[must_use]
    pub fn trusted(&self) -> Client {
        self.trusted.clone()
    }
}

fn base(options: &OutboundOptions, tls: ClientConfig) -> ClientBuilder {
    Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(options.user_agent.clone())
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(options.pool_idle_timeout)
        .pool_max_idle_per_host(options.pool_max_idle_per_host)
        .redirect(redirect::Policy::none())
        .referer(false)
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(60))
        // A dead HTTP/2 connection would hold every call to that host until its timeout.
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(Duration::from_secs(20))
}
