//! The file with passwords, `~/.pgpass`.

use std::fs;
use std::path::PathBuf;

use super::files;
use super::parameters::Parameters;
use crate::Result;
use crate::output::note;

/// The password in this file or in `~/.pgpass`. A file that is not there has none.
pub(super) fn look_up(parameters: &Parameters, file: Option<String>) -> Result<Option<String>> {
    let Some(file) = file
        .map(PathBuf::from)
        .or_else(|| files::default(".pgpass"))
    else {
        return Ok(None);
    };
    if !file.is_file() {
        return Ok(None);
    }
    let cannot = |error| format!("{}: {error}", file.display());
    if files::is_open_to_others(&file, false).map_err(cannot)? {
        note!(
            "{}: others may read these passwords, so they are not used: chmod 600",
            file.display()
        );
        return Ok(None);
    }
    let text = fs::read_to_string(&file).map_err(cannot)?;
    let user = parameters.get("user").unwrap_or_default();
    let dbname = parameters.get("dbname").unwrap_or(user);
    let servers = parameters.servers();
    let mut passwords =
        servers.map(|(host, port)| find(&text, [host_in_file(host), port, dbname, user]));
    let first = passwords.next().flatten();
    // Only one can be sent, and it must not go to the server of another.
    Ok(first.filter(|first| passwords.all(|other| other.as_ref() == Some(first))))
}

/// Sockets in the usual places go by this name.
fn host_in_file(host: &str) -> &str {
    match host {
        "/run/postgresql" | "/var/run/postgresql" | "/tmp" => "localhost",
        host => host,
    }
}

/// The first line for a server, port, database and user has the password.
fn find(text: &str, wanted: [&str; 4]) -> Option<String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(fields).find_map(|fields| {
        let [place @ .., password] = <[String; 5]>::try_from(fields).ok()?;
        let fits = place
            .iter()
            .zip(wanted)
            .all(|(field, wanted)| field == "*" || field == wanted);
        fits.then_some(password)
    })
}

/// `host:port:database:user:password`, with `\:` and `\\` for what is in a field.
fn fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut field = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => field.extend(chars.next()),
            ':' if fields.len() < 4 => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    fields.push(field);
    fields
}

#[cfg(test)]
mod tests {
    use super::find;

    /// The first line that fits counts. A colon in a field has a backslash, and in a password it needs none.
    #[test]
    fn finds() {
        let text = "# a:1:d:u:no\nshort:1\na:1:d:u:first\n\\:\\:1:*:*:u:v6\\\\\r\n*:2:d\\:e:*:x:y\n*:*:*:u:\n";
        for (wanted, password) in [
            (["a", "1", "d", "u"], Some("first")),
            (["::1", "9", "any", "u"], Some("v6\\")),
            (["b", "2", "d:e", "z"], Some("x:y")),
            (["b", "2", "d", "u"], Some("")),
            (["b", "2", "d", "z"], None),
        ] {
            assert_eq!(find(text, wanted).as_deref(), password, "{wanted:?}");
        }
    }
}
