//! Connections, as users of libpq know them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use threadline_test_support::Content;

use crate::project::Project;
use crate::tls_server::TlsServer;

#[track_caller]
fn assert_connects(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
    assert!(output.stdout.starts_with(b"hold,table,"));
}

#[track_caller]
fn assert_refused(output: &Output, why: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(
        stderr.starts_with("error: ") && stderr.contains(why),
        "{stderr}"
    );
}

/// A server without TLS is used where nobody asks for it, and refused where somebody does.
#[test]
fn no_tls() {
    let server = TlsServer::without_tls();
    for mode in ["", "sslmode=disable", "sslmode=allow", "sslmode=prefer"] {
        assert_connects(&server.run("postgres", "127.0.0.1", mode, &[]));
    }
    let refused = server.run("postgres", "127.0.0.1", "sslmode=require", &[]);
    let why = format!(
        "cannot connect to 127.0.0.1:{}: error performing TLS handshake: server does not support TLS",
        server.port
    );
    assert_refused(&refused, &why);
    let refused = server.run(
        "postgres",
        "/tmp",
        "hostaddr=127.0.0.1 sslmode=require",
        &[],
    );
    assert_refused(&refused, "server does not support TLS");
    let direct = "sslmode=prefer sslnegotiation=direct";
    let refused = server.run("postgres", "127.0.0.1", direct, &[]);
    assert_refused(&refused, "needs sslmode=require");
    let refused = server.run("postgres", "127.0.0.1", "", &[("PGSSLMODE", "require")]);
    assert_refused(&refused, "server does not support TLS");
}

/// `sslmode` says whether the connection has TLS, and which certificate the server must have.
#[test]
fn tls() {
    let server = TlsServer::new();
    let connect = |host: &str, parameters: &str| server.run("postgres", host, parameters, &[]);

    // The server insists on TLS, or on none.
    for mode in ["", "sslmode=allow", "sslmode=prefer", "sslmode=require"] {
        assert_connects(&connect("127.0.0.1", mode));
    }
    assert_refused(
        &connect("127.0.0.1", "sslmode=disable"),
        "no pg_hba.conf entry",
    );
    for mode in ["", "sslmode=disable", "sslmode=allow"] {
        assert_connects(&server.run("plain", "127.0.0.1", mode, &[]));
    }
    assert_refused(
        &server.run("plain", "127.0.0.1", "sslmode=require", &[]),
        "no pg_hba.conf entry",
    );

    // With a root certificate, the server's must be signed by it, and have the name only for `verify-full`.
    for parameters in [
        "sslmode=require",
        "sslmode=verify-ca",
        "sslmode=verify-full",
    ] {
        assert_connects(&connect(
            "localhost",
            &format!("{parameters} sslrootcert=ca.crt"),
        ));
        let refused = connect("localhost", &format!("{parameters} sslrootcert=other.crt"));
        assert_refused(
            &refused,
            "no certificate of sslrootcert has signed that of the server",
        );
    }
    assert_connects(&connect(
        "127.0.0.1",
        "sslmode=verify-ca sslrootcert=ca.crt",
    ));
    let refused = connect("127.0.0.1", "sslmode=verify-full sslrootcert=ca.crt");
    assert_refused(&refused, "certificate not valid for name \"127.0.0.1\"");
    assert_connects(&connect(
        "localhost",
        "hostaddr=127.0.0.1 sslmode=verify-full sslrootcert=ca.crt",
    ));

    // The certificates of the system are those that this variable names. Only the name makes such a certificate the server's.
    let system = [("SSL_CERT_FILE", server.home.join("ca.crt"))];
    let system = system
        .each_ref()
        .map(|(name, file)| (*name, file.to_str().unwrap()));
    assert_connects(&server.run("postgres", "localhost", "sslrootcert=system", &system));
    let refused = server.run("postgres", "127.0.0.1", "sslrootcert=system", &system);
    assert_refused(&refused, "certificate not valid for name");
    assert_refused(
        &connect("localhost", "sslrootcert=system sslmode=require"),
        "needs sslmode=verify-full",
    );

    for (parameters, why) in [
        ("sslmode=verify-full", "name its file with sslrootcert"),
        ("sslmode=verify-full sslrootcert=none.crt", "none.crt: "),
        (
            "sslmode=verify-full sslrootcert=grace.key",
            "no certificate is in it",
        ),
        ("sslmode=verify", "sslmode is disable, allow, "),
        (
            "sslcrl=none.crl",
            "does not support the connection parameter \"sslcrl\"",
        ),
    ] {
        assert_refused(&connect("localhost", parameters), why);
    }
    let root = server.home.join(".postgresql/root.crt");
    fs::create_dir(root.parent().unwrap()).unwrap();
    fs::copy(server.home.join("other.crt"), root).unwrap();
    let refused = connect("localhost", "sslmode=require");
    assert_refused(
        &refused,
        "no certificate of sslrootcert has signed that of the server",
    );
}

/// A user is known by a password, from where libpq takes it, or by a certificate.
#[test]
fn credentials() {
    let server = TlsServer::new();
    let ada = |parameters: &str, variables: &[(&str, &str)]| {
        server.run("ada", "127.0.0.1", parameters, variables)
    };
    let wrong = "password authentication failed for user \"ada\"";
    for mode in ["sslmode=require", "sslmode=disable"] {
        assert_connects(&ada(&format!("{mode} password=secret"), &[]));
        assert_connects(&ada(mode, &[("PGPASSWORD", "secret")]));
        assert_refused(
            &ada(
                &format!("{mode} password=wrong"),
                &[("PGPASSWORD", "secret")],
            ),
            wrong,
        );
        assert_refused(&ada(mode, &[]), "password missing");
    }
    server.write_secret(
        "passwords",
        &format!(
            "localhost:*:*:*:wrong\n127.0.0.1:{}:*:ada:secret\n",
            server.port
        ),
    );
    assert_connects(&ada("", &[("PGPASSFILE", "passwords")]));
    assert_connects(&ada("passfile=passwords", &[]));
    server.write_secret(".pgpass", "*:*:*:*:secret\n");
    assert_connects(&ada("", &[]));
    let everybody = fs::Permissions::from_mode(0o644);
    fs::set_permissions(server.home.join(".pgpass"), everybody.clone()).unwrap();
    let refused = ada("", &[]);
    let stderr = String::from_utf8_lossy(&refused.stderr);
    assert!(
        stderr.contains(".pgpass: others may read") && stderr.contains("password missing"),
        "{stderr}"
    );
    fs::remove_file(server.home.join(".pgpass")).unwrap();

    let grace = "sslmode=require sslcert=grace.crt sslkey=grace.key";
    assert_connects(&server.run("grace", "localhost", grace, &[]));
    assert_refused(
        &server.run("grace", "localhost", "sslmode=require", &[]),
        "certificate",
    );
    fs::set_permissions(server.home.join("grace.key"), everybody).unwrap();
    assert_refused(
        &server.run("grace", "localhost", grace, &[]),
        "grace.key: others may read this key",
    );
}

/// URLs and keywords name a socket or a port, and the environment has the rest.
#[test]
fn addresses() {
    let server = TlsServer::without_tls();
    let environment = server.database.pg_env();
    let variable = |name| {
        environment
            .iter()
            .find(|(variable, _)| variable == name)
            .unwrap()
            .1
            .as_str()
    };
    let (directory, port, name) = (variable("PGHOST"), server.port, server.database.name());
    let encoded = directory.replace('/', "%2F");
    for url in [
        format!("postgres:///{name}?host={directory}&port={port}&user=postgres"),
        format!("postgres:///{name}?host={encoded}&port={port}&user=postgres&sslmode=require"),
        format!("postgresql://postgres@{encoded}:{port}/{name}"),
        format!("host='{directory}' port = {port} user=postgres dbname={name} sslmode=verify-full"),
        format!("postgres://postgres@[::1]:1,127.0.0.1:{port}/{name}?connect_timeout=10"),
    ] {
        assert_connects(&server.run_with(&url, &[]));
    }
    let port = port.to_string();
    let all = [
        ("PGHOST", directory),
        ("PGPORT", &port),
        ("PGUSER", "postgres"),
        ("PGDATABASE", name),
    ];
    assert_connects(&server.run_with("postgres://", &all));
    assert_connects(&server.run_with(&format!("postgres://localhost/{name}"), &all));
    assert_refused(
        &server.run_with("postgres://nobody@/", &all),
        "role \"nobody\" does not exist",
    );
    let refused = server.run_with(
        "postgres://",
        &[&all[..], &[("PGREQUIREAUTH", "scram-sha-256")]].concat(),
    );
    assert_refused(
        &refused,
        "does not support the connection parameter PGREQUIREAUTH",
    );
    assert_refused(
        &server.run_with("postgres://127.0.0.1:1/", &[]),
        "cannot connect to 127.0.0.1:1: error connecting to server: ",
    );
}

/// Options are settings of the session.
#[test]
fn options() {
    let project = Project::new(Content::Migrated);
    let url = project.database.url();
    let read_only = format!("{url}&options=-c%20default_transaction_read_only%3Don");
    let set = ["retention", "set", "90 days", "--database-url"];
    let refused = project.refused(&[&set[..], &[&read_only]].concat());
    assert!(refused.contains("in a read-only transaction"), "{refused}");
    project.said(&[&set[..], &[url]].concat());
}
