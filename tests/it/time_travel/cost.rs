//! What one row of the past costs does not grow with the audit log.

use diesel::dsl::sql;
use diesel::sql_types::{Bool, Text};

use super::*;

/// At a time to come no transaction is so young that it may still be in effect by half.
const QUERIES: [&str; 5] = [
    r#"SELECT state FROM threadline_internal."row_as_of users"(NULL::users, now() + '1 hour', 4711)"#,
    r#"SELECT state FROM threadline_internal."row_as_of blog.comments"(NULL::blog.comments, now() + '1 hour', 4711::bigint, 1)"#,
    r#"SELECT state FROM threadline_internal."row_as_of Odd ""names"""(NULL::"Odd ""names""", now() + '1 hour', 'key 4711')"#,
    r#"SELECT name FROM threadline_internal."as_of users"(NULL::users, now() + '1 hour') WHERE id = 4711"#,
    r#"SELECT name FROM threadline_internal."as_of users"(NULL::users, now() + '1 hour') WHERE id = ANY ('{4711,4712}')"#,
];

fn explain(conn: &mut PgConnection, options: &str, query: &str) -> String {
    let plan: Vec<String> = sql::<Text>(&format!("EXPLAIN ({options}) {query}"))
        .load(conn)
        .unwrap();
    plan.join("\n")
}

/// The blocks that a query reads, those of its functions included.
fn blocks(conn: &mut PgConnection, query: &str) -> u32 {
    let plan = explain(conn, "ANALYZE, BUFFERS, TIMING OFF", query);
    let buffers = plan.lines().find(|line| line.contains("Buffers: shared"));
    let buffers = buffers.expect("it reads something");
    buffers
        .split_whitespace()
        .filter(|word| word.starts_with("hit=") || word.starts_with("read="))
        .map(|word| word[word.find('=').unwrap() + 1..].parse::<u32>().unwrap())
        .sum()
}

/// Neither what finds a row nor what finds out whether the past can be read goes through the changes of the table.
#[test]
fn of_a_row() {
    let (_database, mut conn) = audited();
    run(
        &mut conn,
        r#"INSERT INTO users SELECT n, 'user ' || n FROM generate_series(1, 20000) AS n;
           INSERT INTO blog.comments SELECT n, 1, 'comment' FROM generate_series(1, 20000) AS n;
           INSERT INTO "Odd ""names""" SELECT 'key ' || n FROM generate_series(1, 20000) AS n;
           UPDATE users SET name = 'another';
           UPDATE blog.comments SET text = 'another';
           UPDATE "Odd ""names""" SET "from" = 'another'"#,
    );
    run(&mut conn, "VACUUM ANALYZE");
    for query in QUERIES {
        // The first run of a session also reads the catalogue.
        blocks(&mut conn, query);
        let blocks = blocks(&mut conn, query);
        assert!(blocks < 1000, "{blocks} blocks: {query}");
    }
}

/// What refuses the past is called once for each table of a query.
#[test]
fn of_the_check() {
    let (_database, mut conn) = audited();
    for query in &QUERIES[3..] {
        let plan = explain(&mut conn, "VERBOSE, COSTS OFF", query);
        assert_eq!(plan.matches("check_past(").count(), 1, "{plan}");
    }
}

fn is_as_refreshed(conn: &mut PgConnection) -> bool {
    diesel::select(sql::<Bool>(
        "(SELECT threadline_internal.is_as_refreshed(t) FROM threadline.audited_tables AS t
           WHERE t.relation = 'users'::regclass)",
    ))
    .get_result(conn)
    .unwrap()
}

/// A table that nobody has altered passes the short check, and one whose capture was switched off and on does not.
#[test]
fn of_an_unaltered_table() {
    let (_database, mut conn) = audited();
    for usual in [
        BEFORE,
        LATER,
        "VACUUM ANALYZE users",
        "CREATE INDEX ON users (name)",
        "VACUUM FULL users",
        "TRUNCATE users CASCADE",
    ] {
        run(&mut conn, usual);
        assert!(is_as_refreshed(&mut conn), "{usual}");
    }
    for unusual in [
        "ALTER TABLE users DISABLE TRIGGER USER",
        "ALTER TABLE users ENABLE TRIGGER USER",
        "ALTER TABLE users ALTER COLUMN name TYPE text USING upper(name)",
    ] {
        run(&mut conn, unusual);
        assert!(!is_as_refreshed(&mut conn), "{unusual}");
    }
    run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    assert!(is_as_refreshed(&mut conn));
}
