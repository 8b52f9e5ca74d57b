//! A PostgreSQL that speaks TLS, on a port of this machine, and the program run against it.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use diesel::prelude::*;
use diesel::sql_types::Text;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use threadline_test_support::Database;

/// A server whose certificate is for the name `localhost`, a database on it, and a home with the files of a user.
///
/// | user | may connect |
/// |---|---|
/// | `postgres` | with TLS only |
/// | `plain` | without TLS only |
/// | `ada` | with the password `secret` |
/// | `grace` | with a certificate |
pub(crate) struct TlsServer {
    pub(crate) database: Database,
    pub(crate) port: u16,
    pub(crate) home: PathBuf,
}

const USERS: &str = "local all postgres trust
hostssl all postgres 127.0.0.1/32 trust
hostnossl all plain 127.0.0.1/32 trust
host all ada 127.0.0.1/32 scram-sha-256
hostssl all grace 127.0.0.1/32 cert
";

impl TlsServer {
    /// Without TLS yet, where anybody may connect.
    pub(crate) fn without_tls() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let port_setting = format!("port={port}");
        let database = Database::with_settings(&["listen_addresses=127.0.0.1", &port_setting]);
        let home = std::env::temp_dir().join(format!("{}_home", database.name()));
        fs::create_dir_all(&home).unwrap();
        Self {
            database,
            port,
            home,
        }
    }

    /// With TLS, and the certificates `ca.crt`, `other.crt`, `grace.crt` and the key `grace.key` in the home.
    pub(crate) fn new() -> Self {
        let server = Self::without_tls();
        let ca = Authority::new("ca");
        fs::write(server.home.join("ca.crt"), &ca.certificate).unwrap();
        fs::write(
            server.home.join("other.crt"),
            Authority::new("other").certificate,
        )
        .unwrap();
        let (certificate, key) = ca.sign("grace");
        fs::write(server.home.join("grace.crt"), certificate).unwrap();
        write_secret(&server.home.join("grace.key"), &key);

        let conn = &mut server.database.connect();
        let data = diesel::select(diesel::dsl::sql::<Text>(
            "current_setting('data_directory')",
        ));
        let data = PathBuf::from(data.get_result::<String>(conn).unwrap());
        let (certificate, key) = ca.sign("localhost");
        for (name, content) in [
            ("root.crt", &ca.certificate),
            ("server.crt", &certificate),
            ("server.key", &key),
            ("pg_hba.conf", &USERS.to_owned()),
        ] {
            let path = data.join(name);
            write_secret(&path, content);
            let owner = fs::metadata(&data).unwrap();
            chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
        }
        for statement in [
            "CREATE ROLE plain SUPERUSER LOGIN",
            "CREATE ROLE ada SUPERUSER LOGIN PASSWORD 'secret'",
            "CREATE ROLE grace SUPERUSER LOGIN",
            "ALTER SYSTEM SET ssl_ca_file = 'root.crt'",
            "ALTER SYSTEM SET ssl = on",
            "SELECT pg_reload_conf()",
        ] {
            diesel::sql_query(statement).execute(conn).unwrap();
        }
        // A session has the settings that the server had when it began.
        let ssl = || diesel::select(diesel::dsl::sql::<Text>("current_setting('ssl')"));
        while ssl()
            .get_result::<String>(&mut server.database.connect())
            .unwrap()
            != "on"
        {}
        server
    }

    /// `holds` of the database at this host, with more parameters; and variables of the environment, which has no others.
    pub(crate) fn run(
        &self,
        user: &str,
        host: &str,
        parameters: &str,
        variables: &[(&str, &str)],
    ) -> Output {
        let (port, name) = (self.port, self.database.name());
        let url = format!("host={host} port={port} dbname={name} user={user} {parameters}");
        self.run_with(&url, variables)
    }

    pub(crate) fn run_with(&self, url: &str, variables: &[(&str, &str)]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_threadline"))
            .args(["hold", "list", "--format", "csv", "--database-url", url])
            .env_clear()
            .env("HOME", &self.home)
            .envs(variables.iter().copied())
            .current_dir(&self.home)
            .output()
            .unwrap()
    }

    pub(crate) fn write_secret(&self, name: &str, content: &str) {
        write_secret(&self.home.join(name), content);
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// What signs certificates.
struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            certificate: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// A certificate for a name, and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// For its owner only.
fn write_secret(path: &Path, content: &str) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
