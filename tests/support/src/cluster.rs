//! A PostgreSQL server of our own that ends with this process.

use std::env;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::data_directory::DataDirectory;
use crate::error::{Error, Result};
use crate::find::Installation;
use crate::url::ServerUrl;
use crate::user::ServerUser;

const WATCHDOG: &str = include_str!("watchdog.sh");

/// Only names the socket: without TCP, no port of the machine is taken.
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

/// How long a start may take. It takes a tenth of a second, but the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// A running server.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) url: ServerUrl,
    /// The watchdog ends the server when this is closed, by us or by the end of this process.
    _lifeline: ChildStdin,
}

impl Cluster {
    pub(crate) fn start(installation: &Installation) -> Result<Self> {
        let user = ServerUser::choose()?;
        // Short, as the path of a socket is limited to some hundred bytes.
        let name = format!("threadline-{:016x}", RandomState::new().hash_one(()));
        let directory = parent_directory(&user).join(name);
        // First of all, so that nothing stays whenever this process ends.
        let mut watchdog = spawn_watchdog(installation, &user, &directory)?;
        let mut lifeline = watchdog
            .stdin
            .take()
            .expect("standard input was asked to be a pipe");
        DataDirectory {
            installation,
            user: &user,
            lifeline: &lifeline,
        }
        .create_in(&directory)?;
        lifeline
            .write_all(b"start\n")
            .map_err(Error::while_doing("start PostgreSQL"))?;
        wait_until_ready(&directory, &mut watchdog)?;
        let not_utf8 = || Error::new("the name of the temporary directory is not UTF-8");
        let socket = directory.to_str().ok_or_else(not_utf8)?;
        Ok(Self {
            url: ServerUrl::for_socket(socket, PORT, "postgres"),
            _lifeline: lifeline,
        })
    }
}

/// Memory if there is some, as disks can be ten times slower even without syncing; else the place
/// for temporary files.
fn parent_directory(user: &ServerUser) -> PathBuf {
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

/// Starts the watchdog, which waits for a line from us before it starts the server.
fn spawn_watchdog(
    installation: &Installation,
    user: &ServerUser,
    directory: &Path,
) -> Result<Child> {
    let mut command = user.command("sh");
    command.args(["-c", WATCHDOG, "watchdog"]).arg(directory);
    command
        .arg(installation.bin.join("postgres"))
        .arg("-D")
        .arg(directory.join("data"));
    command
        .arg("-k")
        .arg(directory)
        .args(["-h", "", "-p", &PORT.to_string()]);
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    command
        // Out of reach of Ctrl-C, which would end the watchdog before it has cleaned up.
        .process_group(0)
        .stdin(Stdio::piped())
        // Whoever waits for the end of our output must not have to wait for the server's.
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(Error::while_doing("start a shell"))
}

fn wait_until_ready(directory: &Path, watchdog: &mut Child) -> Result<()> {
    let start = Instant::now();
    let pid_file = directory.join("data/postmaster.pid");
    let failure = loop {
        // The last line is the state of the server, padded with blanks.
        let state = fs::read_to_string(&pid_file).unwrap_or_default();
        if state
            .lines()
            .nth(7)
            .is_some_and(|state| state.trim() == "ready")
        {
            return Ok(());
        }
        if directory.join("stopped").exists() || !matches!(watchdog.try_wait(), Ok(None)) {
            break "PostgreSQL did not start".to_owned();
        }
        if start.elapsed() > PATIENCE {
            break format!(
                "PostgreSQL was not ready after {} seconds",
                PATIENCE.as_secs()
            );
        }
        sleep(Duration::from_millis(5));
    };
    let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
    let lines: Vec<_> = log.lines().collect();
    let tail = lines[lines.len().saturating_sub(20)..].join("\n");
    Err(Error::new(format!(
        "{failure}. The end of its log:\n{tail}"
    )))
}
