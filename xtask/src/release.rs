//! Released migrations, which nobody edits.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{migration, read};

/// The directories of the released migrations, oldest first.
///
/// # Errors
///
/// When `sql/released.sha256` cannot be read.
pub fn released(root: &Path) -> io::Result<BTreeSet<String>> {
    let directories = checksums(root)?.into_iter().filter_map(|(_, file)| {
        let (directory, _) = file.rsplit_once('/')?;
        Some(directory.to_owned())
    });
    Ok(directories.collect())
}

/// The files of released migrations that are not what was released.
///
/// # Errors
///
/// When `sql/released.sha256` cannot be read.
pub fn changed_releases(root: &Path) -> io::Result<Vec<String>> {
    let mut changed = checksums(root)?;
    changed.retain(|(sum, file)| {
        checksum(&root.join("migrations").join(file)).ok().as_ref() != Some(sum)
    });
    Ok(changed.into_iter().map(|(_, file)| file).collect())
}

/// Adds the checksums of the next release's migration to `sql/released.sha256`, and returns that file.
///
/// # Errors
///
/// When a file cannot be read or written, or the migration is not the one that `sql/` makes.
pub fn freeze(root: &Path) -> io::Result<PathBuf> {
    let next = migration(root)?;
    let directory = root.join("migrations").join(&next.name);
    let list = root.join("sql/released.sha256");
    let mut lines = read(&list)?;
    for (file, text) in [("up.sql", next.up), ("down.sql", next.down)] {
        let path = directory.join(file);
        if read(&path)? != text {
            let message = format!(
                "{} is out of date: run `cargo xtask migration`",
                path.display()
            );
            return Err(io::Error::other(message));
        }
        writeln!(lines, "{}  {}/{file}", checksum(&path)?, next.name).expect("a string takes it");
    }
    fs::write(&list, lines)?;
    Ok(list)
}

/// Checksum and path below `migrations/` of each released file.
fn checksums(root: &Path) -> io::Result<Vec<(String, String)>> {
    let list = read(&root.join("sql/released.sha256"))?;
    let entries = list.lines().filter_map(|line| line.split_once("  "));
    Ok(entries
        .map(|(sum, file)| (sum.to_owned(), file.to_owned()))
        .collect())
}

fn checksum(file: &Path) -> io::Result<String> {
    let digest = Sha256::digest(fs::read(file)?);
    let mut hex = String::new();
    for byte in digest {
        write!(hex, "{byte:02x}").expect("a string takes it");
    }
    Ok(hex)
}
