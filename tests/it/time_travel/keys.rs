//! Keys of every type, tables without one, and partitioned ones.

use diesel::prelude::*;

use super::*;
use crate::common::{create_caseless, error, text};

/// The rows of a query, in an order of their own.
#[track_caller]
pub(super) fn rows(conn: &mut PgConnection, table: &str) -> String {
    text(
        conn,
        &format!(
            "SELECT coalesce(string_agg(r::text, E'\\n' ORDER BY r::text), '') FROM {table} AS r"
        ),
    )
    .expect("rows")
}

/// The rows of a table as of a time.
#[track_caller]
pub(super) fn then(conn: &mut PgConnection, table: &str, at: &str) -> String {
    rows(conn, &format!("threadline.as_of(NULL::{table}, '{at}')"))
}

#[track_caller]
pub(super) fn clock(conn: &mut PgConnection) -> String {
    text(conn, "SELECT clock_timestamp()").expect("a time")
}

/// Types of keys, and three values of each.
const KEYS: [(&str, &str, &str, &str); 28] = [
    ("smallint", "1", "2", "-3"),
    ("integer", "1", "2", "-3"),
    ("bigint", "1", "9223372036854775807", "-3"),
    (
        "uuid",
        "00000000-0000-0000-0000-000000000001",
        "ffffffff-0000-0000-0000-000000000001",
        "ffffffff-0000-0000-0000-0000000000ab",
    ),
    ("text", "a", r#"it's "quoted\" ä"#, ""),
    ("text COLLATE \"POSIX\"", "a", "b", "ä"),
    ("varchar(9)", "a", "b ", "ä"),
    ("char(3)", "a", "b", ""),
    ("name", "a", "b", "c"),
    ("boolean", "t", "f", "f"),
    ("numeric", "1.50", "1e30", "-0.001"),
    ("real", "1.5", "0.1", "-1e-30"),
    ("double precision", "1.5", "0.1", "NaN"),
    ("date", "2024-02-03", "infinity", "4000-12-31 BC"),
    ("time", "01:02:03.456", "24:00", "00:00"),
    (
        "timestamp",
        "2024-02-03 04:05:06.789",
        "infinity",
        "0001-01-01 BC",
    ),
    (
        "timestamptz",
        "2024-02-03 04:05:06.789+05",
        "infinity",
        "1900-01-01 00:00+00",
    ),
    (
        "interval",
        "1 day -02:03:04",
        "-1 mons +1 day",
        "00:00:00.000001",
    ),
    ("bytea", "\\x00ff", "\\x", "\\x5c27"),
    ("inet", "10.0.0.1", "::1", "10.0.0.0/8"),
    ("money", "1.50", "2", "-3"),
    ("bit varying", "101", "1", "0"),
    (
        "daterange",
        "[2024-01-02,2024-03-04)",
        "empty",
        "(,2024-01-01)",
    ),
    ("int[]", "{1,2}", "{}", "{NULL}"),
    ("jsonb", "{\"a\": 1}", "\"text\"", "[]"),
    ("mood", "happy", "sad", "it's"),
    ("positive", "1", "2", "3"),
    ("pair", "(1,a)", "(2,)", "(3,\"it's\")"),
];

/// Rows under a key of any type come back as they were, whatever the settings of the reader.
#[test]
fn keys_of_every_type() {
    let (_database, mut conn) =
        database("CREATE TYPE mood AS ENUM ('sad', 'happy', 'it''s'); CREATE DOMAIN positive AS int CHECK (VALUE > 0);
            CREATE TYPE pair AS (a int, b text)");
    let mut truths = Vec::new();
    for (number, (name, first, second, third)) in KEYS.iter().enumerate() {
        for (kind, key, keys) in [
            ("one", "", "id"),
            ("two", "n int DEFAULT 7,", "n, id"),
            ("three", "n int DEFAULT 7,", "id, n"),
        ] {
            let table = format!("{kind}_{number}");
            let quoted = |value: &str| format!("'{}'::{name}", value.replace('\'', "''"));
            let (first, second, third) = (quoted(first), quoted(second), quoted(third));
            run(
                &mut conn,
                &format!(
                    "CREATE TABLE {table} ({key} id {name}, v int, PRIMARY KEY ({keys})); INSERT INTO {table} (id, v) VALUES ({first}, 1);
                     SELECT threadline.audit_table('{table}'); INSERT INTO {table} (id, v) VALUES ({second}, 2)"
                ),
            );
            let at = clock(&mut conn);
            let truth = rows(&mut conn, &table);
            run(
                &mut conn,
                &format!(
                    "UPDATE {table} SET v = 10 WHERE id = {first}; UPDATE {table} SET v = 11 WHERE id = {first};
                     DELETE FROM {table} WHERE id = {second};
                     INSERT INTO {table} (id, v) VALUES ({third}, 3) ON CONFLICT DO NOTHING"
                ),
            );
            truths.push((table, *name, at, truth));
        }
    }
    let settings = "SET TimeZone = 'Asia/Kolkata'; SET DateStyle = 'SQL, DMY'; SET IntervalStyle = 'sql_standard';
        SET extra_float_digits = 0; SET bytea_output = 'escape'; SET search_path = pg_catalog";
    for (table, name, at, truth) in &truths {
        let now = rows(&mut conn, table);
        assert_eq!(
            &then(&mut conn, table, at),
            truth,
            "a key of {name} ({table})"
        );
        assert_ne!(&now, truth);
        assert_eq!(
            then(&mut conn, table, "infinity"),
            now,
            "a key of {name} ({table}), now"
        );
    }
    let count = |conn: &mut PgConnection, table: &str, at: &str| {
        text(
            conn,
            &format!(
                "SELECT count(*) FROM threadline.as_of(NULL::public.{table}, '{at}'::timestamptz) AS r WHERE v < 10"
            ),
        )
    };
    run(&mut conn, settings);
    for (table, name, at, _) in &truths {
        assert_eq!(
            count(&mut conn, table, at).as_deref(),
            Some("2"),
            "a key of {name} ({table}) under other settings"
        );
    }
}

/// Without a key there are as many of each row as there were, and a column that another one replaced changes nothing in that.
#[test]
fn without_a_key() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (a int, b json, c point); INSERT INTO t VALUES (1, '{\"x\": 1}', '(1,2)'), (1, '{\"x\": 1}', '(1,2)'), (2, NULL, NULL);
         SELECT threadline.audit_table('t')",
    );
    let (first, truth) = (clock(&mut conn), rows(&mut conn, "t"));
    run(
        &mut conn,
        "INSERT INTO t SELECT * FROM t; UPDATE t SET c = '(0,0)' WHERE ctid = (SELECT min(ctid) FROM t); DELETE FROM t WHERE a = 2",
    );
    let (second, later_truth) = (clock(&mut conn), rows(&mut conn, "t"));
    run(
        &mut conn,
        "TRUNCATE t; INSERT INTO t VALUES (1, '{\"x\": 1}', '(1,2)')",
    );
    assert_eq!(then(&mut conn, "t", &first), truth);
    assert_eq!(then(&mut conn, "t", &second), later_truth);
    run(
        &mut conn,
        "ALTER TABLE t ADD d text DEFAULT 'new'; ALTER TABLE t DROP a; SELECT threadline.refresh_audited_tables()",
    );
    assert_eq!(
        then(&mut conn, "t", &first),
        [
            "(\"{\"\"x\"\": 1}\",\"(1,2)\",new)",
            "(\"{\"\"x\"\": 1}\",\"(1,2)\",new)",
            "(,,new)",
        ]
        .join("\n")
    );
    // What the audit log cannot explain is an error, and not left out.
    run(
        &mut conn,
        "INSERT INTO t (d) VALUES ('y'); ALTER TABLE t DISABLE TRIGGER USER; DELETE FROM t; ALTER TABLE t ENABLE TRIGGER USER",
    );
    assert!(
        error(
            &mut conn,
            &format!("SELECT * FROM threadline.as_of(NULL::t, '{second}')")
        )
        .contains("its capture triggers were switched off and on")
    );
}

/// A row that moves between partitions is one row, and one that stays in a partition detached since is still told of.
#[test]
fn partitioned() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (region text, id int, v text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
         CREATE TABLE t_north PARTITION OF t FOR VALUES IN ('north'); CREATE TABLE t_rest PARTITION OF t DEFAULT;
         SELECT threadline.audit_table('t'); INSERT INTO t VALUES ('north', 1, 'a'), ('south', 2, 'b'), ('north', 3, 'c')",
    );
    let (at, truth) = (clock(&mut conn), rows(&mut conn, "t"));
    run(
        &mut conn,
        "UPDATE t SET region = 'south' WHERE id = 1; UPDATE t_rest SET v = 'B' WHERE id = 2; DELETE FROM t_north",
    );
    assert_eq!(then(&mut conn, "t", &at), truth);
    assert_eq!(then(&mut conn, "t", "infinity"), "(south,1,a)\n(south,2,B)");
}

/// A key that is retyped after a partition went with its rows keeps the history that has begun since: of rows that are
/// gone from before it, nothing tells how the key was converted.
#[test]
fn retyped_after_a_gap() {
    for kind in ["bigint", "numeric", "text"] {
        for writes in [
            "SELECT",
            "UPDATE t SET v = 'changed' WHERE region = 'north'; INSERT INTO t VALUES ('north', '7', 'new')",
            "DELETE FROM t WHERE region = 'north'; UPDATE t SET id = '9' WHERE region = 'south'",
            "TRUNCATE t_north; UPDATE t SET region = 'north' WHERE region = 'south'",
        ] {
            let (_database, mut conn) = database(
                "CREATE TABLE t (region text, id int, v text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
                 CREATE TABLE t_north PARTITION OF t FOR VALUES IN ('north'); CREATE TABLE t_south PARTITION OF t FOR VALUES IN ('south');
                 CREATE TABLE t_west PARTITION OF t FOR VALUES IN ('west'); SELECT threadline.audit_table('t');
                 INSERT INTO t VALUES ('north', 1, 'a'), ('south', 2, 'b'), ('north', 3, 'c'), ('west', 5, 'gone');
                 ALTER TABLE t DETACH PARTITION t_west; SELECT threadline.refresh_audited_tables(); UPDATE t SET v = v || '+' WHERE id < 3",
            );
            let (at, truth) = (clock(&mut conn), rows(&mut conn, "t"));
            run(
                &mut conn,
                &format!(
                    "ALTER TABLE t ALTER id TYPE {kind}; {writes}; SELECT threadline.refresh_audited_tables()"
                ),
            );
            assert_eq!(then(&mut conn, "t", &at), truth, "{kind} {writes}");
        }
    }
}

/// After a change of the primary key the past is read under the new one; where changes have none, history begins anew.
#[test]
fn key_that_became_another() {
    for (alter, known) in [
        ("ALTER TABLE t ALTER id TYPE bigint", true),
        ("ALTER TABLE t ALTER id TYPE text", true),
        (
            "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (name, id)",
            true,
        ),
        ("ALTER TABLE t DROP CONSTRAINT t_pkey", true),
        (
            "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD uid serial PRIMARY KEY",
            false,
        ),
        (
            "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD uid serial, ADD PRIMARY KEY (id, uid)",
            false,
        ),
        (
            "ALTER TABLE t ALTER name TYPE uuid USING gen_random_uuid(); ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ADD PRIMARY KEY (name)",
            false,
        ),
    ] {
        let (_database, mut conn) = database(
            "CREATE TABLE t (id int PRIMARY KEY, name text, v int); SELECT threadline.audit_table('t');
             INSERT INTO t VALUES (1, 'a', 1), (2, 'b', 2)",
        );
        let (at, truth) = (
            clock(&mut conn),
            rows(&mut conn, "(SELECT id, name, v FROM t)"),
        );
        for sql in [
            "UPDATE t SET v = 3 WHERE id = 1; DELETE FROM t WHERE id = 2",
            alter,
            "SELECT threadline.refresh_audited_tables()",
        ] {
            run(&mut conn, sql);
        }
        if known {
            let then = rows(
                &mut conn,
                &format!("(SELECT id, name, v FROM threadline.as_of(NULL::t, '{at}'))"),
            );
            assert_eq!(then, truth, "{alter}");
        } else {
            let message = error(
                &mut conn,
                &format!("SELECT * FROM threadline.as_of(NULL::t, '{at}')"),
            );
            assert!(
                message.contains("its history begins at"),
                "{alter}: {message}"
            );
        }
        let now = rows(&mut conn, "t");
        assert_eq!(then(&mut conn, "t", "infinity"), now, "{alter}");
        run(
            &mut conn,
            "SELECT threadline.audit_table('t', granularity => 'row'); UPDATE t SET v = v + 1",
        );
        assert_eq!(
            then(&mut conn, "t", "infinity"),
            rows(&mut conn, "t"),
            "{alter}"
        );
    }
}

/// Where keys are equal that are not the same text, a row is found under each of them, as it was, and its later changes
/// count whatever they called it.
#[test]
fn keys_that_are_equal() {
    let (_database, mut conn) = database(
        "CREATE TABLE i (id interval PRIMARY KEY, v text); CREATE TABLE n (id numeric[], m int DEFAULT 1, v text, PRIMARY KEY (m, id));
         CREATE TABLE j (id jsonb PRIMARY KEY, v text);
         SELECT threadline.audit_table('i'), threadline.audit_table('n'), threadline.audit_table('j')",
    );
    let mut tables = vec![
        ("i", "1 mon", "30 days", ""),
        ("n", "{1.50}", "{1.5}", "1, "),
    ];
    if create_caseless(&mut conn) {
        run(
            &mut conn,
            "CREATE TABLE c (id text COLLATE caseless PRIMARY KEY, v text); SELECT threadline.audit_table('c')",
        );
        tables.push(("c", "Ada", "ADA", ""));
    }
    for (table, first, second, arguments) in tables {
        run(
            &mut conn,
            &format!("INSERT INTO {table} (id, v) VALUES ('{first}', 'then')"),
        );
        let at = clock(&mut conn);
        let found = |conn: &mut PgConnection, key: &str| {
            let row = format!(
                "SELECT concat(a.state, ' ', r.v) FROM threadline.row_as_of(NULL::{table}, '{at}', {arguments}'{key}') AS a
                   LEFT JOIN LATERAL threadline.row_of(NULL::{table}, a.image, a.image_of, {arguments}'{key}') AS r ON a.state = 'found'"
            );
            text(conn, &row).expect("there is an answer")
        };
        for change in [
            format!("UPDATE {table} SET v = 'now'"),
            format!("UPDATE {table} SET id = '{second}', v = 'moved'"),
            format!("DELETE FROM {table}; INSERT INTO {table} (id, v) VALUES ('{second}', 'new')"),
        ] {
            run(&mut conn, &change);
            assert_eq!(
                (found(&mut conn, first), found(&mut conn, second)),
                ("found then".into(), "found then".into()),
                "{table}: {change}"
            );
            assert_eq!(
                text(
                    &mut conn,
                    &format!("SELECT v FROM threadline.as_of(NULL::{table}, '{at}')")
                )
                .as_deref(),
                Some("then")
            );
            let restore = format!(
                "SELECT r.op FROM (SELECT * FROM threadline.audit_changes WHERE op = 'insert'
                    AND table_id = (SELECT id FROM threadline.audited_tables WHERE relation = '{table}'::regclass) ORDER BY id LIMIT 1) AS c,
                    threadline.restore(NULL::{table}, c.transaction_id, c.captured_at, c.id, 0) AS r"
            );
            assert!(
                error(&mut conn, &restore).contains("later changes of this row"),
                "{table}: {change}"
            );
        }
    }
    run(&mut conn, "INSERT INTO j VALUES ('1.0', 'then')");
    let at = clock(&mut conn);
    run(&mut conn, "UPDATE j SET v = 'now'");
    let state = |conn: &mut PgConnection, key: &str| {
        text(
            conn,
            &format!("SELECT state FROM threadline.row_as_of(NULL::j, '{at}', '{key}')"),
        )
    };
    assert_eq!(
        (
            state(&mut conn, "1.0").as_deref(),
            state(&mut conn, "1").as_deref()
        ),
        (Some("found"), Some("not_yet")),
        "jsonb goes by text"
    );
}
