//! Partitions are made, and the default one emptied, while others write and read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::{database, run, text};

const WITHOUT_PARTITIONS: &str = "
    CREATE TABLE users (id int PRIMARY KEY, name text); SELECT threadline.audit_table('users');
    DO $$ DECLARE p regclass; BEGIN
      FOR p IN SELECT inhrelid FROM pg_inherits WHERE inhparent = 'threadline.audit_changes'::regclass AND inhrelid <> 'threadline.audit_changes_default'::regclass LOOP
        EXECUTE format('DROP TABLE %s', p);
      END LOOP;
    END $$;";

const MAINTAINED: &str =
    "SELECT format('%s %s', created, postponed) FROM threadline.maintain(2, patience => '1 s')";

/// While the default partition is emptied, changes go on being captured: none is lost or fails, and no writer waits for long.
#[test]
fn writers_go_on() {
    while_writing(MAINTAINED, "3 0");
}

/// The same when an application that starts makes the partitions.
#[test]
fn writers_go_on_beside_an_installation() {
    while_writing(
        "SELECT created FROM threadline_internal.create_partitions(2)",
        "3",
    );
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn while_writing(maintain: &str, made: &str) {
    let (database, mut conn) = database(WITHOUT_PARTITIONS);
    run(
        &mut conn,
        "INSERT INTO users SELECT n, 'x' FROM generate_series(1, 200000) AS n",
    );
    let stop = AtomicBool::new(false);
    let (slowest, written) = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut conn = database.connect();
            let mut slowest = Duration::ZERO;
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                run(
                    &mut conn,
                    "UPDATE users SET name = name || 'y' WHERE id = 1",
                );
                slowest = slowest.max(start.elapsed());
                written += 1;
            }
            (slowest, written)
        });
        // Stopped by a failure, too, which would wait for the writer for ever.
        let stopped = Stop(&stop);
        // It gives up where a busy machine does not let it have its moment; the next one tries again.
        let tried = (0..10).map(|_| text(&mut conn, maintain));
        let maintained = tried.flatten().find(|answer| answer == made);
        // Some more, into the partition.
        thread::sleep(Duration::from_millis(100));
        drop(stopped);
        assert_eq!(maintained.as_deref(), Some(made));
        writer.join().unwrap()
    });
    let counted = text(
        &mut conn,
        "SELECT format('%s %s', count(*), count(*) FILTER (WHERE tableoid = 'threadline.audit_changes_default'::regclass)) FROM threadline.audit_changes",
    );
    assert_eq!(counted.unwrap(), format!("{} 0", 200_000 + written));
    assert!(written > 50, "only {written} were written beside it");
    // Moving them takes ten times as long.
    assert!(
        slowest < Duration::from_secs(1),
        "a writer waited for {slowest:?}"
    );
    assert_eq!(text(&mut conn, MAINTAINED).as_deref(), Some("0 0"));
}

/// Behind somebody who reads for long, it gives up and leaves nothing; others who come meanwhile are not kept waiting behind it.
#[test]
fn readers_are_not_kept_waiting() {
    let (database, mut conn) = database(WITHOUT_PARTITIONS);
    run(&mut conn, "INSERT INTO users VALUES (1)");
    let mut reader = database.connect();
    run(&mut reader, "BEGIN; SELECT FROM threadline.audit_changes");
    let maintaining = thread::scope(|scope| {
        let maintaining = scope.spawn(|| text(&mut conn, MAINTAINED));
        let mut other = database.connect();
        let mut slowest = Duration::ZERO;
        while !maintaining.is_finished() {
            let start = Instant::now();
            run(
                &mut other,
                "SELECT FROM threadline.audit_changes; UPDATE users SET name = 'x'",
            );
            slowest = slowest.max(start.elapsed());
        }
        assert!(
            slowest < Duration::from_secs(1),
            "somebody waited for {slowest:?}"
        );
        maintaining.join().unwrap()
    });
    assert_eq!(maintaining.as_deref(), Some("0 3"));
    run(&mut reader, "COMMIT");
    assert_eq!(text(&mut reader, MAINTAINED).as_deref(), Some("3 0"));
    assert_eq!(
        text(
            &mut reader,
            "SELECT count(*) FROM threadline.audit_changes_default"
        )
        .as_deref(),
        Some("0")
    );
}

/// A partition made later has all that those made first have: columns, checks and indexes.
#[test]
fn same_as_the_others() {
    let (_database, mut conn) = database("SELECT threadline.maintain(9)");
    let mut one = |what: &str| {
        let partitions =
            "pg_inherits AS h WHERE h.inhparent = 'threadline.audit_changes'::regclass";
        let kinds = format!(
            "SELECT count(DISTINCT shape) FROM (SELECT ({what}) AS shape FROM {partitions}) AS s"
        );
        assert_eq!(text(&mut conn, &kinds).as_deref(), Some("1"), "{what}");
    };
    let without_names = |definition: &str| {
        format!("regexp_replace({definition}, 'audit_changes_[a-z0-9_]+', '', 'g')")
    };
    let index = without_names("pg_get_indexdef(i.indexrelid)");
    one(&format!(
        "SELECT string_agg({index}, ';' ORDER BY {index}) FROM pg_index AS i WHERE i.indrelid = h.inhrelid"
    ));
    one(
        "SELECT string_agg(pg_get_constraintdef(c.oid), ';' ORDER BY pg_get_constraintdef(c.oid)) FROM pg_constraint AS c WHERE c.conrelid = h.inhrelid AND c.contype <> 'n'",
    );
    one(
        "SELECT string_agg(format('%s %s %s', attname, format_type(atttypid, atttypmod), attnotnull), ';' ORDER BY attnum) FROM pg_attribute WHERE attrelid = h.inhrelid AND attnum > 0",
    );
    let attached = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'threadline.audit_changes_table_id_idx'::regclass";
    assert_eq!(text(&mut conn, attached).as_deref(), Some("11"));
}

/// A type of key has indexes once a table has such keys, but on no partition that is too large to keep writers from. There the history
/// of a row is found as well.
#[test]
fn keys_of_a_new_type() {
    let (_database, mut conn) = database(
        "CREATE TABLE users (id int PRIMARY KEY, name text); SELECT threadline.audit_table('users');
         INSERT INTO users SELECT n, repeat('x', 200) FROM generate_series(1, 60000) AS n;
         CREATE TABLE devices (id uuid PRIMARY KEY)",
    );
    let indexed = |conn: &mut _, key: &str| {
        let sql = format!(
            "SELECT count(*) FROM pg_class AS c JOIN pg_index AS i ON i.indexrelid = c.oid AND i.indisvalid
              WHERE c.relname LIKE 'audit_changes_%_key_{key}_idx'"
        );
        text(conn, &sql).unwrap()
    };
    assert_eq!(indexed(&mut conn, "integer"), "5");
    assert_eq!(indexed(&mut conn, "bigint"), "0");
    assert_eq!(indexed(&mut conn, "uuid"), "0");
    run(
        &mut conn,
        "SELECT threadline.audit_table('devices');
         INSERT INTO devices VALUES ('00000000-0000-0000-0000-000000000001')",
    );
    assert_eq!(indexed(&mut conn, "uuid"), "4");
    let found = "SELECT count(*) FROM threadline.timeline('{\"row_key\": \"00000000-0000-0000-0000-000000000001\"}')";
    assert_eq!(text(&mut conn, found).as_deref(), Some("1"));
    run(&mut conn, "SELECT threadline.maintain()");
    assert_eq!(indexed(&mut conn, "uuid"), "4");
    let missing = "SELECT concurrent_statement FROM threadline_internal.missing_key_indexes()";
    let statement = text(&mut conn, missing).unwrap();
    assert!(
        statement.starts_with("CREATE INDEX CONCURRENTLY "),
        "{statement}"
    );
    run(&mut conn, &statement);
    assert_eq!(indexed(&mut conn, "uuid"), "5");
    assert_eq!(text(&mut conn, found).as_deref(), Some("1"));
    assert_eq!(text(&mut conn, missing), None);
}
