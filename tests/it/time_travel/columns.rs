//! Columns that have changed since, and those that are redacted: what comes back, and what says why not.

use diesel::prelude::*;

use super::keys::{clock, rows, then};
use super::*;
use crate::common::{error, text};
use crate::skipped::since;

/// A table with one row, changed after `at`, then altered by `alter` and refreshed.
fn altered(
    columns: &str,
    values: &str,
    change: &str,
    alter: &str,
) -> (threadline_test_support::Database, PgConnection, String) {
    let (database, mut conn) = database(&format!(
        "CREATE TABLE t ({columns}); SELECT threadline.audit_table('t')"
    ));
    run(&mut conn, &format!("INSERT INTO t VALUES ({values})"));
    let at = clock(&mut conn);
    for sql in [change, alter, "SELECT threadline.refresh_audited_tables()"] {
        run(&mut conn, sql);
    }
    (database, conn, at)
}

/// What columns that were added, dropped, renamed or retyped since are in a row of before; as the documentation's table says.
#[test]
fn columns_that_changed() {
    for (alter, expected) in [
        ("ALTER TABLE t ADD b text", "(1,5,)"),
        ("ALTER TABLE t ADD b text DEFAULT 'x'", "(1,5,x)"),
        ("ALTER TABLE t ADD b int NOT NULL DEFAULT 7", "(1,5,7)"),
        (
            "ALTER TABLE t ADD b jsonb NOT NULL DEFAULT '{}'",
            "(1,5,{})",
        ),
        (
            "ALTER TABLE t ADD b text NOT NULL DEFAULT 'x'; ALTER TABLE t ALTER b DROP DEFAULT",
            "(1,5,x)",
        ),
        (
            "ALTER TABLE t ADD b date NOT NULL DEFAULT date 'epoch' + 1",
            "(1,5,1970-01-02)",
        ),
        (
            "ALTER TABLE t ADD b text, ADD c text; ALTER TABLE t DROP b",
            "(1,5,)",
        ),
        ("ALTER TABLE t DROP a", "(1)"),
        ("ALTER TABLE t RENAME a TO b", "(1,5)"),
        (
            "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME id TO a; ALTER TABLE t RENAME x TO id",
            "(1,5)",
        ),
        ("ALTER TABLE t ALTER a TYPE bigint", "(1,5)"),
        ("ALTER TABLE t ALTER a TYPE numeric(5,2)", "(1,5.00)"),
        ("ALTER TABLE t ALTER a TYPE text", "(1,5)"),
        (
            "ALTER TABLE t ALTER a TYPE jsonb USING to_jsonb(a)",
            "(1,5)",
        ),
        ("ALTER TABLE t ALTER a TYPE double precision", "(1,5)"),
        (
            "ALTER TABLE t RENAME TO u; ALTER TABLE u RENAME TO t",
            "(1,5)",
        ),
        (
            "ALTER TABLE t ADD b int GENERATED ALWAYS AS (a * 2) STORED",
            "(1,5,)",
        ),
    ] {
        let (_database, mut conn, at) = altered(
            "id int PRIMARY KEY, a int",
            "1, 5",
            "UPDATE t SET a = 6",
            alter,
        );
        assert_eq!(then(&mut conn, "t", &at), expected, "{alter}");
    }
}

/// A value that cannot be had is an error that names its column, never a NULL; and only where the column is read.
#[test]
fn values_that_are_gone() {
    for (columns, values, alter, message) in [
        (
            "id int PRIMARY KEY, a text",
            "1, 'five'",
            "ALTER TABLE t ALTER a TYPE int USING 0",
            "column a of public.t has no value before",
        ),
        (
            "id int PRIMARY KEY, a text",
            "1, 'much too long'",
            "ALTER TABLE t ALTER a TYPE varchar(3) USING ''",
            "column a of public.t has no value before",
        ),
        (
            "id int PRIMARY KEY, a int",
            "1, 5",
            "ALTER TABLE t ALTER a TYPE int[] USING ARRAY[a]",
            "column a of public.t has no value before",
        ),
        (
            "id int PRIMARY KEY, a text",
            "1, NULL",
            "UPDATE t SET a = 'x'; ALTER TABLE t ALTER a SET NOT NULL",
            "change 2 of public.t recorded no value for column a, which is NOT NULL now",
        ),
        (
            "id int PRIMARY KEY, a text",
            "1, 'x'",
            "ALTER TABLE t ADD \"B %\" uuid NOT NULL DEFAULT gen_random_uuid()",
            "change 2 of public.t recorded no value for column \"B %\", which is NOT NULL now",
        ),
        (
            "id int PRIMARY KEY, a positive",
            "1, -1",
            "ALTER DOMAIN positive ADD CHECK (VALUE > 0) NOT VALID",
            "the value of column a that change 2 of public.t recorded cannot be read in its present type: value for domain public.positive violates check constraint",
        ),
    ] {
        let (_database, mut conn) = database(&format!(
            "CREATE DOMAIN positive AS int; CREATE TABLE t ({columns}, other int DEFAULT 0);
             SELECT threadline.audit_table('t'); INSERT INTO t VALUES ({values})"
        ));
        let at = clock(&mut conn);
        run(
            &mut conn,
            &format!("UPDATE t SET other = 1; {alter}; SELECT threadline.refresh_audited_tables()"),
        );
        let message_of = error(
            &mut conn,
            &format!("SELECT * FROM threadline_internal.\"as_of t\"(NULL::t, '{at}')"),
        );
        assert!(message_of.starts_with(message), "{alter}: {message_of}");
        assert_eq!(
            text(
                &mut conn,
                &format!("SELECT count(*) FROM threadline_internal.\"as_of t\"(NULL::t, '{at}') WHERE id = 1")
            )
            .unwrap(),
            "1"
        );
        assert_eq!(
            text(
                &mut conn,
                &format!("SELECT other FROM threadline_internal.\"as_of t\"(NULL::t, '{at}')")
            )
            .unwrap(),
            "0",
            "{alter}"
        );
    }
}

/// Before the refresh that a change of columns needs, the past is refused or right, never shifted by a column.
#[test]
fn before_the_refresh() {
    for alter in [
        "ALTER TABLE t ADD b int",
        "ALTER TABLE t DROP a",
        "ALTER TABLE t RENAME a TO x",
        "ALTER TABLE t ALTER a TYPE bigint",
        "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME c TO a; ALTER TABLE t RENAME x TO c",
        "ALTER TABLE t DROP a; ALTER TABLE t ADD a int",
    ] {
        let (_database, mut conn) = database(
            "CREATE TABLE t (id int PRIMARY KEY, a int, c int); SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 2, 3)",
        );
        let at = clock(&mut conn);
        run(&mut conn, &format!("UPDATE t SET c = 4; {alter}"));
        error(
            &mut conn,
            &format!("SELECT * FROM threadline_internal.\"as_of t\"(NULL::t, '{at}')"),
        );
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
        assert!(then(&mut conn, "t", &at).starts_with("(1,"), "{alter}");
    }
}

/// A left join never takes a row that cannot be filled for one that is not there; a column with a default is filled.
#[test]
fn left_joins() {
    let (_database, mut conn, before) = changed();
    run(
        &mut conn,
        "ALTER TABLE posts RENAME likes TO old; ALTER TABLE posts ADD likes int NOT NULL DEFAULT 42; SELECT threadline.refresh_audited_tables()",
    );
    let query = || {
        users::table
            .left_join(posts::table)
            .filter(users::id.eq(1))
            .order(posts::id)
            .select((users::id, Option::<Post>::as_select()))
    };
    let rows: Vec<(i32, Option<Post>)> =
        threadline::as_of(before, query()).load(&mut conn).unwrap();
    let likes: Vec<_> = rows
        .iter()
        .map(|(_, post)| post.as_ref().map(|post| (post.id, post.likes)))
        .collect();
    assert_eq!(likes, [Some((10, 42)), Some((11, 42))]);
    run(
        &mut conn,
        "ALTER TABLE posts DROP likes; ALTER TABLE posts ADD likes int NOT NULL DEFAULT random(); SELECT threadline.refresh_audited_tables()",
    );
    let error = threadline::as_of(before, query())
        .load::<(i32, Option<Post>)>(&mut conn)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("recorded no value for column likes, which is NOT NULL now"),
        "{error}"
    );
}

/// Masked columns are the same in every row of the past, changed since or not. An excluded one is an error where it is
/// read, whatever it may hold: neither NULL nor a default is what it was.
#[test]
fn redacted_columns() {
    for key in ["PRIMARY KEY", ""] {
        let (_database, mut conn) = database(&format!(
            "CREATE TABLE t (id int {key}, m varchar(20), e text NOT NULL, n int, d int NOT NULL DEFAULT 3, x bytea NOT NULL, v int);
             SELECT threadline.audit_table('t', mask => '{{m}}', exclude => '{{e,n,d,x}}');
             INSERT INTO t VALUES (1, 'secret', 'secret', 9, 9, 'secret', 1), (2, 'secret', 'secret', 9, 9, 'secret', 1)"
        ));
        let at = clock(&mut conn);
        run(
            &mut conn,
            "UPDATE t SET v = 2, m = 'secret 2', e = 'secret 2' WHERE id = 1",
        );
        for (at, v) in [(at.as_str(), 1), ("infinity", 2)] {
            let read =
                format!("(SELECT id, m, v FROM threadline_internal.\"as_of t\"(NULL::t, '{at}'))");
            assert_eq!(
                rows(&mut conn, &read),
                format!("(1,[REDACTED],{v})\n(2,[REDACTED],1)")
            );
            for column in ["e", "n", "d", "x"] {
                let message = error(
                    &mut conn,
                    &format!(
                        "SELECT {column} FROM threadline_internal.\"as_of t\"(NULL::t, '{at}')"
                    ),
                );
                assert!(
                    message.starts_with(&format!(
                        "column {column} of public.t has no value in the past: it is excluded from the audit log"
                    )),
                    "{message}"
                );
            }
            if !key.is_empty() {
                assert!(!text(&mut conn, &format!("SELECT string_agg(r::text, '') FROM threadline.row_as_of(NULL::t, '{at}', 1) AS r")).unwrap().contains("secret"));
            }
        }
    }
}

/// A JSON null is a value in a column that is NOT NULL, in the past and in each version. Elsewhere it is read as NULL.
#[test]
fn json_nulls() {
    // A table with types of its own is read by other code.
    for (column, value) in [("", ""), (", kind kind DEFAULT 'a'", ",a")] {
        let (_database, mut conn) = database(&format!(
            "CREATE TYPE kind AS ENUM ('a'); CREATE TABLE t (gone int, id int PRIMARY KEY, \"J j\" json NOT NULL, b jsonb NOT NULL, n jsonb{column});
             ALTER TABLE t DROP gone; SELECT threadline.audit_table('t'); INSERT INTO t (id, \"J j\", b, n) VALUES (1, 'null', 'null', 'null'), (2, '[]', '1', NULL)"
        ));
        let rows = format!("(1,null,null,{value}) (2,[],1,{value})");
        let at = clock(&mut conn);
        run(&mut conn, "DELETE FROM t");
        for past in [
            format!("SELECT string_agg(t::text, ' ' ORDER BY id) FROM threadline.as_of(NULL::t, '{at}') AS t"),
            "SELECT string_agg(typed_row::text, ' ' ORDER BY id) FROM threadline.versions(NULL::t) WHERE op = 'insert'".to_owned(),
            "SELECT string_agg((SELECT v.typed_row FROM threadline.versions(NULL::t, n) AS v WHERE op = 'delete')::text, ' ' ORDER BY n) FROM generate_series(1, 2) AS n".to_owned(),
        ] {
            assert_eq!(text(&mut conn, &past).as_deref(), Some(rows.as_str()), "{past}");
        }
    }
}

/// The two nulls of JSON are told apart where the column says which it must be; a generated column is what it was, and a
/// virtual one what it follows from.
#[test]
fn nulls_and_generated_columns() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, j jsonb NOT NULL, a int, g int GENERATED ALWAYS AS (a * 2) STORED);
         SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, 'null', 5)",
    );
    let at = clock(&mut conn);
    run(&mut conn, "UPDATE t SET j = '1', a = 6");
    assert_eq!(then(&mut conn, "t", &at), "(1,null,5,10)");
    if since(&mut conn, 18, "a virtual generated column") {
        run(
            &mut conn,
            "ALTER TABLE t ADD w int GENERATED ALWAYS AS (a + 1) VIRTUAL; SELECT threadline.refresh_audited_tables()",
        );
        assert_eq!(
            text(
                &mut conn,
                &format!("SELECT w FROM threadline_internal.\"as_of t\"(NULL::t, '{at}')")
            )
            .unwrap(),
            "6"
        );
        assert_eq!(
            text(
                &mut conn,
                "SELECT w FROM threadline_internal.\"as_of t\"(NULL::t, now())"
            )
            .unwrap(),
            "7"
        );
    }
}

/// Attributes of a composite type that were renamed or dropped are values that are gone, and a refresh is asked for first.
#[test]
fn attributes_that_changed() {
    let (_database, mut conn) = database(
        "CREATE TYPE addr AS (street text, zip text); CREATE TABLE t (id int PRIMARY KEY, a addr, b addr[]);
         SELECT threadline.audit_table('t'); INSERT INTO t VALUES (1, ('Main', '123'), ARRAY[('x', '1')::addr])",
    );
    let at = clock(&mut conn);
    run(
        &mut conn,
        "UPDATE t SET a = ('Other', '9'); ALTER TYPE addr RENAME ATTRIBUTE zip TO postcode",
    );
    assert!(
        error(
            &mut conn,
            &format!("SELECT * FROM threadline_internal.\"as_of t\"(NULL::t, '{at}')")
        )
        .contains("its name or columns are not those")
    );
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    let message = error(
        &mut conn,
        &format!("SELECT * FROM threadline_internal.\"as_of t\"(NULL::t, '{at}')"),
    );
    assert!(
        message.starts_with("the value of column ")
            && message.contains("its type has lost or renamed attributes"),
        "{message}"
    );
    run(
        &mut conn,
        "ALTER TYPE addr RENAME ATTRIBUTE postcode TO zip; ALTER TYPE addr ADD ATTRIBUTE city text; SELECT threadline.refresh_audited_tables()",
    );
    assert_eq!(
        then(&mut conn, "t", &at),
        "(1,\"(Main,123,)\",\"{\"\"(x,1,)\"\"}\")"
    );
}

/// Where the key was converted and rows were written before the refresh, columns that are NULL are known as well.
#[test]
fn nulls_beside_a_converted_key() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, a int, b int); SELECT threadline.audit_table('t');
         INSERT INTO t VALUES (1, NULL, 1), (2, 2, NULL)",
    );
    let at = clock(&mut conn);
    run(
        &mut conn,
        "ALTER TABLE t ALTER id TYPE bigint; UPDATE t SET b = 3; SELECT threadline.refresh_audited_tables()",
    );
    let past =
        "SELECT string_agg(t::text, ' ' ORDER BY id) FROM threadline.as_of(NULL::t, '{at}') AS t";
    assert_eq!(
        text(&mut conn, &past.replace("{at}", &at)).as_deref(),
        Some("(1,,1) (2,2,)")
    );
}

/// A column whose conversion is not known keeps that gap, and gets no other one, when the table is rewritten for another.
#[test]
fn rewritten_beside_a_gap() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, a int, b text); SELECT threadline.audit_table('t');
         INSERT INTO t VALUES (1, 1, 'one'), (2, 2, 'two');
         ALTER TABLE t ALTER b TYPE int USING length(b) + 1000; SELECT threadline.refresh_audited_tables();
         UPDATE t SET b = 5 WHERE id = 1",
    );
    let at = clock(&mut conn);
    run(
        &mut conn,
        "ALTER TABLE t ALTER a TYPE bigint; SELECT threadline.refresh_audited_tables(); UPDATE t SET b = 6",
    );
    let past =
        "SELECT string_agg(t::text, ' ' ORDER BY id) FROM threadline.as_of(NULL::t, '{at}') AS t";
    assert_eq!(
        text(&mut conn, &past.replace("{at}", &at)).as_deref(),
        Some("(1,1,5) (2,2,1003)")
    );
}

/// What a redacted column keeps out of the audit log, a column that is generated from it must not put in.
#[test]
fn generated_from_a_redacted_column() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, email text, domain text GENERATED ALWAYS AS (split_part(email, '@', 2)) STORED)",
    );
    let message = error(
        &mut conn,
        "SELECT threadline.audit_table('t', mask => '{email}')",
    );
    assert!(
        message.contains("column domain is generated from column email, which is redacted"),
        "{message}"
    );
    run(
        &mut conn,
        "SELECT threadline.audit_table('t', mask => '{email}', exclude => '{domain}')",
    );
}

/// An attribute that took the name of another one is never read as that one: not before the refresh, and not after it, in
/// whatever steps the migrations did it. A plain addition or renaming is no such thing.
#[test]
fn attributes_that_exchanged_names() {
    let refresh = "SELECT threadline.refresh_audited_tables()";
    for (kind, value) in [
        ("comp", "(1, 2)::comp"),
        ("comp[]", "ARRAY[(1, 2)::comp]"),
        ("outer_comp", "(7, (1, 2)::comp)::outer_comp"),
    ] {
        for (migration, is_known) in [
            (
                "RENAME ATTRIBUTE a TO x / RENAME ATTRIBUTE b TO a / RENAME ATTRIBUTE x TO b",
                false,
            ),
            ("DROP ATTRIBUTE b / ADD ATTRIBUTE b int", false),
            ("RENAME ATTRIBUTE b TO x / ADD ATTRIBUTE b int", false),
            ("ADD ATTRIBUTE d int / DROP ATTRIBUTE d", true),
        ] {
            for in_steps in [false, true] {
                let (_database, mut conn) = database(&format!(
                    "CREATE TYPE comp AS (a int, b int); CREATE TYPE outer_comp AS (n int, c comp);
                     CREATE TABLE t (id int PRIMARY KEY, c {kind}, v int); SELECT threadline.audit_table('t');
                     INSERT INTO t VALUES (1, {value}, 1)"
                ));
                let at = clock(&mut conn);
                run(&mut conn, "UPDATE t SET v = 2");
                for step in migration.split(" / ") {
                    run(&mut conn, &format!("ALTER TYPE comp {step}"));
                    if in_steps {
                        run(&mut conn, refresh);
                    }
                }
                let read = |column: &str| {
                    format!(
                        "SELECT {column}::text FROM threadline_internal.\"as_of public.t\"(NULL::t, '{at}')"
                    )
                };
                let then = "SELECT c::text FROM t";
                if is_known {
                    assert_eq!(
                        text(&mut conn, &read("c")),
                        text(&mut conn, then),
                        "{kind} {migration}"
                    );
                    continue;
                }
                if !in_steps {
                    assert!(
                        error(&mut conn, &read("c")).contains("cannot read"),
                        "{kind} {migration}"
                    );
                    run(&mut conn, refresh);
                }
                let message = error(&mut conn, &read("c"));
                assert!(
                    message.contains("column c of public.t has no value before"),
                    "{kind} {migration}: {message}"
                );
                assert_eq!(text(&mut conn, &read("v")).as_deref(), Some("1"));
                let now = clock(&mut conn);
                run(
                    &mut conn,
                    &format!("UPDATE t SET v = 3; ALTER TABLE t ADD later int; {refresh}"),
                );
                let read_now = read("c").replace(&at, &now);
                assert_eq!(text(&mut conn, &read_now), text(&mut conn, then));
            }
        }
    }
}
