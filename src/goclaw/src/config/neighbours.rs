//! The operator's other systems: where traces go, where releases are, who counts, and the network that the gateway is in.

use super::{Config, schema::services::OtlpProtocol};
use goclaw_tailscale::TailnetOptions;
use goclaw_telemetry::{OtlpOptions, Protocol};
use secrecy::SecretString;

/// The name of the key that lets the gateway into a Tailscale network, in environment and secret store.
const AUTH_KEY_VARIABLE: &str = "GOCLAW_TSNET_AUTH_KEY";
const AUTH_KEY: &str = "tailscale.auth_key";
/// What a program on this machine may see of the environment: where programs and certificates are, the way out, the language.
pub(super) const FOR_PROGRAMS: &[&str] = &[
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

impl Config {
    /// Where traces are sent; `None` unless they should be, and there is a where.
    #[must_use]
    pub fn telemetry(&self) -> Option<OtlpOptions> {
        let telemetry = &self.file.telemetry;
        let endpoint = telemetry.endpoint.clone().filter(|endpoint| !endpoint.trim().is_empty())?;
        telemetry.enabled.unwrap_or(false).then(|| OtlpOptions {
            endpoint,
            protocol: match telemetry.protocol {
                Some(OtlpProtocol::Grpc) | None => Protocol::Grpc,
                Some(OtlpProtocol::Http) => Protocol::Http,
            },
            insecure: telemetry.insecure.unwrap_or(false),
            service_name: telemetry.service_name.clone().filter(|name| !name.is_empty()).unwrap_or_else(|| "goclaw-gateway".to_owned()),
            service_version: env!("CARGO_PKG_VERSION").to_owned(),
            headers: telemetry.headers.iter().map(|(name, value)| (name.clone(), (**value).clone())).collect(),
        })
    }

    /// Where the list of releases is; `None` unless the operator wants to hear of them.
    #[must_use]
    pub fn updates(&self) -> Option<&str> {
        let updates = &self.file.updates;
        updates.url.as_deref().map(str::trim).filter(|url| updates.enabled.unwrap_or(false) && !url.is_empty())
    }

    /// The Redis server that gateways count requests with, if there is one.
    #[must_use]
    pub fn redis(&self) -> Option<SecretString> {
        self.environment.get("GOCLAW_REDIS_DSN").map(SecretString::from)
    }

    /// What the gateway is in a Tailscale network; `None` if it has no name there.
    #[must_use]
    pub fn tailscale(&self) -> Option<TailnetOptions> {
        let section = &self.file.tailscale;
        let hostname = section.hostname.as_deref().map(str::trim).filter(|name| !name.is_empty())?;
        let state_dir = section.state_dir.as_deref().map(str::trim).filter(|path| !path.is_empty());
        Some(TailnetOptions {
            hostname: hostname.to_owned(),
            state_dir: state_dir.map_or_else(|| self.data_dir.join("tailscale"), |path| self.environment.path(path)),
            ephemeral: section.ephemeral.unwrap_or(false),
            tls: section.enable_tls.unwrap_or(false),
            auth_key: self.environment.get(AUTH_KEY_VARIABLE).map(SecretString::from).or_else(|| self.secrets.get(AUTH_KEY).cloned()),
            environment: self.environment.only(FOR_PROGRAMS),
        })
    }

    /// Whether the file holds a key for a Tailscale network, where it does not count.
    pub(super) fn has_idle_auth_key(&self) -> bool {
        super::document::at(&self.document, &["tailscale", "auth_key"]).and_then(serde_json::Value::as_str).is_some_and(|key| !key.trim().is_empty())
    }
}
