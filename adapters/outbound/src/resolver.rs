//! Name resolution that drops what the guard refuses.

use crate::{Guard, Refused};
use futures_util::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// A name that never resolves (RFC 6761): where refused connections are sent.
const NOWHERE: &str = "refused.invalid";
pub(crate) const NOWHERE_URL: &str = "http://refused.invalid";

type LookupFn = dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync;

/// Turns a host name into addresses; the system's resolver by default.
#[derive(Clone)]
pub struct Lookup(Arc<LookupFn>);

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}

impl Default for Lookup {
    fn default() -> Self {
        Self::new(|name| Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect()) }))
    }
}

impl Lookup {
    /// A lookup of one's own.
    pub fn new(lookup: impl Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(lookup))
    }
}

pub(crate) struct GuardedResolver {
    pub(crate) guard: Arc<Guard>,
    pub(crate) lookup: Lookup,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = Arc::clone(&self.guard);
        let name = name.as_str().to_owned();
        if name == NOWHERE {
            return Box::pin(async { Err(Refused::Unchecked.into()) });
        }
        let found = (self.lookup.0)(name.clone());
        Box::pin(async move {
            let found = found.await.map_err(|error| {
                tracing::debug!(host = %name, %error, "a name did not resolve");
                Refused::Unresolved(name.clone())
            })?;
            let (allowed, refused): (Vec<_>, Vec<_>) = found.into_iter().partition(|ip| guard.allows(&name, *ip));
            if allowed.is_empty() {
                return Err(match refused.first() {
                    Some(ip) => Refused::Network { ip: *ip, name: Some(name) },
                    None => Refused::Unresolved(name),
                }
                .into());
            }
            let addresses: Addrs = Box::new(allowed.into_iter().map(|ip| SocketAddr::new(ip, 0)));
            Ok(addresses)
        })
    }
}
