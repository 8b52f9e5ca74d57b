//! The roles of docs/security.md do their work without a superuser, and nothing else.

use diesel::connection::SimpleConnection;
use diesel::result::Error::DatabaseError;

use super::shop::{ACTOR, Shop, section};
use crate::common::run;

const ROLES: [&str; 6] = [
    "shop_audit",
    "shop_owner",
    "shop_app",
    "shop_worker",
    "shop_auditor",
    "shop_nobody",
];

/// What is done, how, and what becomes of it for each of [`ROLES`]. The guide has the same table without the SQL.
const OPERATIONS: &[(&str, &str, &str)] = &[
    (
        "read `orders`",
        "SELECT FROM orders",
        "yes yes yes right right right",
    ),
    (
        "insert into `orders`",
        "INSERT INTO orders (item) VALUES ('x')",
        "right yes yes right right right",
    ),
    (
        "update `orders`",
        "UPDATE orders SET item = 'x'",
        "yes yes yes right right right",
    ),
    (
        "truncate `orders`",
        "TRUNCATE orders",
        "right yes right right right right",
    ),
    (
        "alter `orders`",
        "ALTER TABLE orders ADD COLUMN note text",
        "owner yes owner owner owner owner",
    ),
    (
        "disable a capture trigger",
        r#"ALTER TABLE orders DISABLE TRIGGER "!threadline_insert""#,
        "owner yes owner owner owner owner",
    ),
    (
        "detach and attach a partition",
        "ALTER TABLE events DETACH PARTITION events_2026_01; ALTER TABLE events ATTACH PARTITION events_2026_01 FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
        "owner yes owner owner owner owner",
    ),
    (
        "put a capture function on a table",
        "CREATE TRIGGER mine AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION threadline_internal.capture_1_insert()",
        "yes schema right right right right",
    ),
    (
        "`session_replication_role = replica`",
        "SET LOCAL session_replication_role = replica",
        "right right right right right right",
    ),
    (
        "read `threadline.changes`",
        "SELECT FROM threadline.changes",
        "yes schema schema right yes schema",
    ),
    (
        "`threadline.timeline`",
        "SELECT FROM threadline.timeline()",
        "yes schema schema right yes schema",
    ),
    (
        "`threadline.versions` of `orders`",
        "SELECT FROM threadline.versions(NULL::orders)",
        "yes schema schema right yes schema",
    ),
    (
        "`threadline.as_of` of `orders`",
        "SELECT FROM threadline.as_of(NULL::orders, clock_timestamp())",
        "yes schema schema right right schema",
    ),
    (
        "`threadline.settled_at`",
        "SELECT threadline.settled_at()",
        "yes schema schema right yes schema",
    ),
    (
        "read `threadline.health`",
        "SELECT FROM threadline.health",
        "yes schema schema right yes schema",
    ),
    (
        "read a partition of the log",
        "SELECT FROM threadline.{partition}",
        "yes schema schema right right schema",
    ),
    (
        "`threadline.record_action`",
        "SELECT threadline.record_action('report.sent')",
        "yes schema schema yes right schema",
    ),
    (
        "insert into the log",
        "INSERT INTO threadline.audit_changes OVERRIDING SYSTEM VALUE SELECT * FROM threadline.audit_changes WHERE false",
        "yes schema schema right right schema",
    ),
    (
        "delete from the log",
        "DELETE FROM threadline.audit_changes",
        "yes schema schema right right schema",
    ),
    (
        "lock the log against writers",
        "LOCK TABLE threadline.audit_changes IN SHARE MODE",
        "yes schema schema right right schema",
    ),
    (
        "use the row type of the log",
        "CREATE TEMP TABLE stuck (change threadline.audit_changes)",
        "yes schema schema right right schema",
    ),
    (
        "drop the log",
        "DROP TABLE threadline.audit_changes CASCADE",
        "yes schema schema owner owner schema",
    ),
    (
        "call an internal function",
        "SELECT threadline_internal.enter_transaction(now(), 1)",
        "yes schema schema schema right schema",
    ),
    (
        "replace a capture function",
        "CREATE OR REPLACE FUNCTION threadline_internal.capture_1_insert() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "yes schema schema schema schema schema",
    ),
    (
        "`threadline.audit_table`",
        "SELECT threadline.audit_table('drafts')",
        "yes schema schema right right schema",
    ),
    (
        "`threadline.unaudit_table`",
        "SELECT threadline.unaudit_table('orders')",
        "yes schema schema right right schema",
    ),
    (
        "`threadline.refresh_audited_tables`",
        "SELECT threadline.refresh_audited_tables()",
        "yes schema schema right right schema",
    ),
    (
        "`threadline.maintain`",
        "SELECT threadline.maintain()",
        "yes schema schema right right schema",
    ),
    (
        "`threadline.baseline_step`",
        r#"SELECT threadline.baseline_step('orders', '{"type": "user", "id": "ops"}', 'start')"#,
        "yes schema schema right right schema",
    ),
    (
        "`threadline.redact_step`",
        r#"SELECT threadline.redact_step('orders', '{1}', mask => '{item}', actor_ref => '{"type": "user", "id": "ops"}', reason => 'erasure')"#,
        "yes schema schema right right schema",
    ),
    (
        "`threadline.purge_step`",
        r#"SELECT threadline.purge_step(NULL, '{"type": "user", "id": "ops"}', 'policy')"#,
        "yes schema schema right right schema",
    ),
    (
        "`threadline.place_hold`",
        "SELECT threadline.place_hold('case 1', 'orders')",
        "yes schema schema right right schema",
    ),
    (
        "`threadline.grant_reader`",
        "SELECT threadline.grant_reader('shop_nobody')",
        "yes schema schema right right schema",
    ),
];

/// Each role may do what the table allows it, and gets the error that the table names where it may not.
#[test]
fn who_may_do_what() {
    let mut shop = Shop::new();
    shop.run_as("shop_owner", "CREATE TABLE drafts (id int PRIMARY KEY)");
    let partition = shop
        .text_as(
            "shop_audit",
            "SELECT min(tableoid::regclass::text) FROM threadline.audit_changes",
        )
        .unwrap();
    let partition = partition.trim_start_matches("threadline.");
    let mut wrong = Vec::new();
    for (operation, sql, cells) in OPERATIONS {
        for (role, expected) in ROLES.iter().zip(cells.split(' ')) {
            let sql = sql.replace("{partition}", partition);
            let sql = shop.own(&format!(
                "BEGIN; {ACTOR}; SET LOCAL SESSION AUTHORIZATION {role}; {sql}"
            ));
            let done = shop.conn.batch_execute(&sql);
            run(&mut shop.conn, "ROLLBACK");
            let message = match done {
                Ok(()) => "yes".to_owned(),
                Err(DatabaseError(_, info)) => info.message().to_owned(),
                Err(error) => panic!("{operation}, {role}: {error}"),
            };
            let cell = refusal(&message);
            if cell != expected {
                wrong.push(format!(
                    "{operation} by {role} is {cell} ({message}), not {expected}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// How the table names an error.
fn refusal(message: &str) -> &str {
    if message.starts_with("permission denied for schema") {
        "schema"
    } else if message.starts_with("permission denied") {
        "right"
    } else if message.starts_with("must be owner of") {
        "owner"
    } else {
        message
    }
}

/// The table of the guide is the one that is walked.
#[test]
fn guide_has_the_table() {
    let guide: Vec<_> = section("Who may do what")
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(1)
        .collect();
    let walked: Vec<_> = OPERATIONS
        .iter()
        .map(|(operation, _, cells)| format!("| {operation} | {} |", cells.replace(' ', " | ")))
        .collect();
    assert_eq!(guide, walked);
}

/// The owner of a table changes it, also its key, and the owner of the audit log refreshes its capture; readers go on.
#[test]
fn refresh() {
    let mut shop = Shop::new();
    shop.recorded();
    shop.run_as(
        "shop_owner",
        "ALTER TABLE orders ADD COLUMN note text, DROP COLUMN quantity; ALTER TABLE orders RENAME item TO what",
    );
    assert_eq!(
        shop.health(),
        "definition_stale orders: column item is now what; column note is new; column quantity is gone"
    );
    assert_eq!(refreshed(&mut shop), "2");
    assert_eq!(shop.health(), "");
    shop.run_as("shop_app", "UPDATE orders SET note = 'green'");
    assert_eq!(shop.recorded(), "orders update 1");
    assert_eq!(
        history(&mut shop, "versions(NULL::orders, 1)"),
        "insert tea, update tea"
    );

    shop.run_as(
        "shop_owner",
        "UPDATE orders SET note = ''; ALTER TABLE orders DROP CONSTRAINT orders_pkey, ADD PRIMARY KEY (id, what)",
    );
    assert_eq!(refreshed(&mut shop), "2");
    assert_eq!(shop.health(), "");
    assert_eq!(
        history(&mut shop, "versions(NULL::orders, 1, 'tea')"),
        "insert tea, update tea, update tea"
    );
    shop.run_as(
        "shop_owner",
        "CREATE TABLE notes (id int PRIMARY KEY, what text)",
    );
    shop.run_as("shop_audit", "SELECT threadline.audit_table('notes')");
    shop.run_as("shop_owner", "INSERT INTO notes VALUES (1, 'new')");
    assert_eq!(history(&mut shop, "versions(NULL::notes, 1)"), "insert new");
    shop.run_as("shop_auditor", "SELECT FROM threadline.timeline(); SELECT FROM threadline.continuity; SELECT FROM threadline.coverage");
}

/// How many tables the owner of the audit log has refreshed.
#[track_caller]
fn refreshed(shop: &mut Shop) -> String {
    shop.text_as("shop_audit", "SELECT threadline.refresh_audited_tables()")
        .unwrap()
}

/// What a reader sees of rows, each as `op what`.
#[track_caller]
fn history(shop: &mut Shop, from: &str) -> String {
    let history = format!(
        "SELECT string_agg(op || ' ' || (\"row\" ->> 'what'), ', ' ORDER BY id) FROM threadline.{from}"
    );
    shop.text_as("shop_auditor", &history).unwrap()
}

/// The owner of a partitioned table adds partitions, and what is written there is recorded, before and after a refresh;
/// what is written to one that was detached is not.
#[test]
fn partitions() {
    let mut shop = Shop::new();
    shop.recorded();
    shop.run_as(
        "shop_owner",
        "CREATE TABLE events_2026_03 PARTITION OF events FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
         CREATE TABLE april (LIKE events INCLUDING ALL);
         ALTER TABLE events ATTACH PARTITION april FOR VALUES FROM ('2026-04-01') TO ('2026-05-01')",
    );
    let written = "INSERT INTO events VALUES (3, '2026-03-01', 'a'), (4, '2026-04-01', 'a');
         UPDATE events SET what = 'b' WHERE id = 3; UPDATE events SET day = '2026-03-02' WHERE id = 4; DELETE FROM events WHERE id > 2";
    let recorded = r#"events insert [3, "2026-03-01"], events insert [4, "2026-04-01"], events update [3, "2026-03-01"], events delete [4, "2026-04-01"], events insert [4, "2026-03-02"], events delete [3, "2026-03-01"], events delete [4, "2026-03-02"]"#;
    shop.run_as("shop_app", written);
    assert_eq!(shop.recorded(), recorded);
    assert_eq!(
        shop.health(),
        "definition_stale events: partition public.april is new: a TRUNCATE of it alone is not recorded; partition public.events_2026_03 is new: a TRUNCATE of it alone is not recorded"
    );
    assert_eq!(refreshed(&mut shop), "2");
    assert_eq!(shop.health(), "");
    shop.run_as("shop_app", written);
    assert_eq!(shop.recorded(), recorded);
    let direct = "INSERT INTO april VALUES (9, '2026-04-09', 'direct'); TRUNCATE april";
    shop.run_as("shop_owner", direct);
    assert_eq!(
        shop.recorded(),
        r#"events insert [9, "2026-04-09"], events truncate [9, "2026-04-09"]"#
    );

    shop.run_as(
        "shop_owner",
        &format!("ALTER TABLE events DETACH PARTITION april; {direct}"),
    );
    assert_eq!(shop.recorded(), "");
    assert_eq!(
        shop.health(),
        "definition_stale events: a partition is gone"
    );
    assert_eq!(refreshed(&mut shop), "2");
    shop.run_as(
        "shop_owner",
        &format!("{direct}; ALTER TABLE events ATTACH PARTITION april FOR VALUES FROM ('2026-04-01') TO ('2026-05-01'); {direct}"),
    );
    // The trigger for TRUNCATE stayed on the table.
    assert_eq!(
        shop.recorded(),
        r#"events insert [9, "2026-04-09"], events truncate [9, "2026-04-09"]"#
    );
    assert_eq!(refreshed(&mut shop), "2");
    shop.run_as("shop_owner", direct);
    assert_eq!(
        shop.recorded(),
        r#"events insert [9, "2026-04-09"], events truncate [9, "2026-04-09"]"#
    );
    assert_eq!(shop.health(), "");
}

/// A table that changes hands is refreshed, and then its new owner can add partitions.
#[test]
fn another_owner() {
    let mut shop = Shop::new();
    let given = shop.own(
        "ALTER TABLE events OWNER TO shop_worker; ALTER TABLE events_2026_01 OWNER TO shop_worker; GRANT CREATE ON SCHEMA public TO shop_worker",
    );
    run(&mut shop.conn, &given);
    assert_eq!(
        shop.health(),
        "definition_stale events: it, or a type of it, has another owner"
    );
    let partition =
        "CREATE TABLE may PARTITION OF events FOR VALUES FROM ('2026-05-01') TO ('2026-06-01')";
    assert!(
        shop.refused("shop_worker", partition)
            .starts_with("permission denied for function")
    );
    assert_eq!(refreshed(&mut shop), "2");
    assert_eq!(shop.health(), "");
    shop.recorded();
    shop.run_as(
        "shop_worker",
        &format!("{partition}; INSERT INTO events VALUES (5, '2026-05-01', 'a')"),
    );
    assert_eq!(shop.recorded(), r#"events insert [5, "2026-05-01"]"#);
}

/// The owner of the audit log ends capture and begins it again, also with another redaction and granularity.
#[test]
fn unaudit_and_audit_again() {
    let mut shop = Shop::new();
    shop.recorded();
    let write = "INSERT INTO orders (item) VALUES ('cocoa'); INSERT INTO events VALUES (7, '2026-02-01', 'a'); DELETE FROM events WHERE id = 7";
    let truncate = "TRUNCATE orders, events";
    shop.run_as(
        "shop_audit",
        "SELECT threadline.unaudit_table('orders'), threadline.unaudit_table('events')",
    );
    shop.run_as("shop_app", write);
    shop.run_as("shop_owner", &format!("CREATE TABLE may PARTITION OF events FOR VALUES FROM ('2026-05-01') TO ('2026-06-01'); {truncate}"));
    assert_eq!(
        (shop.recorded(), shop.health()),
        (String::new(), String::new())
    );

    let again = "SELECT threadline.audit_table('orders', mask => '{item}', granularity => 'row'), threadline.audit_table('events', exclude => '{what}')";
    // Before version 14 only the owner of a table, or a superuser, can put another trigger in place of one.
    let replaces = "SELECT current_setting('server_version_num')::int >= 140000";
    match shop.text_as("shop_audit", replaces).as_deref() {
        Some("true") => shop.run_as("shop_audit", again),
        _ => run(&mut shop.conn, &format!("RESET ROLE; {again}")),
    }
    shop.run_as("shop_app", write);
    shop.run_as("shop_owner", truncate);
    assert_eq!(
        shop.recorded(),
        r#"orders insert 3, events insert [7, "2026-02-01"], events delete [7, "2026-02-01"], orders truncate 3"#
    );
    assert_eq!(shop.health(), "");
    let images = "SELECT string_agg(data_after::text, ' ' ORDER BY id) FROM threadline.audit_changes WHERE id > 2 AND data_after IS NOT NULL";
    assert_eq!(
        shop.text_as("shop_auditor", images).unwrap(),
        r#"{"id": 3, "item": "[REDACTED]", "quantity": null} {"id": 7, "day": "2026-02-01"}"#
    );
    shop.run_as(
        "shop_audit",
        "SELECT threadline.audit_table('orders', granularity => 'row', unredact => '{item}')",
    );
    assert_eq!(shop.health(), "");
    shop.run_as("shop_app", "INSERT INTO orders (item) VALUES ('milk')");
    assert_eq!(history_of_items(&mut shop), "tea, [REDACTED], milk");
}

fn history_of_items(shop: &mut Shop) -> String {
    let items = "SELECT string_agg(data_after ->> 'item', ', ' ORDER BY id) FROM threadline.versions(NULL::orders)";
    shop.text_as("shop_auditor", items).unwrap()
}

/// The owner of the audit log keeps it: partitions, policies, purges, redaction, baselines and holds.
#[test]
fn keeping() {
    let mut shop = Shop::new();
    let ops = r#"'{"type": "user", "id": "ops"}'"#;
    let created = shop.text_as(
        "shop_audit",
        "SELECT m.created FROM threadline.maintain(6) AS m",
    );
    assert_eq!(created.as_deref(), Some("3"));
    shop.run_as(
        "shop_owner",
        "CREATE TABLE stock (id int PRIMARY KEY); INSERT INTO stock VALUES (1), (2)",
    );
    shop.run_as("shop_audit", "SELECT threadline.audit_table('stock')");
    let baseline =
        format!("SELECT b.recorded FROM threadline.baseline_step('stock', {ops}, 'start') AS b");
    assert_eq!(shop.text_as("shop_audit", &baseline).as_deref(), Some("2"));
    let redaction = format!(
        "SELECT r.replaced FROM threadline.redact_step('orders', '{{1}}', mask => '{{item}}', actor_ref => {ops}, reason => 'erasure') AS r"
    );
    assert_eq!(shop.text_as("shop_audit", &redaction).as_deref(), Some("1"));
    assert_eq!(history_of_items(&mut shop), "[REDACTED]");
    shop.run_as(
        "shop_audit",
        &format!("{ACTOR}; SELECT threadline.release_hold(threadline.place_hold('case 1', 'orders'), 'closed'); SELECT threadline.set_retention('1 month')"),
    );
    shop.age();
    let purge = format!("SELECT p.step FROM threadline.purge_step(NULL, {ops}, 'policy') AS p");
    assert_eq!(
        shop.text_as("shop_audit", &purge).as_deref(),
        Some("dropped")
    );
    assert_eq!(
        shop.text_as("shop_auditor", "SELECT count(*) FROM threadline.changes")
            .as_deref(),
        Some("0")
    );
    assert_eq!(shop.health(), "");
}

/// The past is final up to the newest transaction, whoever wrote it; without `pg_read_all_stats` health says that it is not.
#[test]
fn settled_at() {
    let mut shop = Shop::new();
    let is_settled =
        "SELECT threadline.settled_at() > max(captured_at) FROM threadline.audit_changes";
    assert_eq!(
        shop.text_as("shop_auditor", is_settled).as_deref(),
        Some("true")
    );
    let mut other = shop.connect("shop_app");
    run(&mut other, "BEGIN; UPDATE orders SET item = 'coffee'");
    let began = "SELECT threadline.settled_at() < min(xact_start) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND datname = current_database()";
    assert_eq!(shop.text_as("shop_audit", began).as_deref(), Some("true"));
    run(&mut other, "COMMIT");
    assert_eq!(
        shop.text_as("shop_auditor", is_settled).as_deref(),
        Some("true")
    );
    let revoked = shop.own("REVOKE pg_read_all_stats FROM shop_audit");
    run(&mut shop.conn, &revoked);
    assert_eq!(
        shop.health().replace(shop.database.name(), "shop"),
        "settled_at_inexact : shop_audit, the owner of the audit log, may not look at other sessions, so threadline.settled_at() stays before the newest transaction"
    );
}

/// Capture functions on another table record nothing: not for each row or statement, not on partitions, and not for the owner
/// of the table that they are for, even where that role may name them.
#[test]
fn capture_functions_of_another_table() {
    let mut shop = Shop::new();
    shop.run_as("shop_owner", "CREATE TABLE mine (LIKE orders); CREATE TABLE mine_by_day (LIKE events) PARTITION BY RANGE (day);
        CREATE TABLE mine_of_january PARTITION OF mine_by_day FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')");
    let hang = |table: &str, id: u32, event: &str, level: &str| {
        let name = format!("{event}_{id}");
        let tables = match (level, event) {
            ("ROW", _) | (_, "truncate") => "",
            (_, "insert") => "REFERENCING NEW TABLE AS new_rows",
            (_, "delete") => "REFERENCING OLD TABLE AS old_rows",
            _ => "REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows",
        };
        let when = if event == "truncate" {
            "BEFORE"
        } else {
            "AFTER"
        };
        format!(
            "CREATE TRIGGER {name} {when} {event} ON {table} {tables} FOR EACH {level} EXECUTE FUNCTION threadline_internal.capture_{id}_{event}()"
        )
    };
    assert_eq!(
        shop.refused("shop_owner", &hang("mine", 1, "insert", "STATEMENT")),
        "permission denied for schema threadline_internal"
    );
    shop.run_as(
        "shop_audit",
        "GRANT USAGE ON SCHEMA threadline_internal TO shop_owner",
    );
    for event in ["insert", "update", "delete", "truncate"] {
        let level = if event == "truncate" {
            "STATEMENT"
        } else {
            "ROW"
        };
        shop.run_as("shop_owner", &hang("mine", 1, event, "STATEMENT"));
        for table in ["mine", "mine_by_day"] {
            shop.run_as("shop_owner", &hang(table, 2, event, level));
        }
    }
    shop.recorded();
    shop.run_as(
        "shop_owner",
        "INSERT INTO mine VALUES (4711, 'never was in orders'), (4712, 'nor this'); UPDATE mine SET item = 'x'; DELETE FROM mine WHERE id = 4711; TRUNCATE mine;
         INSERT INTO mine_by_day VALUES (4711, '2026-01-01', 'x'); UPDATE mine_by_day SET what = 'y'; INSERT INTO mine_of_january VALUES (4712, '2026-01-02', 'z');
         DELETE FROM mine_by_day WHERE id = 4711; TRUNCATE mine_by_day",
    );
    assert_eq!(shop.recorded(), "");
}
