//! What the migrations of three made-up releases hold.

use std::fs;
use std::path::PathBuf;

use xtask::{changed_releases, freeze, migration, write_migration};

const VIEW: &str =
    "CREATE VIEW s.v AS\nSELECT d FROM s.d() AS d;\nCOMMENT ON VIEW s.v IS 'What d gives.';\n";

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
        ("functions/v.sql", VIEW),
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
        "CREATE VIEW s.v AS\nSE",
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
    let (_, body) = second.up.split_once("\n\nSELECT threadline").unwrap();
    assert_eq!(
        body,
        "_internal.begin_migration(true);\n\nALTER TABLE s.t ADD name text;\n\n\
         COMMENT ON FUNCTION s.a() IS\n  'Kept from release first, for what depends on it.';\n\n-- Why b is there.\n\
         CREATE OR REPLACE FUNCTION s.b() RETURNS int\nLANGUAGE sql AS 'SELECT 2';\n\
         COMMENT ON FUNCTION s.b() IS\n  'Gives 2.';\n\n\nSELECT threadline_internal.restore_rights();\n"
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

    // What an earlier release stated or left out is not stated or left out once more.
    fs::write(root.join("sql/next_release.txt"), "004_fourth\n").unwrap();
    let fourth = migration(&root).unwrap();
    assert!(!fourth.up.contains("CREATE OR REPLACE"), "{}", fourth.up);
    assert!(!fourth.up.contains("Kept from"), "{}", fourth.up);
}

/// A function whose result or arguments change is renamed, since views of users stand on it, and views of our own move to the
/// new one. One that generated code may call must not change so at all.
#[test]
fn changed_results_get_a_name() {
    let root = workspace("results");
    write_migration(&root).unwrap();
    freeze(&root).unwrap();
    fs::write(root.join("sql/next_release.txt"), "002_second\n").unwrap();
    let wider = function("b", 1).replace("RETURNS int", "RETURNS bigint");
    let longer = (function("c", 1) + "\n" + &function("d", 1))
        .replace("s.d() RETURNS", "s.d(x int DEFAULT 0) RETURNS")
        .replace("s.d() IS", "s.d(int) IS");
    fs::write(root.join("sql/functions/b.sql"), wider).unwrap();
    fs::write(root.join("sql/functions/c.sql"), longer).unwrap();
    let up = migration(&root).unwrap().up;
    for there in [
        "begin_migration(true);",
        "ALTER FUNCTION s.b() RENAME TO b_first;\nCOMMENT ON FUNCTION s.b_first() IS\n  'Kept from release first, ",
        "ALTER FUNCTION s.d() RENAME TO d_first;\nCOMMENT ON FUNCTION s.d_first() IS\n  'Kept from release first, ",
        "CREATE OR REPLACE FUNCTION s.b() RETURNS bigint",
        "CREATE OR REPLACE FUNCTION s.d(x int DEFAULT 0)",
        "CREATE OR REPLACE VIEW s.v AS",
    ] {
        assert_eq!(up.matches(there).count(), 1, "{there}: {up}");
    }
    assert!(!up.contains("s.c()"), "{up}");
    write_migration(&root).unwrap();
    freeze(&root).unwrap();
    fs::write(root.join("sql/next_release.txt"), "003_third\n").unwrap();
    let third = migration(&root).unwrap().up;
    assert!(third.contains("begin_migration(false);"), "{third}");
    for word in ["RENAME", "CREATE", "Kept"] {
        assert!(!third.contains(word), "{third}");
    }

    let internal = "threadline_internal.e()";
    let function = function("e", 1).replace("s.e()", internal);
    fs::write(root.join("sql/functions/e.sql"), &function).unwrap();
    write_migration(&root).unwrap();
    freeze(&root).unwrap();
    fs::write(root.join("sql/next_release.txt"), "004_fourth\n").unwrap();
    for changed in [
        function.replace("RETURNS int", "RETURNS text"),
        function.replace(internal, "threadline_internal.e(int)"),
    ] {
        fs::write(root.join("sql/functions/e.sql"), changed).unwrap();
        let error = migration(&root).unwrap_err().to_string();
        assert!(
            error.starts_with("threadline_internal.e() was released with other arguments"),
            "{error}"
        );
    }
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
