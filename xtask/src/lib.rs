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
//! The first migration holds all of `sql/`. Each later one holds `sql/upgrade.sql` and the functions and views that no
//! released migration has in their present form.
//!
//! A function that a release leaves out stays in the database, and one of the schema `threadline` whose arguments or result it
//! changes is renamed to `name_0_1`, after the release that had it last: views of users stand on it, and older code calls
//! it. A later migration drops it when nothing needs it. What `threadline_internal` has is called by generated code by its
//! name, so there a changed function must get a new name, and anything else is an error here.

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
/// When a file cannot be read, or a function of `threadline_internal` has changed in a way that older code does not survive.
pub fn migration(root: &Path) -> io::Result<Migration> {
    let sql = root.join("sql");
    let name = read(&sql.join("next_release.txt"))?.trim().to_owned();
    let present = present(&sql)?;
    let mut before = Vec::new();
    let mut last_release = String::new();
    for release in released(root)? {
        let up = read(&root.join("migrations").join(&release).join("up.sql"))?;
        before.extend(units(&up));
        last_release = release;
    }
    let body = if before.is_empty() {
        join(&present)
    } else {
        let (_, version) = last_release.split_once('_').unwrap_or_default();
        let version = version.strip_prefix("threadline_").unwrap_or(version);
        difference(&before, &present, &read(&sql.join("upgrade.sql"))?, version)?
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

fn difference(
    before: &[Unit],
    present: &[Unit],
    upgrade: &str,
    last_release: &str,
) -> io::Result<String> {
    let released = functions(before);
    let wanted = functions(present);
    let mut kept = Vec::new();
    let mut renamed = Vec::new();
    for (&signature, old) in &released {
        let name = name_of(signature);
        let is_new = |other: &&str| !released.contains_key(other) && name_of(other) == name;
        let is_changed = match wanted.get(signature) {
            Some(new) => new.header() != old.header(),
            None => wanted.keys().any(is_new),
        };
        if is_changed && name.starts_with("threadline_internal.") {
            return Err(io::Error::other(format!(
                "{signature} was released with other arguments or another result, and code of that release may call it: \
                 give the changed function a new name"
            )));
        }
        let comment =
            format!("IS\n  'Kept from release {last_release}, for what depends on it.';\n");
        if is_changed {
            let (_, arguments) = signature.split_at(name.len());
            let (_, bare) = name.split_once('.').unwrap_or(("", name));
            let old_name = format!("{name}_{last_release}");
            kept.push(format!(
                "ALTER FUNCTION {signature} RENAME TO {bare}_{last_release};\n{KEPT}{old_name}{arguments} {comment}"
            ));
            renamed.push((signature, name));
        } else if !wanted.contains_key(signature) {
            kept.push(format!("{KEPT}{signature} {comment}"));
        }
    }
    let is_renamed = |signature: &str| renamed.iter().any(|(renamed, _)| *renamed == signature);
    let mut changed = Vec::new();
    for unit in present {
        if let Some(signature) = unit.signature() {
            let newest = released.get(signature);
            let is_there = newest.is_some_and(|newest| newest.replacing() == unit.replacing());
            if !is_there || is_renamed(signature) {
                changed.push(unit.replacing());
            }
        }
    }
    let views = views(before, present, &renamed);
    let changes_relations = !upgrade.trim().is_empty() || !views.is_empty();
    Ok(format!(
        "SELECT threadline_internal.begin_migration({changes_relations});\n\n{upgrade}\n{}\n{}\n{}\n\
         SELECT threadline_internal.restore_rights();\n",
        kept.join("\n"),
        join(&changed),
        join(&views),
    ))
}

/// The views that are new or changed, and those that stand on a function which was renamed. They only ever get columns at
/// the end, so that `CREATE OR REPLACE` takes them.
fn views(before: &[Unit], present: &[Unit], renamed: &[(&str, &str)]) -> Vec<Unit> {
    let mut released = BTreeMap::new();
    for unit in before {
        if let Some(view) = unit.view() {
            released.insert(view, unit.replacing());
        }
    }
    let mut changed = Vec::new();
    for unit in present {
        let Some(view) = unit.view() else { continue };
        let text = unit.text();
        let stands_on = |name: &str| text.contains(&format!("{name}("));
        if released.get(view) != Some(&unit.replacing())
            || renamed.iter().any(|(_, name)| stands_on(name))
        {
            changed.push(unit.replacing());
        }
    }
    changed
}

/// What the comment of a function that a release left out or renamed begins with, up to its signature.
const KEPT: &str = "COMMENT ON FUNCTION ";
const RENAMED: &str = "ALTER FUNCTION ";

/// The name in a signature, with its schema.
fn name_of(signature: &str) -> &str {
    signature.split('(').next().unwrap_or(signature)
}

/// The functions that there are after these units have run, each as the last of them has it, but for those that were only
/// kept.
fn functions(units: &[Unit]) -> BTreeMap<&str, &Unit> {
    let mut functions = BTreeMap::new();
    for unit in units {
        if let Some(signature) = unit.signature() {
            functions.insert(signature, unit);
            continue;
        }
        for line in unit.text().lines() {
            let gone = line
                .strip_prefix(RENAMED)
                .and_then(|line| line.split_once(" RENAME TO "));
            let left = line
                .strip_prefix(KEPT)
                .and_then(|line| line.split_once(" IS"));
            if let Some((signature, _)) = gone.or(left) {
                functions.remove(signature);
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
