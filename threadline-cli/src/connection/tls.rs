//! What `sslmode` and its companions ask for, as libpq understands them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, RootCertStore};
use tokio_postgres::Socket;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::certificates::{Roots, Verifier};
use super::files;
use super::parameters::Parameters;
use crate::{Result, causes};

/// How to connect, and what the server must prove.
pub(super) struct Tls {
    mode: Mode,
    connector: MakeRustlsConnect,
}

/// A socket with TLS.
pub(super) type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
enum Mode {
    Disable,
    Allow,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// Where the certificates are that must have signed the server's.
enum RootFile {
    File(PathBuf),
    System,
}

impl Tls {
    /// Takes what is about TLS out of the parameters.
    pub(super) fn take(parameters: &mut Parameters) -> Result<Self> {
        let given = parameters.take("sslmode");
        let given = given.as_deref().map(Mode::read).transpose()?;
        let roots = RootFile::of(parameters.take("sslrootcert"));
        let identity = (parameters.take("sslcert"), parameters.take("sslkey"));
        let mut mode = given.unwrap_or(match roots {
            Some(RootFile::System) => Mode::VerifyFull,
            _ => Mode::Prefer,
        });
        if mode < Mode::Require && parameters.get("sslnegotiation") == Some("direct") {
            return Err("sslnegotiation=direct needs sslmode=require or more".into());
        }
        if mode < Mode::VerifyFull && matches!(roots, Some(RootFile::System)) {
            return Err("sslrootcert=system needs sslmode=verify-full: anybody can have a certificate that the system trusts".into());
        }
        // PostgreSQL has no TLS on a socket of the machine. An address stands before the name of its host.
        let mut servers = parameters.servers();
        if parameters.get("hostaddr").is_none() && servers.all(|(host, _)| host.starts_with('/')) {
            mode = Mode::Disable;
        }
        let mut config = match mode {
            Mode::Disable => client(mode, None)?.with_no_client_auth(),
            mode => identify(client(mode, roots)?, identity)?,
        };
        // `sslnegotiation=direct` needs it.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        let connector = MakeRustlsConnect::new(config);
        Ok(Self { mode, connector })
    }

    pub(super) fn connector(&self) -> MakeRustlsConnect {
        self.connector.clone()
    }

    /// The ways to connect, one after the other.
    pub(super) fn attempts(&self) -> &'static [SslMode] {
        match self.mode {
            Mode::Disable => &[SslMode::Disable],
            Mode::Allow => &[SslMode::Disable, SslMode::Require],
            Mode::Prefer => &[SslMode::Prefer, SslMode::Disable],
            Mode::Require | Mode::VerifyCa | Mode::VerifyFull => &[SslMode::Require],
        }
    }
}

/// Whether the server was reached, and TLS is what failed.
pub(super) fn is_about_tls(error: &tokio_postgres::Error) -> bool {
    error.to_string().contains("TLS") || rustls_error(error).is_some()
}

fn rustls_error(error: &tokio_postgres::Error) -> Option<&rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref::<io::Error>()?.get_ref()?.downcast_ref())
}

/// What rustls says only by the name of the error.
pub(super) fn explain(error: &tokio_postgres::Error) -> Option<&'static str> {
    match rustls_error(error)? {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            Some("no certificate of sslrootcert has signed that of the server")
        }
        _ => None,
    }
}

impl Mode {
    fn read(name: &str) -> Result<Self> {
        Ok(match name {
            "disable" => Self::Disable,
            "allow" => Self::Allow,
            "prefer" => Self::Prefer,
            "require" => Self::Require,
            "verify-ca" => Self::VerifyCa,
            "verify-full" => Self::VerifyFull,
            _ => {
                let modes = "disable, allow, prefer, require, verify-ca or verify-full";
                return Err(format!("sslmode is {modes}, and not {name:?}").into());
            }
        })
    }
}

impl RootFile {
    fn of(sslrootcert: Option<String>) -> Option<Self> {
        match sslrootcert {
            Some(file) if file == "system" => Some(Self::System),
            Some(file) => Some(Self::File(file.into())),
            None => files::default("root.crt")
                .filter(|file| file.exists())
                .map(Self::File),
        }
    }

    fn load(&self) -> Result<Roots> {
        let mut roots = Roots {
            authorities: RootCertStore::empty(),
            certificates: Vec::new(),
        };
        match self {
            Self::File(file) => {
                roots.certificates = certificates(file)?;
                for certificate in &roots.certificates {
                    let added = roots.authorities.add(certificate.clone());
                    added.map_err(|error| format!("{}: {error}", file.display()))?;
                }
            }
            Self::System => {
                let found = rustls_native_certs::load_native_certs().certs;
                roots.authorities.add_parsable_certificates(found);
                if roots.authorities.is_empty() {
                    return Err("sslrootcert=system: the system has no certificates".into());
                }
            }
        }
        Ok(roots)
    }
}

type Builder = rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>;

/// A client that accepts what this mode accepts.
fn client(mode: Mode, roots: Option<RootFile>) -> Result<Builder> {
    let provider = Arc::new(ring::default_provider());
    let client = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let client = client.with_safe_default_protocol_versions()?;
    let roots = roots.map(|roots| roots.load()).transpose()?;
    if roots.is_some() && files::default("root.crl").is_some_and(|file| file.exists()) {
        return Err("threadline does not support lists of revoked certificates, and ~/.postgresql/root.crl is one".into());
    }
    if roots.is_none() && mode >= Mode::VerifyCa {
        return Err("sslmode=verify-ca and verify-full need the certificate that signed the server's: name its file with sslrootcert, or give sslrootcert=system".into());
    }
    let verifier = Verifier {
        roots,
        checks_name: mode == Mode::VerifyFull,
        provider,
    };
    let client = client.dangerous();
    Ok(client.with_custom_certificate_verifier(Arc::new(verifier)))
}

/// Adds the certificate of the user, if there is one.
fn identify(
    client: Builder,
    (certificate, key): (Option<String>, Option<String>),
) -> Result<ClientConfig> {
    let is_given = certificate.is_some();
    let file =
        |given: Option<String>, name| given.map(PathBuf::from).or_else(|| files::default(name));
    let certificate = file(certificate, "postgresql.crt");
    let Some(certificate) = certificate.filter(|file| is_given || file.exists()) else {
        return Ok(client.with_no_client_auth());
    };
    let key = file(key, "postgresql.key").ok_or("sslcert needs sslkey")?;
    let cannot = |error: &dyn std::fmt::Display| format!("{}: {error}", key.display());
    if files::is_open_to_others(&key, true).map_err(|error| cannot(&error))? {
        return Err(cannot(&"others may read this key: chmod 600").into());
    }
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| cannot(&error))?;
    Ok(client.with_client_auth_cert(certificates(&certificate)?, private)?)
}

/// The certificates in a file.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<std::result::Result<Vec<_>, pem::Error>>);
    let found = found.map_err(|error| format!("{}: {error}", file.display()))?;
    if found.is_empty() {
        return Err(format!("{}: no certificate is in it", file.display()).into());
    }
    Ok(found)
}
