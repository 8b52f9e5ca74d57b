use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::Error;

/// A directory that holds an export. It remains the same directory even if its path is replaced in
/// the meantime. Names resolve to files in this directory, because no link is followed. An existing
/// file is kept unless it may be replaced.
pub(super) struct Directory {
    path: PathBuf,
    /// Only on Unix can a directory be opened as a file.
    #[cfg(unix)]
    handle: File,
}

/// What a name refers to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    File,
    Link,
    Nothing,
    Other,
}

impl Directory {
    /// Opens a directory for reading. The path may contain links.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        sys::open(path, true).map_err(Error::Output)
    }

    /// Opens a directory for writing: creates it if necessary, and locks out other writers. Refuses
    /// a link, because another user may have created it.
    pub(super) fn lock(path: &Path) -> Result<Self, Error> {
        // With a trailing slash, a link would be followed.
        let path = std::path::absolute(path).map_err(Error::Output)?;
        let path = &*path.components().collect::<PathBuf>();
        let found = fs::symlink_metadata(path).map_or(Found::Nothing, |found| kind(&found));
        if found == Found::Link {
            return Err(invalid(
                path,
                "is a symbolic link: name the directory itself",
            ));
        }
        fs::create_dir_all(path).map_err(Error::Output)?;
        let directory = sys::open(path, false).map_err(Error::Output)?;
        if !directory.try_lock().map_err(Error::Output)? {
            let directory = path.display();
            return Err(Error::InvalidExport(format!(
                "another process is exporting into {directory}"
            )));
        }
        Ok(directory)
    }

    pub(super) fn found(&self, name: &str) -> Result<Found, Error> {
        self.kind(name).map_err(Error::Output)
    }

    /// Opens a file for reading.
    pub(super) fn read(&self, name: &str) -> Result<File, Error> {
        if let Found::Link | Found::Other = self.found(name)? {
            return Err(self.no_file(name));
        }
        let file = self.open_file(name).map_err(Error::Output)?;
        // Something else may have taken its place since the check above.
        if !file.metadata().map_err(Error::Output)?.is_file() {
            return Err(self.no_file(name));
        }
        Ok(file)
    }

    /// Creates a new file that only its owner can read.
    pub(super) fn create(&self, name: &str, replace: bool) -> Result<File, Error> {
        if self.refuse(name, replace)? == Found::File {
            self.remove(name).map_err(Error::Output)?;
        }
        self.create_new(name).map_err(Error::Output)
    }

    /// Renames a file that is on disk, and makes the new name durable.
    pub(super) fn rename(&self, from: &str, to: &str, replace: bool) -> Result<(), Error> {
        self.refuse(to, replace)?;
        self.move_file(from, to).map_err(Error::Output)?;
        if !self.is_there().map_err(Error::Output)? {
            return Err(invalid(
                &self.path,
                "was replaced by something else during the export: look for its files elsewhere",
            ));
        }
        Ok(())
    }

    /// Returns what the name refers to, unless that must not be replaced.
    pub(super) fn refuse(&self, name: &str, replace: bool) -> Result<Found, Error> {
        match self.found(name)? {
            Found::File if !replace => Err(invalid(
                &self.path.join(name),
                "is there, and not of this export: choose an empty directory",
            )),
            Found::Link | Found::Other => Err(self.no_file(name)),
            found => Ok(found),
        }
    }

    fn no_file(&self, name: &str) -> Error {
        let why = "is a symbolic link, or something else that is no file: remove it";
        invalid(&self.path.join(name), why)
    }
}

fn invalid(path: &Path, why: &str) -> Error {
    Error::InvalidExport(format!("{} {why}", path.display()))
}

fn kind(found: &fs::Metadata) -> Found {
    if found.is_symlink() {
        Found::Link
    } else if found.is_file() {
        Found::File
    } else {
        Found::Other
    }
}

/// Every name is looked up in the open directory.
#[cfg(unix)]
mod sys {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};

    use super::{Directory, Found};

    pub(super) fn open(path: &Path, follow: bool) -> io::Result<Directory> {
        let mut flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, !follow);
        let handle = rustix::fs::open(path, flags, Mode::empty())?.into();
        let path = path.to_owned();
        Ok(Directory { path, handle })
    }

    impl Directory {
        /// Takes the lock; false if another process holds it.
        pub(super) fn try_lock(&self) -> io::Result<bool> {
            match rustix::fs::flock(&self.handle, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(true),
                Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
                Err(error) => Err(error.into()),
            }
        }

        pub(super) fn kind(&self, name: &str) -> io::Result<Found> {
            match rustix::fs::statat(&self.handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => Ok(match FileType::from_raw_mode(found.st_mode) {
                    FileType::RegularFile => Found::File,
                    FileType::Symlink => Found::Link,
                    _ => Found::Other,
                }),
                Err(rustix::io::Errno::NOENT) => Ok(Found::Nothing),
                Err(error) => Err(error.into()),
            }
        }

        /// Opens a file without waiting for the writer of a pipe.
        pub(super) fn open_file(&self, name: &str) -> io::Result<File> {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            Ok(rustix::fs::openat(&self.handle, name, flags, Mode::empty())?.into())
        }

        pub(super) fn create_new(&self, name: &str) -> io::Result<File> {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mode = Mode::RUSR | Mode::WUSR;
            Ok(rustix::fs::openat(&self.handle, name, flags, mode)?.into())
        }

        pub(super) fn remove(&self, name: &str) -> io::Result<()> {
            Ok(rustix::fs::unlinkat(&self.handle, name, AtFlags::empty())?)
        }

        pub(super) fn move_file(&self, from: &str, to: &str) -> io::Result<()> {
            rustix::fs::renameat(&self.handle, from, &self.handle, to)?;
            self.handle.sync_all()
        }

        /// Whether the path still leads to this directory.
        pub(super) fn is_there(&self) -> io::Result<bool> {
            let ours = self.handle.metadata()?;
            let found = self.path.symlink_metadata();
            Ok(found.is_ok_and(|found| (found.dev(), found.ino()) == (ours.dev(), ours.ino())))
        }
    }
}

#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps, clippy::unused_self)] // as on Unix
mod sys {
    use std::fs::{self, File};
    use std::io;
    use std::path::Path;

    use super::{Directory, Found};

    pub(super) fn open(path: &Path, _follow: bool) -> io::Result<Directory> {
        let path = path.to_owned();
        Ok(Directory { path })
    }

    impl Directory {
        pub(super) fn try_lock(&self) -> io::Result<bool> {
            Ok(true)
        }

        pub(super) fn kind(&self, name: &str) -> io::Result<Found> {
            match fs::symlink_metadata(self.path.join(name)) {
                Ok(found) => Ok(super::kind(&found)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
                Err(error) => Err(error),
            }
        }

        pub(super) fn open_file(&self, name: &str) -> io::Result<File> {
            File::open(self.path.join(name))
        }

        pub(super) fn create_new(&self, name: &str) -> io::Result<File> {
            File::create_new(self.path.join(name))
        }

        pub(super) fn remove(&self, name: &str) -> io::Result<()> {
            fs::remove_file(self.path.join(name))
        }

        pub(super) fn move_file(&self, from: &str, to: &str) -> io::Result<()> {
            fs::rename(self.path.join(from), self.path.join(to))
        }

        pub(super) fn is_there(&self) -> io::Result<bool> {
            Ok(fs::symlink_metadata(&self.path)?.is_dir())
        }
    }
}
