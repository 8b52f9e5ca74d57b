use std::collections::BTreeMap;
use std::env;
use std::path::Path;

use tokio_postgres::Config;

use super::{password, syntax};
use crate::Result;

/// The parameters of a connection, by the names that libpq gives them.
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<String, String>);

/// What a connection has, in `tokio_postgres` or here. Any other parameter is an error: it might be there for safety.
const SUPPORTED: [&str; 23] = [
    "application_name",
    "channel_binding",
    "connect_timeout",
    "dbname",
    "host",
    "hostaddr",
    "keepalives",
    "keepalives_count",
    "keepalives_idle",
    "keepalives_interval",
    "load_balance_hosts",
    "options",
    "passfile",
    "password",
    "port",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslrootcert",
    "target_session_attrs",
    "tcp_user_timeout",
    "user",
];

/// The environment variables of libpq, for what is not given otherwise.
const VARIABLES: [(&str, &str); 29] = [
    ("PGAPPNAME", "application_name"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGDATABASE", "dbname"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGMAXPROTOCOLVERSION", "max_protocol_version"),
    ("PGMINPROTOCOLVERSION", "min_protocol_version"),
    ("PGOPTIONS", "options"),
    ("PGPASSFILE", "passfile"),
    ("PGPASSWORD", "password"),
    ("PGPORT", "port"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGSERVICE", "service"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLCERTMODE", "sslcertmode"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGUSER", "user"),
];

impl Parameters {
    /// Those of a URL or of `keyword=value`, then those of the environment, then what libpq takes by default.
    pub(super) fn read(text: &str) -> Result<Self> {
        let mut parameters = Self::given(text, |variable| env::var(variable).ok())?;
        parameters.add_defaults()?;
        Ok(parameters)
    }

    fn given(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut parameters = Self(BTreeMap::new());
        for (name, value) in syntax::read(text)? {
            parameters.set(&name, value, &format!("{name:?}"))?;
        }
        for (source, name) in VARIABLES {
            let value = variable(source).filter(|value| !value.is_empty());
            if let Some(value) = value.filter(|_| parameters.get(name).is_none()) {
                parameters.set(name, value, source)?;
            }
        }
        // An empty value stands for the default, but not where it may be a mistake that makes a connection less safe.
        parameters
            .0
            .retain(|name, value| !value.is_empty() || name.starts_with("ssl"));
        Ok(parameters)
    }

    fn set(&mut self, name: &str, value: String, source: &str) -> Result<()> {
        match (name, &*value) {
            // This is how it is, whoever asks for it or not.
            ("client_encoding", "UTF8" | "UTF-8" | "utf8" | "utf-8" | "auto")
            | ("gssencmode", "disable" | "prefer") => {}
            _ if SUPPORTED.contains(&name) => drop(self.0.insert(name.to_owned(), value)),
            _ => {
                let supported = SUPPORTED.join(", ");
                return Err(format!("threadline does not support the connection parameter {source}: remove it, or use those that it has: {supported}").into());
            }
        }
        Ok(())
    }

    fn add_defaults(&mut self) -> Result<()> {
        if self.get("host").is_none() {
            let port = self.get("port").unwrap_or("5432");
            let host = self
                .get("hostaddr")
                .map_or_else(|| default_host(port), ToOwned::to_owned);
            self.0.insert("host".to_owned(), host);
        }
        if self.get("user").is_none() {
            self.0.insert("user".to_owned(), whoami::username()?);
        }
        let file = self.take("passfile");
        if self.get("password").is_none()
            && let Some(password) = password::look_up(self, file)?
        {
            self.0.insert("password".to_owned(), password);
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    pub(super) fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }

    /// Host and port of each server.
    pub(super) fn servers(&self) -> impl Iterator<Item = (&str, &str)> {
        let hosts = self.get("host").unwrap_or_default().split(',');
        let ports: Vec<_> = self.get("port").unwrap_or_default().split(',').collect();
        hosts.enumerate().map(move |(i, host)| {
            let port = ports.get(i).or(ports.first()).copied().unwrap_or_default();
            (host, if port.is_empty() { "5432" } else { port })
        })
    }

    /// What is left of them, for `tokio_postgres`, which has one more name of its own.
    pub(super) fn config(&self) -> Result<Config> {
        let pair = |(name, value): (&String, &String)| {
            let name = if name == "keepalives_count" {
                "keepalives_retries"
            } else {
                name
            };
            let value = value.replace('\\', r"\\").replace('\'', r"\'");
            format!("{name}='{value}' ")
        };
        Ok(self.0.iter().map(pair).collect::<String>().parse()?)
    }
}

/// The socket of a server here, in one of the places where servers have it, or else this machine.
fn default_host(port: &str) -> String {
    let places = ["/run/postgresql", "/var/run/postgresql", "/tmp"];
    let has_socket = |place: &&str| Path::new(place).join(format!(".s.PGSQL.{port}")).exists();
    let place = places.into_iter().find(has_socket);
    place
        .filter(|_| cfg!(unix))
        .unwrap_or("localhost")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(text: &str, variables: &[(&str, &str)]) -> Result<Parameters> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        Parameters::given(text, variable)
    }

    /// The environment has what the URL leaves out.
    #[test]
    fn environment() {
        let variables = [
            ("PGPORT", "5433"),
            ("PGUSER", "ada"),
            ("PGHOST", ""),
            ("PGSSLMODE", "require"),
        ];
        let found = given(
            "postgres://grace@localhost/shop?sslmode=verify-full",
            &variables,
        )
        .unwrap();
        let wanted = [
            ("dbname", "shop"),
            ("host", "localhost"),
            ("port", "5433"),
            ("sslmode", "verify-full"),
            ("user", "grace"),
        ];
        assert_eq!(
            found.0,
            wanted
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into()
        );
        assert!(given("", &[("PGHOST", "")]).unwrap().0.is_empty());
    }

    /// No parameter is ignored, whether it is for safety or misspelt, wherever it comes from.
    #[test]
    fn unsupported() {
        for (text, variables, named) in [
            ("host=h sslcrl=file", [].as_slice(), "\"sslcrl\""),
            ("postgres://h/?ssl_mode=require", &[], "\"ssl_mode\""),
            (
                "postgres://h/",
                &[("PGREQUIREPEER", "postgres")],
                "PGREQUIREPEER",
            ),
            ("gssencmode=require", &[], "\"gssencmode\""),
        ] {
            let error = given(text, variables).unwrap_err().to_string();
            assert!(error.contains(&format!("parameter {named}: ")), "{error}");
        }
        given("gssencmode=disable client_encoding=UTF8", &[]).unwrap();
    }

    /// All values reach `tokio_postgres` as they are.
    #[test]
    fn passed_on() {
        let text = r"host=/run/pg,h port=1,2 user='o\'k' password='a \\ b' options='-c a=b' connect_timeout=3 keepalives_count=2";
        let parameters = given(text, &[]).unwrap();
        let config = parameters.config().unwrap();
        assert_eq!(config.get_user(), Some("o'k"));
        assert_eq!(config.get_password(), Some(&br"a \ b"[..]));
        assert_eq!(config.get_options(), Some("-c a=b"));
        assert_eq!(super::super::address(&config), "/run/pg/.s.PGSQL.1, h:2");
        assert_eq!(
            parameters.servers().collect::<Vec<_>>(),
            [("/run/pg", "1"), ("h", "2")]
        );
    }
}
