//! The migration of the next release, written from the present text of the database in `sql/`.
//!
//! | file | what it holds |
//! |---|---|
//! | `sql/order.txt` | the folders and files of `sql/`, in the order in which the migration has them |
//! | `sql/next_release.txt` | the directory in `migrations/` that is not released yet |
//! | `sql/upgrade.sql` | statements of the next release that change what exists, such as `ALTER TABLE`; empty before the first release |
//! | `sql/down.sql` | what undoes the migration of the next release |
//! | `sql/released.sha256` | checksums of the released migrations, as `sha256sum` writes them |
//!
//! The first migration holds all of `sql/`. Each later one holds `sql/upgrade.sql` and the units that no released
//! migration has in their present form. A unit is a statement with its comment: a function, or a table with its indexes.

mod release;
mod unit;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use release::{changed_releases, freeze, released};

use unit::{Unit, units};

/// The name and the text of a migration.
#[derive(Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its directory in `migrations/`.
    pub name: String,
    /// What it does.
    pub up: String,
    /// What undoes it.
    pub down: String,
}

/// The migration that `sql/` makes, in the workspace at `root`.
///
/// # Errors
///
/// When a file cannot be read.
pub fn migration(root: &Path) -> io::Result<Migration> {
    let sql = root.join("sql");
    let name = read(&sql.join("next_release.txt"))?.trim().to_owned();
    let present = present(&sql)?;
    let mut before = Vec::new();
    for release in released(root)? {
        let up = read(&root.join("migrations").join(release).join("up.sql"))?;
        before.extend(units(&up));
    }
    let body = if before.is_empty() {
        join(&present)
    } else {
        difference(&before, &present, &read(&sql.join("upgrade.sql"))?)
    };
    let up = format!(
        "-- Threadline, written from sql/ of its repository by `cargo xtask migration`. Do not edit.\n\n{BODIES_LATER}\n\n{body}"
    );
    let down = read(&sql.join("down.sql"))?;
    Ok(Migration { name, up, down })
}

/// Writes the files of [`migration`] and returns their directory.
///
/// # Errors
///
/// When a file cannot be read or written.
pub fn write_migration(root: &Path) -> io::Result<PathBuf> {
    let Migration { name, up, down } = migration(root)?;
    let directory = root.join("migrations").join(name);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("up.sql"), up)?;
    fs::write(directory.join("down.sql"), down)?;
    Ok(directory)
}

/// Functions may call each other in any order, so PostgreSQL checks their bodies when they first run. A test checks them
/// all.
const BODIES_LATER: &str = "SELECT pg_catalog.set_config('check_function_bodies', 'off', true);";

/// The units of all files that `order.txt` names.
fn present(sql: &Path) -> io::Result<Vec<Unit>> {
    let mut present = Vec::new();
    for file in files(sql)? {
        present.extend(units(&read(&file)?));
    }
    Ok(present)
}

/// The files that `order.txt` names, a folder standing for the files in it.
///
/// # Errors
///
/// When a folder cannot be read.
pub fn files(sql: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in read(&sql.join("order.txt"))?.lines() {
        let name = entry.split('#').next().unwrap_or_default().trim();
        let path = sql.join(name);
        if name.is_empty() {
            continue;
        }
        if path.is_dir() {
            let entries = fs::read_dir(&path)?.collect::<io::Result<Vec<_>>>()?;
            let mut paths: Vec<_> = entries.into_iter().map(|entry| entry.path()).collect();
            paths.sort();
            files.extend(paths);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn difference(before: &[Unit], present: &[Unit], upgrade: &str) -> String {
    let released = functions(before);
    let wanted = functions(present);
    let drops: Vec<_> = released
        .keys()
        .filter(|signature| !wanted.contains_key(*signature))
        .map(|signature| format!("{DROP}{signature};\n"))
        .collect();
    let changed: Vec<_> = present
        .iter()
        .filter_map(|unit| Some((unit.signature()?, unit.replacing())))
        .filter(|(signature, unit)| {
            let newest = released.get(signature);
            newest.is_none_or(|newest| newest.replacing() != *unit)
        })
        .map(|(_, unit)| unit)
        .collect();
    format!(
        "{upgrade}\n{}\n{}\nSELECT threadline.refresh_audited_tables();\n",
        drops.concat(),
        join(&changed)
    )
}

const DROP: &str = "DROP FUNCTION IF EXISTS ";

/// The functions that there are after these units have run, each as the last of them has it.
fn functions(units: &[Unit]) -> BTreeMap<&str, &Unit> {
    let mut functions = BTreeMap::new();
    for unit in units {
        if let Some(signature) = unit.signature() {
            functions.insert(signature, unit);
            continue;
        }
        for line in unit.text().lines() {
            if let Some(dropped) = line.strip_prefix(DROP) {
                functions.remove(dropped.trim_end_matches(';'));
            }
        }
    }
    functions
}

fn join(units: &[Unit]) -> String {
    let texts: Vec<_> = units.iter().map(Unit::text).collect();
    texts.join("\n")
}

fn read(path: &Path) -> io::Result<String> {
    fs::read_to_string(path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
