//! Whom TLS trusts.

use goclaw_ports::{Error, Result};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use rustls_platform_verifier::Verifier;
use std::sync::{Arc, OnceLock};

/// The certificate authorities of this machine. They are hundreds of files, so they are read when the first certificate is checked,
/// once for all clients, and not at each start.
#[derive(Debug)]
struct Authorities {
    provider: Arc<CryptoProvider>,
    verifier: OnceLock<Result<Verifier, rustls::Error>>,
}

impl Authorities {
    fn verifier(&self) -> Result<&Verifier, rustls::Error> {
        let verifier = self.verifier.get_or_init(|| Verifier::new(Arc::clone(&self.provider)));
        verifier.as_ref().map_err(|error| {
            tracing::error!(%error, "the certificate authorities of this machine cannot be read");
            error.clone()
        })
    }
}

impl ServerCertVerifier for Authorities {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS that trusts the certificate authorities of this machine, with HTTP/2 where the server speaks it.
///
/// # Errors
/// `Internal` if the cryptography knows no safe version of TLS.
pub(crate) fn tls() -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let authorities = Arc::new(Authorities { provider: Arc::clone(&provider), verifier: OnceLock::new() });
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(Error::internal)?;
    let mut config = versions.dangerous().with_custom_certificate_verifier(authorities).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::CertificateError;

    #[test]
    fn nothing_is_read_until_a_certificate_is_checked_and_a_stranger_is_refused() {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let authorities = Authorities { provider, verifier: OnceLock::new() };
        assert!(!authorities.supported_verify_schemes().is_empty() && authorities.verifier.get().is_none());
        let name = ServerName::try_from("example.com").unwrap();
        let refused = authorities.verify_server_cert(&CertificateDer::from(b"no certificate".as_slice()), &[], &name, &[], UnixTime::now());
        assert_eq!(refused.unwrap_err(), rustls::Error::InvalidCertificate(CertificateError::BadEncoding));
        assert!(authorities.verifier.get().is_some_and(Result::is_ok));
    }
}
