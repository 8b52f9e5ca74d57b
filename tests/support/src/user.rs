//! The user that the server runs as.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

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
