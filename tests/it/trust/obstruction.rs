//! What weak roles make of the audit log, and what they hold, keeps nobody from maintaining, purging, refreshing and redacting it.

use diesel::prelude::*;

use super::shop::{ACTOR, Shop};
use crate::common::{error, run, text};
use crate::skipped::since;

const PURGE: &str = r#"SELECT step FROM threadline.purge_step(NULL, '{"type": "user", "id": "ops"}', 'policy', patience => '0.2 s')"#;
const REDACT: &str = r#"SELECT replaced FROM threadline.redact_step('orders', '{1}', mask => '{item}', actor_ref => '{"type": "user", "id": "ops"}', reason => 'erasure')"#;

/// The owner of the audit log, who notices when a statement does not come to an end.
fn audit(shop: &Shop) -> PgConnection {
    let mut audit = shop.connect("shop_audit");
    run(
        &mut audit,
        &format!(
            "{}; SET statement_timeout = '20 s'; SET lock_timeout = '0.3 s'",
            ACTOR.replace("true)", "false)")
        ),
    );
    audit
}

/// Nobody can use the row types of the audit log, in any object that a column, an argument or a domain is part of.
#[test]
fn row_types() {
    let shop = Shop::new();
    for role in ["shop_worker", "shop_auditor"] {
        let mut conn = shop.connect(role);
        for object in [
            "TEMP TABLE stuck (x {type})",
            "TEMP TABLE stuck (x {type}[])",
            "TEMP TABLE stuck AS SELECT NULL::{type} AS x",
            "DOMAIN pg_temp.stuck AS {type}",
            "TYPE pg_temp.stuck AS (x {type})",
            "FUNCTION pg_temp.stuck(x {type}) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "FUNCTION pg_temp.stuck() RETURNS SETOF {type} LANGUAGE sql AS 'SELECT NULL'",
        ] {
            for of in ["audit_changes", "audit_changes_default", "audited_tables"] {
                let object = object.replace("{type}", &format!("threadline.{of}"));
                let said = error(&mut conn, &format!("CREATE {object}"));
                assert_eq!(
                    said,
                    format!("permission denied for type threadline.{of}"),
                    "{object}"
                );
            }
        }
    }
}

/// Views, functions and defaults that readers and recorders build on partitions, reading functions and capture functions do
/// not keep changes from being purged, a key from being changed, and capture from being ended.
#[test]
fn dependents() {
    let mut shop = Shop::new();
    shop.age();
    let can_be_atomic = since(
        &mut shop.conn,
        14,
        "a function that depends on what is in it",
    );
    let atomic = |name: &str, query: &str| {
        let function =
            format!("CREATE FUNCTION pg_temp.{name}() RETURNS bigint BEGIN ATOMIC {query}; END");
        if can_be_atomic {
            function
        } else {
            String::new()
        }
    };
    let mut recorder = shop.connect("shop_worker");
    run(
        &mut recorder,
        &format!(
            "CREATE TEMP VIEW of_partition AS SELECT id, c IS NULL AS is_null FROM threadline.audit_changes_2020_01 AS c;
             CREATE TEMP VIEW of_log AS SELECT count(*) FROM threadline.audit_changes AS c; {}",
            atomic("of_partition", "SELECT id FROM threadline.audit_changes_2020_01")
        ),
    );
    let mut reader = shop.connect("shop_auditor");
    run(
        &mut reader,
        &format!(
            "CREATE TEMP VIEW of_row AS SELECT * FROM threadline.versions(NULL::orders, 1);
             CREATE TEMP VIEW of_past AS SELECT * FROM threadline.row_as_of(NULL::orders, now(), 1);
             CREATE TEMP VIEW of_capture AS SELECT threadline_internal.capture_1_insert() IS NULL AS x;
             CREATE TEMP TABLE of_default (x boolean DEFAULT (threadline_internal.capture_2_insert() IS NULL)); {}",
            atomic("of_row", "SELECT id FROM threadline.versions(NULL::orders, 1)")
        ),
    );
    let mut audit = audit(&shop);
    assert_eq!(text(&mut audit, REDACT).as_deref(), Some("1"));
    run(&mut audit, "SELECT threadline.set_retention('1 month')");
    shop.age_again();
    assert_eq!(text(&mut audit, PURGE).as_deref(), Some("dropped"));
    assert_eq!(
        text(
            &mut audit,
            "SELECT count(*) FROM threadline.audit_changes WHERE captured_at < '2021-01-01'"
        )
        .as_deref(),
        Some("0")
    );
    run(&mut audit, "DROP TABLE threadline.{kept} CASCADE".replace("{kept}", &text(&mut shop.conn, "SELECT relname FROM pg_class WHERE relname LIKE 'purged#_audit#_changes%' ESCAPE '#' AND relkind = 'r'").unwrap()).as_str());

    shop.run_as("shop_owner", "UPDATE orders SET quantity = 1; ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (id, quantity)");
    assert_eq!(
        text(&mut audit, "SELECT threadline.refresh_audited_tables()").as_deref(),
        Some("2")
    );
    assert_eq!(shop.health(), "");
    assert!(error(&mut reader, "TABLE of_row").starts_with(
        "threadline.versions does not take a key of public.orders as (integer): the key is (id, quantity)"
    ));
    assert_eq!(
        text(
            &mut reader,
            "SELECT count(*) FROM threadline.versions(NULL::orders, 1, 1)"
        )
        .as_deref(),
        Some("0")
    );

    // A superuser can drop the triggers, and then finds the functions in use.
    let ended = "SELECT threadline.unaudit_table('orders') AND threadline.unaudit_table('events')";
    assert_eq!(text(&mut shop.conn, ended).as_deref(), Some("true"));
    run(
        &mut audit,
        "SELECT threadline.audit_table('orders'), threadline.audit_table('events')",
    );
    assert_eq!(shop.health(), "");
}

/// Advisory locks, whichever they are, and locks of tables that somebody may take, stop nothing.
#[test]
fn advisory_locks() {
    let mut shop = Shop::new();
    shop.age();
    let mut nobody = shop.connect("shop_nobody");
    run(
        &mut nobody,
        "SELECT pg_advisory_lock(hashtextextended(k, 0)), pg_advisory_lock(hashtext(k)), pg_advisory_lock(0, hashtext(k)) FROM unnest('{threadline, threadline purge, threadline retention, definitions, purge, retention}'::text[]) AS k;
         SELECT pg_advisory_lock(c.oid::bigint) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname LIKE 'threadline%'",
    );
    all_goes_on(&mut shop);
    assert_eq!(text(&mut audit(&shop), PURGE).as_deref(), Some("dropped"));
}

/// A recorder cannot lock the audit log, nor a reader more than its reading does; rows of `locks` neither.
#[test]
fn locks_that_are_refused() {
    let shop = Shop::new();
    let mut reader = shop.connect("shop_auditor");
    for row_lock in [
        "FOR UPDATE",
        "FOR NO KEY UPDATE",
        "FOR SHARE",
        "FOR KEY SHARE",
    ] {
        for table in [
            "threadline_internal.locks",
            "threadline.audited_tables",
            "threadline.audit_changes",
        ] {
            let said = error(&mut reader, &format!("SELECT FROM {table} {row_lock}"));
            assert!(said.starts_with("permission denied for table"), "{said}");
        }
    }
    for mode in [
        "ROW EXCLUSIVE",
        "SHARE UPDATE EXCLUSIVE",
        "SHARE",
        "SHARE ROW EXCLUSIVE",
        "EXCLUSIVE",
        "ACCESS EXCLUSIVE",
    ] {
        let said = error(
            &mut reader,
            &format!("BEGIN; LOCK TABLE threadline.audit_changes IN {mode} MODE"),
        );
        assert_eq!(said, "permission denied for table audit_changes");
        run(&mut reader, "ROLLBACK");
    }
}

/// While transactions that have read and written the audit log stay open, a purge postpones the partition, and all else goes on;
/// a purge that does not drop partitions goes on, too.
#[test]
fn open_transactions() {
    let mut shop = Shop::new();
    shop.age();
    let mut held: Vec<_> = ["shop_auditor", "shop_worker", "shop_app"]
        .map(|role| shop.connect(role))
        .into();
    run(
        &mut held[0],
        "BEGIN; SELECT count(*) FROM threadline.changes; SELECT count(*) FROM threadline.health",
    );
    run(
        &mut held[1],
        &format!(
            "BEGIN; {ACTOR}; SELECT threadline.record_action('report.sent'); CREATE TEMP VIEW v AS SELECT id FROM threadline.audit_changes_2020_01"
        ),
    );
    run(
        &mut held[2],
        "BEGIN; INSERT INTO events VALUES (8, '2026-02-02', 'open')",
    );
    all_goes_on(&mut shop);
    let mut audit = audit(&shop);
    assert_eq!(text(&mut audit, PURGE).as_deref(), Some("postponed"));
    run(
        &mut audit,
        "SELECT threadline.set_retention('1 month', whole_months => false); DELETE FROM threadline.audit_changes WHERE table_id = 2",
    );
    for conn in &mut held {
        run(conn, "COMMIT");
    }
    run(&mut held[1], "DROP VIEW v");
    assert_eq!(text(&mut audit, PURGE).as_deref(), Some("dropped"));
}

/// A VACUUM of a partition of the audit log, which may take all night, keeps `maintain` from its statistics only.
#[test]
fn vacuum() {
    let mut shop = Shop::new();
    shop.age();
    run(
        &mut shop.conn,
        "BEGIN; LOCK TABLE threadline.audit_changes_2020_01 IN SHARE UPDATE EXCLUSIVE MODE",
    );
    let mut audit = audit(&shop);
    let maintained = "SELECT m::text FROM threadline.maintain(5, '0.3 s') AS m";
    assert_eq!(text(&mut audit, maintained).as_deref(), Some("(2,0)"));
    run(&mut shop.conn, "COMMIT");
}

/// A prepared transaction of a reader outlives its session; a purge postpones the partition as long as it is there.
#[test]
fn prepared_transaction() {
    let mut shop = Shop::new();
    if text(
        &mut shop.conn,
        "SELECT current_setting('max_prepared_transactions')",
    )
    .as_deref()
        == Some("0")
    {
        return;
    }
    shop.age();
    let name = shop.own("shop_prepared");
    let mut reader = shop.connect("shop_auditor");
    run(
        &mut reader,
        &format!("BEGIN; SELECT count(*) FROM threadline.changes; PREPARE TRANSACTION '{name}'"),
    );
    drop(reader);
    all_goes_on(&mut shop);
    let mut audit = audit(&shop);
    assert_eq!(text(&mut audit, PURGE).as_deref(), Some("postponed"));
    run(&mut shop.conn, &format!("ROLLBACK PREPARED '{name}'"));
    assert_eq!(text(&mut audit, PURGE).as_deref(), Some("dropped"));
}

/// A table that its owner or its application keeps locked is left for later, with a warning or an error that says so; the
/// others are refreshed.
#[test]
fn locked_table() {
    let mut shop = Shop::new();
    shop.run_as("shop_owner", "CREATE TABLE drafts (id int PRIMARY KEY); ALTER TABLE orders ADD COLUMN note text; CREATE TABLE may PARTITION OF events FOR VALUES FROM ('2026-05-01') TO ('2026-06-01')");
    shop.run_as("shop_audit", "SELECT threadline.audit_table('drafts')");
    shop.run_as("shop_owner", "ALTER TABLE drafts ADD COLUMN note text");
    for (role, lock, found) in [
        ("shop_app", "orders IN EXCLUSIVE", "definition_stale"),
        (
            "shop_owner",
            "orders IN ACCESS EXCLUSIVE",
            "definition_stale",
        ),
        (
            "shop_owner",
            "events_2026_01 IN ACCESS EXCLUSIVE",
            "check_failed",
        ),
        ("shop_owner", "events IN ACCESS EXCLUSIVE", "check_failed"),
    ] {
        let mut holder = shop.connect(role);
        run(&mut holder, &format!("BEGIN; LOCK TABLE {lock} MODE"));
        let table = lock.split(['_', ' ']).next().unwrap();
        let mut audit = audit(&shop);
        for (statement, says) in [
            (
                format!("SELECT threadline.audit_table('{table}', granularity => 'row')"),
                "lock",
            ),
            (
                format!("SELECT threadline.unaudit_table('{table}')"),
                "could not lock",
            ),
        ] {
            let said = error(&mut audit, &statement);
            assert!(said.contains(says), "{lock}: {said}");
        }
        run(&mut audit, "BEGIN");
        let refreshed = text(&mut audit, "SELECT threadline.refresh_audited_tables()");
        assert_eq!(refreshed.as_deref(), Some("2"), "{lock}");
        run(&mut audit, "ROLLBACK; SET lock_timeout = 0");
        let health = format!(
            "SELECT string_agg(\"check\", ' ') FROM threadline.health WHERE table_name = '{table}'"
        );
        assert_eq!(text(&mut audit, &health).as_deref(), Some(found), "{lock}");
        for view in ["continuity", "coverage"] {
            let tables = text(
                &mut audit,
                &format!("SELECT count(*) FROM threadline.{view}"),
            );
            assert_eq!(tables.as_deref(), Some("3"), "{lock}: {view}");
        }
        run(&mut holder, "ROLLBACK");
    }
    shop.run_as("shop_audit", "SELECT threadline.refresh_audited_tables()");
    assert_eq!(shop.health(), "");
}

/// Without a `lock_timeout`, too, a refresh and a baseline do not wait for ever for one who keeps a table locked.
#[test]
fn without_a_timeout() {
    let shop = Shop::new();
    let mut holder = shop.connect("shop_owner");
    run(
        &mut holder,
        "BEGIN; LOCK TABLE events_2026_01 IN ACCESS EXCLUSIVE MODE",
    );
    let mut audit = audit(&shop);
    run(&mut audit, "SET lock_timeout = 0");
    assert_eq!(
        text(&mut audit, "SELECT threadline.refresh_audited_tables()").as_deref(),
        Some("1")
    );
    let baseline =
        r#"SELECT threadline.baseline_step('events', '{"type": "user", "id": "ops"}', 'start')"#;
    assert!(
        error(&mut audit, baseline).starts_with("could not lock public.events within 00:00:10")
    );
}

/// What the owner of the audit log does apart from purging comes to an end.
#[track_caller]
fn all_goes_on(shop: &mut Shop) {
    shop.run_as(
        "shop_owner",
        "CREATE TABLE notes (id int PRIMARY KEY); ALTER TABLE orders ADD COLUMN note text",
    );
    let mut audit = audit(shop);
    assert_eq!(
        text(&mut audit, "SELECT threadline.audit_table('notes') > 0").as_deref(),
        Some("true")
    );
    assert_eq!(
        text(&mut audit, "SELECT threadline.refresh_audited_tables()").as_deref(),
        Some("3")
    );
    run(
        &mut audit,
        "SELECT threadline.release_hold(threadline.place_hold('case 1', 'orders'), 'closed')",
    );
    assert_eq!(text(&mut audit, REDACT).as_deref(), Some("1"));
    assert_eq!(
        text(
            &mut audit,
            "SELECT created + postponed FROM threadline.maintain(5, '0.3 s')"
        )
        .as_deref(),
        Some("2")
    );
    run(&mut audit, "SELECT threadline.set_retention('1 month')");
    shop.age_again();
}
