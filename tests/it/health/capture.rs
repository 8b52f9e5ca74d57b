//! Triggers and capture functions that are missing, disabled or replaced.

use super::{TABLES, assert_found, assert_healthy, follow_hints, problems};
use crate::common::{changes, database, run, text};

/// A trigger that is missing, disabled, or enabled for replication only, on the table or on one of its partitions.
#[test]
fn triggers_that_do_not_fire() {
    let (_database, mut conn) = database(TABLES);
    for (sql, expected) in [
        (
            r#"DROP TRIGGER "!threadline_update" ON numbered"#,
            r#"error trigger_missing numbered: trigger "!threadline_update" is missing"#,
        ),
        (
            r#"ALTER TABLE numbered DISABLE TRIGGER "!threadline_truncate""#,
            r#"error trigger_disabled numbered: trigger "!threadline_truncate" is disabled"#,
        ),
        (
            r#"ALTER TABLE paired ENABLE REPLICA TRIGGER "!threadline_insert""#,
            r#"error trigger_disabled paired: trigger "!threadline_insert" is enabled for replication only"#,
        ),
        (
            r#"ALTER TABLE parted_older DISABLE TRIGGER "!threadline_11_delete""#,
            r#"error trigger_disabled parted: trigger "!threadline_11_delete" of partition public.parted_older is disabled"#,
        ),
        (
            r#"DROP TRIGGER "!threadline_11_truncate" ON parted_rest"#,
            r#"error trigger_missing parted: trigger "!threadline_11_truncate" of partition public.parted_rest is missing"#,
        ),
        (
            r#"DROP TRIGGER "!threadline_11_truncate" ON parted_old"#,
            r#"error trigger_missing parted: trigger "!threadline_11_truncate" of partition public.parted_old is missing"#,
        ),
        (
            r#"DROP TRIGGER "!threadline_12_truncate" ON parted_keyless"#,
            r#"error trigger_missing parted_keyless: trigger "!threadline_12_truncate" is missing"#,
        ),
        (
            r#"DROP TRIGGER "!threadline_delete" ON "S s"."it's""#,
            r#"error trigger_missing S s.it's: trigger "!threadline_delete" is missing"#,
        ),
    ] {
        assert_found(&mut conn, sql, &[expected]);
    }
    run(&mut conn, "ALTER TABLE big DISABLE TRIGGER ALL");
    assert_eq!(problems(&mut conn).len(), 4);
    run(&mut conn, "ALTER TABLE big ENABLE TRIGGER ALL");
    // What was written while they were off is not recorded, and the history begins anew.
    assert_eq!(
        problems(&mut conn),
        [
            "error trigger_switched big: the capture triggers of public.big were switched off and on, or made anew"
        ]
    );
    follow_hints(&mut conn);
    // These fire in every session, which is more than is asked for.
    run(
        &mut conn,
        r#"ALTER TABLE big ENABLE ALWAYS TRIGGER "!threadline_insert""#,
    );
    assert_healthy(&mut conn);
}

/// A trigger that has the name and calls another function, at other times, for some rows or for some columns only.
#[test]
fn replaced_triggers() {
    let (_database, mut conn) = database(TABLES);
    run(
        &mut conn,
        "CREATE FUNCTION nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    );
    for (table, event, definition) in [
        (
            "numbered",
            "insert",
            "AFTER INSERT ON numbered REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION nothing()",
        ),
        (
            "numbered",
            "insert",
            "AFTER INSERT ON numbered EXECUTE FUNCTION threadline_internal.capture_1_insert()",
        ),
        (
            "numbered",
            "insert",
            "AFTER INSERT ON numbered REFERENCING NEW TABLE AS new_rows WHEN (false) EXECUTE FUNCTION threadline_internal.capture_1_insert()",
        ),
        (
            "numbered",
            "delete",
            "AFTER DELETE ON numbered REFERENCING OLD TABLE AS old_rows EXECUTE FUNCTION threadline_internal.capture_1_insert()",
        ),
        (
            "numbered",
            "truncate",
            "AFTER TRUNCATE ON numbered EXECUTE FUNCTION threadline_internal.capture_1_truncate()",
        ),
        (
            "paired",
            "update",
            "AFTER UPDATE OF a ON paired FOR EACH ROW WHEN (NOT (OLD.* *= NEW.*)) EXECUTE FUNCTION threadline_internal.capture_8_update()",
        ),
        (
            "paired",
            "update",
            "AFTER UPDATE ON paired FOR EACH ROW EXECUTE FUNCTION threadline_internal.capture_8_update()",
        ),
        (
            "paired",
            "update",
            "AFTER UPDATE ON paired FOR EACH ROW WHEN (NOT (OLD.* *= NEW.*) AND OLD.a > 5) EXECUTE FUNCTION threadline_internal.capture_8_update()",
        ),
        (
            "paired",
            "delete",
            "BEFORE DELETE ON paired FOR EACH ROW EXECUTE FUNCTION threadline_internal.capture_8_delete()",
        ),
        (
            "parted",
            "truncate",
            "BEFORE TRUNCATE ON parted FOR EACH STATEMENT EXECUTE FUNCTION nothing()",
        ),
    ] {
        let id = if table == "parted" { "11_" } else { "" };
        let name = format!("\"!threadline_{id}{event}\"");
        assert_found(
            &mut conn,
            &format!("DROP TRIGGER {name} ON {table}; CREATE TRIGGER {name} {definition}"),
            &[&format!(
                "error trigger_replaced {table}: trigger {name} is another one than Threadline made"
            )],
        );
    }
}

/// A capture function that does something else, or the same with other rights or settings.
#[test]
fn replaced_functions() {
    let (_database, mut conn) = database(TABLES);
    for (table, id) in [("numbered", 1), ("paired", 8), ("parted", 11)] {
        for (event, sql) in [
            (
                "insert",
                "CREATE OR REPLACE FUNCTION {} RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NULL; END'",
            ),
            ("update", "ALTER FUNCTION {} SECURITY INVOKER"),
            ("delete", "ALTER FUNCTION {} SET DateStyle = 'German'"),
            ("truncate", "ALTER FUNCTION {} RESET search_path"),
        ] {
            let function = format!("threadline_internal.capture_{id}_{event}()");
            assert_found(
                &mut conn,
                &sql.replace("{}", &function),
                &[&format!(
                    "error function_replaced {table}: function {function} is another one than Threadline made"
                )],
            );
        }
    }
    // Also while the definition is stale, unless that is of the key.
    run(
        &mut conn,
        "ALTER TABLE numbered ADD x int;
         CREATE OR REPLACE FUNCTION threadline_internal.capture_1_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN RETURN NULL; END'",
    );
    assert_eq!(problems(&mut conn).len(), 2);
}

/// What was not captured is not claimed: after it is mended, the past of the table begins anew. Where capture only was not up
/// to date, it does not.
#[test]
fn a_gap_is_not_hidden() {
    let (_database, mut conn) = database(TABLES);
    let since = |conn: &mut _, table: &str| {
        text(
            conn,
            &format!("SELECT capture_since FROM threadline.audited_tables WHERE relation = '{table}'::regclass"),
        )
        .unwrap()
    };
    for (table, broken, mended_by_hand) in [
        (
            "parted",
            r#"ALTER TABLE parted_older DISABLE TRIGGER "!threadline_11_insert""#,
            false,
        ),
        (
            "small",
            "CREATE OR REPLACE FUNCTION threadline_internal.capture_3_insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
            false,
        ),
        ("small", "ALTER TABLE small ADD note text", true),
        (
            "parted",
            "CREATE TABLE parted_new PARTITION OF parted FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')",
            true,
        ),
        (
            "priced",
            "ALTER TABLE priced ALTER price TYPE numeric",
            true,
        ),
        ("priced", "ALTER TABLE priced RENAME price TO cost", true),
        (
            "priced",
            "UPDATE threadline.audited_tables SET definition_version = 0",
            true,
        ),
    ] {
        let before = since(&mut conn, table);
        run(&mut conn, broken);
        run(&mut conn, "SELECT threadline.refresh_audited_tables()");
        assert_eq!(
            since(&mut conn, table) == before,
            mended_by_hand,
            "{broken}"
        );
    }
    run(&mut conn, "INSERT INTO small VALUES (1)");
    assert_eq!(changes(&mut conn, "public.small").len(), 1);
}
