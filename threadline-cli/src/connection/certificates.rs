//! What the certificate of the server must be.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::Decode;

/// Accepts a certificate as libpq does.
pub(super) struct Verifier {
    /// Without roots, any certificate is good.
    pub(super) roots: Option<Roots>,
    pub(super) checks_name: bool,
    pub(super) provider: Arc<CryptoProvider>,
}

/// One of these must have signed the certificate, or be the certificate itself.
#[derive(Debug)]
pub(super) struct Roots {
    pub(super) authorities: RootCertStore,
    pub(super) certificates: Vec<CertificateDer<'static>>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("roots", &self.roots)
            .field("checks_name", &self.checks_name)
            .finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.roots {
            None => {}
            // webpki refuses one that may sign others, and so are most that have signed themselves.
            Some(roots) if roots.certificates.contains(certificate) => {
                verify_time(certificate, now)?;
            }
            Some(roots) => verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(certificate)?,
                &roots.authorities,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?,
        }
        if self.checks_name {
            verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    // The server must have the key of its certificate in any case.
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn verify_time(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = Certificate::from_der(certificate);
    let certificate = certificate.map_err(|_| CertificateError::BadEncoding)?;
    let validity = certificate.tbs_certificate.validity;
    if now.as_secs() < validity.not_before.to_unix_duration().as_secs() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now.as_secs() > validity.not_after.to_unix_duration().as_secs() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn signed_by_itself() -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    /// A certificate that has signed itself, as most tools make it, is good for whoever has it, with its name and in its time.
    #[test]
    fn itself() {
        let certificate = signed_by_itself();
        let verify = |trusted: &CertificateDer<'static>, name: &'static str, now: u64| {
            let mut authorities = RootCertStore::empty();
            authorities.add(trusted.clone()).unwrap();
            let roots = Roots {
                authorities,
                certificates: vec![trusted.clone()],
            };
            let verifier = Verifier {
                roots: Some(roots),
                checks_name: true,
                provider: Arc::new(rustls::crypto::ring::default_provider()),
            };
            let name = ServerName::try_from(name).unwrap();
            let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
            verifier.verify_server_cert(&certificate, &[], &name, &[], now)
        };
        let now = UnixTime::now().as_secs();
        verify(&certificate, "localhost", now).unwrap();
        verify(&certificate, "elsewhere", now).unwrap_err();
        verify(&certificate, "localhost", 0).unwrap_err();
        verify(&certificate, "localhost", now * 1000).unwrap_err();
        verify(&signed_by_itself(), "localhost", now).unwrap_err();
    }
}
