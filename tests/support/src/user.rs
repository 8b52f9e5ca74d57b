//! The user that the server runs as.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::{Error, Result};

/// Who runs the server: ourselves, or someone else when we are root, as PostgreSQL refuses to run
/// as root.
#[derive(Debug)]
pub(crate) struct ServerUser {
    /// The id of our own user.
    pub(crate) our_uid: u32,
    /// The user and group to change to.
    other: Option<(u32, u32)>,
}

impl ServerUser {
    /// Chooses the user.
    pub(crate) fn choose() -> Result<Self> {
        let unknown = || Error::new("cannot find out the id of our own user: `id -u` fails");
        Self::for_owner(id(&["-u"]).ok_or_else(unknown)?)
    }

    fn for_owner(our_uid: u32) -> Result<Self> {
        if our_uid != 0 {
            return Ok(Self {
                our_uid,
                other: None,
            });
        }
        let ids = |name| Some((id(&["-u", name])?, id(&["-g", name])?));
        let other = ["postgres", "nobody"].into_iter().find_map(ids);
        let missing = || {
            Error::new("PostgreSQL cannot run as root, and there is no user `postgres` or `nobody`")
        };
        Ok(Self {
            our_uid,
            other: Some(other.ok_or_else(missing)?),
        })
    }

    /// A command that runs as this user.
    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        // The messages of PostgreSQL in English; and a directory that this user can enter, unlike
        // perhaps ours.
        command.env("LC_ALL", "C").current_dir("/");
        if let Some((uid, gid)) = self.other {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Whether this user can use what is in the directory.
    pub(crate) fn can_enter(&self, directory: &Path) -> bool {
        let mut enter = self.command("sh");
        enter
            .args(["-c", r#"cd "$1""#, "sh"])
            .arg(directory)
            .stderr(Stdio::null());
        enter.status().is_ok_and(|status| status.success())
    }

    /// Makes a directory unless it is there, and makes sure that it belongs to us and has this mode: its name can be
    /// guessed, and others can write beside it.
    pub(crate) fn own_directory(&self, directory: &Path, mode: u32) -> Result<()> {
        let name = directory.display();
        let doing = || Error::while_doing(format!("use {name}"));
        match DirBuilder::new().mode(mode).create(directory) {
            // Whatever the umask took away.
            Ok(()) => {
                fs::set_permissions(directory, Permissions::from_mode(mode)).map_err(doing())?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(doing()(error)),
        }
        let found = fs::symlink_metadata(directory).map_err(doing())?;
        if found.is_dir() && found.uid() == self.our_uid && found.mode() & 0o777 == mode {
            return Ok(());
        }
        Err(Error::new(format!(
            "{name} must be our own directory with mode {mode:o}: remove it"
        )))
    }
}

/// What `id` says, which is a number. The standard library has neither our id nor a look-up of
/// names.
fn id(arguments: &[&str]) -> Option<u32> {
    let output = Command::new("id").args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Root's server runs as someone else; everyone else's as themselves.
    #[test]
    fn root_steps_down() {
        assert!(ServerUser::for_owner(1000).unwrap().other.is_none());
        let (uid, _) = ServerUser::for_owner(0).unwrap().other.unwrap();
        assert_ne!(uid, 0);
    }
}
