//! Connection URLs: the same server, another database.

use crate::error::{Error, Result};

/// The address of a PostgreSQL server, taken from a connection URL. Which database the URL named is
/// forgotten.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServerUrl {
    /// `user:password@host:port`, as it was written; empty for a server on a Unix socket.
    authority: String,
    /// `name=value` pairs behind the question mark, as they were written.
    parameters: Vec<(String, String)>,
}

impl ServerUrl {
    /// The address of a server that listens on a Unix socket in `directory`.
    pub(crate) fn for_socket(directory: &str, port: u16, user: &str) -> Self {
        let parameter = |name: &str, value: &str| (name.to_owned(), encode(value));
        Self {
            authority: String::new(),
            parameters: vec![
                parameter("host", directory),
                parameter("port", &port.to_string()),
                parameter("user", user),
            ],
        }
    }

    /// Reads a URL such as `postgres://user:password@host:5432/name?sslmode=require`.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let rest = ["postgres://", "postgresql://"]
            .iter()
            .find_map(|scheme| url.strip_prefix(scheme))
            // The value is not shown: it can hold a password.
            .ok_or_else(|| {
                Error::new("DATABASE_URL must begin with postgres:// or postgresql://")
            })?;
        // A password may hold a question mark, but a slash always ends the authority.
        let credentials = rest[..rest.find('/').unwrap_or(rest.len())]
            .rfind('@')
            .map_or(0, |at| at + 1);
        let end = rest[credentials..]
            .find(['/', '?'])
            .map_or(rest.len(), |end| credentials + end);
        let (authority, rest) = rest.split_at(end);
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        let parameters = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            // libpq takes the database from here too, and would prefer it to the path.
            .filter(|(name, _)| *name != "dbname")
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Ok(Self {
            authority: authority.to_owned(),
            parameters,
        })
    }

    /// The URL of a database on this server, for libpq and tokio-postgres alike.
    pub(crate) fn database(&self, name: &str) -> String {
        let query: Vec<_> = self
            .parameters
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let separator = if query.is_empty() { "" } else { "?" };
        format!(
            "postgres://{}/{}{separator}{}",
            self.authority,
            encode(name),
            query.join("&")
        )
    }

    /// The same as environment variables, for `psql`, `pgbench` and the other client programs.
    pub(crate) fn environment(&self, database: &str) -> Vec<(String, String)> {
        let (credentials, address) = self
            .authority
            .rsplit_once('@')
            .unwrap_or(("", &self.authority));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        // The colons of an IPv6 address stand in brackets, which are no part of it.
        let (host, port) = match address
            .strip_prefix('[')
            .and_then(|address| address.split_once(']'))
        {
            Some((host, rest)) => (host, rest.trim_start_matches(':')),
            None => address.split_once(':').unwrap_or((address, "")),
        };
        let parts = [
            ("PGHOST", host),
            ("PGPORT", port),
            ("PGUSER", user),
            ("PGPASSWORD", password),
        ];
        let parts = parts.into_iter().filter(|(_, value)| !value.is_empty());
        let parameters = self
            .parameters
            .iter()
            .map(|(name, value)| (variable(name), value.as_str()));
        let mut environment: Vec<_> = parts
            .map(|(variable, value)| (variable.to_owned(), value))
            .chain(parameters)
            .map(|(variable, value)| (variable, decode(value)))
            .collect();
        environment.push(("PGDATABASE".to_owned(), database.to_owned()));
        environment
    }
}

/// The environment variable that libpq reads for a connection parameter.
fn variable(parameter: &str) -> String {
    match parameter {
        "application_name" => "PGAPPNAME".to_owned(),
        "connect_timeout" => "PGCONNECT_TIMEOUT".to_owned(),
        regular => format!("PG{}", regular.replace('_', "").to_uppercase()),
    }
}

/// Percent-encodes what has a meaning in a URL. The slash stays: a socket directory remains
/// readable.
fn encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' => {
            char::from(byte).to_string()
        }
        other => format!("%{other:02X}"),
    };
    text.bytes().map(encode).collect()
}

/// Undoes percent-encoding. What is not valid encoding stays as it is.
fn decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded: Vec<u8> = parts.next().unwrap_or_default().into();
    for part in parts {
        match part
            .get(..2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
        {
            Some(byte) => {
                decoded.push(byte);
                decoded.extend(&part.as_bytes()[2..]);
            }
            None => decoded.extend([b"%", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(url: &str) -> String {
        ServerUrl::parse(url).unwrap().database("ours")
    }

    /// Only the database changes; credentials, address and parameters stay as they were written.
    #[test]
    fn replaces_the_database() {
        for (given, wanted) in [
            ("postgres://localhost/theirs", "postgres://localhost/ours"),
            ("postgresql://localhost", "postgres://localhost/ours"),
            ("postgres://", "postgres:///ours"),
            (
                "postgres://u:p%2Fq@h:5433/theirs?sslmode=require",
                "postgres://u:p%2Fq@h:5433/ours?sslmode=require",
            ),
            ("postgres://u:why?@h/theirs", "postgres://u:why?@h/ours"),
            ("postgres://u:a@b@h/theirs", "postgres://u:a@b@h/ours"),
            ("postgres://[::1]:5432/theirs", "postgres://[::1]:5432/ours"),
            (
                "postgres://h?connect_timeout=3",
                "postgres://h/ours?connect_timeout=3",
            ),
            (
                "postgres:///theirs?host=/run/pg&user=u@h",
                "postgres:///ours?host=/run/pg&user=u@h",
            ),
            (
                "postgres://h/?dbname=theirs&user=u",
                "postgres://h/ours?user=u",
            ),
        ] {
            assert_eq!(database(given), wanted, "for {given}");
        }
    }

    /// A libpq keyword string is refused, and the message keeps its password to itself.
    #[test]
    fn refuses_what_is_not_a_url() {
        let error = ServerUrl::parse("host=localhost password=secret")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("postgres://") && !error.contains("secret"),
            "{error}"
        );
    }

    /// Client programs get every part of the address, decoded.
    #[test]
    fn is_an_environment_too() {
        let url =
            ServerUrl::parse("postgres://u:p%2Fq@[::1]:5433/x?sslmode=require&application_name=a")
                .unwrap();
        let wanted = [
            ("PGHOST", "::1"),
            ("PGPORT", "5433"),
            ("PGUSER", "u"),
            ("PGPASSWORD", "p/q"),
            ("PGSSLMODE", "require"),
            ("PGAPPNAME", "a"),
            ("PGDATABASE", "ours"),
        ];
        assert_eq!(
            url.environment("ours"),
            wanted.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }

    /// A directory of any name can hold the socket.
    #[test]
    fn encodes_the_socket_directory() {
        let url = ServerUrl::for_socket("/tmp/a b&c", 5432, "postgres");
        assert_eq!(
            url.database("ours"),
            "postgres:///ours?host=/tmp/a%20b%26c&port=5432&user=postgres"
        );
        assert!(
            url.environment("ours")
                .contains(&("PGHOST".to_owned(), "/tmp/a b&c".to_owned()))
        );
    }
}
