//! Exports into a directory: each change once, however often it is killed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use diesel::prelude::*;
use diesel_async::{AsyncConnection, AsyncPgConnection};
use threadline::{Error, ExportFormat, Manifest, timeline};
use threadline_test_support::Database;

use super::{audited, readers};
use crate::common::run;

/// A directory that goes when the test ends.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn of(database: &Database) -> Self {
        Self(std::env::temp_dir().join(format!("{}_export", database.name())))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn files(directory: &Path) -> BTreeSet<String> {
    let name =
        |entry: std::io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    fs::read_dir(directory).unwrap().map(name).collect()
}

/// The ids in all files of a manifest, in order.
fn ids(directory: &Path, manifest: &Manifest) -> Vec<i64> {
    let of_file = |file: &threadline::ExportFile| {
        let text = fs::read_to_string(directory.join(&file.name)).unwrap();
        let ids = readers::ids(manifest.format, &text);
        assert_eq!(ids.len() as u64, file.changes);
        ids
    };
    manifest.files.iter().flat_map(of_file).collect()
}

fn newest_first(changes: i64) -> Vec<i64> {
    (1..=changes).rev().collect()
}

/// Files of a size, each whole by itself, and a manifest with what an outside tool says their SHA-256 is.
#[test]
fn manifest() {
    for format in super::FORMATS {
        let (database, mut conn) = audited();
        let Directory(directory) = &Directory::of(&database);
        run(
            &mut conn,
            "INSERT INTO users SELECT n FROM generate_series(1, 25) AS n",
        );
        let of_users = timeline().table_named("users");
        let manifest = of_users
            .export(format)
            .rows_per_file(10)
            .write_files(&mut conn, directory)
            .unwrap();
        assert_eq!(ids(directory, &manifest), newest_first(25));
        assert_eq!(
            manifest
                .files
                .iter()
                .map(|file| file.changes)
                .collect::<Vec<_>>(),
            [10, 10, 5]
        );
        assert_eq!(
            (manifest.changes, manifest.complete, manifest.truncated),
            (25, true, false)
        );
        assert_eq!(manifest.filter, serde_json::json!({"tables": ["users"]}));
        assert_eq!(
            (manifest.first.unwrap().id(), manifest.last.unwrap().id()),
            (25, 1)
        );
        assert_eq!(Manifest::read(directory).unwrap(), manifest);
        let names = (1..=3).map(|n| format!("changes-{n:06}.{format}"));
        assert_eq!(
            files(directory),
            names.chain(["manifest.json".to_owned()]).collect()
        );
        for file in &manifest.files {
            let text = fs::read_to_string(directory.join(&file.name)).unwrap();
            assert!(readers::said("sha256sum", &[], &text).starts_with(&file.sha256));
        }
        manifest.verify(directory).unwrap();
        let path = directory.join(&manifest.files[1].name);
        let forged = fs::read_to_string(&path)
            .unwrap()
            .replace("users", "losers");
        fs::write(&path, forged).unwrap();
        let forged = manifest.verify(directory);
        assert!(
            matches!(&forged, Err(Error::InvalidExport(message)) if message.contains("000002")),
            "{forged:?}"
        );
    }
}

/// The most rows of all files together.
#[test]
fn max_rows() {
    let (database, mut conn) = audited();
    let Directory(directory) = &Directory::of(&database);
    run(
        &mut conn,
        "INSERT INTO users SELECT n FROM generate_series(1, 25) AS n",
    );
    let export = timeline()
        .export(ExportFormat::Ndjson)
        .rows_per_file(10)
        .limit(20);
    let manifest = export.write_files(&mut conn, directory).unwrap();
    assert_eq!(
        (manifest.changes, manifest.complete, manifest.truncated),
        (20, true, true)
    );
    assert_eq!(manifest.files.len(), 2);
    let rest = timeline()
        .before(manifest.last.unwrap())
        .export(ExportFormat::Csv);
    assert_eq!(
        rest.write_to(&mut conn, std::io::sink()).unwrap().changes,
        5
    );
}

/// A directory with a finished export, one of other changes, or one under way is left alone.
#[test]
fn refused() {
    let (database, mut conn) = audited();
    let Directory(directory) = &Directory::of(&database);
    run(
        &mut conn,
        "INSERT INTO users SELECT n FROM generate_series(1, 25) AS n",
    );
    let mut other = database.connect();
    let message = |refused: Result<Manifest, Error>| match refused {
        Err(Error::InvalidExport(message)) => message,
        other => panic!("{other:?}"),
    };
    let mut refused = Vec::new();
    let export = timeline()
        .export(ExportFormat::Csv)
        .rows_per_file(10)
        .progress(|progress| {
            if progress.changes > 10 && refused.is_empty() {
                let meanwhile = timeline()
                    .export(ExportFormat::Csv)
                    .write_files(&mut other, directory);
                refused.push(message(meanwhile));
                panic!("killed");
            }
        });
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        export.write_files(&mut conn, directory)
    }));
    assert!(killed.is_err());
    let mut conn = database.connect();
    let others = timeline()
        .table_named("users")
        .export(ExportFormat::Csv)
        .write_files(&mut conn, directory);
    refused.push(message(others));
    let rest = timeline()
        .export(ExportFormat::Csv)
        .write_files(&mut conn, directory)
        .unwrap();
    assert_eq!(ids(directory, &rest), newest_first(25));
    let again = timeline()
        .export(ExportFormat::Csv)
        .write_files(&mut conn, directory);
    refused.push(message(again));
    let said = [
        "another process is exporting into",
        "has another export in it",
        "has a finished export in it",
    ];
    for (refused, said) in refused.iter().zip(said) {
        assert!(refused.contains(said), "{refused}");
    }
}

/// An export that is killed at any point, and run again until it ends, has each change once, and no file that is not in the manifest.
#[test]
fn killed() {
    const CHANGES: i64 = 20_000;
    let (database, mut conn) = audited();
    let Directory(directory) = &Directory::of(&database);
    run(
        &mut conn,
        &format!("INSERT INTO users SELECT n, 'x' FROM generate_series(1, {CHANGES}) AS n"),
    );
    let mut kills = 0;
    for bytes in (0..).map(|n| 300_000 + n * 731_441) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "export::files::export_that_is_killed",
                "--exact",
                "--ignored",
            ])
            .env("THREADLINE_EXPORT_URL", database.url())
            .env("THREADLINE_EXPORT_DIRECTORY", directory)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let written = || -> u64 {
            let size = |entry: std::io::Result<fs::DirEntry>| {
                entry
                    .ok()
                    .and_then(|entry| entry.metadata().ok())
                    .map_or(0, |m| m.len())
            };
            fs::read_dir(directory).map_or(0, |entries| entries.map(size).sum())
        };
        while child.try_wait().unwrap().is_none() {
            if written() > bytes {
                child.kill().unwrap();
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        if child.wait().unwrap().success() {
            break;
        }
        kills += 1;
        assert!(kills < 200, "it gets nowhere");
        if let Ok(manifest) = Manifest::read(directory) {
            manifest.verify(directory).unwrap();
        }
    }
    assert!(kills > 5, "killed {kills} times only");
    let manifest = Manifest::read(directory).unwrap();
    assert!(manifest.complete);
    assert_eq!(ids(directory, &manifest), newest_first(CHANGES));
    let listed = manifest.files.iter().map(|file| file.name.clone());
    assert_eq!(
        files(directory),
        listed.chain(["manifest.json".to_owned()]).collect()
    );
}

/// What `killed` runs in a process of its own.
#[test]
#[ignore = "is killed by the test `killed`"]
fn export_that_is_killed() {
    let of = |name| std::env::var_os(name).unwrap().into_string().unwrap();
    let mut conn = PgConnection::establish(&of("THREADLINE_EXPORT_URL")).unwrap();
    let export = timeline().export(ExportFormat::Ndjson).rows_per_file(1_500);
    export
        .write_files(&mut conn, of("THREADLINE_EXPORT_DIRECTORY"))
        .unwrap();
}

/// The same with diesel-async, which goes on with what the other kind of connection began.
#[tokio::test]
async fn asynchronous() {
    let (database, mut conn) = audited();
    let Directory(directory) = &Directory::of(&database);
    run(
        &mut conn,
        "INSERT INTO users SELECT n FROM generate_series(1, 12000) AS n",
    );
    let of_one_file =
        |progress: threadline::ExportProgress| assert!(progress.changes <= 4_000, "killed");
    let export = timeline()
        .export(ExportFormat::Json)
        .rows_per_file(4_000)
        .progress(of_one_file);
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        export.write_files(&mut conn, directory)
    }));
    assert!(killed.is_err());
    let mut conn = AsyncPgConnection::establish(database.url()).await.unwrap();
    let manifest = timeline()
        .export(ExportFormat::Json)
        .rows_per_file(7_000)
        .write_files(&mut conn, directory)
        .await
        .unwrap();
    assert_eq!(
        manifest
            .files
            .iter()
            .map(|file| file.changes)
            .collect::<Vec<_>>(),
        [4_000, 7_000, 1_000]
    );
    assert_eq!(ids(directory, &manifest), newest_first(12_000));
    manifest.verify(directory).unwrap();

    let mut bytes = Vec::new();
    let exported = timeline()
        .export(ExportFormat::Csv)
        .write_to(&mut conn, &mut bytes)
        .await
        .unwrap();
    assert_eq!(
        readers::ids(ExportFormat::Csv, std::str::from_utf8(&bytes).unwrap()),
        newest_first(12_000)
    );
    assert_eq!(exported.bytes, bytes.len() as u64);
}
