//! A PostgreSQL server of our own that ends with this process.

use std::env;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::data_directory::{DataDirectory, Origin, run};
use crate::error::{Error, Result};
use crate::find::Installation;
use crate::url::ServerUrl;
use crate::user::ServerUser;
use crate::watchdog::Watchdog;

/// Only names the socket: without TCP, no port of the machine is taken. Settings with `listen_addresses` need a `port` that is free.
const PORT: u16 = 5432;

/// Speed before durability, room for parallel tests, and what tests of two-phase commit and of
/// replication need.
const SETTINGS: [&str; 9] = [
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "jit=off",
    "max_connections=200",
    "max_prepared_transactions=20",
    "wal_level=logical",
    "timezone=UTC",
    // Shared memory in our directory: the other kind outlives a server that is killed.
    "dynamic_shared_memory_type=mmap",
];

/// A running server.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) url: ServerUrl,
    directory: PathBuf,
    _watchdog: Watchdog,
}

impl Cluster {
    /// A server with settings of its own behind those of all.
    pub(crate) fn start(
        installation: &Installation,
        origin: Origin<'_>,
        settings: &[&str],
    ) -> Result<Self> {
        let user = ServerUser::choose()?;
        let directory = private_directory(&user);
        let port = settings.iter().find_map(|s| s.strip_prefix("port="));
        let port = port.and_then(|port| port.parse().ok()).unwrap_or(PORT);
        // First of all, so that nothing stays whenever this process ends. No one will read this
        // cluster again: it quits at once, without a checkpoint.
        let mut watchdog = Watchdog::spawn(&user, &directory, "QUIT", |command| {
            command
                .arg(installation.bin.join("postgres"))
                .arg("-D")
                .arg(directory.join("data"))
                .arg("-k")
                .arg(&directory)
                .args(["-h", "", "-p", &port.to_string()]);
            for setting in SETTINGS.iter().chain(settings) {
                command.args(["-c", *setting]);
            }
        })?;
        DataDirectory {
            installation,
            user: &user,
            watchdog: &watchdog,
        }
        .create_in(&directory, origin)?;
        // The last line is the state of the server, padded with blanks.
        let pid_file = directory.join("data/postmaster.pid");
        watchdog.start("PostgreSQL", || {
            let state = fs::read_to_string(&pid_file).unwrap_or_default();
            match state.lines().nth(7).map(str::trim) {
                Some("ready") => Ok(()),
                state => Err(format!("its state is {state:?}")),
            }
        })?;
        let not_utf8 = || Error::new("the name of the temporary directory is not UTF-8");
        let socket = directory.to_str().ok_or_else(not_utf8)?;
        Ok(Self {
            url: ServerUrl::for_socket(socket, port, "postgres"),
            directory,
            _watchdog: watchdog,
        })
    }

    /// Shuts the server down as an operator does, and returns its data directory, which stays as long as this value.
    pub(crate) fn shut_down(&self, installation: &Installation) -> Result<PathBuf> {
        let data = self.directory.join("data");
        let mut stop = ServerUser::choose()?.command(installation.bin.join("pg_ctl"));
        run(stop
            .args(["stop", "--wait", "--mode=fast", "-D"])
            .arg(&data))?;
        Ok(data)
    }
}

/// A name for a directory that is not there yet. Short, as the path of a socket is limited to some
/// hundred bytes.
pub(crate) fn private_directory(user: &ServerUser) -> PathBuf {
    let name = format!("threadline-{:016x}", RandomState::new().hash_one(()));
    parent_directory(user).join(name)
}

/// Where `THREADLINE_TEST_DIRECTORY` says. Else memory if there is some, as disks can be ten times
/// slower even without syncing; else the place for temporary files.
fn parent_directory(user: &ServerUser) -> PathBuf {
    if let Some(directory) = env::var_os("THREADLINE_TEST_DIRECTORY") {
        return directory.into();
    }
    let memory = Path::new("/dev/shm");
    // Containers often have 64 MB there, which is less than a dozen databases.
    let roomy = || available_megabytes(memory).is_some_and(|available| available >= 1024);
    if memory.is_dir() && roomy() {
        memory.to_owned()
    } else if user.our_uid == 0 {
        // Root's own place for temporary files may be closed to the server's user.
        PathBuf::from("/tmp")
    } else {
        env::temp_dir()
    }
}

fn available_megabytes(directory: &Path) -> Option<u64> {
    let output = Command::new("df").arg("-Pk").arg(directory).output().ok()?;
    let output = String::from_utf8(output.stdout).ok()?;
    let kilobytes: u64 = output
        .lines()
        .nth(1)?
        .split_whitespace()
        .nth(3)?
        .parse()
        .ok()?;
    Some(kilobytes / 1024)
}
