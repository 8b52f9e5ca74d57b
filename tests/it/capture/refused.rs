//! Law 9: what cannot be audited as asked is refused with a reason and a hint, and nothing is changed by it.

use diesel::pg::PgConnection;

use super::texts;
use crate::common::{database, error, run};

/// Everything a call could have changed: the audit log's tables, its functions, and all triggers.
fn state(conn: &mut PgConnection) -> Vec<String> {
    texts(
        conn,
        "SELECT t::text AS value FROM threadline.audited_tables AS t
         UNION ALL SELECT concat(tgrelid, tgname, tgfoid, tgtype, oid) FROM pg_trigger
         UNION ALL SELECT concat(oid, proname, md5(prosrc), proacl, xmin) FROM pg_proc WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
         UNION ALL SELECT concat(oid, relname, relacl) FROM pg_class WHERE relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace)
         ORDER BY 1",
    )
}

/// Each refused call gives its message and hint, before and after a table is under capture, and leaves everything as it was.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn refused() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int, \"Part\" text, name text, n int, v5 varchar(5), v10 varchar(10), PRIMARY KEY (id, \"Part\"));
         CREATE DOMAIN short AS text CHECK (length(VALUE) < 5); CREATE DOMAIN fitting AS text; ALTER TABLE t ADD s short, ADD f fitting, ADD gone int;
         ALTER TABLE t DROP COLUMN gone;
         CREATE VIEW v AS SELECT * FROM t; CREATE MATERIALIZED VIEW mv AS SELECT 1 AS id; CREATE SEQUENCE sq; CREATE TYPE composite AS (a int); CREATE INDEX ix ON t (n);
         CREATE FOREIGN DATA WRAPPER none; CREATE SERVER none FOREIGN DATA WRAPPER none; CREATE FOREIGN TABLE ft (id int) SERVER none;
         CREATE TEMP TABLE tt (id int PRIMARY KEY);
         CREATE TABLE p (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE p_1 PARTITION OF p FOR VALUES FROM (0) TO (9) PARTITION BY RANGE (id);
         CREATE TABLE p_11 PARTITION OF p_1 DEFAULT;
         CREATE TABLE fp (id int) PARTITION BY RANGE (id); CREATE FOREIGN TABLE fp_1 PARTITION OF fp DEFAULT SERVER none;
         CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child () INHERITS (parent);",
    );
    let only_columns = "Its columns are: id, \"Part\", name, n, v5, v10, s, f.";
    let of_text = "Mask only columns of text, and exclude the others.";
    let whose = "The key says whose history a change belongs to, so it can be neither masked nor excluded. A secret can be recorded as a keyed hash: hash_key.";
    let choose =
        "A masked column is recorded as a placeholder, an excluded one not at all: choose one.";
    let straight =
        "granularity 'statement' would miss writes aimed straight at a partition or child table";
    let rows = "Leave the granularity out, or ask for 'row'.";
    let refusals = [
        (
            "'t', mask => '{nothing}'",
            "t: it has no column nothing",
            only_columns,
        ),
        (
            "'t', exclude => '{name,Name}'",
            "t: it has no column \"Name\"",
            only_columns,
        ),
        (
            "'t', exclude => '{gone}'",
            "t: it has no column gone",
            only_columns,
        ),
        (
            "'t', exclude => '{ctid}'",
            "t: it has no column ctid",
            only_columns,
        ),
        (
            "'t', mask => '{Part}'",
            "t: column \"Part\" is part of its primary key",
            whose,
        ),
        (
            "'t', exclude => '{id}'",
            "t: column id is part of its primary key",
            whose,
        ),
        (
            "'t', mask => '{name}', exclude => '{n,name}'",
            "t: column name is both masked and excluded",
            choose,
        ),
        (
            "'t', mask => '{n}'",
            "t: column n of type integer cannot hold the placeholder [REDACTED]",
            of_text,
        ),
        (
            "'t', mask => '{v5}'",
            "t: column v5 of type character varying(5) cannot hold the placeholder [REDACTED]",
            of_text,
        ),
        (
            "'t', mask => '{name,s}'",
            "t: column s of type public.short cannot hold the placeholder [REDACTED]",
            of_text,
        ),
        (
            "'t', granularity => 'column'",
            "t: granularity 'column' is unknown",
            "It is 'row' or 'statement', or left out.",
        ),
        (
            "'t', granularity => ''",
            "t: granularity '' is unknown",
            "It is 'row' or 'statement', or left out.",
        ),
        (
            "'p', granularity => 'statement'",
            &format!("p: {straight}"),
            rows,
        ),
        (
            "'parent', granularity => 'statement'",
            &format!("parent: {straight}"),
            rows,
        ),
        (
            "'child', granularity => 'statement'",
            &format!("child: {straight}"),
            rows,
        ),
        (
            "'v'",
            "v: it is a view",
            "Audit the tables that the view reads.",
        ),
        (
            "'mv'",
            "mv: it is a view",
            "Audit the tables that the view reads.",
        ),
        (
            "'ft'",
            "ft: it is a foreign table",
            "Audit the table on the server that holds it.",
        ),
        (
            "'fp'",
            "fp: one of its partitions is a foreign table",
            "Detach the foreign partition: rows on another server cannot be captured from here.",
        ),
        (
            "'sq'",
            "sq: it is not a table",
            "Name an ordinary or a partitioned table.",
        ),
        (
            "'ix'",
            "ix: it is not a table",
            "Name an ordinary or a partitioned table.",
        ),
        (
            "'composite'",
            "composite: it is not a table",
            "Name an ordinary or a partitioned table.",
        ),
        (
            "'p_1'",
            "p_1: it is a partition",
            "Audit the partitioned table public.p; its partitions are captured with it.",
        ),
        (
            "'p_11'",
            "p_11: it is a partition",
            "Audit the partitioned table public.p; its partitions are captured with it.",
        ),
    ];
    let system = "Triggers do not fire on system tables.";
    let others = [
        (
            "'tt'",
            "tt: it is a temporary table",
            "Only what outlives the session can be audited.",
        ),
        ("'pg_class'", "pg_class: it is a system table", system),
        (
            "'pg_toast.pg_toast_1255'",
            "pg_toast.pg_toast_1255: it is a system table",
            system,
        ),
        (
            "'information_schema.sql_features'",
            "information_schema.sql_features: it is a system table",
            system,
        ),
        (
            "'information_schema.tables'",
            "information_schema.tables: it is a system table",
            system,
        ),
        (
            "'threadline.audit_changes'",
            "threadline.audit_changes: it belongs to Threadline",
            "The audit log cannot record itself.",
        ),
        (
            "'threadline.audit_changes_default'",
            "threadline.audit_changes_default: it belongs to Threadline",
            "The audit log cannot record itself.",
        ),
        (
            "'threadline.changes'",
            "threadline.changes: it belongs to Threadline",
            "The audit log cannot record itself.",
        ),
    ];
    for audited in [false, true] {
        if audited {
            run(
                &mut conn,
                "SELECT threadline.audit_table('t', mask => '{name,v10,f}', exclude => '{n}'), threadline.audit_table('p')",
            );
        }
        let before = state(&mut conn);
        let public = refusals.iter().map(|(arguments, message, hint)| {
            (
                *arguments,
                format!("cannot audit public.{message} HINT: {hint}"),
            )
        });
        let qualified = others.iter().map(|(arguments, message, hint)| {
            (*arguments, format!("cannot audit {message} HINT: {hint}"))
        });
        for (arguments, expected) in public.chain(qualified) {
            let message = error(
                &mut conn,
                &format!("SELECT threadline.audit_table({arguments})"),
            );
            assert_eq!(message, expected, "{arguments}");
        }
        assert_eq!(
            error(&mut conn, "SELECT threadline.audit_table('nowhere')"),
            "relation \"nowhere\" does not exist"
        );
        for gone in ["0::regclass", "99999999::oid::regclass", "NULL"] {
            assert_eq!(
                error(&mut conn, &format!("SELECT threadline.audit_table({gone})")),
                "cannot audit a table that does not exist HINT: The first argument of threadline.audit_table is the table, as in 'users'::regclass."
            );
        }
        assert_eq!(state(&mut conn), before);
    }
}

/// NULL stands for "left out" in every argument but the table, and `unaudit_table` says false of what is not audited.
#[test]
fn nulls_and_unaudit() {
    let (_database, mut conn) = database(
        "CREATE TABLE t (id int PRIMARY KEY, name text); CREATE TABLE other (id int); SELECT threadline.audit_table('t')",
    );
    let before = state(&mut conn);
    run(
        &mut conn,
        "SELECT threadline.audit_table('t', NULL, NULL, NULL)",
    );
    let answers = texts(
        &mut conn,
        "SELECT concat(threadline.unaudit_table('other'), threadline.unaudit_table('pg_class'), threadline.unaudit_table(NULL)) AS value",
    );
    assert_eq!(answers, ["fff"]);
    assert_eq!(state(&mut conn), before);
    assert_eq!(
        error(&mut conn, "SELECT threadline.unaudit_table('nowhere')"),
        "relation \"nowhere\" does not exist"
    );
}

/// Whoever does not own the table is refused by PostgreSQL itself, and nothing is left behind half done.
#[test]
fn a_failure_half_way_leaves_nothing() {
    let (_database, mut conn) = database("CREATE TABLE t (id int PRIMARY KEY, name text)");
    let before = state(&mut conn);
    // A trigger of this name stands in the way of the last steps.
    run(
        &mut conn,
        "CREATE FUNCTION threadline_internal.capture_1_truncate() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    );
    let message = error(&mut conn, "SELECT threadline.audit_table('t')");
    assert!(
        message.starts_with("cannot change return type of existing function"),
        "{message}"
    );
    run(
        &mut conn,
        "DROP FUNCTION threadline_internal.capture_1_truncate()",
    );
    assert_eq!(state(&mut conn), before);
    run(&mut conn, "DROP TABLE t");
    assert_eq!(state(&mut conn), before);
}
