//! Where libpq looks for files.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A file that libpq finds without being told: `~/.pgpass`, or a name in `~/.postgresql`. On Windows all are in one directory.
pub(super) fn default(name: &str) -> Option<PathBuf> {
    if cfg!(windows) {
        let directory = PathBuf::from(env::var_os("APPDATA")?).join("postgresql");
        let name = if name == ".pgpass" {
            "pgpass.conf"
        } else {
            name
        };
        return Some(directory.join(name));
    }
    let home = env::home_dir().filter(|home| !home.as_os_str().is_empty())?;
    Some(if name == ".pgpass" {
        home.join(name)
    } else {
        home.join(".postgresql").join(name)
    })
}

/// Whether others may read a secret. What belongs to root may be for a group, where that is `for_group`.
pub(super) fn is_open_to_others(path: &Path, for_group: bool) -> io::Result<bool> {
    let found = fs::metadata(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;

        let refused = if for_group && found.uid() == 0 {
            0o027
        } else {
            0o077
        };
        Ok(found.mode() & refused != 0)
    }
    #[cfg(not(unix))]
    {
        let _ = (found, for_group);
        Ok(false)
    }
}
