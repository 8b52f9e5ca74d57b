//! A redaction after a migration: what it writes is read as it was written, whatever was converted before and after.

use serde_json::json;
use threadline::redact;

use super::{committed, done, each, images};
use crate::common::{run, text};

const REFRESH: &str = "SELECT threadline.refresh_audited_tables()";

const TABLE: &str = "CREATE TYPE e AS ENUM ('a', 'b'); CREATE TABLE at (at timestamptz);
    CREATE TABLE t (id int PRIMARY KEY, price int, note text, s e, since bigint, lost boolean);
    SELECT threadline.audit_table('t'), threadline.exempt_table('at', 'of the test');
    INSERT INTO t VALUES (1, 500, 'n', 'b', 5, true), (2, 5, 'm', 'a', 6, false); INSERT INTO at VALUES (clock_timestamp());
    UPDATE t SET price = price + 1, note = note || 'o', s = 'a', since = since + 1, lost = NULL";

const MIGRATION: &str = "BEGIN; ALTER TABLE t ALTER price TYPE bigint USING price * 100, ALTER note TYPE varchar(40) USING upper(note) || '!',
      ALTER since TYPE timestamptz USING to_timestamp(since), ALTER lost TYPE int USING lost::int * 7;
    ALTER TYPE e RENAME VALUE 'a' TO 'x'; ALTER TYPE e RENAME VALUE 'b' TO 'a'; ALTER TYPE e RENAME VALUE 'x' TO 'b';
    ALTER TABLE t RENAME price TO cents; SELECT threadline.refresh_audited_tables(); COMMIT";

const DECLARE: &str = "SELECT threadline.declare_conversion('t', 'cents', 'price * 100');
    SELECT threadline.declare_conversion('t', 'note', $$upper(note) || '!'$$);
    SELECT threadline.declare_conversion('t', 'since', 'to_timestamp(since)')";

#[track_caller]
fn past(conn: &mut diesel::PgConnection, columns: &str) -> String {
    run(conn, "SET TimeZone = 'UTC'");
    let at = text(conn, "SELECT at FROM at").unwrap();
    let past = format!(
        "SELECT string_agg(concat_ws(' ', {columns}), '; ' ORDER BY id) FROM threadline_internal.\"as_of public.t\"(NULL::t, '{at}')"
    );
    text(conn, &past).unwrap_or_default()
}

/// What was written stays what it is: after a second redaction, and under later migrations, which convert it like all else.
#[test]
fn read_as_written() {
    let (_database, mut conn) = committed(TABLE);
    let conn = &mut conn;
    each(conn, MIGRATION);
    each(conn, DECLARE);
    let redaction = || {
        redact("t")
            .row(1)
            .mask(["note"])
            .substitute("cents", 1)
            .substitute("s", "a")
            .substitute("since", "1900-01-01T00:00:00Z")
            .substitute("lost", 0)
    };
    assert!(done(conn, redaction()).values > 0);
    let all = "id, cents, note, s, since";
    let other = "2 500 M! b 1970-01-01 00:00:06+00";
    let truth = format!("1 1 [REDACTED] a 1900-01-01 00:00:00+00; {other}");
    assert_eq!(past(conn, all), truth);
    let versions = "SELECT string_agg(concat_ws(' ', v.\"row\" ->> 'cents', v.row_before ->> 'cents'), '; ' ORDER BY id) FROM threadline.versions(NULL::t, 1) AS v";
    assert_eq!(text(conn, versions).as_deref(), Some("1; 1 1"));
    // There is nothing left to do.
    let again = redaction()
        .actor(threadline::ActorRef::admin("dpo"))
        .reason("again")
        .run(conn)
        .unwrap_err();
    assert!(
        again.to_string().contains("no such values any more"),
        "{again}"
    );
    done(conn, redact("t").row(1).substitute("cents", 2));
    let truth = truth.replace("1 1 [", "1 2 [");
    assert_eq!(past(conn, all), truth);
    // A later migration converts what was redacted before it, and not what is redacted after it.
    run(conn, "UPDATE t SET cents = 2 WHERE id = 1");
    run(conn, "ALTER TYPE e RENAME VALUE 'a' TO 'z'");
    run(
        conn,
        "ALTER TABLE t ALTER cents TYPE numeric USING cents / 10.0",
    );
    run(conn, REFRESH);
    run(
        conn,
        "SELECT threadline.declare_conversion('t', 'cents', 'cents / 10.0')",
    );
    let cents = "id, trim_scale(cents), note, s";
    assert_eq!(past(conn, cents), "1 0.2 [REDACTED] z; 2 50 M! b");
    done(conn, redact("t").row(1).substitute("cents", json!(3)));
    assert_eq!(past(conn, cents), "1 3 [REDACTED] z; 2 50 M! b");
    assert!(!images(conn, "1").contains("500"));
}

/// A redaction between a migration and the refresh is of the migrated column.
#[test]
fn before_the_refresh() {
    let (_database, mut conn) = committed(TABLE);
    let conn = &mut conn;
    run(
        conn,
        "ALTER TABLE t ALTER price TYPE bigint USING price * 100",
    );
    run(conn, "UPDATE t SET price = 1 WHERE id = 1");
    done(conn, redact("t").row(1).substitute("price", 1));
    run(conn, REFRESH);
    run(
        conn,
        "SELECT threadline.declare_conversion('t', 'price', 'price * 100')",
    );
    assert_eq!(past(conn, "id, price"), "1 1; 2 500");
}
