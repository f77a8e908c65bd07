//! What a guarded call may reach.

use crate::address::{Network, is_public, unmap};
use std::{error::Error as StdError, fmt, net::IpAddr};
use url::{Host, Url};

/// Names of this machine and of metadata services.
const REFUSED_NAMES: &[&str] = &["localhost", "metadata.google.internal"];
/// Names that only mean something inside a network.
const REFUSED_SUFFIXES: &[&str] = &[".localhost", ".local", ".internal"];
/// Addresses that a refusal calls a host rather than a private network.
const REFUSED_LITERALS: &[&str] = &["127.0.0.1", "::1", "0.0.0.0", "169.254.169.254"];

/// Why an address must not be called. [`fmt::Display`] gives the text of the web tools, [`Refused::provider_text`] that of
/// the providers' API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// Neither http nor https.
    Scheme(String),
    /// The URL names no host.
    NoHost,
    /// The host is this machine or a metadata service.
    Host(String),
    /// The host is an address that is not public, or a name with no public address (then with the name).
    Network {
        /// The address.
        ip: IpAddr,
        /// The name that resolved to it.
        name: Option<String>,
    },
    /// The name ends in a suffix that is only used inside networks.
    Internal(String),
    /// The operator allowed this host on other ports only.
    Port(String, u16),
    /// The name does not resolve.
    Unresolved(String),
    /// A call was about to be made to an address that was not checked before.
    Unchecked,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SSRF protection: ")?;
        match self {
            Self::Scheme(scheme) => write!(f, "only http and https URLs may be fetched, got \"{scheme}\""),
            Self::NoHost => f.write_str("the URL names no host"),
            Self::Host(host) => write!(f, "access to {host} is blocked"),
            Self::Network { ip, name: None } => write!(f, "access to the private network address {ip} is blocked"),
            Self::Network { ip, name: Some(name) } => write!(f, "{name} resolves to the private network address {ip}"),
            Self::Internal(host) => write!(f, "access to the internal host name {host} is blocked"),
            Self::Port(host, port) => write!(f, "{host} is not open on port {port}"),
            Self::Unresolved(host) => write!(f, "cannot resolve {host}"),
            Self::Unchecked => f.write_str("the address is blocked"),
        }
    }
}

impl StdError for Refused {}

impl Refused {
    /// The text that the providers' API answers with.
    #[must_use]
    pub fn provider_text(&self) -> String {
        match self {
            Self::Scheme(scheme) => format!("provider URL must use http or https scheme, got \"{scheme}\""),
            Self::NoHost => "provider URL has no host".to_owned(),
            Self::Host(host) => format!("provider URL cannot point to {host}"),
            Self::Network { ip, name: None } if REFUSED_LITERALS.contains(&ip.to_string().as_str()) => format!("provider URL cannot point to {ip}"),
            Self::Network { ip, .. } => format!("provider URL cannot point to private network: {ip}"),
            Self::Internal(host) => format!("provider URL cannot point to internal hostname: {host}"),
            Self::Port(host, port) => format!("provider URL cannot point to {host} on port {port}"),
            Self::Unresolved(host) => format!("provider URL cannot be resolved: {host}"),
            Self::Unchecked => "provider URL cannot point to this address".to_owned(),
        }
    }

    /// The refusal inside an error of the HTTP client, if that is why it failed.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(refused) = error.downcast_ref::<Self>() {
                return Some(refused);
            }
            next = error.source();
        }
        None
    }
}

/// One thing that the operator exempted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exempt {
    /// This name.
    Name(String),
    /// Every name below this suffix (`.example.com`).
    Below(String),
    /// These addresses.
    Network(Network),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    exempt: Exempt,
    port: Option<u16>,
}

impl Rule {
    fn parse(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        if let Some(network) = Network::parse(&text) {
            return Some(Self { exempt: Exempt::Network(network), port: None });
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text.as_str(), None),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let exempt = if let Some(network) = Network::parse(host) {
            Exempt::Network(network)
        } else if let Some(suffix) = host.strip_prefix('*') {
            if suffix.len() < 2 || !suffix.starts_with('.') {
                return None;
            }
            Exempt::Below(suffix.to_owned())
        } else {
            let host = bare(host);
            if host.is_empty() {
                return None;
            }
            Exempt::Name(host.to_owned())
        };
        Some(Self { exempt, port })
    }

    fn names(&self, host: &str) -> bool {
        match &self.exempt {
            Exempt::Name(name) => name == host,
            Exempt::Below(suffix) => host.len() > suffix.len() && host.ends_with(suffix.as_str()),
            Exempt::Network(_) => false,
        }
    }

    fn holds(&self, ip: IpAddr) -> bool {
        matches!(&self.exempt, Exempt::Network(network) if network.contains(ip))
    }

    fn open_on(&self, port: u16) -> bool {
        self.port.is_none_or(|only| only == port)
    }
}

/// A name without its root dot.
fn bare(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

/// Decides which hosts and addresses may be called. Public ones may; others only if the operator's configuration names them.
#[derive(Debug, Clone, Default)]
pub struct Guard {
    rules: Vec<Rule>,
}

impl Guard {
    /// A guard that lets the named private hosts through: host names, `*.example.lan` (names below it, not itself), addresses
    /// or networks (`10.1.0.0/16`, `::1`), each optionally with `:port`. What cannot be read is logged and left out.
    ///
    /// A name is allowed whatever it resolves to; a network without a port is also allowed to names that resolve into it; a
    /// network with a port only where the URL spells the address.
    #[must_use]
    pub fn new(allow_private_hosts: &[String]) -> Self {
        let parse = |text: &String| {
            let rule = Rule::parse(text);
            if rule.is_none() {
                tracing::warn!(entry = %text, "ignored an allowed private host that cannot be read");
            }
            rule
        };
        Self { rules: allow_private_hosts.iter().filter_map(parse).collect() }
    }

    /// Whether a URL may be called, as far as its text says. Names are not resolved here: the guarded client does that when
    /// it connects, and refuses there.
    ///
    /// # Errors
    /// Why not.
    pub fn check_url(&self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme(url.scheme().to_owned()));
        }
        let port = url.port_or_known_default().unwrap_or(0);
        let ip = match url.host().ok_or(Refused::NoHost)? {
            Host::Ipv4(ip) => IpAddr::V4(ip),
            Host::Ipv6(ip) => unmap(IpAddr::V6(ip)),
            Host::Domain(name) => return self.check_name(&name.to_ascii_lowercase(), port),
        };
        if is_public(ip) || self.rules.iter().any(|rule| rule.holds(ip) && rule.open_on(port)) {
            return Ok(());
        }
        Err(Refused::Network { ip, name: None })
    }

    fn check_name(&self, name: &str, port: u16) -> Result<(), Refused> {
        let host = bare(name);
        if host.is_empty() {
            return Err(Refused::NoHost);
        }
        let mut named = self.rules.iter().filter(|rule| rule.names(host)).peekable();
        if named.peek().is_some() {
            // Where the name is resolved the port is not known, so a name that is exempt on one port is closed on all others.
            return if named.any(|rule| rule.open_on(port)) { Ok(()) } else { Err(Refused::Port(host.to_owned(), port)) };
        }
        if REFUSED_NAMES.contains(&host) || host.ends_with(".localhost") {
            return Err(Refused::Host(host.to_owned()));
        }
        if REFUSED_SUFFIXES.iter().any(|suffix| host.ends_with(suffix)) {
            return Err(Refused::Internal(host.to_owned()));
        }
        Ok(())
    }

    /// Whether `host`, a name, may be reached at `ip`, an address that it resolved to.
    #[must_use]
    pub fn allows(&self, host: &str, ip: IpAddr) -> bool {
        let ip = unmap(ip);
        let host = host.to_ascii_lowercase();
        is_public(ip) || self.rules.iter().any(|rule| rule.names(bare(&host)) || (rule.port.is_none() && rule.holds(ip)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(allowed: &[&str], url: &str) -> Result<(), Refused> {
        let allowed: Vec<_> = allowed.iter().map(ToString::to_string).collect();
        Guard::new(&allowed).check_url(&Url::parse(url).unwrap())
    }

    #[test]
    fn refusals_of_a_provider_url_say_why() {
        for (url, text) in [
            ("ftp://x", "provider URL must use http or https scheme, got \"ftp\""),
            ("http://localhost:11434/v1", "provider URL cannot point to localhost"),
            ("http://LOCALHOST./", "provider URL cannot point to localhost"),
            ("http://127.0.0.1/", "provider URL cannot point to 127.0.0.1"),
            ("http://0/", "provider URL cannot point to 0.0.0.0"),
            ("http://[::1]:80/", "provider URL cannot point to ::1"),
            ("http://169.254.169.254/", "provider URL cannot point to 169.254.169.254"),
            ("http://metadata.google.internal/", "provider URL cannot point to metadata.google.internal"),
            ("http://[::ffff:10.0.0.1]/", "provider URL cannot point to private network: 10.0.0.1"),
            ("http://0x7f.1/", "provider URL cannot point to 127.0.0.1"),
            ("http://2130706433/", "provider URL cannot point to 127.0.0.1"),
            ("http://192.168.1.9/", "provider URL cannot point to private network: 192.168.1.9"),
            ("http://224.0.0.1/", "provider URL cannot point to private network: 224.0.0.1"),
            ("http://db.internal/", "provider URL cannot point to internal hostname: db.internal"),
            ("http://printer.LOCAL/", "provider URL cannot point to internal hostname: printer.local"),
        ] {
            assert_eq!(check(&[], url).unwrap_err().provider_text(), text, "{url}");
        }
    }

    #[test]
    fn refusals_of_the_web_tools_begin_with_their_prefix() {
        for url in ["file:///etc/passwd", "http://localhost", "http://a.localhost", "http://10.0.0.1", "http://a.local", "http://[fe80::1]"] {
            let refused = check(&[], url).unwrap_err();
            assert!(refused.to_string().starts_with("SSRF protection: "), "{refused}");
        }
    }

    #[test]
    fn public_hosts_pass() {
        for url in ["https://example.com/", "http://8.8.8.8:8080", "https://[2606:4700::1111]/", "https://local.example.com", "http://internal/"] {
            assert_eq!(check(&[], url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_the_operator_names_passes_and_nothing_beside_it() {
        let passes = |rule: &str, url: &str| check(&[rule], url).is_ok();
        assert!(passes("localhost", "http://localhost:1234/"));
        assert!(passes("LocalHost:11434", "http://localhost:11434/"));
        assert!(!passes("localhost:11434", "http://localhost:11435/"));
        assert!(!passes("localhost", "http://127.0.0.1/"));
        assert!(passes("127.0.0.1:8080", "http://127.0.0.1:8080/"));
        assert!(!passes("127.0.0.1:8080", "http://127.0.0.1/"));
        assert!(passes("127.0.0.1:80", "http://[::ffff:127.0.0.1]/"));
        assert!(passes("[::1]:8080", "http://[::1]:8080/"));
        assert!(passes("10.1.0.0/16", "http://10.1.2.3/"));
        assert!(!passes("10.1.0.0/16", "http://10.2.2.3/"));
        assert!(passes("10.1.0.0/16:443", "https://10.1.2.3/"));
        assert!(!passes("10.1.0.0/16:443", "http://10.1.2.3/"));
        assert!(passes("*.svc.internal", "http://a.b.svc.internal/"));
        assert!(!passes("*.svc.internal", "http://svc.internal/"));
        assert!(!passes("*", "http://localhost/"));
        assert!(!passes("", "http://localhost/"));
        assert!(!passes("localhost:port", "http://localhost/"));
        // A name with a port is closed elsewhere, because its addresses are exempt wherever it is called.
        assert!(!passes("llm.example.com:8080", "http://llm.example.com:22/"));
    }

    #[test]
    fn names_are_held_to_their_addresses() {
        let guard = Guard::new(&["llm.example.com:8080".to_owned(), "10.1.0.0/16".to_owned(), "10.9.0.1:80".to_owned(), "*.lan".to_owned()]);
        let allows = |host: &str, ip: &str| guard.allows(host, ip.parse().unwrap());
        assert!(allows("example.com", "93.184.216.34"));
        assert!(!allows("example.com", "127.0.0.1"));
        assert!(!allows("example.com", "::ffff:127.0.0.1"));
        assert!(allows("LLM.example.com.", "127.0.0.1"));
        assert!(allows("nas.lan", "fd00::1"));
        assert!(!allows("lan", "fd00::1"));
        assert!(allows("example.com", "10.1.7.7"));
        assert!(allows("example.com", "::ffff:10.1.7.7"));
        assert!(!allows("example.com", "10.9.0.1"));
    }
}
