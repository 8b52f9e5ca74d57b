//! The two ways to write the parameters of a connection: as a URL, and as `keyword=value`.
//! `tokio_postgres` reads them too, but refuses the parameters that it lacks, such as `sslrootcert`, and does not tell which ones it found.

use percent_encoding::percent_decode_str;

use crate::Result;

/// Names and values, in the order in which they were written.
pub(super) type Pairs = Vec<(String, String)>;

/// Reads what is given to `--database-url`. No message shows it, as it may have a password in it.
pub(super) fn read(text: &str) -> Result<Pairs> {
    let schemes = ["postgres://", "postgresql://"];
    match schemes.iter().find_map(|scheme| text.strip_prefix(scheme)) {
        Some(rest) => url(rest),
        None => keywords(text),
    }
}

/// `user:password@host:port,host:port/dbname?name=value&name=value`, each part of which may be left out. It ends where libpq ends it.
fn url(text: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let mut push = |name: &str, value: &str| -> Result<()> {
        if !value.is_empty() {
            pairs.push((name.to_owned(), decode(value)?));
        }
        Ok(())
    };
    // A password may have a question mark in it, and a parameter an @.
    let before_path = &text[..text.find('/').unwrap_or(text.len())];
    let (credentials, rest) = match before_path.find('@') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => ("", text),
    };
    let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
    push("user", user)?;
    push("password", password)?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (servers, dbname) = rest.split_once('/').unwrap_or((rest, ""));
    let servers: Vec<_> = servers.split(',').map(server).collect::<Result<_>>()?;
    let hosts: Vec<_> = servers.iter().map(|(host, _)| *host).collect();
    push("host", &hosts.join(","))?;
    if servers.iter().any(|(_, port)| !port.is_empty()) {
        let ports: Vec<_> = servers.iter().map(|(_, port)| *port).collect();
        push("port", &ports.join(","))?;
    }
    push("dbname", dbname)?;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or("a parameter of the URL of the database has no value")?;
        let pair = match (decode(name)?, decode(value)?) {
            // As JDBC writes it.
            (name, value) if name == "ssl" && value == "true" => {
                ("sslmode".to_owned(), "require".to_owned())
            }
            pair => pair,
        };
        pairs.push(pair);
    }
    Ok(pairs)
}

/// Host and port. The colons of an IPv6 address are in brackets.
fn server(text: &str) -> Result<(&str, &str)> {
    let Some(bracketed) = text.strip_prefix('[') else {
        return Ok(text.split_once(':').unwrap_or((text, "")));
    };
    let (host, rest) = bracketed
        .split_once(']')
        .ok_or("an IPv6 address in the URL of the database has no end")?;
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if rest.is_empty() => Ok((host, "")),
        None => Err(
            "an IPv6 address in the URL of the database is followed by neither a port nor a path"
                .into(),
        ),
    }
}

fn decode(text: &str) -> Result<String> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| "the URL of the database is not UTF-8")?;
    if decoded.contains('\0') {
        return Err("the URL of the database has a NUL in it".into());
    }
    Ok(decoded.into_owned())
}

/// `host=localhost password='with a \' in it'`.
fn keywords(text: &str) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, value) = rest
            .split_once('=')
            .map(|(name, value)| (name.trim_end(), value))
            .filter(|(name, _)| !name.contains(char::is_whitespace))
            .ok_or("the database is neither a URL, as postgres://localhost/shop, nor parameters, as host=localhost dbname=shop")?;
        let mut chars = value.trim_start().chars();
        let is_quoted = chars.as_str().starts_with('\'');
        if is_quoted {
            chars.next();
        }
        let mut value = String::new();
        let is_ended = loop {
            match chars.next() {
                Some('\'') if is_quoted => break true,
                Some(c) if !is_quoted && c.is_whitespace() => break true,
                Some('\\') => value.extend(chars.next()),
                Some(c) => value.push(c),
                None => break !is_quoted,
            }
        };
        if !is_ended {
            return Err(
                "a value in the parameters of the database has a quote that is not closed".into(),
            );
        }
        pairs.push((name.to_owned(), value));
        rest = chars.as_str().trim_start();
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::read;

    #[track_caller]
    fn assert_read(text: &str, wanted: &[(&str, &str)]) {
        let found = read(text).unwrap();
        let found: Vec<_> = found
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(found, wanted, "{text}");
    }

    /// URLs mean what they mean to libpq.
    #[test]
    fn urls() {
        assert_read("postgres://", &[]);
        assert_read("postgresql:///shop", &[("dbname", "shop")]);
        assert_read(
            "postgres://ada:p%2Fq@[::1]:5433/shop",
            &[
                ("user", "ada"),
                ("password", "p/q"),
                ("host", "::1"),
                ("port", "5433"),
                ("dbname", "shop"),
            ],
        );
        assert_read(
            "postgres://u:why?@h/shop",
            &[
                ("user", "u"),
                ("password", "why?"),
                ("host", "h"),
                ("dbname", "shop"),
            ],
        );
        assert_read(
            "postgres:///shop?host=/run/pg&user=u@h",
            &[("dbname", "shop"), ("host", "/run/pg"), ("user", "u@h")],
        );
        assert_read(
            "postgres://%2Frun%2Fpg/shop",
            &[("host", "/run/pg"), ("dbname", "shop")],
        );
        assert_read(
            "postgres://a:1,b,c:3?ssl=true",
            &[("host", "a,b,c"), ("port", "1,,3"), ("sslmode", "require")],
        );
    }

    /// So do keywords.
    #[test]
    fn keywords() {
        assert_read("", &[]);
        assert_read(
            " host = /run/pg\n port=5433 ",
            &[("host", "/run/pg"), ("port", "5433")],
        );
        assert_read(
            r"password='it\'s \\' user=a\ b dbname=''",
            &[("password", r"it's \"), ("user", "a b"), ("dbname", "")],
        );
    }

    /// What is wrong is an error that does not show the password.
    #[test]
    fn wrong() {
        for text in [
            "secret",
            "password='secret",
            "password=my secret host=h",
            "postgres://u:secret@[::1",
            "postgres://u:secret@[::1]x/",
            "postgres:///?secret",
            "postgres://u:secret%FF@h",
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
