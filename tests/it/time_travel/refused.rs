//! What cannot be read as of the past is refused: a present row is never passed off as a past one.

use diesel::dsl::exists;
use diesel::prelude::*;

use super::*;
use crate::common::{error, text};

#[track_caller]
fn refusal<T: std::fmt::Debug>(result: QueryResult<T>) -> String {
    result.expect_err("it cannot be read").to_string()
}

/// A table that is not audited is refused wherever it stands, even where it is empty or its rows would not be looked at.
#[test]
fn unaudited_table() {
    let (_database, mut conn, before) = changed();
    let message = "cannot read public.countries as of the past: it is not audited";
    let none = users::table.filter(users::id.eq(-1));
    let queries = [
        refusal(threadline::as_of(before, countries::table).load::<(i32, String)>(&mut conn)),
        refusal(
            threadline::as_of(
                before,
                countries::table.filter(countries::id.eq(-1)).count(),
            )
            .get_result::<i64>(&mut conn),
        ),
        refusal(
            threadline::as_of(
                before,
                none.filter(exists(countries::table.select(countries::id)))
                    .select(users::id),
            )
            .load::<i32>(&mut conn),
        ),
        refusal(
            threadline::as_of(
                before,
                none.inner_join(countries::table.on(countries::id.eq(users::id)))
                    .select(users::id),
            )
            .load::<i32>(&mut conn),
        ),
        refusal(
            threadline::as_of(
                before,
                users::table.select(diesel::dsl::sql::<diesel::sql_types::BigInt>(
                    "(SELECT count(*) FROM Countries)",
                )),
            )
            .load::<i64>(&mut conn),
        ),
    ];
    assert_eq!(queries, [message; 5]);
    run(
        &mut conn,
        "DELETE FROM countries; CREATE VIEW adas AS SELECT * FROM users WHERE name LIKE 'Ada%'",
    );
    assert_eq!(
        refusal(threadline::as_of(before, countries::table).load::<(i32, String)>(&mut conn)),
        message
    );
    let view = users::table.filter(diesel::dsl::sql::<diesel::sql_types::Bool>(
        "id IN (SELECT id FROM adas)",
    ));
    let error = refusal(threadline::as_of(before, view).load::<User>(&mut conn));
    assert_eq!(
        error,
        "cannot read public.adas as of the past: it is not audited"
    );
}

/// A table named as live is read as it is now, beside others that are not; nothing else is.
#[test]
fn live_table() {
    let (_database, mut conn, before) = changed();
    let query = || {
        users::table
            .inner_join(countries::table.on(countries::id.eq(users::id)))
            .select((users::name, countries::name))
    };
    run(&mut conn, "UPDATE countries SET name = 'England'");
    let rows: Vec<(String, String)> = threadline::as_of(before, query())
        .live(countries::table)
        .load(&mut conn)
        .unwrap();
    assert_eq!(rows, [("Ada".to_owned(), "England".to_owned())]);
    let rows: Vec<(String, String)> = threadline::as_of(before, query())
        .live(posts::table)
        .live(countries::table)
        .live(comments::table)
        .load(&mut conn)
        .unwrap();
    assert_eq!(rows, [("Ada".to_owned(), "England".to_owned())]);
    let rows: Vec<(String, String)> = threadline::as_of(before, query())
        .live(countries::table)
        .live(users::table)
        .load(&mut conn)
        .unwrap();
    assert_eq!(rows, [("Ada L.".to_owned(), "England".to_owned())]);
    let texts: Vec<String> = threadline::as_of(
        before,
        comments::table
            .filter(comments::post_id.eq(12))
            .select(comments::text),
    )
    .live(comments::table)
    .load(&mut conn)
    .unwrap();
    assert_eq!(texts, ["FIRST"]);
    assert!(
        refusal(
            threadline::as_of(before, query())
                .live(posts::table)
                .load::<(String, String)>(&mut conn)
        )
        .contains("countries")
    );
}

/// Rows of the past cannot be locked, and a lock that locks nothing would be a lie.
#[test]
fn locks() {
    let (_database, mut conn, before) = changed();
    let message = "the query cannot be read as of the past: it locks rows, and those of the past cannot be locked";
    let errors = [
        refusal(threadline::as_of(before, users::table.for_update()).load::<User>(&mut conn)),
        refusal(
            threadline::as_of(before, users::table.for_share().skip_locked())
                .load::<User>(&mut conn),
        ),
        refusal(
            threadline::as_of(before, users::table.for_no_key_update().no_wait())
                .load::<User>(&mut conn),
        ),
        refusal(threadline::as_of(before, users::table.for_key_share()).load::<User>(&mut conn)),
    ];
    assert_eq!(errors, [message; 4]);
}

/// Every reason why the past would be a guess is said, with what to do about it.
#[test]
fn what_makes_the_past_a_guess() {
    let cases = [
        (
            "SELECT threadline.unaudit_table('users')",
            "its capture ended at ",
        ),
        (
            "ALTER TABLE users DISABLE TRIGGER \"!threadline_update\"",
            "capture triggers of it or of a partition are missing or disabled",
        ),
        (
            "DROP TRIGGER \"!threadline_truncate\" ON users",
            "capture triggers of it or of a partition are missing or disabled",
        ),
        (
            "CREATE TABLE heirs () INHERITS (users)",
            "other tables inherit from it",
        ),
        (
            "ALTER TABLE users ALTER email SET NOT NULL",
            "its name or columns are not those that its capture was defined for",
        ),
        (
            "ALTER TABLE users RENAME name TO x; ALTER TABLE users RENAME email TO name; ALTER TABLE users RENAME x TO email",
            "its name or columns are not those that its capture was defined for",
        ),
    ];
    for (change, reason) in cases {
        let (_database, mut conn) = audited();
        let at = now(&mut conn);
        run(&mut conn, change);
        for sql in [
            "SELECT * FROM threadline.as_of(NULL::users, $1)",
            "SELECT * FROM threadline.row_as_of(NULL::users, $1, 1)",
        ] {
            let query = diesel::sql_query(sql).bind::<diesel::sql_types::Timestamptz, _>(at);
            let error = refusal(query.execute(&mut conn));
            assert!(
                error.starts_with(&format!(
                    "cannot read public.users as of the past: {reason}"
                )),
                "{change}: {error}"
            );
        }
    }
}

/// A partition without its triggers, a renamed or swapped table, a deferrable key: each is refused, and read again when it is mended.
#[test]
fn mended_by_a_refresh() {
    let (_database, mut conn) = database(
        "CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id); CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (10);
         CREATE TABLE a (id int PRIMARY KEY, v text); CREATE TABLE b (id int PRIMARY KEY, v text);
         SELECT threadline.audit_table('p'), threadline.audit_table('a'), threadline.audit_table('b');
         INSERT INTO p VALUES (1, 'p'); INSERT INTO a VALUES (1, 'a'); INSERT INTO b VALUES (1, 'b')",
    );
    let at = text(&mut conn, "SELECT clock_timestamp()").unwrap();
    for (change, table, row) in [
        (
            "CREATE TABLE p_2 PARTITION OF p FOR VALUES FROM (10) TO (20)",
            "p",
            "(1,p)",
        ),
        (
            "ALTER TABLE a RENAME TO x; ALTER TABLE b RENAME TO a; ALTER TABLE x RENAME TO b",
            "a",
            "(1,b)",
        ),
    ] {
        run(&mut conn, change);
        for sql in [
            format!("SELECT r FROM threadline.as_of(NULL::{table}, '{at}') AS r"),
            format!("SELECT image FROM threadline.row_as_of(NULL::{table}, '{at}', 1)"),
            format!(
                "SELECT r.op FROM (SELECT c.* FROM threadline.audit_changes AS c JOIN threadline.audited_tables AS t ON t.id = c.table_id
                   AND t.relation = '{table}'::regclass LIMIT 1) AS c, threadline.restore(NULL::{table}, c.transaction_id, c.captured_at, c.id, 0) AS r"
            ),
        ] {
            assert!(
                error(&mut conn, &sql)
                    .starts_with(&format!("cannot read public.{table} as of the past: ")),
                "{change}: {sql}"
            );
        }
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
        assert_eq!(
            text(
                &mut conn,
                &format!("SELECT r FROM threadline.as_of(NULL::{table}, '{at}') AS r")
            )
            .unwrap(),
            row,
            "{change}"
        );
    }
    run(
        &mut conn,
        "ALTER TABLE p_1 DISABLE TRIGGER \"!threadline_1_update\"",
    );
    assert!(
        error(
            &mut conn,
            &format!("SELECT * FROM threadline.as_of(NULL::p, '{at}')")
        )
        .contains("triggers of it or of a partition")
    );
    run(
        &mut conn,
        "ALTER TABLE a DROP CONSTRAINT b_pkey; ALTER TABLE a ADD PRIMARY KEY (id) DEFERRABLE; SELECT threadline.refresh_audited_tables()",
    );
    assert!(
        error(
            &mut conn,
            &format!("SELECT * FROM threadline.as_of(NULL::a, '{at}')")
        )
        .contains("its primary key is deferrable")
    );
}

/// A time that is read from a table would be another for each table of the query, and a table without its schema that is
/// called like a type cannot be told from it.
#[test]
fn times_and_types() {
    let (_database, mut conn, before) = changed();
    let at = diesel::dsl::sql::<diesel::sql_types::Timestamptz>("(SELECT max(now()) FROM users)");
    let error = refusal(threadline::as_of(at, users::table).load::<User>(&mut conn));
    assert_eq!(
        error,
        "the query cannot be read as of the past: its time is read from a table: ask for the time first"
    );
    run(
        &mut conn,
        "CREATE TABLE path (id int PRIMARY KEY); SELECT threadline.audit_table('path')",
    );
    diesel::table! {
        path {
            id -> Int4,
        }
    }
    let error =
        refusal(threadline::as_of(before, path::table.select(path::id)).load::<i32>(&mut conn));
    assert!(
        error.starts_with("cannot read path as of the past: this is a type, and no table")
            || error.contains("column path.id does not exist"),
        "{error}"
    );
}

/// Row level security would hide live rows and show what became of them in the audit log: whoever it applies to is
/// refused, whoever it does not apply to is not.
#[test]
fn row_level_security() {
    let (database, mut conn, before) = changed();
    let role = format!("{}_reader", database.name());
    run(
        &mut conn,
        &format!(
            "CREATE ROLE \"{role}\"; SELECT threadline.grant_reader('\"{role}\"'); GRANT SELECT ON users TO \"{role}\"; SET ROLE \"{role}\""
        ),
    );
    let read = |conn: &mut PgConnection| {
        threadline::as_of(before, users::table.count()).get_result::<i64>(conn)
    };
    assert_eq!(read(&mut conn), Ok(3));
    run(
        &mut conn,
        "RESET ROLE; ALTER TABLE users ENABLE ROW LEVEL SECURITY",
    );
    assert_eq!(read(&mut conn), Ok(3), "the owner sees all rows");
    run(&mut conn, &format!("SET ROLE \"{role}\""));
    assert!(refusal(read(&mut conn)).contains("row level security hides rows of it from "));
    assert!(
        refusal(User::as_of(1, before).get_result(&mut conn))
            .contains("row level security hides rows")
    );
    run(
        &mut conn,
        &format!("RESET ROLE; DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""),
    );
}

/// A reader needs the rights on the audit log and on the table, and no others.
#[test]
fn readers() {
    let (database, mut conn, before) = changed();
    let role = format!("{}_auditor", database.name());
    run(
        &mut conn,
        &format!("CREATE ROLE \"{role}\"; SET ROLE \"{role}\""),
    );
    let read = |conn: &mut PgConnection| {
        threadline::as_of(before, users::table.count()).get_result::<i64>(conn)
    };
    assert!(refusal(read(&mut conn)).contains("permission denied"));
    run(
        &mut conn,
        &format!("RESET ROLE; SELECT threadline.grant_reader('\"{role}\"'); SET ROLE \"{role}\""),
    );
    assert!(refusal(read(&mut conn)).contains("permission denied for table users"));
    run(
        &mut conn,
        &format!("RESET ROLE; GRANT SELECT ON users TO \"{role}\"; SET ROLE \"{role}\""),
    );
    assert_eq!(read(&mut conn), Ok(3));
    assert_eq!(
        User::as_of(1, before)
            .get_result(&mut conn)
            .unwrap()
            .into_result()
            .unwrap()
            .name,
        "Ada"
    );
    let settled: DateTime<Utc> = diesel::select(threadline::settled_at())
        .get_result(&mut conn)
        .unwrap();
    assert!(settled > before);
    run(
        &mut conn,
        &format!("RESET ROLE; DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""),
    );
}

/// A time that is none, or lies outside of what a clock shows, is answered or refused, never guessed at.
#[test]
fn odd_times() {
    let (_database, mut conn, _) = changed();
    let count = |conn: &mut PgConnection, at: &str| {
        let at = diesel::dsl::sql::<diesel::sql_types::Timestamptz>(at);
        threadline::as_of(at, users::table.count()).get_result::<i64>(conn)
    };
    assert_eq!(count(&mut conn, "'infinity'"), Ok(4));
    assert_eq!(count(&mut conn, "now() + interval '10 years'"), Ok(4));
    assert_eq!(count(&mut conn, "'294276-01-01 00:00:00+00'"), Ok(4));
    assert!(refusal(count(&mut conn, "'-infinity'")).contains("its history begins at"));
    assert!(
        refusal(count(&mut conn, "'4713-01-01 00:00:00+00 BC'")).contains("its history begins at")
    );
    assert_eq!(
        refusal(count(&mut conn, "NULL")),
        "cannot read the past as of NULL"
    );
}

/// Other times run the same prepared statement; another query, the same query in the present, or another table read as
/// live, does not.
#[test]
fn prepared_statements() {
    let (_database, mut conn, before) = changed();
    let after = now(&mut conn);
    let name = |id: i32| users::table.find(id).select(users::name);
    for _ in 0..2 {
        let get = |conn: &mut PgConnection, at| {
            threadline::as_of(at, name(1))
                .get_result::<String>(conn)
                .unwrap()
        };
        assert_eq!(get(&mut conn, before), "Ada");
        assert_eq!(name(1).get_result::<String>(&mut conn).unwrap(), "Ada L.");
        assert_eq!(get(&mut conn, after), "Ada L.");
        let live: String = threadline::as_of(before, name(1))
            .live(users::table)
            .get_result(&mut conn)
            .unwrap();
        assert_eq!(live, "Ada L.");
        let other: String = threadline::as_of(before, users::table.find(2).select(users::name))
            .get_result(&mut conn)
            .unwrap();
        assert_eq!(other, "Bob");
        let boxed = |at| {
            threadline::as_of(
                at,
                users::table
                    .into_boxed()
                    .filter(users::id.eq(1))
                    .select(users::name),
            )
        };
        assert_eq!(
            boxed(before).get_result::<String>(&mut conn).unwrap(),
            "Ada"
        );
        assert_eq!(
            boxed(after).get_result::<String>(&mut conn).unwrap(),
            "Ada L."
        );
        let boxed: Vec<i64> = threadline::as_of(
            before,
            posts::table.into_boxed().select(posts::id).order(posts::id),
        )
        .load(&mut conn)
        .unwrap();
        assert_eq!(boxed, [10, 11, 12, 13]);
    }
    let statements = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%\"users\" AS NOT MATERIALIZED%'";
    assert_eq!(
        text(&mut conn, statements).unwrap(),
        "2",
        "one of a type, one boxed"
    );
}

/// A query whose snapshot is older than a rewrite, or than a TRUNCATE, would find rows of neither time.
#[test]
fn rewritten_since_the_snapshot() {
    for (rewrite, of_t) in [
        ("TRUNCATE t", true),
        ("VACUUM FULL t", true),
        (
            "ALTER TABLE t ALTER v TYPE bigint; ALTER TABLE t ALTER v TYPE int; SELECT threadline.refresh_audited_tables()",
            true,
        ),
        ("ALTER TABLE p DETACH PARTITION p_1", false),
        ("TRUNCATE p_1", false),
        (
            "UPDATE t SET v = v + 1; UPDATE p SET v = v + 1; TRUNCATE p_1; INSERT INTO p VALUES (1, 1)",
            false,
        ),
    ] {
        let (database, mut conn) = crate::common::database(
            "CREATE TABLE t (id int PRIMARY KEY, v int); INSERT INTO t VALUES (1, 1), (2, 2);
             CREATE TABLE p (id int PRIMARY KEY, v int) PARTITION BY LIST (id);
             CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1); INSERT INTO p VALUES (1, 1);
             SELECT threadline.audit_table('t'), threadline.audit_table('p')",
        );
        let mut reader = database.connect();
        run(
            &mut reader,
            "BEGIN ISOLATION LEVEL REPEATABLE READ; DO 'BEGIN PERFORM FROM pg_class; END'",
        );
        run(&mut conn, rewrite);
        let (rewritten, other) = if of_t { ("t", "p") } else { ("p", "t") };
        let read = |table| {
            format!("SELECT count(*) FROM threadline.as_of(NULL::{table}, transaction_timestamp())")
        };
        run(&mut reader, &read(other));
        let message = error(&mut reader, &read(rewritten));
        assert!(
            message.contains("was rewritten or truncated while it was read"),
            "{rewrite}: {message}"
        );
        run(&mut reader, "ROLLBACK");
    }
}
