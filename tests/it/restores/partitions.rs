//! Partitions that come and go change what is in a table, and no trigger fires.

use super::findings;
use crate::common::{changes, count, database, error, run, text};

const TABLE: &str = "CREATE TABLE ev (id int, r text, v text, PRIMARY KEY (id, r)) PARTITION BY LIST (r);
    CREATE TABLE ev_a PARTITION OF ev FOR VALUES IN ('a'); CREATE TABLE ev_b PARTITION OF ev FOR VALUES IN ('b');
    INSERT INTO ev VALUES (1, 'a', 'before'), (2, 'b', 'before');
    SELECT threadline.audit_table('ev'); UPDATE ev SET v = 'audited'";

fn now(conn: &mut diesel::PgConnection) -> String {
    text(conn, "SELECT clock_timestamp()").unwrap()
}

fn as_of(at: &str) -> String {
    format!(
        "SELECT string_agg(concat(id, r, v), ' ' ORDER BY id) FROM threadline.as_of(NULL::ev, '{at}')"
    )
}

/// A partition that was made empty, or attached empty, leaves the history as it is, also where it is written before the
/// refresh.
#[test]
fn empty_ones_change_nothing() {
    for made in [
        "CREATE TABLE ev_c PARTITION OF ev FOR VALUES IN ('c')",
        "CREATE TABLE ev_c (LIKE ev INCLUDING ALL); ALTER TABLE ev ATTACH PARTITION ev_c FOR VALUES IN ('c')",
        "BEGIN; CREATE TABLE ev_c (LIKE ev INCLUDING ALL); ALTER TABLE ev ATTACH PARTITION ev_c FOR VALUES IN ('c'); INSERT INTO ev VALUES (4, 'c', 'new'); COMMIT",
        "BEGIN; CREATE TABLE ev_c PARTITION OF ev FOR VALUES IN ('c') PARTITION BY LIST (r); CREATE TABLE ev_c_1 PARTITION OF ev_c DEFAULT; INSERT INTO ev VALUES (4, 'c', 'new'); COMMIT",
    ] {
        let (_database, mut conn) = database(TABLE);
        let at = now(&mut conn);
        run(&mut conn, made);
        run(
            &mut conn,
            "INSERT INTO ev VALUES (3, 'c', 'new'); UPDATE ev SET v = v || '+'",
        );
        for _ in 0..2 {
            run(&mut conn, "SELECT threadline.refresh_audited_tables()");
            assert_eq!(
                text(&mut conn, &as_of(&at)).unwrap(),
                "1aaudited 2baudited",
                "{made}"
            );
        }
    }
}

/// A partition that brings rows begins the history anew, and until the refresh nothing is read.
#[test]
fn attached_with_rows() {
    for made in [
        "CREATE TABLE ev_c (LIKE ev INCLUDING ALL); INSERT INTO ev_c VALUES (3, 'c', 'brought'); ALTER TABLE ev ATTACH PARTITION ev_c FOR VALUES IN ('c')",
        "BEGIN; CREATE TABLE ev_c (LIKE ev INCLUDING ALL); INSERT INTO ev_c VALUES (3, 'c', 'brought'); ALTER TABLE ev ATTACH PARTITION ev_c FOR VALUES IN ('c'); COMMIT",
        "CREATE TABLE ev_c (id int, r text, v text, PRIMARY KEY (id, r)) PARTITION BY LIST (r); CREATE TABLE ev_c_1 PARTITION OF ev_c DEFAULT;
         INSERT INTO ev_c VALUES (3, 'c', 'brought'); ALTER TABLE ev ATTACH PARTITION ev_c FOR VALUES IN ('c')",
    ] {
        let (_database, mut conn) = database(TABLE);
        let at = now(&mut conn);
        run(&mut conn, made);
        run(&mut conn, "INSERT INTO ev VALUES (4, 'c', 'new')");
        error(&mut conn, &as_of(&at));
        assert!(findings(&mut conn).contains(&"error partition_moved ev".to_owned()), "{made}");
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
        assert!(error(&mut conn, &as_of(&at)).contains("was attached with rows in it"), "{made}");
        let at = now(&mut conn);
        run(&mut conn, "DELETE FROM ev WHERE id = 3");
        assert_eq!(text(&mut conn, &as_of(&at)).unwrap(), "1aaudited 2baudited 3cbrought 4cnew");
    }
}

/// So it does where the first write after it leaves none of its rows as it was.
#[test]
fn attached_with_rows_that_are_written_first() {
    for write in [
        "UPDATE ev SET v = 'changed' WHERE r = 'c'",
        "DELETE FROM ev WHERE r = 'c'",
        "UPDATE ev SET id = id + 10 WHERE r = 'c'; INSERT INTO ev VALUES (4, 'c', 'new')",
    ] {
        let (_database, mut conn) = database(TABLE);
        let at = now(&mut conn);
        run(
            &mut conn,
            &format!(
                "CREATE TABLE ev_c (LIKE ev INCLUDING ALL); INSERT INTO ev_c VALUES (3, 'c', 'brought');
                 ALTER TABLE ev ATTACH PARTITION ev_c FOR VALUES IN ('c'); {write}"
            ),
        );
        error(&mut conn, &as_of(&at));
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
        let message = error(&mut conn, &as_of(&at));
        assert!(
            message.contains("was attached with rows in it"),
            "{write}: {message}"
        );
    }
}

/// A partition that takes rows away begins the history anew, also one that no refresh has known; one that was truncated
/// before does not.
#[test]
fn detached_with_rows() {
    for gone in [
        "ALTER TABLE ev DETACH PARTITION ev_b",
        "DROP TABLE ev_b",
        "CREATE TABLE ev_c PARTITION OF ev FOR VALUES IN ('c'); INSERT INTO ev VALUES (3, 'c', 'young'); DROP TABLE ev_c",
        "ALTER TABLE ev DETACH PARTITION ev_b; ALTER TABLE ev ATTACH PARTITION ev_b FOR VALUES IN ('b')",
    ] {
        let (_database, mut conn) = database(TABLE);
        let at = now(&mut conn);
        run(&mut conn, gone);
        error(&mut conn, &as_of(&at));
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
        assert!(
            error(&mut conn, &as_of(&at)).contains("its history begins at"),
            "{gone}"
        );
        assert_eq!(
            findings(&mut conn)
                .iter()
                .find(|found| found.ends_with(" ev")),
            None
        );
    }
    let (_database, mut conn) = database(TABLE);
    let at = now(&mut conn);
    run(
        &mut conn,
        "TRUNCATE ev_b; ALTER TABLE ev DETACH PARTITION ev_b; SELECT threadline.refresh_audited_tables(); DROP TABLE ev_b; SELECT threadline.refresh_audited_tables()",
    );
    assert_eq!(text(&mut conn, &as_of(&at)).unwrap(), "1aaudited 2baudited");
}

/// A table that is audited can be attached. What is written to it is recorded as of the table that it is a part of, and
/// its own log can be ended, which keeps it.
#[test]
fn audited_by_itself() {
    let (_database, mut conn) = database(&format!(
        "{TABLE}; CREATE TABLE ev_c (LIKE ev INCLUDING ALL); SELECT threadline.audit_table('ev_c'); INSERT INTO ev_c VALUES (3, 'c', 'own')"
    ));
    let at = now(&mut conn);
    run(
        &mut conn,
        "ALTER TABLE ev ATTACH PARTITION ev_c FOR VALUES IN ('c')",
    );
    assert!(
        error(
            &mut conn,
            &format!("SELECT * FROM threadline.as_of(NULL::ev_c, '{at}')")
        )
        .contains("it has become a partition of public.ev")
    );
    let hint = text(&mut conn, "SELECT hint FROM threadline.health WHERE table_name = 'ev_c' AND \"check\" = 'not_auditable'").unwrap();
    assert!(hint.contains("unaudit_table('public.ev_c')"), "{hint}");
    run(
        &mut conn,
        "INSERT INTO ev VALUES (4, 'c', 'through'); INSERT INTO ev_c VALUES (5, 'c', 'straight')",
    );
    for event in ["before", "after"] {
        let keys: Vec<_> = changes(&mut conn, "public.ev")
            .into_iter()
            .filter_map(|row| row.row_key)
            .skip(2)
            .collect();
        assert_eq!(keys, ["[4, \"c\"]", "[5, \"c\"]"], "{event}");
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
    }
    run(
        &mut conn,
        "SELECT threadline.unaudit_table('ev_c'::regclass); SELECT threadline.refresh_audited_tables()",
    );
    assert_eq!(
        findings(&mut conn)
            .iter()
            .find(|found| found.contains("ev")),
        None
    );
    run(&mut conn, "UPDATE ev SET v = 'all'; TRUNCATE ev_c");
    assert_eq!(changes(&mut conn, "public.ev_c").len(), 2);
    assert_eq!(
        count(
            &mut conn,
            "threadline.changes WHERE table_name = 'ev' AND op = 'truncate'"
        ),
        3
    );
    assert!(error(&mut conn, &as_of(&at)).contains("was attached with rows in it"));
}
