//! Installed PostgreSQL servers.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result, Shared};
use crate::fetch::fetch;
use crate::packages::COMPLETE;

/// The commands that install PostgreSQL: the programs of system packages, and their arguments.
const INSTALL: [(&str, &str); 3] = [
    ("apt-get", "install postgresql"),
    ("dnf", "install postgresql-server postgresql-contrib"),
    ("brew", "install postgresql@18"),
];

/// Where platforms put PostgreSQL outside `PATH`: every `<parent>/<prefix>*/<tail>`.
const PLACES: [(&str, &str, &str); 6] = [
    ("/usr/lib/postgresql", "", "bin"),          // Debian, Ubuntu
    ("/usr/lib", "postgresql", "bin"),           // openSUSE
    ("/usr", "pgsql-", "bin"),                   // the RPMs of postgresql.org
    ("/opt/homebrew/opt", "postgresql@", "bin"), // Homebrew
    ("/usr/local/opt", "postgresql@", "bin"),    // Homebrew on Intel
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// The programs of one PostgreSQL version.
#[derive(Clone, Debug)]
pub(crate) struct Installation {
    /// The directory that holds them.
    pub(crate) bin: PathBuf,
    /// What they say their version is, such as `initdb (PostgreSQL) 15.4`.
    pub(crate) version: String,
}

impl Installation {
    /// The installation to use: that of `PG_BIN`, else the newest one that has `program`, else one that is fetched.
    pub(crate) fn find(program: &str) -> Result<Self> {
        if let Some(bin) = env::var_os("PG_BIN").filter(|bin| !bin.is_empty()) {
            let missing = || {
                Error::new(format!(
                    "PG_BIN names {}, where no {program} runs",
                    bin.display()
                ))
            };
            return Self::in_directory(Path::new(&bin), program).ok_or_else(missing);
        }
        // Not `max_by_key`: among equals it takes the last, and what comes first is what the user's
        // shell finds.
        let installed = candidates()
            .iter()
            .filter_map(|bin| Self::in_directory(bin, program))
            .reduce(|best, next| {
                if next.number() > best.number() {
                    next
                } else {
                    best
                }
            });
        match installed {
            Some(installed) => Ok(installed),
            None => Self::fetched(program),
        }
    }

    fn fetched(program: &str) -> Result<Self> {
        static FETCHED: Shared<PathBuf> = Shared::new();
        let bin = FETCHED.get(|| {
            let bin = fetch(COMPLETE, "no PostgreSQL found: ");
            bin.map_err(|error| Error::new(advice(&error)))
        })?;
        let missing = || Error::new(format!("no {program} runs in {}", bin.display()));
        Self::in_directory(bin, program).ok_or_else(missing)
    }

    pub(crate) fn in_directory(bin: &Path, program: &str) -> Option<Self> {
        // Links are followed to the end: initdb looks for its siblings where it really is.
        let program = bin.join(program).canonicalize().ok()?;
        let output = Command::new(&program).arg("--version").output().ok()?;
        let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        let bin = program.parent()?.to_owned();
        output.status.success().then_some(Self { bin, version })
    }

    /// Major and minor version.
    pub(crate) fn number(&self) -> (u32, u32) {
        version_number(&self.version)
    }
}

/// What to do when there is no PostgreSQL, and why none was fetched.
fn advice(reason: &Error) -> String {
    format!(
        "There is no PostgreSQL to test with: {reason}

Install one, which need not be running:

    {}

Or set PG_BIN to the directory of its programs, or DATABASE_URL to a server on which databases may be
created, such as postgres://user:password@host/database",
        install_command(&INSTALL)
    )
}

/// The one of these commands that this machine has.
pub(crate) fn install_command(commands: &[(&str, &str)]) -> String {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_here = |program: &str| env::split_paths(&path).any(|bin| bin.join(program).is_file());
    let here = commands.iter().find(|(program, _)| is_here(program));
    let (program, arguments) = here.unwrap_or(&commands[0]);
    let sudo = if is_here("sudo") && *program != "brew" {
        "sudo "
    } else {
        ""
    };
    format!("{sudo}{program} {arguments}")
}

/// Reads 15 and 4 out of `initdb (PostgreSQL) 15.4 (Debian 15.4-1)`. Betas (`18beta1`) come before
/// their release.
fn version_number(version: &str) -> (u32, u32) {
    let number = version.split_whitespace().nth(2).unwrap_or_default();
    let leading = |text: &str| {
        let end = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        text[..end].parse().unwrap_or(0)
    };
    (
        leading(number),
        number
            .split_once('.')
            .map_or(0, |(_, minor)| leading(minor)),
    )
}

/// Directories that may hold PostgreSQL's programs, those that the user's shell would find first.
fn candidates() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let config = Command::new("pg_config").arg("--bindir").output().ok();
    let config = config.and_then(|output| String::from_utf8(output.stdout).ok());
    env::split_paths(&path)
        .chain(config.map(|bin| bin.trim().into()))
        .chain(
            PLACES
                .into_iter()
                .flat_map(|(parent, prefix, tail)| expand(Path::new(parent), prefix, tail)),
        )
        .collect()
}

/// Every `<parent>/<prefix>*/<tail>`.
fn expand(parent: &Path, prefix: &str, tail: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(tail))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Distributions append words to the version, and 9 is less than 10.
    #[test]
    fn reads_versions() {
        for (text, number) in [
            (
                "initdb (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)",
                (15, 18),
            ),
            ("initdb (PostgreSQL) 18beta2", (18, 0)),
            ("psql (PostgreSQL) 9.6.24", (9, 6)),
            ("something else", (0, 0)),
        ] {
            assert_eq!(version_number(text), number, "for {text}");
        }
    }

    /// Only what begins with the prefix, and nothing when the parent is not there.
    #[test]
    fn expands_places() {
        let parent = env::temp_dir().join(format!("threadline-find-{}", std::process::id()));
        for name in ["pgsql-15", "pgsql-16", "mysql-8"] {
            fs::create_dir_all(parent.join(name)).unwrap();
        }
        let mut found = expand(&parent, "pgsql-", "bin");
        found.sort();
        fs::remove_dir_all(&parent).unwrap();
        assert_eq!(
            found,
            [parent.join("pgsql-15/bin"), parent.join("pgsql-16/bin")]
        );
        assert!(expand(&parent, "", "bin").is_empty());
    }

    /// What is found really runs.
    #[test]
    fn finds_a_server() {
        let found = Installation::find("initdb").unwrap();
        assert!(found.bin.join("postgres").is_file());
        assert!(found.number() >= (13, 0), "{}", found.version);
    }
}
