//! Single connections: the DSN, TLS, and what every connection is set up with.

use diesel::{ConnectionError, ConnectionResult};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use goclaw_ports::{Error, Result};
use rustls_platform_verifier::BuilderVerifierExt;
use secrecy::{ExposeSecret, SecretString};
use std::{sync::Arc, time::Duration};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How long reaching the server may take, log-in included.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that can be connected to.
#[derive(Clone)]
pub(crate) struct Server {
    config: tokio_postgres::Config,
    tls: MakeRustlsConnect,
}

impl Server {
    /// Reads the DSN. Its text is in no error: it may hold a password.
    pub(crate) fn new(dsn: &SecretString) -> Result<Self> {
        let mut config: tokio_postgres::Config = known_sslmode(dsn.expose_secret()).parse().map_err(|_| Error::invalid_request("malformed PostgreSQL DSN"))?;
        config.application_name("goclaw").connect_timeout(CONNECT_TIMEOUT).keepalives_idle(Duration::from_secs(30));
        Ok(Self { config, tls: MakeRustlsConnect::new(tls_config().map_err(Error::internal)?) })
    }

    /// Where it is and who connects.
    pub(crate) fn config(&self) -> &tokio_postgres::Config {
        &self.config
    }

    /// A new connection on which `setup` was run. It is closed when it is dropped.
    pub(crate) async fn connect(&self, setup: &str) -> ConnectionResult<AsyncPgConnection> {
        let connecting = async {
            let (client, connection) = self.config.connect(self.tls.clone()).await.map_err(|error| ConnectionError::BadConnection(whole(&error)))?;
            let mut connection = AsyncPgConnection::try_from_client_and_connection(client, connection).await?;
            connection.batch_execute(setup).await.map_err(ConnectionError::CouldntSetupConfiguration)?;
            Ok(connection)
        };
        let timed_out = |_| ConnectionError::BadConnection(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()));
        tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(timed_out)?
    }
}

/// The DSN with the stricter modes of libpq spelt `require`, which here always verifies the certificate and the name.
fn known_sslmode(dsn: &str) -> String {
    let (head, options) = if dsn.starts_with("postgres://") || dsn.starts_with("postgresql://") {
        dsn.rsplit_once('?').map_or((dsn, ""), |(head, _)| (head, &dsn[head.len()..]))
    } else {
        ("", dsn)
    };
    head.to_owned() + &options.replace("sslmode=verify-full", "sslmode=require").replace("sslmode=verify-ca", "sslmode=require")
}

fn tls_config() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.with_platform_verifier()?.with_no_client_auth())
}

/// The error with its causes, which say what really happened.
fn whole(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strict_modes_of_libpq_are_understood() {
        for mode in ["verify-full", "verify-ca", "require"] {
            for dsn in [format!("postgres://u:p@h/d?connect_timeout=3&sslmode={mode}"), format!("host=h user=u sslmode={mode}")] {
                let server = Server::new(&SecretString::from(dsn)).unwrap();
                assert_eq!(server.config.get_ssl_mode(), tokio_postgres::config::SslMode::Require);
            }
        }
    }

    #[test]
    fn tls_is_preferred_by_default_and_a_password_is_left_alone() {
        let server = Server::new(&SecretString::from("postgres://u:sslmode=verify-full@h/d")).unwrap();
        assert_eq!(server.config.get_ssl_mode(), tokio_postgres::config::SslMode::Prefer);
        assert_eq!(server.config.get_password(), Some(b"sslmode=verify-full".as_slice()));
    }

    #[test]
    fn a_malformed_dsn_is_refused_without_being_repeated() {
        let error = Server::new(&SecretString::from("postgres://u:hunter2@h:notaport/d")).err().unwrap();
        assert_eq!(error.kind, goclaw_ports::ErrorKind::Invalid);
        assert!(!error.to_string().contains("hunter2") && !format!("{error:?}").contains("hunter2"));
    }
}
