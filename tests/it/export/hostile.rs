//! Names that spreadsheets or terminals would act on, directories where somebody has laid something, and manifests of strangers.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use serde_json::Value;
use threadline::{Error, ExportFormat, Manifest, timeline};
use threadline_test_support::Database;

use super::files::Directory;
use super::{FORMATS, audited, exported, lines};
use crate::common::{database, run};

/// Characters that a terminal acts on or that nobody sees; PostgreSQL has all of them in names and values.
const HIDDEN: &str = "\u{1b}\u{7f}\u{9b}\u{202e}\u{2066}\u{200e}\u{61c}\u{2028}\u{2029}\u{200b}\u{feff}\u{e0041}\u{3164}\u{e000}\u{fdd0}";

fn with_users(changes: i32) -> (Database, PgConnection, Directory) {
    let (database, mut conn) = audited();
    let sql = format!("INSERT INTO users SELECT n FROM generate_series(1, {changes}) AS n");
    run(&mut conn, &sql);
    let directory = Directory::of(&database);
    (database, conn, directory)
}

fn export(conn: &mut PgConnection, directory: &Path) -> Result<Manifest, Error> {
    let export = timeline().export(ExportFormat::Csv).rows_per_file(10);
    export.write_files(conn, directory)
}

/// The message of an export or manifest that is refused.
#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result {
        Err(Error::InvalidExport(message)) => message,
        other => panic!("{other:?}"),
    }
}

/// In JSON, hidden characters are escapes, wherever they come from; what it says is the same.
#[test]
fn hidden_characters() {
    let (_database, mut conn) = database(&format!(
        r#"CREATE TABLE "t{HIDDEN}" (id text PRIMARY KEY, "c{HIDDEN}" text); SELECT threadline.audit_table('"t{HIDDEN}"');
           BEGIN; SELECT set_config('threadline.actor_ref', json_build_object('type', 'user', 'id', 'ada{HIDDEN}')::text, true);
           INSERT INTO "t{HIDDEN}" VALUES ('k{HIDDEN}', 'v{HIDDEN}');
           SELECT threadline.record_action('row.seen', reason => 'r{HIDDEN}', actor_ref => '{{"type": "user", "id": "7"}}'); COMMIT"#
    ));
    let changes = lines(&mut conn, timeline());
    let change = &changes[0];
    let of = |letter: &str| Value::from(format!("{letter}{HIDDEN}"));
    assert_eq!(change["table_name"], of("t"));
    assert_eq!(change["row_key"], of("k"));
    assert_eq!(change["data_after"][format!("c{HIDDEN}")], of("v"));
    assert_eq!(change["transaction"]["actor_ref"]["id"], of("ada"));
    assert_eq!(change["actions"][0]["reason"], of("r"));
    for format in FORMATS {
        let of_table = timeline().table_named(format!("\"t{HIDDEN}\""));
        let (_, text) = exported(&mut conn, of_table, format);
        let raw = text.matches(|c| HIDDEN.contains(c)).count();
        // The name of the table is not JSON in CSV.
        let is_csv = format == ExportFormat::Csv;
        assert_eq!(
            raw,
            if is_csv { HIDDEN.chars().count() } else { 0 },
            "{text}"
        );
        assert!(text.contains(r"\u001b\u007f\u009b\u202e"), "{text}");
    }
}

/// Whatever a table is called, no spreadsheet runs its name, also where it splits at semicolons or tabs.
#[test]
fn formulas() {
    for (name, cell) in [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        (" +1", "' +1"),
        ("\u{3000}－1", "'\u{3000}－1"),
        ("\u{200b}@a", "'\u{200b}@a"),
        ("a;=b", "a;'=b"),
        ("a\t=b", "a\t'=b"),
        ("'=a", "''=a"),
        ("a=b", "a=b"),
    ] {
        let (_database, mut conn) = database(&format!(
            r#"CREATE TABLE "{name}" (id int PRIMARY KEY); SELECT threadline.audit_table('"{}"'); INSERT INTO "{name}" VALUES (1)"#,
            name.replace('\'', "''")
        ));
        let (_, csv) = exported(&mut conn, timeline(), ExportFormat::Csv);
        assert!(csv.contains(&format!(",public,{cell},insert,")), "{csv}");
    }
}

/// A link or directory where an export is to write, or a file that is not of the export: all are refused, before anything is written.
#[test]
fn planted() {
    let (database, mut conn, held) = with_users(25);
    let (conn, directory) = (&mut conn, &held.0);
    let outside = Directory(std::env::temp_dir().join(format!("{}_outside", database.name())));
    fs::create_dir_all(&outside.0).unwrap();
    let target = outside.0.join("target");
    for name in [
        "changes-000001.csv.partial",
        "changes-000001.csv",
        "manifest.json",
        "manifest.json.partial",
    ] {
        let planted = &directory.join(name);
        let existing: &dyn Fn(&PathBuf) = &|planted| {
            fs::write(&target, "kept").unwrap();
            symlink(&target, planted).unwrap();
        };
        let dangling: &dyn Fn(&PathBuf) =
            &|planted| symlink(outside.0.join("new"), planted).unwrap();
        let folder: &dyn Fn(&PathBuf) = &|planted| fs::create_dir(planted).unwrap();
        let file: &dyn Fn(&PathBuf) = &|planted| fs::write(planted, "kept").unwrap();
        let pipe: &dyn Fn(&PathBuf) = &|planted| {
            let made = std::process::Command::new("mkfifo").arg(planted).status();
            assert!(made.unwrap().success());
        };
        for (plant, is_file) in [
            (existing, false),
            (dangling, false),
            (folder, false),
            (pipe, false),
            (file, true),
        ] {
            if is_file && name.starts_with("manifest") {
                continue;
            }
            fs::create_dir(directory).unwrap();
            plant(planted);
            let message = refused(export(conn, directory));
            assert!(message.contains(name), "{message}");
            let left = fs::read_dir(directory).unwrap().count();
            assert_eq!(left, 1, "something was written: {message}");
            if is_file {
                assert_eq!(fs::read_to_string(planted).unwrap(), "kept");
            }
            fs::remove_dir_all(directory).unwrap();
        }
    }
    assert_eq!(fs::read_to_string(&target).unwrap(), "kept");
    assert_eq!(fs::read_dir(&outside.0).unwrap().count(), 1);
}

/// The same for the second file, for both kinds of connection, while the first is written and when an export goes on.
#[tokio::test]
async fn planted_later() {
    let (database, mut conn, held) = with_users(25);
    let directory = &held.0;
    let outside = Directory(std::env::temp_dir().join(format!("{}_outside", database.name())));
    fs::create_dir_all(&outside.0).unwrap();
    let planted = directory.join("changes-000002.csv.partial");
    let export = timeline()
        .export(ExportFormat::Csv)
        .rows_per_file(10)
        .progress(|_| {
            let _ = symlink(outside.0.join("new"), &planted);
        });
    let message = refused(export.write_files(&mut conn, directory));
    assert!(message.contains("000002.csv.partial"), "{message}");

    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let again = || timeline().export(ExportFormat::Csv).rows_per_file(10);
    let message = refused(again().write_files(&mut conn, directory).await);
    assert!(message.contains("000002.csv.partial"), "{message}");
    fs::remove_file(&planted).unwrap();

    // A file that one left there which was killed is no longer needed; a second name of it keeps what it has.
    let kept = outside.0.join("kept");
    fs::write(&kept, "kept").unwrap();
    fs::hard_link(&kept, &planted).unwrap();
    let manifest = again().write_files(&mut conn, directory).await.unwrap();
    assert_eq!((manifest.changes, manifest.complete), (25, true));
    manifest.verify(directory).unwrap();
    assert_eq!(fs::read_to_string(kept).unwrap(), "kept");
    assert_eq!(fs::read_dir(&outside.0).unwrap().count(), 1);
}

/// A directory that is a link, from the beginning or while the export runs, gets nothing into what it leads to.
#[test]
fn directory_replaced() {
    let (database, mut conn, held) = with_users(25);
    let (conn, directory) = (&mut conn, &held.0);
    let outside = Directory(std::env::temp_dir().join(format!("{}_outside", database.name())));
    let moved = Directory(std::env::temp_dir().join(format!("{}_moved", database.name())));
    fs::create_dir_all(&outside.0).unwrap();
    symlink(&outside.0, directory).unwrap();
    for path in [directory.clone(), directory.join(""), directory.join(".")] {
        let message = refused(export(conn, &path));
        assert!(message.contains("is a symbolic link"), "{message}");
    }
    fs::remove_file(directory).unwrap();

    let replacing = timeline()
        .export(ExportFormat::Csv)
        .rows_per_file(10)
        .progress(|_| {
            if fs::rename(directory, &moved.0).is_ok() {
                symlink(&outside.0, directory).unwrap();
            }
        });
    let message = refused(replacing.write_files(conn, directory));
    assert!(message.contains("was replaced"), "{message}");
    assert_eq!(fs::read_dir(&outside.0).unwrap().count(), 0);
    fs::remove_file(directory).unwrap();
}

/// What an export writes, nobody but its owner can read, whatever the mask of the process.
#[test]
fn permissions() {
    let (_database, mut conn, held) = with_users(25);
    let (conn, directory) = (&mut conn, &held.0);
    export(conn, directory).unwrap();
    let entries: Vec<_> = fs::read_dir(directory).unwrap().collect();
    assert_eq!(entries.len(), 4);
    for entry in entries {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.path());
    }
}

/// A manifest of somebody else names files of its directory, and no others; none of them is a link.
#[test]
fn foreign_manifest() {
    let (database, mut conn, held) = with_users(5);
    let (conn, directory) = (&mut conn, &held.0);
    let outside = Directory(std::env::temp_dir().join(format!("{}_outside", database.name())));
    let manifest = export(conn, directory).unwrap();
    fs::create_dir_all(&outside.0).unwrap();
    let secret = outside.0.join("secret");
    fs::rename(directory.join("changes-000001.csv"), &secret).unwrap();
    let relative = format!("../{}_outside/secret", database.name());
    for name in [
        secret.to_str().unwrap(),
        &relative,
        "",
        ".",
        "..",
        "a/b",
        r"..\secret",
        r"C:\secret",
        "C:secret",
        "a\0b",
    ] {
        let mut foreign = manifest.clone();
        name.clone_into(&mut foreign.files[0].name);
        let message = refused(foreign.verify(directory));
        assert!(message.contains("is not the name of a file"), "{message}");
        let mut json = serde_json::to_value(&foreign).unwrap();
        json["complete"] = false.into();
        fs::write(directory.join("manifest.json"), json.to_string()).unwrap();
        let message = refused(export(conn, directory));
        assert!(message.contains("contradicts itself"), "{message}");
    }
    symlink(&secret, directory.join("changes-000001.csv")).unwrap();
    let message = refused(manifest.verify(directory));
    assert!(message.contains("is a symbolic link"), "{message}");

    fs::remove_file(directory.join("manifest.json")).unwrap();
    fs::write(&secret, serde_json::to_vec(&manifest).unwrap()).unwrap();
    symlink(&secret, directory.join("manifest.json")).unwrap();
    let message = refused(Manifest::read(directory));
    assert!(message.contains("is a symbolic link"), "{message}");
}

/// Sums of a manifest that are too large to go on with are an error, and no panic.
#[test]
fn foreign_sums() {
    let (_database, mut conn, held) = with_users(5);
    let (conn, directory) = (&mut conn, &held.0);
    let manifest = export(conn, directory).unwrap();
    for (member, value) in [("bytes", u64::MAX), ("changes", u64::MAX), ("changes", 4)] {
        let mut json = serde_json::to_value(&manifest).unwrap();
        json["complete"] = false.into();
        json["files"][0][member] = value.into();
        if member == "changes" && value > 5 {
            json["changes"] = value.into();
        }
        fs::write(directory.join("manifest.json"), json.to_string()).unwrap();
        let message = refused(export(conn, directory));
        assert!(message.contains("contradicts itself"), "{message}");
    }
}
