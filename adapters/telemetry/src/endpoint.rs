//! Where the collector is.

use crate::{Protocol, StartError};
use url::Url;

/// Where traces are sent over HTTP.
const TRACES: &str = "/v1/traces";

/// The URL to send to. What the endpoint says about TLS holds; if it says nothing, `insecure` decides.
pub fn url(endpoint: &str, protocol: Protocol, insecure: bool) -> Result<Url, StartError> {
    let endpoint = endpoint.trim();
    let given = if endpoint.contains("://") { endpoint.to_owned() } else { format!("{}://{endpoint}", if insecure { "http" } else { "https" }) };
    let refused = || StartError::Endpoint(endpoint.to_owned());
    let mut url = Url::parse(&given).map_err(|_| refused())?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(refused());
    }
    if protocol == Protocol::Http {
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&if path.ends_with(TRACES) { path } else { path + TRACES });
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_may_be_a_url_or_a_host_and_port() {
        let url = |endpoint, protocol, insecure| url(endpoint, protocol, insecure).unwrap().to_string();
        assert_eq!(url("collector:4317", Protocol::Grpc, true), "http://collector:4317/");
        assert_eq!(url("collector:4317", Protocol::Grpc, false), "https://collector:4317/");
        assert_eq!(url("https://collector", Protocol::Grpc, true), "https://collector/");
        assert_eq!(url("collector:4318", Protocol::Http, true), "http://collector:4318/v1/traces");
        assert_eq!(url("http://collector:4318/", Protocol::Http, false), "http://collector:4318/v1/traces");
        assert_eq!(url("https://collector/otlp", Protocol::Http, false), "https://collector/otlp/v1/traces");
        assert_eq!(url("https://collector/v1/traces", Protocol::Http, false), "https://collector/v1/traces");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for endpoint in ["", "ftp://collector", "http://", "unix:///run/otel.sock", "a b"] {
            assert!(matches!(url(endpoint, Protocol::Grpc, false), Err(StartError::Endpoint(_))), "{endpoint}");
        }
    }
}
