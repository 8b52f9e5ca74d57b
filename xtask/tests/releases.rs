//! What the migrations of three made-up releases hold.

use std::fs;
use std::path::PathBuf;

use xtask::{changed_releases, freeze, migration, write_migration};

/// A workspace of its own below the target directory.
fn workspace(name: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&root);
    fs::create_dir_all(root.join("sql/functions")).unwrap();
    for (file, text) in [
        ("order.txt", "tables.sql\nfunctions  # all of them\n"),
        ("next_release.txt", "001_first\n"),
        ("released.sha256", ""),
        ("upgrade.sql", ""),
        ("down.sql", "DROP SCHEMA s;\n"),
        ("tables.sql", "CREATE TABLE s.t (id int);\n"),
        ("functions/a.sql", &function("a", 1)),
        ("functions/b.sql", &function("b", 1)),
        (
            "functions/c.sql",
            &(function("c", 1) + "\n" + &function("d", 1)),
        ),
    ] {
        fs::write(root.join("sql").join(file), text).unwrap();
    }
    root
}

fn function(name: &str, returns: i32) -> String {
    format!(
        "-- Why {name} is there.\nCREATE FUNCTION s.{name}() RETURNS int\nLANGUAGE sql AS 'SELECT {returns}';\n\
         COMMENT ON FUNCTION s.{name}() IS\n  'Gives {returns}.';\n"
    )
}

/// The first release holds everything, in the order of `order.txt`; the next one holds the statements of its upgrade, the
/// functions that are gone or changed, and nothing else.
#[test]
fn a_release_holds_what_changed() {
    let root = workspace("changes");
    let first = migration(&root).unwrap();
    let created: Vec<_> = first
        .up
        .match_indices("CREATE ")
        .map(|(at, _)| &first.up[at..at + 21])
        .collect();
    let expected = [
        "CREATE TABLE s.t (id ",
        "CREATE FUNCTION s.a()",
        "CREATE FUNCTION s.b()",
        "CREATE FUNCTION s.c()",
        "CREATE FUNCTION s.d()",
    ];
    assert_eq!(created, expected);
    write_migration(&root).unwrap();
    freeze(&root).unwrap();

    fs::write(root.join("sql/next_release.txt"), "002_second\n").unwrap();
    fs::write(
        root.join("sql/upgrade.sql"),
        "ALTER TABLE s.t ADD name text;\n",
    )
    .unwrap();
    fs::remove_file(root.join("sql/functions/a.sql")).unwrap();
    fs::write(root.join("sql/functions/b.sql"), function("b", 2)).unwrap();
    let second = migration(&root).unwrap();
    let (_, body) = second.up.split_once("ALTER TABLE").unwrap();
    assert_eq!(
        body,
        " s.t ADD name text;\n\nDROP FUNCTION IF EXISTS s.a();\n\n-- Why b is there.\n\
         CREATE OR REPLACE FUNCTION s.b() RETURNS int\nLANGUAGE sql AS 'SELECT 2';\n\
         COMMENT ON FUNCTION s.b() IS\n  'Gives 2.';\n\nSELECT threadline.refresh_audited_tables();\n"
    );
    write_migration(&root).unwrap();
    freeze(&root).unwrap();

    // A function that returns to what the first release had is stated again.
    fs::write(root.join("sql/next_release.txt"), "003_third\n").unwrap();
    fs::write(root.join("sql/functions/b.sql"), function("b", 1)).unwrap();
    let third = migration(&root).unwrap();
    assert!(third.up.contains("AS 'SELECT 1';"), "{}", third.up);
    assert!(!third.up.contains("FUNCTION s.c()"), "{}", third.up);
    write_migration(&root).unwrap();
    freeze(&root).unwrap();

    // What an earlier release stated or dropped is not stated or dropped once more.
    fs::write(root.join("sql/next_release.txt"), "004_fourth\n").unwrap();
    let fourth = migration(&root).unwrap();
    assert!(!fourth.up.contains("CREATE OR REPLACE"), "{}", fourth.up);
    assert!(!fourth.up.contains("DROP FUNCTION"), "{}", fourth.up);
}

/// An edited release is found by its checksum, and one that is out of date is not frozen.
#[test]
fn released_files_are_frozen() {
    let root = workspace("frozen");
    assert!(freeze(&root).is_err(), "nothing is written yet");
    write_migration(&root).unwrap();
    fs::write(root.join("sql/functions/a.sql"), function("a", 3)).unwrap();
    let error = freeze(&root).unwrap_err().to_string();
    assert!(
        error.ends_with("up.sql is out of date: run `cargo xtask migration`"),
        "{error}"
    );
    write_migration(&root).unwrap();
    freeze(&root).unwrap();
    assert_eq!(changed_releases(&root).unwrap(), [""; 0]);

    fs::write(
        root.join("migrations/001_first/down.sql"),
        "DROP SCHEMA s CASCADE;\n",
    )
    .unwrap();
    assert_eq!(changed_releases(&root).unwrap(), ["001_first/down.sql"]);
}
