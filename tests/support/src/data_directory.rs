//! The data directory of a new cluster: `initdb`, which takes most of a second, runs once per
//! machine.

use std::fs::{self, File};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::{Error, Result};
use crate::find::Installation;
use crate::user::ServerUser;
use crate::watchdog::Watchdog;

/// No syncing and small WAL files, as nothing here is to last; the same locale everywhere; no
/// password, as only the owner of the socket's directory can reach the socket.
const INITDB: &str = "-N -U postgres -A trust -E UTF8 --locale=C --wal-segsize=1";

/// What is in a new cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    /// What `initdb` makes, in a copy of an archive. Every copy is the same cluster to PostgreSQL, by its system
    /// identifier.
    Archive,
    /// What `initdb` makes, under an identifier of its own.
    Initdb,
    /// What `pg_upgrade` makes of a cluster that was shut down: its installation and its data directory.
    Upgraded(&'a Installation, &'a Path),
}

/// What it takes to make a data directory.
pub(crate) struct DataDirectory<'a> {
    pub(crate) installation: &'a Installation,
    pub(crate) user: &'a ServerUser,
    pub(crate) watchdog: &'a Watchdog,
}

impl DataDirectory<'_> {
    /// Makes `directory`, which belongs to the server's user, and the data directory in it. That
    /// only this user can enter is what protects a server that asks for no password.
    pub(crate) fn create_in(&self, directory: &Path, origin: Origin<'_>) -> Result<()> {
        let data = &directory.join("data");
        let mut mkdir = self.user.command("mkdir");
        run(mkdir
            .args(["-m", "700"])
            .arg(directory)
            .arg(data)
            .stdin(self.watchdog.lifeline()?))?;

        match origin {
            Origin::Archive => {}
            Origin::Initdb => return self.initdb(data, &[]),
            Origin::Upgraded(installation, old) => {
                // Since version 18 `initdb` turns checksums on, and both clusters must have them, or none.
                let without_checksums = match self.installation.number() {
                    (18.., _) => &["--no-data-checksums"][..],
                    _ => &[],
                };
                self.initdb(data, without_checksums)?;
                return self.pg_upgrade(installation, old, directory);
            }
        }
        let cache = cache_directory(self.user)?;
        let archive = cache.join(archive_name(self.installation));
        let doing = || Error::while_doing(format!("lock {}", cache.display()));
        // Released when it is closed.
        let lock = File::create(cache.join("lock")).map_err(doing())?;
        lock.lock().map_err(doing())?;
        if archive.exists() {
            drop(lock);
            return self.unpack(&archive, data);
        }
        self.initdb(data, &[])?;
        self.pack(data, &archive)
    }

    fn initdb(&self, data: &Path, options: &[&str]) -> Result<()> {
        let mut initdb = self.user.command(self.installation.bin.join("initdb"));
        run(initdb
            .args(INITDB.split(' '))
            .args(options)
            .arg("-D")
            .arg(data)
            .stdin(self.watchdog.lifeline()?))
    }

    /// Copies the cluster in the data directory `old` into the new one in `directory`.
    fn pg_upgrade(&self, installation: &Installation, old: &Path, directory: &Path) -> Result<()> {
        let mut pg_upgrade = self.user.command(self.installation.bin.join("pg_upgrade"));
        run(pg_upgrade
            // Sockets and reports go there.
            .current_dir(directory)
            .arg("-b")
            .arg(&installation.bin)
            .arg("-B")
            .arg(&self.installation.bin)
            .arg("-d")
            .arg(old)
            .arg("-D")
            .arg(directory.join("data"))
            .args(["-U", "postgres"])
            .stdin(self.watchdog.lifeline()?))
    }

    /// Stores `data` in one file: no cleaner of temporary files can leave half of it behind.
    fn pack(&self, data: &Path, archive: &Path) -> Result<()> {
        let doing = || Error::while_doing(format!("write {}", archive.display()));
        let unfinished = archive.with_extension("unfinished");
        // Not truncated but removed: the tar of a killed process may still be writing to it.
        if unfinished.exists() {
            fs::remove_file(&unfinished).map_err(doing())?;
        }
        let file = File::create_new(&unfinished).map_err(doing())?;
        let mut tar = self.user.command("tar");
        run(tar
            .arg("-C")
            .arg(data)
            .args(["-cf", "-", "."])
            .stdin(self.watchdog.lifeline()?)
            .stdout(file))?;
        fs::rename(unfinished, archive).map_err(doing())
    }

    /// The opposite of `pack`. It runs as the server's user, to whom the files then belong.
    fn unpack(&self, archive: &Path, data: &Path) -> Result<()> {
        let doing = Error::while_doing(format!("read {}", archive.display()));
        let file = File::open(archive).map_err(doing)?;
        let mut tar = self.user.command("tar");
        run(tar
            .arg("-C")
            .arg(data)
            .args(["-xpf", "-"])
            .stdin(file)
            .stdout(self.watchdog.lifeline()?))
    }
}

/// A directory for the archives that belongs to us alone.
fn cache_directory(user: &ServerUser) -> Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("threadline-initdb-{}", user.our_uid));
    user.own_directory(&directory, 0o700)?;
    Ok(directory)
}

/// Names everything the content of a data directory depends on.
fn archive_name(installation: &Installation) -> String {
    let hash = BuildHasherDefault::<DefaultHasher>::default();
    let key = (&installation.bin, &installation.version, INITDB);
    format!("{:016x}.tar", hash.hash_one(key))
}

/// Runs a command to its end; what it said becomes the error when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let doing = format!("run {}", command.get_program().display());
    let output = command.output().map_err(Error::while_doing(&doing))?;
    if output.status.success() {
        return Ok(());
    }
    // `pg_upgrade` explains itself on standard output.
    let said = [output.stdout, output.stderr].concat();
    Err(Error::while_doing(doing)(format!(
        "{}\n{}",
        output.status,
        String::from_utf8_lossy(&said).trim_end()
    )))
}
