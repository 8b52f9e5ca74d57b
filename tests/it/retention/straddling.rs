//! A transaction that lost its beginning to a purge is never shown by half.

use crate::common::{database, error, run, text};

/// Two tables and a transaction that changes the one before the horizon and the other after it. The old change of `b` is as old; those
/// before all have gone, so that the horizon of `a` is where the transaction took effect.
#[test]
fn a_part_is_gone() {
    let (_database, mut conn) = database(
        "CREATE TABLE a (id integer PRIMARY KEY, n integer); CREATE TABLE b (LIKE a INCLUDING ALL);
         SELECT threadline.audit_table('a'), threadline.audit_table('b');
         INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1);
         UPDATE threadline.audited_tables SET capture_since = '2025-12-01';",
    );
    run(
        &mut conn,
        "UPDATE a SET n = 2; SELECT pg_sleep(0.3); UPDATE b SET n = 2",
    );
    // As if it had been around midnight at the end of a month: the ids are those of the time, and so are the long transactions.
    run(
        &mut conn,
        "CREATE FUNCTION shifted(at timestamptz) RETURNS timestamptz LANGUAGE sql AS $$
           SELECT at - (SELECT max(captured_at) FROM threadline.audit_changes WHERE op = 'update') + timestamptz '2026-02-01 00:00:00.1+00' $$;
         CREATE TEMPORARY TABLE moved AS SELECT id, shifted(occurred_at) AS at, threadline.first_id_after(shifted(occurred_at) - interval '1 microsecond') AS moved FROM threadline.audit_transactions;
         CREATE TEMPORARY TABLE times AS SELECT id, shifted(captured_at) AS at FROM threadline.audit_changes;
         UPDATE threadline.audit_transactions AS t SET id = m.moved, occurred_at = m.at FROM moved AS m WHERE m.id = t.id;
         UPDATE threadline_internal.long_transactions AS t SET transaction_id = m.moved, occurred_at = m.at FROM moved AS m WHERE m.id = t.transaction_id;
         UPDATE threadline.audit_changes AS c SET transaction_id = m.moved FROM moved AS m WHERE m.id = c.transaction_id;
         UPDATE threadline.audit_changes AS c SET captured_at = t.at FROM times AS t WHERE t.id = c.id;
         SELECT threadline.maintain();",
    );
    let at = |sql: &str| format!("SELECT string_agg(n::text, ' ') FROM ({sql}) AS r");
    let as_of = "SELECT n FROM threadline.as_of(NULL::a, '2026-02-01 00:00:00.05+00') UNION ALL SELECT n FROM threadline.as_of(NULL::b, '2026-02-01 00:00:00.05+00')";
    assert_eq!(
        text(&mut conn, &format!("({})", at(as_of))).as_deref(),
        Some("1 1")
    );
    assert_eq!(
        text(
            &mut conn,
            "SELECT count(*) > 0 FROM threadline_internal.long_transactions"
        )
        .as_deref(),
        Some("true")
    );

    run(
        &mut conn,
        "SELECT threadline.set_retention(now() - '2026-02-15 00:00:00+00')",
    );
    let purged = threadline::purge().run(&mut conn).unwrap();
    assert_eq!((purged.changes, purged.dropped.len()), (3, 1), "{purged:?}");
    let horizons =
        "SELECT string_agg(purged_before::text, ', ' ORDER BY id) FROM threadline.audited_tables";
    assert_eq!(
        text(&mut conn, horizons).as_deref(),
        Some("2026-02-01 00:00:00.1+00, 2026-02-01 00:00:00.1+00")
    );
    for table in ["a", "b"] {
        let half =
            format!("SELECT * FROM threadline.as_of(NULL::{table}, '2026-02-01 00:00:00.05+00')");
        assert!(error(&mut conn, &half).contains("its history begins at 2026-02-01 00:00:00.1+00"));
        let state = format!(
            "SELECT state || ' ' || since FROM threadline.row_as_of(NULL::{table}, '2026-02-01 00:00:00.05+00', 1)"
        );
        assert_eq!(
            text(&mut conn, &state).as_deref(),
            Some("before_history 2026-02-01 00:00:00.1+00")
        );
        let whole =
            format!("SELECT n FROM threadline.as_of(NULL::{table}, '2026-02-01 00:00:00.1+00')");
        assert_eq!(text(&mut conn, &whole).as_deref(), Some("2"));
    }
}
