//! What goes to the operator's other systems, and what comes from there: traces and releases.

use super::{Config, schema::services::OtlpProtocol};
use goclaw_telemetry::{OtlpOptions, Protocol};

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
}
