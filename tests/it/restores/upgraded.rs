//! Copies on a newer server.

use std::env;
use std::path::PathBuf;

use diesel_migrations::MigrationHarness;
use threadline_test_support::{Database, pg_bin};

use super::whole::assert_goes_on;
use super::{begin, dump_with, recorded, restore_with};

/// A dump of an older server goes on in a newer one, as after any other restore: from each of the versions whose programs
/// `OLDER_PG_BIN` names, divided by colons, to the next, and to the one that is tested.
#[test]
fn dump_of_an_older_server() {
    let older = env::var_os("OLDER_PG_BIN").unwrap_or_default();
    let bins: Vec<PathBuf> = (env::split_paths(&older).filter(|bin| !bin.as_os_str().is_empty()))
        .chain([pg_bin().to_owned()])
        .collect();
    let mut database = Database::elsewhere_with(&bins[0]).expect("OLDER_PG_BIN has servers");
    let mut conn = database.connect();
    conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
    begin(&mut conn);
    for bin in &bins[1..] {
        let before = recorded(&mut database.connect());
        let copy = Database::elsewhere_with(bin).expect("OLDER_PG_BIN has servers");
        let dump = dump_with(bin, &database, &["-Fc"]);
        restore_with(bin, &dump, &copy, &["--exit-on-error"]).unwrap();
        assert_goes_on(&copy, &before);
        database = copy;
    }
}
