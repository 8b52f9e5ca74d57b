//! Copies on a newer server.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use diesel_migrations::MigrationHarness;
use threadline_test_support::{Database, pg_bin};

use super::whole::assert_goes_on;
use super::{begin, dump, recorded, restore, without_notes};

/// The older versions: `OLDER_PG_BIN` names the directories of their programs, divided by colons.
pub(super) fn older_bins() -> Vec<PathBuf> {
    let older = env::var_os("OLDER_PG_BIN").expect("OLDER_PG_BIN names older servers");
    env::split_paths(&older).collect()
}

/// Those that have what `pg_upgrade` takes; not every distribution does.
pub(super) fn upgradable_bins() -> Vec<PathBuf> {
    let mut bins = older_bins();
    bins.retain(|bin| version(bin, "pg_controldata") == version(bin, "initdb"));
    assert!(
        !bins.is_empty(),
        "no directory in OLDER_PG_BIN has its pg_controldata"
    );
    bins
}

/// What stands for 15.4 in `initdb (PostgreSQL) 15.4 (Debian 15.4-1)`.
pub(super) fn version(bin: &Path, program: &str) -> Option<String> {
    let output = Command::new(bin.join(program))
        .arg("--version")
        .output()
        .ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    said.split_whitespace().nth(2).map(str::to_owned)
}

/// A database with Threadline on a server of an older version.
pub(super) fn installed_with(bin: &Path) -> Database {
    let database = Database::elsewhere_with(bin).expect("OLDER_PG_BIN has servers");
    database
        .connect()
        .run_pending_migrations(threadline::MIGRATIONS)
        .unwrap();
    database
}

/// A dump of each older server goes on in the newer one, as after any other restore.
#[test]
#[ignore = "it needs older servers, in OLDER_PG_BIN"]
fn dump_of_an_older_server() {
    for bin in older_bins() {
        let database = installed_with(&bin);
        begin(&mut database.connect());
        let before = recorded(&mut database.connect());
        without_notes(&database);
        let copy = Database::elsewhere();
        let dump = dump(&database, &["-Fc"]);
        restore(&dump, &copy, &["--exit-on-error"]).unwrap();
        assert_goes_on(&copy, &before);
    }
}

/// After `pg_upgrade` the database goes on, as after a restore.
#[test]
#[ignore = "it needs older servers, in OLDER_PG_BIN"]
fn pg_upgrade_of_an_older_server() {
    for bin in upgradable_bins() {
        let database = installed_with(&bin);
        begin(&mut database.connect());
        let before = recorded(&mut database.connect());
        without_notes(&database);
        assert_goes_on(&database.upgraded_in_place(pg_bin()), &before);
    }
}
