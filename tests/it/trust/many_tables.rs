//! A schema per tenant: thousands of tables on a server with the locks that PostgreSQL has by default.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use threadline::TableSpec;
use threadline_test_support::Database;

use super::locks::{LONGEST, longest_seen};
use crate::common::{count, run, text};

/// Room for 800 locks: less than the tables of these tests take, each with its functions.
const FEW_LOCKS: [&str; 3] = [
    "max_locks_per_transaction=10",
    "max_connections=80",
    "max_prepared_transactions=0",
];

/// `tenant_1.t1`, `tenant_1.t2`, …, with a note of what each is.
fn tenants(conn: &mut PgConnection, tenants: usize, tables: usize) -> Vec<TableSpec> {
    let mut specs = Vec::new();
    for tenant in 1..=tenants {
        let schema = format!("tenant_{tenant}");
        let mut sql = format!("CREATE SCHEMA {schema};");
        for table in 1..=tables {
            let _ = write!(
                sql,
                "CREATE TABLE {schema}.t{table} (id int PRIMARY KEY, n int NOT NULL DEFAULT 0, secret text);
                 INSERT INTO {schema}.t{table} SELECT generate_series(1, 4);"
            );
            specs.push(TableSpec::named(format!("{schema}.t{table}")).mask(["secret"]));
        }
        run(conn, &sql);
    }
    specs
}

fn alter_all(conn: &mut PgConnection, specs: &[TableSpec]) {
    for spec in specs {
        run(
            conn,
            &format!(
                "ALTER TABLE {} ADD note text DEFAULT 'x'",
                spec.table_name()
            ),
        );
    }
}

const STALE: &str = "threadline.audited_tables AS t WHERE t.definition #> '{columns,note}' IS NULL";

/// Runs work beside writers of several tables in both orders, and says how long a write waited for a lock.
fn longest_wait(database: &Database, tables: &[String], work: impl FnOnce()) -> Duration {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let reversed: Vec<_> = tables.iter().rev().cloned().collect();
        let writers: Vec<_> = [tables.to_vec(), reversed]
            .into_iter()
            .zip(1..)
            .map(|(tables, id)| {
                let stop = &stop;
                scope.spawn(move || {
                    let mut conn = database.connect();
                    while !stop.load(Ordering::Relaxed) {
                        for pair in tables.chunks(2) {
                            run(&mut conn, "BEGIN");
                            for table in pair {
                                let write = format!("UPDATE {table} SET n = n + 1 WHERE id = {id}");
                                run(&mut conn, &write);
                            }
                            run(&mut conn, "COMMIT");
                        }
                    }
                })
            })
            .collect();
        let watcher = {
            let stop = &stop;
            scope.spawn(move || longest_seen(&mut database.connect(), stop, "UPDATE %"))
        };
        work();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().unwrap();
        }
        watcher.join().unwrap()
    })
}

/// Many tables are installed, refreshed, checked and ended on a server without room for the locks of all of them. Each is a
/// transaction of its own, so that no write waits long, and none is a victim of a deadlock.
fn many_tables(database: &Database, schemas: usize, tables: usize) -> Duration {
    let mut conn = database.connect();
    let specs = tenants(&mut conn, schemas, tables);
    let total = i64::try_from(specs.len()).unwrap();
    let took = |what: &str, work: &mut dyn FnMut(&mut PgConnection)| {
        let mut conn = database.connect();
        let started = Instant::now();
        work(&mut conn);
        println!("{what} of {total} tables: {:?}", started.elapsed());
    };
    let written: Vec<_> = specs
        .iter()
        .take(20)
        .map(|s| s.table_name().to_owned())
        .collect();
    let installing = longest_wait(database, &written, || {
        took("install", &mut |conn| {
            threadline::capture::install(conn, &specs).unwrap();
        });
    });
    took("install, unchanged", &mut |conn| {
        threadline::capture::install(conn, &specs).unwrap();
    });
    took("health", &mut |conn| {
        assert_eq!(count(conn, "threadline.health"), 0);
    });
    took("coverage", &mut |conn| {
        assert_eq!(count(conn, "threadline.coverage"), total);
    });
    took("continuity", &mut |conn| {
        assert_eq!(count(conn, "threadline.continuity"), total);
    });
    alter_all(&mut conn, &specs);
    let refreshing = longest_wait(database, &written, || {
        took("refresh", &mut |conn| {
            let report = threadline::refresh().run(conn).unwrap();
            assert_eq!(
                (report.refreshed.len(), report.failed.len()),
                (specs.len(), 0)
            );
        });
    });
    assert_eq!(count(&mut conn, STALE), 0);
    took("refresh_audited_tables, unchanged", &mut |conn| {
        let refreshed = text(conn, "SELECT threadline.refresh_audited_tables()::text");
        assert_eq!(refreshed, Some(total.to_string()));
    });
    took("the rights of a migration", &mut |conn| {
        run(conn, "SELECT threadline_internal.restore_rights()");
    });
    took("install, after a migration", &mut |conn| {
        threadline::capture::install(conn, &specs).unwrap();
    });
    took("unaudit", &mut |conn| {
        for spec in &specs {
            run(conn, &spec.down_sql());
        }
        let audited = "threadline.audited_tables AS t WHERE t.capture_ended_at IS NULL";
        assert_eq!(count(conn, audited), 0);
    });
    println!(
        "writes waited {installing:?} for the installation, and {refreshing:?} for the refresh"
    );
    installing.max(refreshing)
}

/// Room for few locks suffices for many tables.
#[test]
fn a_transaction_for_each_table() {
    let database = Database::with_settings(&FEW_LOCKS);
    let waited = many_tables(&database, 8, 5);
    assert!(waited <= LONGEST * 3, "writes waited {waited:?}");
}

/// The same of 2,000 tables, with the locks that PostgreSQL has by default.
#[test]
#[ignore = "it takes minutes"]
fn a_transaction_for_each_of_two_thousand_tables() {
    let database = Database::with_settings(&[
        "max_locks_per_transaction=64",
        "max_connections=100",
        "max_prepared_transactions=0",
    ]);
    let waited = many_tables(&database, 400, 5);
    assert!(waited <= LONGEST, "writes waited {waited:?}");
}

/// `refresh_audited_tables` is one transaction. It ends before the locks run out, says how many tables it left, and goes on
/// where it ended when it is called again.
#[test]
fn refresh_in_one_transaction_ends_in_time() {
    let database = Database::with_settings(&FEW_LOCKS);
    let mut conn = database.connect();
    let specs = tenants(&mut conn, 6, 5);
    threadline::capture::install(&mut conn, &specs).unwrap();
    alter_all(&mut conn, &specs);
    // How many locks a refresh takes depends on the version.
    let mut other = database.connect();
    run(
        &mut other,
        "SELECT pg_advisory_lock(n) FROM generate_series(1, 340) AS n",
    );
    let mut calls = 0;
    loop {
        let stale = count(&mut conn, STALE);
        run(
            &mut conn,
            "BEGIN; SELECT threadline.refresh_audited_tables()",
        );
        // What comes after it in the same migration has locks left.
        run(
            &mut conn,
            "CREATE TABLE made_after (id int PRIMARY KEY); DROP TABLE made_after; COMMIT",
        );
        calls += 1;
        let left = count(&mut conn, STALE);
        println!("call {calls}: {left} of {} tables are left", specs.len());
        assert!(left < stale);
        if left == 0 {
            break;
        }
    }
    assert!(calls > 1, "there were locks for all");
}

/// An installation and a refresh that are killed in the middle leave whole tables, and the next ones do the rest and nothing
/// twice.
#[test]
fn goes_on_when_killed() {
    let database = Database::new();
    let mut conn = database.connect();
    let specs = tenants(&mut conn, 4, 5);
    let kill = |work: &(dyn Fn(&mut PgConnection) -> bool + Sync), done: &str| {
        thread::scope(|scope| {
            let mut worker = database.connect();
            let pid = text(&mut worker, "SELECT pg_backend_pid()::text").unwrap();
            let working = scope.spawn(move || work(&mut worker));
            let mut conn = database.connect();
            while count(&mut conn, done) < 5 {
                thread::sleep(Duration::from_millis(5));
            }
            conn.batch_execute(&format!("SELECT pg_terminate_backend({pid})"))
                .unwrap();
            assert!(!working.join().unwrap(), "it was done before it was killed");
        });
        let done = count(&mut database.connect(), done);
        assert!((5..20).contains(&done), "{done}");
    };
    kill(
        &|conn| threadline::capture::install(conn, &specs).is_ok(),
        "threadline.audited_tables",
    );
    threadline::capture::install(&mut conn, &specs).unwrap();
    assert_eq!(count(&mut conn, "threadline.audited_tables"), 20);
    assert_eq!(count(&mut conn, "threadline.table_definitions"), 20);

    alter_all(&mut conn, &specs);
    let refreshed =
        "threadline.audited_tables AS t WHERE t.definition #> '{columns,note}' IS NOT NULL";
    kill(&|conn| threadline::refresh().run(conn).is_ok(), refreshed);
    threadline::refresh().run(&mut conn).unwrap();
    assert_eq!(count(&mut conn, refreshed), 20);
    assert_eq!(count(&mut conn, "threadline.table_definitions"), 40);
    assert_eq!(count(&mut conn, "threadline.health"), 0);
}
