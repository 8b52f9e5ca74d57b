//! Installing keeps no writer waiting.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diesel::PgConnection;
use threadline::TableSpec;
use threadline_test_support::Database;

use crate::common::{run, text};

/// What a write may wait for an installation, on a machine that has a moment for it. A write that waits is one that
/// PostgreSQL shows as waiting for a lock: a busy machine makes all else slow.
pub(super) const LONGEST: Duration = Duration::from_millis(100);

/// Ten processes start at once beside writers of several tables in both orders, one of which is long: the tables are
/// installed anew, with other columns. No write waits long for a lock, and none is a victim of a deadlock.
#[test]
fn ten_installers_beside_writers() {
    // A machine that is busy with other tests may stop the installer at the wrong moment, but not three times.
    let waits: Vec<_> = (0..3).map(|_| longest_wait()).collect();
    assert!(
        waits.iter().any(|wait| *wait <= LONGEST),
        "writes waited {waits:?}"
    );
}

fn longest_wait() -> Duration {
    let database = Database::new();
    let mut conn = database.connect();
    let tables = ["t1", "t2", "t3", "t4"];
    for table in tables {
        run(
            &mut conn,
            &format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, n int NOT NULL DEFAULT 0); INSERT INTO {table} SELECT generate_series(1, 20)"
            ),
        );
    }
    let specs = tables.map(TableSpec::named);
    threadline::capture::install(&mut conn, &specs).unwrap();
    for table in tables {
        run(
            &mut conn,
            &format!("ALTER TABLE {table} ADD note text DEFAULT 'x'"),
        );
    }
    let stop = AtomicBool::new(false);
    let longest = thread::scope(|scope| {
        let writers: Vec<_> = [["t1", "t2"], ["t2", "t1"], ["t3", "t4"], ["t4", "t1"]]
            .into_iter()
            .zip(1..)
            .map(|(tables, id)| {
                let (stop, database) = (&stop, &database);
                scope.spawn(move || {
                    let mut conn = database.connect();
                    let mut written = 0;
                    while !stop.load(Ordering::Relaxed) {
                        run(&mut conn, "BEGIN");
                        for table in tables {
                            run(
                                &mut conn,
                                &format!("UPDATE {table} SET n = n + 1 WHERE id = {id}"),
                            );
                            thread::sleep(Duration::from_millis(5));
                        }
                        run(&mut conn, "COMMIT");
                        written += 2;
                    }
                    written
                })
            })
            .collect();
        let watcher = {
            let (stop, database) = (&stop, &database);
            scope.spawn(move || longest_seen(&mut database.connect(), stop, "UPDATE t%"))
        };
        thread::sleep(Duration::from_millis(200));
        let started = Instant::now();
        let installers: Vec<_> = (0..10)
            .map(|_| {
                let (database, specs) = (&database, &specs);
                scope.spawn(move || threadline::capture::install(&mut database.connect(), specs))
            })
            .collect();
        let installed: Vec<_> = installers.into_iter().map(|i| i.join().unwrap()).collect();
        let took = started.elapsed();
        thread::sleep(Duration::from_millis(100));
        stop.store(true, Ordering::Relaxed);
        let written: i32 = writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .sum();
        let longest = watcher.join().unwrap();
        println!(
            "{written} writes beside ten installations, which took {took:?}; the longest waited {longest:?} for a lock"
        );
        for result in installed {
            result.unwrap();
        }
        let recorded = text(
            &mut conn,
            "SELECT count(*) FROM threadline.audit_changes WHERE op = 'update'",
        );
        assert_eq!(recorded.unwrap(), written.to_string());
        longest
    });
    assert_eq!(
        text(&mut conn, "SELECT count(*) FROM threadline.health").unwrap(),
        "0"
    );
    longest
}

/// A refresh of all tables in one transaction keeps those that it has changed locked. So it does not wait for the others:
/// they are left as they were, and `health` says so.
#[test]
fn refresh_of_all_waits_for_one_table_at_most() {
    let database = Database::new();
    let (mut conn, mut writer) = (database.connect(), database.connect());
    for table in ["t1", "t2", "t3"] {
        run(
            &mut conn,
            &format!(
                "CREATE TABLE {table} (id int PRIMARY KEY, n int); SELECT threadline.audit_table('{table}');
                 ALTER TABLE {table} ADD note text"
            ),
        );
    }
    run(&mut writer, "BEGIN; INSERT INTO t2 VALUES (1, 1)");
    let started = Instant::now();
    let refreshed = text(
        &mut conn,
        "SELECT threadline.refresh_audited_tables()::text",
    );
    assert_eq!(refreshed.as_deref(), Some("2"));
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    let stale = "SELECT string_agg(table_name, ' ') FROM threadline.health WHERE \"check\" = 'definition_stale'";
    assert_eq!(text(&mut conn, stale).as_deref(), Some("t2"));
    let restored = "SELECT current_setting('lock_timeout')";
    assert_eq!(text(&mut conn, restored).as_deref(), Some("0"));
    run(&mut writer, "COMMIT");
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    assert_eq!(text(&mut conn, stale), None);
}

/// The longest that a statement like `writes` was seen waiting for the lock of a table, until `stop`.
pub(super) fn longest_seen(conn: &mut PgConnection, stop: &AtomicBool, writes: &str) -> Duration {
    // Since when is known from version 14 on; before, the statement began a little earlier.
    let since = match text(
        conn,
        "SELECT current_setting('server_version_num')::int >= 140000",
    )
    .as_deref()
    {
        Some("true") => "coalesce(l.waitstart, clock_timestamp())",
        _ => "a.query_start",
    };
    let waiting = format!(
        "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - {since}) * 1000), 0)::int
           FROM pg_stat_activity AS a JOIN pg_locks AS l ON l.pid = a.pid AND NOT l.granted AND l.locktype = 'relation'
          WHERE a.datname = current_database() AND a.query LIKE '{writes}'"
    );
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let waited = text(conn, &waiting).unwrap().parse().unwrap();
        longest = longest.max(Duration::from_millis(waited));
        thread::sleep(Duration::from_millis(5));
    }
    longest
}
