//! Upgrades: a made-up next release comes to a database that is written and read all the while, and is killed in the middle.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use threadline_test_support::Database;

use super::FIRST_IDS;
use crate::common::{count, error, run, text};
use crate::load::Load;

/// The next release: a column of the audit log that new capture code fills, and a step that fills it for older changes; a
/// function and a view with one more column; a function with one more argument; and functions that were not there before.
const CHANGES: &[(&str, &str, &str)] = &[
    ("catalog/describe.sql", "AS 'SELECT 1';", "AS 'SELECT 2';"),
    (
        "generator/functions.sql",
        "{known_variables}BEGIN\n",
        "{known_variables}BEGIN\n  PERFORM threadline_internal.note_origin();\n",
    ),
    (
        "timeline/timeline.sql",
        "  application_name text)\n",
        "  application_name text, release text)\n",
    ),
    (
        "timeline/timeline.sql",
        "         c.application_name\n",
        "         c.application_name, '9.9'\n",
    ),
    (
        "views/storage_usage.sql",
        "total_bytes) AS",
        "total_bytes, is_partition) AS",
    ),
    (
        "views/storage_usage.sql",
        "pg_total_relation_size(c.oid)\n",
        "pg_total_relation_size(c.oid), c.relispartition\n",
    ),
    (
        "context/actions.sql",
        "timestamptz)\nLANGUAGE plpgsql VOLATILE SECURITY DEFINER",
        "timestamptz, note text DEFAULT NULL)\nLANGUAGE plpgsql VOLATILE SECURITY DEFINER",
    ),
    (
        "context/actions.sql",
        "threadline.record_action(text, text, text, text, jsonb, jsonb, jsonb) IS",
        "threadline.record_action(text, text, text, text, jsonb, jsonb, jsonb, text) IS",
    ),
    (
        "grants/grants.sql",
        "threadline.record_action(text, text, text, text, jsonb, jsonb, jsonb)",
        "threadline.record_action(text, text, text, text, jsonb, jsonb, jsonb, text)",
    ),
];

const UPGRADE: &str = "ALTER TABLE threadline.audit_changes ADD COLUMN origin text;
    ALTER TABLE threadline.audit_changes ALTER COLUMN origin SET DEFAULT nullif(current_setting('threadline.origin', true), '');
    COMMENT ON COLUMN threadline.audit_changes.origin IS 'Which code recorded it.';
    INSERT INTO threadline_internal.upgrade_steps (name, row_estimate) SELECT 'upgrade_9_9_origin', count(*) FROM threadline.audit_changes;
";

const FUNCTIONS: &str = "CREATE FUNCTION threadline_internal.note_origin() RETURNS void
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$ SELECT set_config('threadline.origin', 'captured', true) $function$;
COMMENT ON FUNCTION threadline_internal.note_origin() IS 'Notes which code records.';

CREATE FUNCTION threadline_internal.upgrade_9_9_origin(start jsonb, batch_size integer, OUT next_position jsonb,
  OUT batch_rows bigint)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp
AS $function$
BEGIN
  WITH batch AS (
    SELECT c.transaction_id, c.captured_at, c.id FROM threadline.audit_changes AS c
     WHERE (c.transaction_id, c.captured_at, c.id) > (
             coalesce((start ->> 'transaction_id')::uuid, '00000000-0000-0000-0000-000000000000'),
             coalesce((start ->> 'captured_at')::timestamptz, '-infinity'), coalesce((start ->> 'id')::bigint, 0))
       AND c.origin IS NULL
     ORDER BY c.transaction_id, c.captured_at, c.id LIMIT batch_size
  ), filled AS (
    UPDATE threadline.audit_changes AS c SET origin = 'filled' FROM batch AS b
     WHERE c.transaction_id = b.transaction_id AND c.captured_at = b.captured_at AND c.id = b.id AND c.origin IS NULL
  )
  SELECT (SELECT to_jsonb(b.*) FROM batch AS b ORDER BY b.transaction_id DESC, b.captured_at DESC, b.id DESC LIMIT 1),
         (SELECT count(*) FROM batch) INTO next_position, batch_rows;
  -- A transaction of before may have ended behind the position.
  IF next_position IS NULL AND EXISTS (SELECT FROM threadline.audit_changes AS c WHERE c.origin IS NULL) THEN
    next_position := '{}';
  END IF;
END
$function$;
COMMENT ON FUNCTION threadline_internal.upgrade_9_9_origin(jsonb, integer) IS 'Fills audit_changes.origin.';

CREATE FUNCTION threadline.origins() RETURNS TABLE (origin text, changes bigint)
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
AS $function$ SELECT c.origin, count(*) FROM threadline.audit_changes AS c GROUP BY c.origin $function$;
COMMENT ON FUNCTION threadline.origins() IS 'How many changes there are of each origin.';
";

/// A workspace whose next release this is, all that there is now being released.
fn next_release(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&root);
    for directory in ["sql", "migrations"] {
        copy(&here.join(directory), &root.join(directory));
    }
    xtask::freeze(&root).unwrap();
    let sql = root.join("sql");
    for (file, from, to) in CHANGES {
        let path = sql.join(file);
        let before = fs::read_to_string(&path).unwrap();
        assert_eq!(
            before.matches(from).count(),
            1,
            "{file} has {from:?} no longer"
        );
        fs::write(path, before.replace(from, to)).unwrap();
    }
    fs::write(sql.join("upgrade.sql"), UPGRADE).unwrap();
    fs::write(sql.join("upgrades/origin.sql"), FUNCTIONS).unwrap();
    fs::write(
        sql.join("next_release.txt"),
        "00000000009900_threadline_9_9\n",
    )
    .unwrap();
    xtask::write_migration(&root).unwrap();
    root
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, name) = entry
            .map(|entry| (entry.path(), entry.file_name()))
            .unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            fs::copy(path, to.join(name)).unwrap();
        }
    }
}

/// The roles of `docs/security.md`, and an audit log of thousands of changes that the role `…_audit` owns.
struct Shop {
    database: Database,
    conn: PgConnection,
}

const ROLES: [&str; 4] = ["owner", "audit", "reader", "app"];

impl Shop {
    fn new() -> Self {
        let database = Database::empty();
        let mut conn = database.connect();
        let name = database.name();
        run(
            &mut conn,
            &format!(
                "CREATE ROLE {name}_owner; CREATE ROLE {name}_audit; CREATE ROLE {name}_reader; CREATE ROLE {name}_app;
                 GRANT CREATE ON DATABASE {name} TO {name}_audit; GRANT pg_read_all_stats TO {name}_audit; GRANT CREATE, USAGE ON SCHEMA public TO PUBLIC; SET ROLE {name}_audit"
            ),
        );
        conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
        run(&mut conn, FIRST_IDS);
        run(
            &mut conn,
            &format!(
                "SET ROLE {name}_owner;
                 CREATE TABLE orders (id int PRIMARY KEY, n int NOT NULL); CREATE TABLE notes (id text PRIMARY KEY, n int NOT NULL, secret text);
                 GRANT SELECT, TRIGGER, UPDATE ON orders, notes TO {name}_audit; GRANT SELECT ON orders, notes TO {name}_reader;
                 GRANT SELECT, INSERT, UPDATE, DELETE ON orders, notes TO {name}_app;
                 SET ROLE {name}_audit;
                 SELECT threadline.audit_table('orders'), threadline.audit_table('notes', mask => '{{secret}}', granularity => 'row'),
                   threadline.grant_reader('{name}_reader'), threadline.grant_recorder('{name}_app');
                 SET ROLE {name}_app;
                 INSERT INTO orders SELECT -n, n FROM generate_series(1, 8000) AS n; UPDATE orders SET n = n + 1;
                 INSERT INTO notes SELECT 'old' || n, n, 's' FROM generate_series(1, 2000) AS n;
                 SET ROLE {name}_reader;
                 CREATE VIEW recent AS SELECT * FROM threadline.timeline(max_rows => 5);
                 CREATE VIEW sizes AS SELECT * FROM threadline.storage_usage;
                 RESET ROLE"
            ),
        );
        Self { database, conn }
    }

    fn role(&self, role: &str) -> PgConnection {
        let mut conn = self.database.connect();
        let name = self.database.name();
        run(
            &mut conn,
            &format!("SET ROLE {name}_{role}; SET application_name = '{role}'"),
        );
        conn
    }

    /// The checks that find something, as a reader sees it.
    fn findings(&self) -> String {
        text(
            &mut self.role("reader"),
            "SELECT string_agg(DISTINCT \"check\", ' ' ORDER BY \"check\") FROM threadline.health",
        )
        .unwrap_or_default()
    }

    /// Does the long work, and is killed in the middle of a batch.
    fn killed_upgrade(&mut self) {
        let mut conn = self.role("audit");
        let work = thread::spawn(move || threadline::upgrade().batch_size(200).run(&mut conn));
        run(
            &mut self.conn,
            "SET statement_timeout = '30 s'; DO $do$ BEGIN
               WHILE (SELECT count(pg_terminate_backend(pid)) = 0 FROM pg_stat_activity
                       WHERE datname = current_database() AND application_name = 'audit' AND state = 'active' AND query LIKE '%upgrade_step%'
                         AND (SELECT rows_done > 400 FROM threadline_internal.upgrade_steps)) LOOP
                 PERFORM pg_stat_clear_snapshot();
               END LOOP;
             END $do$",
        );
        let killed = work.join().expect("the work does not panic");
        assert!(matches!(killed, Err(threadline::Error::Database(_))));
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        let name = self.database.name();
        let roles = ROLES.map(|role| format!("{name}_{role}")).join(", ");
        let dropped = format!("RESET ROLE; DROP OWNED BY {roles} CASCADE; DROP ROLE {roles}");
        if let Err(error) = self.conn.batch_execute(&dropped) {
            eprintln!("{name}: {error}");
        }
    }
}

const READS: &[&str] = &[
    "SELECT * FROM threadline.timeline(max_rows => 3)",
    "SELECT id, op, data_after FROM threadline.audit_changes ORDER BY captured_at DESC LIMIT 3",
    "SELECT * FROM threadline.versions(NULL::orders, -1)",
    "SELECT * FROM threadline.row_as_of(NULL::orders, now() - interval '1 hour', -1)",
    "SELECT count(*) FROM recent",
    "SELECT * FROM sizes",
    "SELECT * FROM threadline.storage_usage",
    "SELECT * FROM threadline.health",
    "SELECT * FROM threadline.changes LIMIT 3",
];

/// A populated database becomes that of the next release while others write and read it. The long work is killed twice and goes
/// on. Every write is in the log once, nobody gets an error, views of users stay, and health says what is left until all is done.
#[test]
fn upgrade_under_load() {
    let root = next_release("upgrade_under_load");
    let mut shop = Shop::new();
    assert_eq!(shop.findings(), "");
    let mut load = Load::default();
    for writer in 0..2 {
        load.start(shop.role("app"), move |round| {
            let id = writer * 1_000_000 + round * 3 + 1;
            format!(
                "BEGIN; INSERT INTO orders VALUES ({id}, 0), ({id} + 1, 0); UPDATE orders SET n = 1 WHERE id = {id};
                 INSERT INTO notes VALUES ('{id}', 0, 's'); DELETE FROM notes WHERE id = '{id}'; COMMIT"
            )
        });
    }
    load.start(shop.role("app"), |_| {
        r#"SELECT threadline.record_action('stock.counted', actor_ref => '{"type": "system", "id": "till"}')"#.to_owned()
    });
    for first in [0, READS.len() / 2] {
        load.start(shop.role("reader"), move |round| {
            let round = usize::try_from(round).unwrap_or_default();
            READS[(first + round) % READS.len()].to_owned()
        });
    }

    let mut audit = shop.role("audit");
    // The load never pauses, so on a busy machine it takes many attempts to lock the audit log.
    run(&mut audit, "SET lock_timeout = '120 s'");
    let migrations = FileBasedMigrations::from_path(root.join("migrations")).unwrap();
    let ran = audit.run_pending_migrations(migrations).unwrap().len();
    assert_eq!(ran, 1);
    let left = "generator_outdated upgrade_unfinished";
    assert_eq!(shop.findings(), left);
    // Capture of the old version goes on in the new one, and fills no column that it does not know.
    let old = "threadline.audit_changes WHERE origin = 'captured'";
    assert_eq!(count(&mut shop.conn, old), 0);
    shop.killed_upgrade();
    assert_eq!(shop.findings(), left);
    let refreshed = threadline::refresh().run(&mut audit).unwrap();
    assert_eq!(
        (refreshed.refreshed.len(), refreshed.failed.len()),
        (2, 0),
        "{refreshed:?}"
    );
    assert_eq!(shop.findings(), "upgrade_unfinished");
    shop.killed_upgrade();
    assert_eq!(shop.findings(), "upgrade_unfinished");
    let report = threadline::upgrade().run(&mut audit).unwrap();
    assert!(report.finished, "{report:?}");
    assert_eq!(report.steps, ["upgrade_9_9_origin"]);
    let rounds = load.end();
    assert!(rounds.iter().all(|rounds| *rounds > 10), "{rounds:?}");

    assert_eq!(shop.findings(), "");
    let versions =
        "SELECT string_agg(DISTINCT definition_version::text, ',') FROM threadline.audited_tables";
    assert_eq!(text(&mut shop.conn, versions).unwrap(), "2");
    // Each round wrote two inserts and an update, and an insert and a delete; one change more or less would be told.
    let written = i64::from(rounds[0] + rounds[1]);
    for (changes, each) in [
        ("table_name = 'orders' AND op = 'insert'", 2),
        ("table_name = 'orders' AND op = 'update'", 1),
        ("table_name = 'notes' AND op = 'insert'", 1),
        ("table_name = 'notes' AND op = 'delete'", 1),
    ] {
        for from in ["row_key", "DISTINCT row_key"] {
            let counted = format!(
                "(SELECT {from} FROM threadline.changes WHERE {changes} AND row_key ~ '^[0-9]') AS c"
            );
            assert_eq!(count(&mut shop.conn, &counted), each * written, "{counted}");
        }
    }
    let before = "threadline.changes WHERE row_key ~ '^(-|old)' AND (op = 'insert' OR table_name = 'orders')";
    assert_eq!(count(&mut shop.conn, before), 18_000);
    assert_eq!(
        count(&mut shop.conn, "threadline.audit_actions"),
        i64::from(rounds[2])
    );

    let mut reader = shop.role("reader");
    let origins = "SELECT string_agg(origin, ' ' ORDER BY origin) FROM threadline.origins()";
    assert_eq!(text(&mut reader, origins).unwrap(), "captured filled");
    let release = "SELECT DISTINCT release FROM threadline.timeline()";
    assert_eq!(text(&mut reader, release).unwrap(), "9.9");
    // The view of a reader stands on the old function, which is gone once nothing stands on it.
    let stands_on = "SELECT pg_get_viewdef('recent'::regclass) ~ 'threadline.timeline_'";
    assert_eq!(text(&mut reader, stands_on).unwrap(), "true");
    count(&mut reader, "recent");
    let kept = "pg_proc WHERE proname IN ('timeline_0_1', 'record_action_0_1')";
    assert_eq!(count(&mut shop.conn, kept), 2);
    for (drop, left) in [("SELECT", 1), ("DROP VIEW public.recent", 0)] {
        run(&mut shop.conn, drop);
        run(
            &mut audit,
            "SELECT threadline_internal.begin_migration(true), threadline_internal.restore_rights()",
        );
        assert_eq!(count(&mut shop.conn, kept), left, "{drop}");
    }
}

/// An installed release that was upgraded has the functions and views that a new installation has.
#[test]
fn upgraded_as_installed() {
    let root = next_release("upgraded_as_installed");
    let upgraded = Database::new();
    let migrations = FileBasedMigrations::from_path(root.join("migrations")).unwrap();
    let mut upgraded = (upgraded.connect(), upgraded);
    upgraded.0.run_pending_migrations(migrations).unwrap();
    fs::write(root.join("sql/released.sha256"), "").unwrap();
    let installed = Database::empty();
    let mut installed = (installed.connect(), installed);
    run(
        &mut installed.0,
        &format!("BEGIN; {} COMMIT", xtask::migration(&root).unwrap().up),
    );
    let functions = "SELECT string_agg(pg_get_functiondef(oid) || obj_description(oid) || coalesce(proacl::text, ''), e'\\n' ORDER BY oid::regprocedure::text)
        FROM pg_proc WHERE pronamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND obj_description(oid) NOT LIKE 'Kept from %'";
    let views = "SELECT string_agg(oid::regclass || pg_get_viewdef(oid), e'\\n' ORDER BY oid::regclass::text)
        FROM pg_class WHERE relnamespace IN ('threadline'::regnamespace, 'threadline_internal'::regnamespace) AND relkind = 'v'";
    for sql in [functions, views] {
        let [upgraded, installed] =
            [&mut upgraded.0, &mut installed.0].map(|conn| text(conn, sql).unwrap());
        let of_one = |one: &str, other: &str| {
            let lines = one.lines().filter(|line| !other.contains(*line));
            lines.take(9).collect::<Vec<_>>().join("\n")
        };
        assert!(
            upgraded == installed,
            "upgraded:\n{}\ninstalled:\n{}",
            of_one(&upgraded, &installed),
            of_one(&installed, &upgraded)
        );
    }
}

/// Who reads or records keeps doing so; whoever lacks a right is found, and mended by the hint. A role that was only given a
/// table by hand is no reader.
#[test]
fn rights_are_restored() {
    let mut shop = Shop::new();
    let name = shop.database.name().to_owned();
    run(
        &mut shop.conn,
        &format!(
            "REVOKE SELECT ON threadline.audit_actions FROM {name}_reader; REVOKE EXECUTE ON FUNCTION threadline.timeline_count(jsonb, regclass[]) FROM {name}_reader;
             REVOKE USAGE ON SCHEMA threadline FROM {name}_app; GRANT SELECT ON threadline.audit_changes TO {name}_owner"
        ),
    );
    let found = "SELECT string_agg(message || ' | ' || hint, e'\\n' ORDER BY message) FROM threadline.health";
    let expected = format!(
        "{name}_app is a recorder of the audit log and lacks 1 rights, such as USAGE ON SCHEMA threadline | SELECT threadline.grant_recorder('{name}_app');\n\
         {name}_reader is a reader of the audit log and lacks 2 rights, such as EXECUTE ON FUNCTION threadline.timeline_count(jsonb,regclass[]) | SELECT threadline.grant_reader('{name}_reader');"
    );
    assert_eq!(text(&mut shop.conn, found).unwrap(), expected);
    run(
        &mut shop.conn,
        "SELECT threadline_internal.restore_rights()",
    );
    assert_eq!(text(&mut shop.conn, found), None);
    run(
        &mut shop.role("reader"),
        "SELECT threadline.timeline_count()",
    );
    let other = error(
        &mut shop.role("owner"),
        "SELECT threadline.timeline_count()",
    );
    assert!(other.contains("permission denied"), "{other}");
}

/// A table that cannot be refreshed is told, with what to do, and keeps no other from being refreshed.
#[test]
fn refresh_goes_on() {
    let mut shop = Shop::new();
    run(
        &mut shop.conn,
        "ALTER TABLE orders ADD x int; ALTER TABLE notes ADD x int; SET lock_timeout = 0",
    );
    let mut writer = shop.role("app");
    run(&mut writer, "BEGIN; UPDATE orders SET n = 0 WHERE id = -1");
    let mut audit = shop.role("audit");
    run(&mut audit, "SET lock_timeout = '300 ms'");
    let mut told = Vec::new();
    let report = threadline::refresh()
        .progress(|progress| told.push(progress.to_string()))
        .run(&mut audit)
        .unwrap();
    assert_eq!(told, ["1 of about 2 tables", "2 of about 2 tables"]);
    assert_eq!(report.refreshed, ["public.notes"]);
    let failed: Vec<_> = report.failed.iter().map(|f| f.message.as_str()).collect();
    assert_eq!(failed, ["could not lock public.orders within 00:00:00.3"]);
    run(&mut writer, "COMMIT");
    let report = threadline::refresh()
        .table("orders")
        .run(&mut audit)
        .unwrap();
    assert_eq!(
        (report.refreshed, report.failed.len()),
        (vec!["public.orders".to_owned()], 0)
    );
    assert_eq!(shop.findings(), "");
    run(&mut shop.conn, "CREATE TABLE public.others (id int)");
    let refused = threadline::refresh()
        .table("others")
        .run(&mut audit)
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "public.others is not audited (SELECT * FROM threadline.coverage; lists the tables that are.)"
    );
}
