//! Servers that end with this process, whatever becomes of it.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::user::ServerUser;

const SCRIPT: &str = include_str!("watchdog.sh");

/// How long a start may take. It takes a tenth of a second, but the machine may be busy.
const PATIENCE: Duration = Duration::from_mins(1);

/// The shell that owns a server and its directory.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
    /// The shell ends the server when this is closed, by us or by the end of this process.
    lifeline: ChildStdin,
    directory: PathBuf,
}

impl Watchdog {
    /// Starts the shell, which does nothing yet but to remove `directory` when this process ends.
    /// `server` adds the command of the server, which `signal` ends.
    pub(crate) fn spawn(
        user: &ServerUser,
        directory: &Path,
        signal: &str,
        server: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let mut command = user.command("sh");
        command.args(["-c", SCRIPT, "watchdog"]);
        command.arg(directory).arg(signal);
        server(&mut command);
        let mut shell = command
            // Out of reach of Ctrl-C, which would end the watchdog before it has cleaned up.
            .process_group(0)
            .stdin(Stdio::piped())
            // Whoever waits for the end of our output must not have to wait for the server's.
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(Error::while_doing("start a shell"))?;
        let lifeline = shell.stdin.take();
        Ok(Self {
            shell,
            lifeline: lifeline.expect("standard input was asked to be a pipe"),
            directory: directory.to_owned(),
        })
    }

    /// The lifeline once more, for every program that works on the directory to hold in place of an
    /// input or output it has no use for. Should we be killed meanwhile, the watchdog waits for that
    /// program too, and does not remove files while others appear.
    pub(crate) fn lifeline(&self) -> Result<Stdio> {
        let copy = self.lifeline.as_fd().try_clone_to_owned();
        Ok(copy
            .map_err(Error::while_doing("duplicate a file descriptor"))?
            .into())
    }

    /// Ends the server, and returns when nothing of it is left.
    pub(crate) fn end(self) {
        let Self {
            mut shell,
            lifeline,
            ..
        } = self;
        drop(lifeline);
        // Had it failed, there would be nothing to do.
        let _ = shell.wait();
    }

    /// Starts the server, whose directory is ready, and waits until `is_ready` is `Ok`. `name` is
    /// for people.
    pub(crate) fn start(
        &mut self,
        name: &str,
        mut is_ready: impl FnMut() -> std::result::Result<(), String>,
    ) -> Result<()> {
        self.lifeline
            .write_all(b"start\n")
            .map_err(Error::while_doing(format!("start {name}")))?;
        let start = Instant::now();
        let failure = loop {
            // Looked at first, so that what is ready is not what ended since.
            let ended = self.directory.join("stopped").exists()
                || !matches!(self.shell.try_wait(), Ok(None));
            let Err(state) = is_ready() else {
                return Ok(());
            };
            if ended {
                break format!("{name} did not start");
            }
            if start.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                break format!("{name} was not ready after {seconds} seconds ({state})");
            }
            sleep(Duration::from_millis(5));
        };
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let tail = lines[lines.len().saturating_sub(20)..].join("\n");
        Err(Error::new(format!(
            "{failure}. The end of its log:\n{tail}"
        )))
    }
}
