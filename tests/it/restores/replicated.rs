//! Tables that a logical subscription writes.

use std::time::{Duration, Instant};

use diesel::PgConnection;
use threadline_test_support::Database;

use super::{
    AUDITED, TABLES, WRITES, assert_past, dump, findings, installed, moment, recorded, restore,
    source,
};
use crate::common::{count, error, run, text};

/// Subscribes to tables, and returns what waits until the subscriber has all that was written.
fn subscribe(publisher: &Database, subscriber: &mut PgConnection, tables: &str, options: &str) {
    run(
        &mut publisher.connect(),
        &format!("CREATE PUBLICATION pub FOR TABLE {tables}"),
    );
    let connection = publisher
        .pg_env()
        .into_iter()
        .filter_map(|(name, value)| {
            let key = match name.as_str() {
                "PGHOST" => "host",
                "PGPORT" => "port",
                "PGUSER" => "user",
                "PGDATABASE" => "dbname",
                _ => return None,
            };
            Some(format!("{key}={value}"))
        })
        .collect::<Vec<_>>()
        .join(" ");
    run(
        subscriber,
        &format!("CREATE SUBSCRIPTION sub CONNECTION '{connection}' PUBLICATION pub {options}"),
    );
}

#[track_caller]
fn wait_until(conn: &mut PgConnection, condition: &str) {
    let started = Instant::now();
    while text(conn, condition).as_deref() != Some("true") {
        assert!(started.elapsed() < Duration::from_mins(1), "{condition}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a subscription writes past the triggers is not read as if all were known, at either granularity, until all four
/// triggers are enabled always and for each row; then it is recorded, TRUNCATE included.
#[test]
fn tables_of_a_subscription() {
    let publisher = Database::elsewhere();
    let mut source = publisher.connect();
    run(&mut source, "CREATE TABLE s (id int PRIMARY KEY, v text)");
    let (_copy, mut conn) = installed();
    run(
        &mut conn,
        "CREATE TABLE s (id int PRIMARY KEY, v text); SELECT threadline.audit_table('s', granularity => 'statement')",
    );
    subscribe(&publisher, &mut conn, "s", "");
    run(&mut source, "INSERT INTO s VALUES (1, 'one')");
    wait_until(&mut conn, "SELECT count(*) = 1 FROM s");
    let at = text(&mut conn, "SELECT clock_timestamp()").unwrap();
    let as_of = |at: &str| {
        format!(
            "SELECT string_agg(concat(id, v), ' ' ORDER BY id) FROM threadline.as_of(NULL::s, '{at}')"
        )
    };
    let row_as_of = format!("SELECT * FROM threadline.row_as_of(NULL::s, '{at}', 1)");
    let always = "ALTER TABLE s ENABLE ALWAYS TRIGGER \"!threadline_insert\", ENABLE ALWAYS TRIGGER \"!threadline_update\",
         ENABLE ALWAYS TRIGGER \"!threadline_delete\", ENABLE ALWAYS TRIGGER \"!threadline_truncate\"; SELECT threadline.refresh_audited_tables()";
    for sql in ["SELECT", always] {
        run(&mut conn, sql);
        for query in [as_of(&at), row_as_of.clone()] {
            assert!(error(&mut conn, &query).contains("a logical subscription writes it"));
        }
        assert!(findings(&mut conn).contains(&"warning unreadable s".to_owned()));
    }
    run(
        &mut conn,
        "SELECT threadline.audit_table('s', granularity => 'row')",
    );
    assert!(error(&mut conn, &as_of(&at)).contains("a logical subscription writes it"));
    run(&mut conn, always);
    assert_eq!(findings(&mut conn), [""; 0]);
    let at = text(&mut conn, "SELECT clock_timestamp()").unwrap();
    run(
        &mut source,
        "UPDATE s SET v = 'two'; INSERT INTO s VALUES (2, 'new')",
    );
    wait_until(&mut conn, "SELECT count(*) = 2 FROM s");
    assert_eq!(text(&mut conn, &as_of(&at)).as_deref(), Some("1one"));
    let at = text(&mut conn, "SELECT clock_timestamp()").unwrap();
    run(&mut source, "TRUNCATE s");
    wait_until(&mut conn, "SELECT count(*) = 0 FROM s");
    assert_eq!(text(&mut conn, &as_of(&at)).as_deref(), Some("1two 2new"));
    assert_eq!(
        count(&mut conn, "threadline.changes WHERE op = 'truncate'"),
        2
    );
    run(
        &mut conn,
        "ALTER SUBSCRIPTION sub DISABLE; ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub",
    );
}

/// A copy by logical replication, audit log included, goes on when the subscription ends. Its sequences are behind, which
/// health finds; what is recorded until they are set has its place in time all the same.
#[test]
fn a_copy_with_its_audit_log() {
    let (publisher, mut source) = source();
    let copy = Database::elsewhere();
    let mut conn = copy.connect();
    restore(
        &dump(&publisher, &["-Fc", "--schema-only"]),
        &copy,
        &["--exit-on-error"],
    )
    .unwrap();
    // Its migration filled this table, which is not published.
    run(
        &mut conn,
        "INSERT INTO threadline_internal.locks VALUES ('definitions'), ('purge'), ('retention')",
    );
    let tables = text(&mut source, "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
        WHERE relkind IN ('r', 'p') AND NOT relispartition AND relnamespace IN ('public'::regnamespace, 'threadline'::regnamespace, 'threadline_internal'::regnamespace)
          AND relname <> 'locks' AND relname <> '__diesel_schema_migrations'").unwrap();
    run(
        &mut source,
        "ALTER TABLE threadline_internal.long_transactions REPLICA IDENTITY FULL",
    );
    subscribe(&publisher, &mut conn, &tables, "");
    run(&mut source, WRITES);
    moment(&mut source);
    run(&mut source, WRITES);
    moment(&mut source);
    wait_until(&mut conn, "SELECT count(*) = 5 FROM moments");
    wait_until(
        &mut conn,
        "SELECT bool_and(srsubstate IN ('r', 's')) FROM pg_subscription_rel",
    );
    assert!(
        error(&mut conn, "SELECT * FROM threadline.as_of(NULL::b, now())")
            .contains("a logical subscription writes it")
    );
    run(
        &mut conn,
        "ALTER SUBSCRIPTION sub DISABLE; ALTER SUBSCRIPTION sub SET (slot_name = NONE); DROP SUBSCRIPTION sub",
    );
    assert_eq!(recorded(&mut conn), recorded(&mut source));
    assert_past(&mut conn);
    let behind: Vec<_> = findings(&mut conn)
        .into_iter()
        .filter(|found| found.contains("sequence_behind"))
        .collect();
    assert_eq!(
        behind,
        [
            "error sequence_behind audit_changes",
            "error sequence_behind audited_tables",
            "error sequence_behind table_definitions"
        ]
    );
    let setval = text(
        &mut conn,
        "SELECT string_agg(hint, ' ') FROM threadline.health WHERE \"check\" = 'sequence_behind'",
    )
    .unwrap();
    // In this order, the other way round, or not at all: the refresh needs no sequence.
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    assert_past(&mut conn);
    run(&mut conn, WRITES);
    moment(&mut conn);
    run(&mut conn, WRITES);
    assert_past(&mut conn);
    run(&mut conn, &setval);
    assert!(
        !findings(&mut conn)
            .iter()
            .any(|found| found.starts_with("error"))
    );
    run(&mut conn, WRITES);
    assert_past(&mut conn);
}

/// A sequence that was set back reorders nothing.
#[test]
fn sequence_set_back() {
    let (_database, mut conn) = installed();
    run(&mut conn, TABLES);
    run(&mut conn, AUDITED);
    moment(&mut conn);
    for _ in 0..3 {
        run(&mut conn, WRITES);
        moment(&mut conn);
    }
    run(
        &mut conn,
        "SELECT setval('threadline.audit_changes_id_seq', 1, false)",
    );
    assert!(findings(&mut conn).contains(&"error sequence_behind audit_changes".to_owned()));
    run(&mut conn, WRITES);
    moment(&mut conn);
    run(&mut conn, WRITES);
    assert_past(&mut conn);
    let hint = text(
        &mut conn,
        "SELECT hint FROM threadline.health WHERE \"check\" = 'sequence_behind'",
    )
    .unwrap();
    run(&mut conn, &hint);
    assert!(
        !findings(&mut conn)
            .iter()
            .any(|found| found.starts_with("error"))
    );
}
