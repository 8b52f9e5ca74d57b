//! Partitions that are attached and written before a refresh knows them.

use diesel::PgConnection;

use super::findings;
use crate::common::{count, database, error, run, text};

const TABLE: &str = "CREATE TABLE ev (id int, r text, v text, PRIMARY KEY (id, r)) PARTITION BY LIST (r);
    CREATE TABLE ev_a PARTITION OF ev FOR VALUES IN ('a'); CREATE TABLE ev_b PARTITION OF ev FOR VALUES IN ('b');
    INSERT INTO ev VALUES (1, 'a', 'before'), (2, 'b', 'before');
    SELECT threadline.audit_table('ev'); UPDATE ev SET v = 'audited'";

const ATTACH: &str = "ALTER TABLE ev ATTACH PARTITION ev_c FOR VALUES IN ('c')";

/// Writes of a partition. The first of them inserts, updates, deletes or truncates; the last leave none of the rows that
/// it may have brought.
const WRITES: [&[&str]; 14] = [
    &[
        "INSERT INTO ev VALUES (4, 'c', 'new')",
        "UPDATE ev SET v = 'changed' WHERE r = 'c'",
    ],
    &[
        "INSERT INTO ev_c VALUES (4, 'c', 'new')",
        "DELETE FROM ev WHERE id = 3",
    ],
    &["INSERT INTO ev VALUES (4, 'c', 'new')", "TRUNCATE ev"],
    &[
        "INSERT INTO ev VALUES (4, 'c', 'new'), (3, 'c', 'upsert') ON CONFLICT (id, r) DO UPDATE SET v = EXCLUDED.v",
    ],
    &[
        "INSERT INTO ev VALUES (3, 'c', 'upsert'), (4, 'c', 'new') ON CONFLICT (id, r) DO UPDATE SET v = EXCLUDED.v",
    ],
    &[
        "WITH gone AS (DELETE FROM ev WHERE id = 3 RETURNING *) INSERT INTO ev VALUES (4, 'c', 'new')",
    ],
    &[
        "WITH new AS (INSERT INTO ev VALUES (4, 'c', 'new')) UPDATE ev SET v = 'changed' WHERE r = 'c'",
    ],
    &[
        "UPDATE ev SET r = 'c' WHERE id = 1",
        "UPDATE ev SET v = 'changed' WHERE r = 'c'",
    ],
    &[
        "UPDATE ev SET v = 'changed' WHERE r = 'c'",
        "INSERT INTO ev VALUES (4, 'c', 'new')",
    ],
    &[
        "DELETE FROM ev WHERE r = 'c'",
        "INSERT INTO ev VALUES (4, 'c', 'new')",
    ],
    &["UPDATE ev SET r = 'a' WHERE r = 'c'"],
    &["TRUNCATE ev"],
    &["TRUNCATE ev", "INSERT INTO ev VALUES (4, 'c', 'new')"],
    &[
        "ALTER TABLE ev ALTER v TYPE varchar(40)",
        "INSERT INTO ev VALUES (4, 'c', 'new')",
        "DELETE FROM ev WHERE id = 3",
    ],
];

/// The same for a partition that is truncated by itself: no trigger of it fires before a refresh.
const TRUNCATIONS: [&[&str]; 2] = [
    &["TRUNCATE ev_c"],
    &["TRUNCATE ev_c", "INSERT INTO ev VALUES (4, 'c', 'new')"],
];

fn now(conn: &mut PgConnection) -> String {
    text(conn, "SELECT clock_timestamp()").unwrap()
}

fn as_of(at: &str) -> String {
    format!(
        "SELECT string_agg(concat(id, r, v), ' ' ORDER BY id) FROM threadline.as_of(NULL::ev, '{at}')"
    )
}

/// The statements in a transaction each, or in one with all before.
fn run_each(conn: &mut PgConnection, statements: &[&str], in_one: bool) {
    if in_one {
        run(conn, &format!("BEGIN; {}; COMMIT", statements.join("; ")));
    } else {
        for statement in statements {
            run(conn, statement);
        }
    }
}

/// Reading is refused, and goes on with a new history after the refresh.
fn begins_anew(conn: &mut PgConnection, at: &str, reason: &str, told: &str) {
    error(conn, &as_of(at));
    assert!(
        findings(conn).contains(&"error partition_moved ev".to_owned()),
        "{told}"
    );
    run(conn, "SELECT threadline.refresh_audited_tables()");
    let message = error(conn, &as_of(at));
    assert!(message.contains(reason), "{told}: {message}");
    let (at, present) = (
        now(conn),
        "SELECT string_agg(concat(id, r, v), ' ' ORDER BY id) FROM ev",
    );
    let present = text(conn, present);
    run(conn, "DELETE FROM ev");
    assert_eq!(text(conn, &as_of(&at)), present, "{told}");
}

/// Whatever is written first, and whatever becomes of the rows that a partition brought, its history begins anew.
#[test]
fn with_rows() {
    let make =
        "CREATE TABLE ev_c (LIKE ev INCLUDING ALL); INSERT INTO ev_c VALUES (3, 'c', 'brought')";
    for writes in WRITES {
        for in_one in [false, true] {
            let (_database, mut conn) = database(TABLE);
            let at = now(&mut conn);
            let statements = [&[make, ATTACH], writes].concat();
            run_each(&mut conn, &statements, in_one);
            let told = format!("{in_one} {writes:?}");
            begins_anew(&mut conn, &at, "was attached with rows in it", &told);
        }
        // In a transaction that began before, and in later ones that are rolled back first.
        let (_database, mut conn) = database(TABLE);
        let at = now(&mut conn);
        run(&mut conn, &format!("{make}; {ATTACH}"));
        run(
            &mut conn,
            "BEGIN; INSERT INTO ev VALUES (9, 'c', 'none'); ROLLBACK",
        );
        run_each(&mut conn, writes, true);
        let told = format!("later {writes:?}");
        begins_anew(&mut conn, &at, "was attached with rows in it", &told);
    }
}

/// Rows that COPY adds to those that were brought do not hide them.
#[test]
fn with_rows_and_copy() {
    for in_one in [false, true] {
        let (_database, mut conn) = database(TABLE);
        let at = now(&mut conn);
        let copy = "COPY ev FROM PROGRAM 'printf ''4,c,new\\n5,c,new\\n''' (FORMAT csv)";
        let statements = [
            "CREATE TABLE ev_c (LIKE ev INCLUDING ALL); INSERT INTO ev_c VALUES (3, 'c', 'brought')",
            ATTACH,
            copy,
            "DELETE FROM ev WHERE id = 3",
        ];
        run_each(&mut conn, &statements, in_one);
        begins_anew(&mut conn, &at, "was attached with rows in it", copy);
    }
}

/// So it does where a partition that nobody has written is truncated by itself, or is detached again after it was.
#[test]
fn truncated() {
    let make =
        "CREATE TABLE ev_c (LIKE ev INCLUDING ALL); INSERT INTO ev_c VALUES (3, 'c', 'brought')";
    for writes in TRUNCATIONS {
        let (_database, mut conn) = database(TABLE);
        run(&mut conn, &format!("{make}; {ATTACH}"));
        let at = now(&mut conn);
        run_each(&mut conn, writes, false);
        begins_anew(
            &mut conn,
            &at,
            "partition public.ev_c was",
            &format!("{writes:?}"),
        );
    }
    for (writes, reason) in [
        (
            "INSERT INTO ev VALUES (4, 'c', 'new')",
            "was attached with rows in it",
        ),
        ("TRUNCATE ev", "was attached with rows in it"),
    ] {
        for gone in ["ALTER TABLE ev DETACH PARTITION ev_c", "DROP TABLE ev_c"] {
            let (_database, mut conn) = database(TABLE);
            run(&mut conn, &format!("{make}; {ATTACH}"));
            let at = now(&mut conn);
            run(&mut conn, writes);
            run(&mut conn, gone);
            begins_anew(&mut conn, &at, reason, &format!("{writes}; {gone}"));
        }
    }
}

/// Rows that went with a partition are missed, also where it is truncated before the refresh, or comes back.
#[test]
fn detached() {
    let young = "CREATE TABLE ev_c PARTITION OF ev FOR VALUES IN ('c')";
    for (writes, reason) in [
        (
            &["ALTER TABLE ev DETACH PARTITION ev_b", "TRUNCATE ev_b"][..],
            "was detached or dropped with its rows",
        ),
        (
            &[
                young,
                "INSERT INTO ev VALUES (4, 'c', 'new')",
                "TRUNCATE ev_c",
            ],
            "was truncated before a refresh knew it",
        ),
        (
            &[
                young,
                "INSERT INTO ev VALUES (4, 'c', 'new')",
                "TRUNCATE ev_c",
                "ALTER TABLE ev DETACH PARTITION ev_c",
            ],
            "was detached or dropped with its rows",
        ),
        (
            &[
                young,
                "INSERT INTO ev VALUES (4, 'c', 'new')",
                "ALTER TABLE ev DETACH PARTITION ev_c",
                "DELETE FROM ev_c",
                ATTACH,
            ],
            "was attached with rows in it",
        ),
    ] {
        let (_database, mut conn) = database(TABLE);
        let at = now(&mut conn);
        run_each(&mut conn, writes, false);
        begins_anew(&mut conn, &at, reason, &format!("{writes:?}"));
    }
}

/// A partition that is attached empty keeps the history, whatever is written first, also after a savepoint, in a
/// transaction that wrote elsewhere before it was there, and where it was emptied or truncated before.
#[test]
fn empty() {
    let made = [
        "CREATE TABLE ev_c PARTITION OF ev FOR VALUES IN ('c')",
        "CREATE TABLE ev_c (LIKE ev INCLUDING ALL); SAVEPOINT s; ALTER TABLE ev ATTACH PARTITION ev_c FOR VALUES IN ('c'); RELEASE s",
        "CREATE TABLE ev_c (LIKE ev INCLUDING ALL); INSERT INTO ev_c VALUES (3, 'c', 'gone'); DELETE FROM ev_c; ALTER TABLE ev ATTACH PARTITION ev_c FOR VALUES IN ('c')",
        "INSERT INTO staged VALUES (3, 'c', 'gone'); TRUNCATE staged; ALTER TABLE staged RENAME TO ev_c; ALTER TABLE ev ATTACH PARTITION ev_c FOR VALUES IN ('c')",
        "CREATE TABLE ev_c PARTITION OF ev FOR VALUES IN ('c') PARTITION BY LIST (r); CREATE TABLE ev_c_1 PARTITION OF ev_c DEFAULT",
    ];
    let made = made.iter().cycle();
    let cases = WRITES
        .iter()
        .flat_map(|writes| [(writes, true), (writes, false)]);
    for ((writes, in_one), make) in cases.zip(made) {
        let (database, mut conn) = database(&format!(
            "{TABLE}; CREATE TABLE staged (LIKE ev INCLUDING ALL)"
        ));
        let at = now(&mut conn);
        let mut other = database.connect();
        run(&mut other, "BEGIN; SELECT pg_current_xact_id()");
        run(&mut conn, &format!("BEGIN; {make}"));
        run(&mut conn, if in_one { "SELECT" } else { "COMMIT" });
        for write in *writes {
            let write = write.replace("INSERT INTO ev_c ", "INSERT INTO ev ");
            run(&mut conn, &write);
        }
        run(&mut conn, if in_one { "COMMIT" } else { "SELECT" });
        run(
            &mut other,
            "INSERT INTO ev VALUES (5, 'c', 'later'); UPDATE ev SET v = 'later' WHERE id = 5; COMMIT",
        );
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
        let past = text(&mut conn, &as_of(&at));
        assert_eq!(
            past.as_deref(),
            Some("1aaudited 2baudited"),
            "{make} {writes:?}"
        );
        assert_eq!(count(&mut conn, "threadline_internal.young_partitions"), 0);
    }
}

/// A transaction that keeps a snapshot from before a partition was attached cannot see what it brought. The next writer
/// tells, or the refresh.
#[test]
fn written_under_an_older_snapshot() {
    for (rows, later, is_kept) in [
        ("SELECT", "SELECT", true),
        (
            "INSERT INTO ev_c VALUES (3, 'c', 'brought')",
            "SELECT",
            false,
        ),
        (
            "INSERT INTO ev_c VALUES (3, 'c', 'brought')",
            "DELETE FROM ev WHERE id = 3",
            false,
        ),
        (
            "INSERT INTO ev_c VALUES (3, 'c', 'brought')",
            "INSERT INTO ev VALUES (6, 'c', 'new'); DELETE FROM ev WHERE id = 3",
            false,
        ),
    ] {
        let (database, mut conn) = database(TABLE);
        let at = now(&mut conn);
        let mut other = database.connect();
        run(&mut other, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT");
        run(
            &mut conn,
            &format!("CREATE TABLE ev_c (LIKE ev INCLUDING ALL); {rows}; {ATTACH}"),
        );
        run(
            &mut other,
            "INSERT INTO ev VALUES (5, 'c', 'new'); UPDATE ev SET v = 'changed' WHERE r = 'c'; COMMIT",
        );
        run(&mut conn, later);
        if is_kept {
            run(&mut conn, "SELECT threadline.refresh_audited_tables()");
            let past = text(&mut conn, &as_of(&at));
            assert_eq!(past.as_deref(), Some("1aaudited 2baudited"));
        } else {
            begins_anew(&mut conn, &at, "was attached with rows in it", later);
        }
    }
}
