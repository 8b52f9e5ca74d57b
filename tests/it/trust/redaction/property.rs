//! Whatever becomes of a table, and of its database, no value of a column that was ever redacted is in the audit log.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::thread;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};
use diesel_migrations::MigrationHarness;
use threadline_test_support::Database;

use super::steps::{PER_TABLE, Sequence};
use crate::common::{few_cases, run, text};
use crate::restores::{dump, restore};
use crate::skipped::major_version;

/// What every secret has in it: as text, as bytes, and as a number.
pub(super) const LEAK: &str = r"§|7365637265742d|\m1618[0-9]{6}\M";

/// Each group of sequences has a database.
const GROUPS: usize = 2;

/// The variables of the environment that run the test otherwise: with this seed, and only the sequence of this number.
const SEED: &str = "REDACTION_SEED";
const ONLY: &str = "REDACTION_SEQUENCE";

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Text)]
    place: String,
    #[diesel(sql_type = Text)]
    row: String,
}

#[derive(QueryableByName)]
struct Recorded {
    #[diesel(sql_type = Text)]
    schema: String,
    #[diesel(sql_type = BigInt)]
    inserts: i64,
    #[diesel(sql_type = Text)]
    images: String,
}

/// All that is in the schemas of Threadline and matches a pattern.
pub(super) fn found(conn: &mut PgConnection, pattern: &str) -> Vec<(String, String)> {
    found_as(conn, pattern, "t::text")
}

/// The same, but for the labels of enums, which a definition has of columns that are not redacted.
fn found_but_labels(conn: &mut PgConnection, pattern: &str) -> Vec<(String, String)> {
    found_as(
        conn,
        pattern,
        "regexp_replace(t::text, '\"\"labels\"\": [{][^}]*[}]', '', 'g')",
    )
}

fn found_as(conn: &mut PgConnection, pattern: &str, row: &str) -> Vec<(String, String)> {
    let everything = text(
        conn,
        &format!(
            "SELECT string_agg(format('SELECT %L AS place, %s AS row FROM %s AS t', oid::regclass, $sql${row}$sql$, oid::regclass), ' UNION ALL ')
               FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text IN ('threadline', 'threadline_internal')"
        ),
    );
    let sql = format!(
        "SELECT place, row FROM ({} UNION ALL SELECT oid::regprocedure::text, prosrc FROM pg_proc
            WHERE pronamespace::regnamespace::text IN ('threadline', 'threadline_internal')) AS f WHERE row ~ $1",
        everything.unwrap()
    );
    let rows: Vec<Found> = diesel::sql_query(sql)
        .bind::<Text, _>(pattern)
        .load(conn)
        .unwrap();
    rows.into_iter()
        .map(|found| (found.place, found.row))
        .collect()
}

/// A copy of the database, by way of a dump, on another server.
pub(super) fn restored(database: &Database) -> Database {
    let copy = Database::elsewhere();
    let options = ["--exit-on-error", "--single-transaction"];
    restore(&dump(database, &["-Fc"]), &copy, &options).unwrap();
    copy
}

/// Nothing secret is recorded, and all else is.
fn check(conn: &mut PgConnection, sequences: &[Sequence], failures: &mut BTreeMap<usize, String>) {
    for (place, row) in found_but_labels(conn, LEAK) {
        let at = ["secret-", "SECRET-", "1618"].iter().find_map(|mark| {
            let rest = &row[row.find(mark)? + mark.len()..];
            rest.split(|c: char| !c.is_ascii_digit())
                .next()?
                .parse::<usize>()
                .ok()
        });
        let number = at.map_or(usize::MAX, |at| at / PER_TABLE);
        failures
            .entry(number)
            .or_insert_with(|| format!("{place}: {row}"));
    }
    let recorded: Vec<Recorded> = diesel::sql_query(
        "SELECT t.table_schema AS schema, count(*) FILTER (WHERE c.op = 'insert') AS inserts,
                coalesce(string_agg(c.data_after::text, ''), '') AS images
           FROM threadline.audited_tables AS t JOIN threadline.audit_changes AS c ON c.table_id = t.id GROUP BY 1",
    )
    .load(conn)
    .unwrap();
    let recorded: BTreeMap<_, _> = recorded
        .into_iter()
        .map(|row| (row.schema.clone(), row))
        .collect();
    for sequence in sequences {
        let Some(recorded) = recorded.get(&sequence.schema) else {
            failures.insert(sequence.number, "nothing is recorded".into());
            continue;
        };
        if usize::try_from(recorded.inserts).unwrap() < sequence.inserts {
            let missing = format!(
                "{} of {} inserts are recorded",
                recorded.inserts, sequence.inserts
            );
            failures.entry(sequence.number).or_insert(missing);
        }
        let images: BTreeSet<&str> = recorded
            .images
            .split_inclusive(';')
            .filter_map(|part| part.rfind("plain-").map(|at| &part[at..]))
            .collect();
        if let Some(missing) = sequence
            .plain
            .iter()
            .find(|plain| !images.contains(plain.as_str()))
        {
            failures
                .entry(sequence.number)
                .or_insert_with(|| format!("{missing} is not recorded"));
        }
    }
}

/// Sequences that share a database, and two restores of it.
fn group(seed: u64, numbers: &[usize]) -> (usize, BTreeMap<usize, String>) {
    let mut database = Database::elsewhere();
    let mut conn = database.connect();
    conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
    // Functions that read the audit log take half of the time of a definition.
    run(
        &mut conn,
        "CREATE OR REPLACE FUNCTION threadline_internal.define_reading_functions(audited threadline.audited_tables) RETURNS void
           LANGUAGE sql AS 'SELECT'",
    );
    let version = major_version(&mut conn);
    let mut sequences: Vec<Sequence> = (numbers.iter())
        .map(|&number| {
            Sequence::new(
                number,
                seed.wrapping_add(number as u64 * 0x0123_4567_89ab),
                version,
            )
        })
        .collect();
    let mut failures = BTreeMap::new();
    for restore in 0..3 {
        if restore > 0 {
            for sequence in &mut sequences {
                sequence.dump(&mut conn);
            }
            database = restored(&database);
            conn = database.connect();
            check(&mut conn, &sequences, &mut failures);
        }
        for sequence in &mut sequences {
            if restore == 0 {
                sequence.begin(&mut conn);
            }
            for _ in 0..=sequence.random.below(2) {
                sequence.step(&mut conn);
            }
        }
        check(&mut conn, &sequences, &mut failures);
        if !failures.is_empty() {
            break;
        }
    }
    let exact = sequences.iter().filter(|sequence| sequence.exact).count();
    let stories = sequences
        .iter()
        .map(|sequence| (sequence.number, sequence.story()))
        .collect::<BTreeMap<_, _>>();
    let told = failures.into_iter().map(|(number, failure)| {
        let story = stories.get(&number).cloned().unwrap_or_default();
        (number, format!("{failure}\n{story}"))
    });
    (exact, told.collect())
}

/// No secret is recorded, through renames and exchanges, other types, tables made anew, and two restores into servers where
/// OIDs and column numbers are others, or the same by chance; and all that was never redacted is recorded.
#[test]
fn one_way_door() {
    let given = |name| env::var(name).ok().and_then(|value| value.parse().ok());
    let seed = given(SEED).unwrap_or(20_261_130);
    let sequences = if few_cases() { 40 } else { 256 };
    let groups: Vec<Vec<usize>> = match given(ONLY) {
        Some(only) => vec![vec![usize::try_from(only).unwrap()]],
        None => (0..GROUPS)
            .map(|group| (group * sequences..(group + 1) * sequences).collect())
            .collect(),
    };
    let results: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = groups
            .iter()
            .map(|numbers| scope.spawn(move || group(seed, numbers)))
            .collect();
        running
            .into_iter()
            .map(|group| {
                group
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    });
    let failures: Vec<&String> = results
        .iter()
        .flat_map(|(_, failures)| failures.values())
        .collect();
    assert!(
        failures.is_empty(),
        "{} failures with {SEED}={seed} ({ONLY}=<number> runs one sequence alone)\n\n{}",
        failures.len(),
        failures
            .iter()
            .take(4)
            .map(|story| story.as_str())
            .collect::<Vec<_>>()
            .join("\n\n")
    );
    if given(ONLY).is_none() {
        let exact: usize = results.iter().map(|(exact, _)| exact).sum();
        assert!(
            exact > sequences / 10,
            "only {exact} sequences are without drift"
        );
    }
}
