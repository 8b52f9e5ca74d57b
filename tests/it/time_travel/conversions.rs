//! What a migration made of the values of a column: plain, declared, or an error that names the column.

use diesel::prelude::*;

use super::keys::clock;
use super::*;
use crate::common::{error, text};

pub(super) const REFRESH: &str = "SELECT threadline.refresh_audited_tables()";

/// A column of the rows as they were, read as queries of Diesel read it: the others are not asked for.
pub(super) fn past(at: &str, column: &str) -> String {
    format!(
        "SELECT string_agg(concat(id, ' ', {column}), ', ' ORDER BY id) FROM threadline_internal.\"as_of public.t\"(NULL::t, '{at}')"
    )
}

#[track_caller]
pub(super) fn read(conn: &mut PgConnection, at: &str, column: &str) -> String {
    text(conn, &past(at, column)).unwrap_or_default()
}

fn findings(conn: &mut PgConnection) -> String {
    let findings = r#"SELECT string_agg("check", ' ' ORDER BY "check") FROM threadline.health"#;
    text(conn, findings).unwrap_or_default()
}

/// A conversion that nothing shows is an error for the moments before it, and for its column alone, until it is declared; and
/// what is declared must be what the rows say.
#[test]
fn declared() {
    for (kind, value, change, wrong, right, then) in [
        (
            "int",
            "5",
            "ALTER v TYPE int USING v * 100",
            "v + 1",
            "v * 100",
            "1 500",
        ),
        (
            "int",
            "5",
            "ALTER v TYPE numeric USING v / 100.0",
            "v",
            "v / 100.0",
            "1 0.05000000000000000000",
        ),
        (
            "text",
            "'Ada'",
            "ALTER v TYPE text USING upper(v)",
            "v",
            "upper(v)",
            "1 ADA",
        ),
        (
            "timestamp",
            "'2026-01-01 12:00'",
            "ALTER v TYPE timestamptz USING v AT TIME ZONE 'Asia/Tokyo'",
            "v AT TIME ZONE 'UTC'",
            "v AT TIME ZONE 'Asia/Tokyo'",
            "1 2026-01-01 03:00:00+00",
        ),
        (
            "boolean",
            "true",
            "ALTER v TYPE text USING CASE WHEN v THEN 'up' ELSE 'down' END",
            "CASE WHEN v THEN 'down' END",
            "CASE WHEN v THEN 'up' ELSE 'down' END",
            "1 up",
        ),
    ] {
        let (_database, mut conn) = database(&format!(
            "SET TimeZone = 'UTC'; CREATE TABLE t (id int PRIMARY KEY, v {kind}, w text); SELECT threadline.audit_table('t');
             INSERT INTO t VALUES (1, {value}, 'w')"
        ));
        let conn = &mut conn;
        let before = clock(conn);
        run(conn, &format!("ALTER TABLE t {change}; {REFRESH}"));
        let after = clock(conn);
        run(conn, "UPDATE t SET v = NULL, w = 'x'");
        assert!(
            error(conn, &past(&before, "v")).contains("column v of public.t has no value before")
        );
        assert_eq!(read(conn, &before, "w"), "1 w", "{change}");
        assert_eq!(read(conn, &after, "v"), then, "{change}");
        assert_eq!(findings(conn), "conversion_unknown", "{change}");
        let declare = |expression| {
            format!("SELECT threadline.declare_conversion('t', 'v', $sql${expression}$sql$)")
        };
        let refused = error(conn, &declare(wrong));
        assert!(
            refused.contains("values of column v are not what"),
            "{change}: {refused}"
        );
        run(conn, &declare(right));
        for zone in ["UTC", "America/New_York"] {
            run(conn, &format!("SET TimeZone = '{zone}'"));
            let same = format!(
                "SELECT (SELECT string_agg(t::text, '') FROM ({}) AS t) = (SELECT string_agg(t::text, '') FROM ({}) AS t)",
                past(&before, "v"),
                past(&after, "v")
            );
            assert_eq!(
                text(conn, &same).as_deref(),
                Some("true"),
                "{change} in {zone}"
            );
        }
        assert_eq!(findings(conn), "", "{change}");
    }
}

/// What was rewritten with its type unchanged can be declared by the migration itself, also where it runs in a savepoint, and not
/// where rows were written between the migration and the refresh.
#[test]
fn declared_in_the_migration() {
    let rewrite = "ALTER TABLE t ALTER v TYPE int USING v * 2";
    let written = format!("{rewrite}; UPDATE t SET v = v + 1");
    for (begin, migration, end, may_be_declared) in [
        ("BEGIN", rewrite, "COMMIT", true),
        ("BEGIN; SAVEPOINT a", rewrite, "RELEASE a; COMMIT", true),
        (
            "BEGIN; SAVEPOINT a; SAVEPOINT b",
            rewrite,
            "RELEASE b; COMMIT",
            true,
        ),
        ("BEGIN; SAVEPOINT a", &written, "COMMIT", false),
        ("SELECT 1", rewrite, "SELECT 1", false),
    ] {
        let (_database, mut conn) = database(
            "CREATE TABLE t (id int PRIMARY KEY, v int); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 5)",
        );
        let conn = &mut conn;
        let before = clock(conn);
        for sql in [begin, migration, REFRESH, end] {
            run(conn, sql);
        }
        let declare = "SELECT threadline.declare_conversion('t', 'v', 'v * 2')";
        if may_be_declared {
            run(conn, declare);
            assert_eq!(read(conn, &before, "v"), "1 10", "{begin}");
        } else {
            let error = error(conn, declare);
            assert!(
                error.contains("between the migration of column v"),
                "{begin}: {error}"
            );
        }
    }
}

/// A value that is lost in the gap of one migration says nothing about the next.
#[test]
fn rewritten_after_a_gap() {
    for rewrite in [
        "ALTER TABLE t ALTER v TYPE int USING v",
        "ALTER TABLE t ALTER v TYPE bigint",
        "ALTER TABLE t ALTER v TYPE text",
    ] {
        let (_database, mut conn) = database(
            "CREATE TABLE t (id int PRIMARY KEY, v boolean); SELECT threadline.audit_table('t');
             INSERT INTO t VALUES (1, true), (2, true), (3, false)",
        );
        let conn = &mut conn;
        let lost = clock(conn);
        run(
            conn,
            &format!(
                "ALTER TABLE t ALTER v TYPE int USING v::int * 7; {REFRESH}; UPDATE t SET v = 8 WHERE id = 2"
            ),
        );
        let known = clock(conn);
        run(
            conn,
            &format!("{rewrite}; {REFRESH}; UPDATE t SET v = NULL WHERE id = 1"),
        );
        assert!(
            error(conn, &past(&lost, "v")).contains("column v of public.t has no value before")
        );
        assert_eq!(read(conn, &known, "v"), "1 7, 2 8, 3 0", "{rewrite}");
    }
}

/// What is written between a conversion and the refresh is known for what it is; what was there before is not.
#[test]
fn refreshed_later() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, v int); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 5), (2, 6)",
    );
    let conn = &mut conn;
    let before = clock(conn);
    run(conn, "ALTER TABLE t ALTER v TYPE numeric USING v / 10.0");
    run(conn, "UPDATE t SET v = 7.5 WHERE id = 1");
    assert!(error(conn, &past(&before, "v")).contains("cannot read"));
    run(conn, REFRESH);
    assert!(error(conn, &past(&before, "v")).contains("column v of public.t has no value before"));
    let now = clock(conn);
    run(conn, "DELETE FROM t");
    assert_eq!(read(conn, &now, "v").replace("000", ""), "1 7.5, 2 0.60");
}

/// A rewrite that leaves the type as it was is found by what was written between it and the refresh, too: nothing from before
/// the refresh is read as if it had been written after it.
#[test]
fn rewritten_with_the_same_type() {
    for migration in [
        "ALTER TABLE t ALTER v TYPE int USING v * 2; UPDATE t SET v = v + 1",
        "ALTER TABLE t ALTER v TYPE int USING v * 2; UPDATE t SET v = v + 1 WHERE id = 1",
        "ALTER TABLE t ALTER v TYPE int USING v * 2; DELETE FROM t",
        "ALTER TABLE t ALTER v TYPE int USING v * 2; TRUNCATE t",
        "ALTER TABLE t ALTER v TYPE int USING v * 2; UPDATE t SET id = id + 10",
        "ALTER TABLE t ALTER v TYPE int USING v * 2; INSERT INTO t VALUES (3, 7)",
        "ALTER TABLE t ALTER v TYPE text USING v || '0'; UPDATE t SET v = v || '1'; ALTER TABLE t ALTER v TYPE int USING v::int",
        "ALTER TABLE t ALTER v TYPE text USING v || '0'; DELETE FROM t; ALTER TABLE t ALTER v TYPE int USING v::int",
        "ALTER TABLE t ALTER v TYPE int USING v * 2; UPDATE t SET v = v + 1; ALTER TABLE t ALTER v TYPE int USING v / 2",
    ] {
        let (_database, mut conn) = database(
            "CREATE TABLE t (id int PRIMARY KEY, v int, w text); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 5), (2, 6)",
        );
        let conn = &mut conn;
        let before = clock(conn);
        run(conn, migration);
        assert!(
            error(conn, &past(&before, "v")).contains("cannot read"),
            "{migration}"
        );
        run(conn, REFRESH);
        let refused = error(conn, &past(&before, "v"));
        assert!(
            refused.contains("column v of public.t has no value before"),
            "{migration}: {refused}"
        );
        assert_eq!(read(conn, &before, "w"), "1 , 2 ", "{migration}");
    }
}

/// Rows are compared by keys of any type. Without a key nothing shows what a migration did, unless nothing was recorded.
#[test]
fn keys_of_any_type() {
    let rewrite =
        "ALTER TABLE t ALTER v TYPE int USING v * 2, ALTER v SET DEFAULT 3, ALTER n TYPE bigint";
    let plain = "ALTER TABLE t ALTER v TYPE int USING v, ALTER n TYPE bigint";
    for (kind, key) in [
        ("int", "1"),
        ("text[]", "'{a,\"b c\"}'"),
        ("int[]", "'{1,2}'"),
        ("mood[]", "'{ok}'"),
        ("hstore", "'a=>1'"),
        ("citext", "'Ada'"),
        ("pair", "'(1,x)'"),
        ("jsonb", "'{\"a\": 1.50}'"),
        ("numrange", "'[1.50,2]'"),
        ("bytea", "'\\x00ff'"),
        ("inet", "'10.0.0.1'"),
    ] {
        for (migration, is_kept) in [(plain, true), (rewrite, false)] {
            let (_database, mut conn) = database(&format!(
                "CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text);
                 CREATE TABLE t (id {kind} PRIMARY KEY, n int, v int); SELECT threadline.audit_table('t'); INSERT INTO t VALUES ({key}, 1, 5)"
            ));
            let conn = &mut conn;
            let before = clock(conn);
            run(conn, &format!("{migration}; {REFRESH}"));
            let read = past(&before, "v").replace("concat(id, ' ', v)", "v::text");
            if is_kept {
                assert_eq!(text(conn, &read).as_deref(), Some("5"), "{kind}");
            } else {
                assert!(
                    error(conn, &read).contains("values are others than before"),
                    "{kind}"
                );
            }
        }
    }
    for (written, is_known) in [
        ("INSERT INTO t VALUES (1, 1, 5)", false),
        ("SELECT 1", true),
    ] {
        for migration in [plain, rewrite, "ALTER TABLE t ALTER v TYPE bigint"] {
            let (_database, mut conn) = database(&format!(
                "CREATE TABLE t (id int, n int, v int); SELECT threadline.audit_table('t'); {written}"
            ));
            let conn = &mut conn;
            let before = clock(conn);
            run(conn, &format!("{migration}; {REFRESH}"));
            if is_known {
                assert_eq!(read(conn, &before, "v"), "");
            } else {
                assert!(error(conn, &past(&before, "v")).contains("no primary key to compare"));
            }
        }
    }
}

/// The label of an enum is read under its present name, in arrays as well, and in the type that replaced the enum.
#[test]
fn labels() {
    let (_database, mut conn) = database(
        "CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TABLE t (id int PRIMARY KEY, v mood, vs mood[]);
         SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 'sad', '{ok,sad}'), (2, 'sad', '{sad}')",
    );
    let conn = &mut conn;
    let before = clock(conn);
    run(
        conn,
        "UPDATE t SET v = 'ok', vs = NULL WHERE id = 1; ALTER TYPE mood RENAME VALUE 'sad' TO 'blue'",
    );
    run(conn, REFRESH);
    assert_eq!(
        read(conn, &before, "v || ' ' || vs::text"),
        "1 blue {ok,blue}, 2 blue {blue}"
    );
    run(
        conn,
        "CREATE TYPE feeling AS ENUM ('ok', 'blue', 'new'); ALTER TABLE t ALTER v TYPE feeling USING v::text::feeling,
           ALTER vs TYPE feeling[] USING vs::text[]::feeling[]; DROP TYPE mood",
    );
    run(conn, REFRESH);
    assert_eq!(
        read(conn, &before, "v || ' ' || vs::text"),
        "1 blue {ok,blue}, 2 blue {blue}"
    );
}

/// Values of any type are found to be the same, NULL among them, where the table was rewritten for another column: in what the
/// next change found, and in the rows that are there.
#[test]
fn kept_beside_a_conversion() {
    for (kind, value) in [
        ("mood", "'ok'"),
        ("mood[]", "'{sad,ok}'"),
        ("pair", "'(1,x)'"),
        ("pair[]", "'{\"(1,x)\"}'"),
        ("range_of_days", "'[2026-01-01,2026-02-01)'"),
        ("short", "'abc'"),
        ("short[]", "'{a,b}'"),
        ("jsonb", "'{\"a\": [1.50, null]}'"),
        ("json", "'{\"a\": 2, \"b\": 1}'"),
        ("bytea", "'\\x00ff'"),
        ("numeric", "1.500"),
        ("double precision", "0.1"),
        ("timestamptz", "'2026-01-01 12:00'"),
        ("interval", "'1 mon 30 days'"),
        ("citext", "'Ada'"),
        ("hstore", "'a=>1, b=>NULL'"),
        ("hstore[]", "ARRAY['a=>1'::hstore]"),
    ] {
        let (_database, mut conn) = database(&format!(
            "CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE TYPE pair AS (a int, b text);
             CREATE TYPE range_of_days AS RANGE (subtype = date); CREATE DOMAIN short AS varchar(5);
             CREATE TABLE t (id int PRIMARY KEY, n int, v {kind}, w int); SELECT threadline.audit_table('t');
             INSERT INTO t VALUES (1, 1, {value}, 1), (2, 2, NULL, 1), (3, 3, {value}, 1), (4, 4, NULL, 1)"
        ));
        let conn = &mut conn;
        let before = clock(conn);
        let was = read(conn, &before, "v");
        run(
            conn,
            &format!(
                "ALTER TABLE t ALTER n TYPE bigint, ALTER v TYPE {kind} USING v; UPDATE t SET w = 2 WHERE id < 3; {REFRESH}"
            ),
        );
        run(
            conn,
            &format!(
                "ALTER TABLE t ALTER n TYPE text; {REFRESH}; UPDATE t SET v = CASE WHEN v IS NULL THEN ({value})::{kind} END"
            ),
        );
        assert_eq!(read(conn, &before, "v"), was, "{kind} {value}");
        assert_eq!(findings(conn), "", "{kind} {value}");
    }
}

/// Moments, each read as rows `id v`, through steps that end with a moment where they say so.
fn story(
    setup: &str,
    steps: &[&str],
) -> (threadline_test_support::Database, PgConnection, Vec<String>) {
    let (database, mut conn) = database(&format!("SET TimeZone = 'UTC'; {setup}"));
    let mut moments = Vec::new();
    for step in steps {
        match *step {
            "MOMENT" => moments.push(clock(&mut conn)),
            step => run(&mut conn, step),
        }
    }
    (database, conn, moments)
}

const PRICES: &str = "CREATE TABLE t (id int PRIMARY KEY, v int, w text); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 5), (2, 9)";

/// A column that has its first type back has gone through both conversions.
#[test]
fn there_and_back() {
    let there = "BEGIN; ALTER TABLE t ALTER v TYPE bigint USING v * 100; SELECT threadline.refresh_audited_tables(); COMMIT";
    let back = "BEGIN; ALTER TABLE t ALTER v TYPE int USING v / 100; SELECT threadline.refresh_audited_tables(); COMMIT";
    let steps = [
        "MOMENT",
        "UPDATE t SET v = v + 1",
        there,
        "SELECT threadline.declare_conversion('t', 'v', 'v * 100')",
        "MOMENT",
        "UPDATE t SET v = v + 100",
        back,
        "SELECT threadline.declare_conversion('t', 'v', 'v / 100')",
    ];
    let (_database, mut conn, moments) = story(PRICES, &steps);
    assert_eq!(read(&mut conn, &moments[0], "v"), "1 5, 2 9");
    assert_eq!(read(&mut conn, &moments[1], "v"), "1 6, 2 10");
    // Nothing is raw while the second is not known.
    let (_database, mut conn, moments) = story(PRICES, &steps[..7]);
    for at in &moments {
        assert!(error(&mut conn, &past(at, "v")).contains("column v of public.t has no value"));
    }
    let restore = "SELECT threadline.restore(NULL::t, transaction_id, captured_at, id, NULL) FROM threadline.audit_changes ORDER BY id LIMIT 1";
    run(
        &mut conn,
        "SET threadline.actor_ref = '{\"type\": \"user\", \"id\": \"1\"}'",
    );
    let before = text(
        &mut conn,
        "SELECT string_agg(concat(id, ' ', v), ', ' ORDER BY id) FROM t",
    );
    let _ = diesel::connection::SimpleConnection::batch_execute(&mut conn, restore);
    assert_eq!(
        text(
            &mut conn,
            "SELECT string_agg(concat(id, ' ', v), ', ' ORDER BY id) FROM t"
        ),
        before
    );
}

/// Where no value shows what a migration did, its column has a gap, though its type holds all values of the old one.
#[test]
fn nothing_to_compare() {
    let many = "INSERT INTO t SELECT i, 0 FROM generate_series(100, 10500) AS i";
    for (written, migration) in [
        (
            "DELETE FROM t",
            "ALTER TABLE t ALTER v TYPE bigint USING v * 100",
        ),
        (
            "DELETE FROM t",
            "ALTER TABLE t ALTER v TYPE int USING v * 100, ALTER v SET DEFAULT 3",
        ),
        (
            "UPDATE t SET v = 0",
            "ALTER TABLE t ALTER v TYPE int USING v * 100; ALTER TABLE t RENAME v TO vv; ALTER TABLE t RENAME vv TO v",
        ),
        (many, "ALTER TABLE t ALTER v TYPE bigint USING v * 100"),
        (
            "UPDATE t SET v = NULL",
            "ALTER TABLE t ALTER v TYPE bigint USING v * 100",
        ),
    ] {
        let (_database, mut conn, moments) =
            story(PRICES, &["MOMENT", written, migration, REFRESH]);
        let refused = error(&mut conn, &past(&moments[0], "v"));
        assert!(
            refused.contains("column v of public.t has no value"),
            "{written}; {migration}: {refused}"
        );
        // And what is nothing by any conversion needs none.
        let (_database, mut conn, moments) = story(
            "CREATE TABLE t (id int PRIMARY KEY, v int, w text); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 0), (2, NULL)",
            &["MOMENT", "UPDATE t SET w = 'x'", migration, REFRESH],
        );
        assert_eq!(read(&mut conn, &moments[0], "v"), "1 0, 2 ", "{migration}");
    }
    let arrays = "CREATE TABLE t (id int PRIMARY KEY, v int[]); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, '{1,2}');
        CREATE FUNCTION cents(int[]) RETURNS int[] IMMUTABLE LANGUAGE sql AS 'SELECT coalesce(array_agg(i * 100), ''{}'') FROM unnest($1) AS i'";
    let (_database, mut conn, moments) = story(
        arrays,
        &[
            "MOMENT",
            "UPDATE t SET v = '{}'",
            "ALTER TABLE t ALTER v TYPE int[] USING cents(v), ALTER v SET DEFAULT '{1}'",
            REFRESH,
        ],
    );
    assert!(error(&mut conn, &past(&moments[0], "v")).contains("has no value"));
}

/// A conversion that goes by the time zone of the session is plain only where that is known to be UTC.
#[test]
fn time_zones() {
    let rows = "CREATE TABLE t (id int PRIMARY KEY, v timestamptz, w int); SELECT threadline.audit_table('t');
        INSERT INTO t VALUES (1, '2024-07-01 12:00Z'), (2, '2024-07-01 12:00Z')";
    let migration = "BEGIN; ALTER TABLE t ALTER v TYPE timestamp; SELECT threadline.refresh_audited_tables(); COMMIT";
    let winter = "UPDATE t SET v = '2024-01-01 12:00Z' WHERE id = 1";
    for zone in ["Europe/London", "America/New_York"] {
        let zone = format!("SET TimeZone = '{zone}'");
        let (_database, mut conn, moments) = story(rows, &["MOMENT", winter, &zone, migration]);
        assert!(error(&mut conn, &past(&moments[0], "v")).contains("has no value before"));
        let (_database, mut conn, moments) = story(
            rows,
            &[
                "MOMENT",
                "UPDATE t SET w = 1 WHERE id = 1",
                &zone,
                migration,
            ],
        );
        assert!(error(&mut conn, &past(&moments[0], "v")).contains("has no value before"));
    }
    let (_database, mut conn, moments) = story(
        rows,
        &["MOMENT", winter, migration, "DELETE FROM t WHERE id = 2"],
    );
    assert_eq!(
        read(&mut conn, &moments[0], "v"),
        "1 2024-07-01 12:00:00, 2 2024-07-01 12:00:00"
    );
}

/// Two commands of one transaction are two, also where a refresh stands between them.
#[test]
fn refreshed_between() {
    let (_database, mut conn, moments) = story(
        PRICES,
        &[
            "MOMENT",
            "UPDATE t SET v = 8 WHERE id = 1",
            "BEGIN; ALTER TABLE t ALTER v SET NOT NULL; SELECT threadline.refresh_audited_tables(); ALTER TABLE t ALTER v TYPE int USING v * 100; SELECT threadline.refresh_audited_tables(); COMMIT",
            "DELETE FROM t WHERE id = 2",
        ],
    );
    assert!(error(&mut conn, &past(&moments[0], "v")).contains("has no value before"));
}

/// What two migrations made before one refresh is not guessed.
#[test]
fn two_before_a_refresh() {
    let there = "ALTER TABLE t ALTER v TYPE bigint USING v * 100";
    let back = "ALTER TABLE t ALTER v TYPE int USING v / 100";
    let again = "ALTER TABLE t ALTER v TYPE bigint USING v * 10, ALTER v SET DEFAULT 1";
    for second in [back, again] {
        let (_database, mut conn, moments) = story(
            PRICES,
            &[
                "MOMENT",
                there,
                "INSERT INTO t VALUES (3, 700)",
                "MOMENT",
                "UPDATE t SET w = 'x' WHERE id = 3",
                second,
                REFRESH,
            ],
        );
        for at in &moments {
            assert!(
                error(&mut conn, &past(at, "v")).contains("has no value before"),
                "{second}"
            );
        }
    }
    // A definition from before a conversion is not that of what is written after it.
    let (_database, mut conn, moments) = story(
        "CREATE TABLE t (id int PRIMARY KEY, v text); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, '1')",
        &[
            "ALTER TABLE t ALTER v TYPE int USING v::int",
            REFRESH,
            "ALTER TABLE t ALTER v TYPE text",
            "INSERT INTO t VALUES (4, '007')",
            "MOMENT",
            "UPDATE t SET v = '9' WHERE id = 4",
            REFRESH,
        ],
    );
    assert_eq!(read(&mut conn, &moments[0], "v"), "1 1, 4 007");
}

/// Two gaps of a column are declared one after the other, the newer first; a rewrite that no gap shows can be declared too, and
/// readers read through what was declared.
#[test]
fn declared_one_by_one() {
    let (database, mut conn, moments) = story(
        PRICES,
        &[
            "MOMENT",
            "UPDATE t SET v = v + 1",
            "BEGIN; ALTER TABLE t ALTER v TYPE bigint USING v * 100; SELECT threadline.refresh_audited_tables(); COMMIT",
            "UPDATE t SET v = v + 100",
            "BEGIN; ALTER TABLE t ALTER v TYPE text USING v || ' cents'; SELECT threadline.refresh_audited_tables(); COMMIT",
            "SELECT threadline.declare_conversion('t', 'v', $$v || ' cents'$$)",
        ],
    );
    let conn = &mut conn;
    assert!(error(conn, &past(&moments[0], "v")).contains("has no value before"));
    let reader = format!("{}_reader", database.name());
    run(conn, &format!("CREATE ROLE {reader}"));
    run(
        conn,
        &format!("SELECT threadline.grant_reader('{reader}'); GRANT SELECT ON t TO {reader}"),
    );
    run(
        conn,
        "SELECT threadline.declare_conversion('t', 'v', 'v * 100')",
    );
    run(conn, &format!("SET ROLE {reader}"));
    assert_eq!(read(conn, &moments[0], "v"), "1 500 cents, 2 900 cents");
    run(
        conn,
        &format!("RESET ROLE; DROP OWNED BY {reader}; DROP ROLE {reader}"),
    );

    let (_database, mut conn, moments) = story(
        "CREATE TABLE t (id int PRIMARY KEY, v int, w int); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 5), (2, 6)",
        &[
            "MOMENT",
            "UPDATE t SET v = 7 WHERE id = 1; UPDATE t SET v = 8 WHERE id = 2",
            "BEGIN; ALTER TABLE t ALTER v TYPE int USING CASE v WHEN 5 THEN 500 ELSE v END; SELECT threadline.refresh_audited_tables(); COMMIT",
        ],
    );
    run(
        &mut conn,
        "SELECT threadline.declare_conversion('t', 'v', 'CASE v WHEN 5 THEN 500 ELSE v END')",
    );
    assert_eq!(read(&mut conn, &moments[0], "v"), "1 500, 2 6");
}

/// A second conversion of values that are lost in the gap of a first one is not known, either, and is the one that is declared.
#[test]
fn converted_after_a_gap() {
    let (_database, mut conn, moments) = story(
        "CREATE TYPE vote AS ENUM ('up', 'down'); CREATE TABLE t (id int PRIMARY KEY, v int); SELECT threadline.audit_table('t');
         INSERT INTO t VALUES (1, 1), (2, -1)",
        &[
            "MOMENT",
            "ALTER TABLE t ALTER v TYPE vote USING (CASE WHEN v > 0 THEN 'up' ELSE 'down' END)::vote",
            REFRESH,
            "ALTER TABLE t ALTER v TYPE boolean USING v = 'up'",
            REFRESH,
            "SELECT threadline.declare_conversion('t', 'v', $$v = 'up'$$)",
        ],
    );
    assert!(error(&mut conn, &past(&moments[0], "v")).contains("has no value before"));
    run(
        &mut conn,
        "SELECT threadline.declare_conversion('t', 'v', $$CASE WHEN v > 0 THEN 'up' ELSE 'down' END$$)",
    );
    assert_eq!(read(&mut conn, &moments[0], "v"), "1 t, 2 f");
}

/// What was converted while a column was redacted has a gap once it is not redacted any more, and no error before.
#[test]
fn converted_while_redacted() {
    for (redact, migration) in [
        ("exclude", "ALTER TABLE t ALTER v TYPE bigint USING v * 100"),
        (
            "mask",
            "ALTER TABLE t ALTER w TYPE varchar(40) USING upper(w)",
        ),
        ("mask", "ALTER TABLE t ALTER w TYPE text USING upper(w)"),
    ] {
        let column = if redact == "mask" { "w" } else { "v" };
        let (_database, mut conn, moments) = story(
            "CREATE TABLE t (id int PRIMARY KEY, v int, w text); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 5, 'a'), (2, 6, 'b')",
            &[
                "MOMENT",
                "UPDATE t SET v = 8, w = 'c' WHERE id = 1",
                &format!("SELECT threadline.audit_table('t', {redact} => '{{{column}}}')"),
                "UPDATE t SET v = 9, w = 'd' WHERE id = 1",
                migration,
                REFRESH,
            ],
        );
        let versions = "SELECT count(typed_row) FROM threadline.versions(NULL::t)";
        if redact == "mask" {
            assert_eq!(
                read(&mut conn, &moments[0], column),
                "1 [REDACTED], 2 [REDACTED]"
            );
            assert_eq!(text(&mut conn, versions).as_deref(), Some("4"));
        }
        assert_eq!(findings(&mut conn), "", "{migration}");
        run(
            &mut conn,
            &format!("SELECT threadline.audit_table('t', unredact => '{{{column}}}')"),
        );
        let refused = error(&mut conn, &past(&moments[0], column));
        assert!(
            refused.contains("while it was redacted"),
            "{migration}: {refused}"
        );
    }
}

/// Labels that were renamed, and rows written before the refresh, are not told apart; a refresh in the transaction of the renaming,
/// or before anything is written, is exact.
#[test]
fn labels_written_before_the_refresh() {
    let table = "CREATE TYPE state AS ENUM ('open', 'shut'); CREATE TABLE t (id int PRIMARY KEY, v state, w text); SELECT threadline.audit_table('t');
        INSERT INTO t VALUES (1, 'open'), (2, 'shut')";
    let renamed = "ALTER TYPE state RENAME VALUE 'open' TO 'opened'";
    let exchanged = "BEGIN; ALTER TYPE state RENAME VALUE 'open' TO 'x'; ALTER TYPE state RENAME VALUE 'shut' TO 'open';
        ALTER TYPE state RENAME VALUE 'x' TO 'shut'; COMMIT";
    for steps in [
        &[
            "MOMENT",
            renamed,
            "ALTER TYPE state ADD VALUE 'open'",
            "INSERT INTO t VALUES (3, 'open')",
            "MOMENT",
            "DELETE FROM t WHERE id = 3",
            REFRESH,
        ][..],
        &[
            "MOMENT",
            exchanged,
            "INSERT INTO t VALUES (3, 'open')",
            "MOMENT",
            "DELETE FROM t WHERE id = 3",
            REFRESH,
        ],
        &[
            "MOMENT",
            exchanged,
            "UPDATE t SET w = 'x' WHERE id = 1",
            REFRESH,
        ],
        &[
            "MOMENT",
            "BEGIN; ALTER TYPE state RENAME VALUE 'open' TO 'opened'; UPDATE t SET w = 'x'; SELECT threadline.refresh_audited_tables(); COMMIT",
        ],
    ] {
        let (_database, mut conn, moments) = story(table, steps);
        for at in &moments {
            let refused = error(&mut conn, &past(at, "v"));
            assert!(
                refused.contains("labels of column v were renamed"),
                "{steps:?}: {refused}"
            );
            assert!(read(&mut conn, at, "w").starts_with("1 , 2 "), "{steps:?}");
        }
    }
    for (steps, then) in [
        (
            &[
                "MOMENT",
                "UPDATE t SET w = 'x'",
                renamed,
                REFRESH,
                "DELETE FROM t",
            ][..],
            "1 opened, 2 shut",
        ),
        (
            &[
                "MOMENT",
                "BEGIN; UPDATE t SET v = 'shut'; ALTER TYPE state RENAME VALUE 'open' TO 'opened'; SELECT threadline.refresh_audited_tables(); COMMIT",
            ],
            "1 opened, 2 shut",
        ),
        (
            &["MOMENT", exchanged, REFRESH, "UPDATE t SET v = 'open'"],
            "1 shut, 2 open",
        ),
    ] {
        let (_database, mut conn, moments) = story(table, steps);
        assert_eq!(read(&mut conn, &moments[0], "v"), then, "{steps:?}");
    }
}
